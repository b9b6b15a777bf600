# SPDX-License-Identifier: Apache-2.0
"""Print what pyproject.toml says is needed for `make demo` or `make test`, one a line.

With --locked, print nothing, and fail with the names that requirements/*.txt, which `make lock`
writes, does not have at a version.

pip can install a project's dependencies only by building the project; the build runs without
isolation, so its requirements have to be there first. Python 3.10 has no tomllib and nothing is
installed yet, so this reads the few arrays of strings that it needs by itself.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def array(text: str, table: str, key: str) -> list[str]:
    """Return the array of strings `key` of `table`."""
    section = text.split(f"\n[{table}]\n", 1)[1].split("\n[", 1)[0]
    match = re.search(rf"^{re.escape(key)} = (\[.*?\](?=\s*$|\s*#|\n))", section, re.M | re.S)
    if match is None:
        raise SystemExit(f"pyproject.toml: no {key} in [{table}]")
    # A TOML array of basic strings is a Python list, comments and all.
    return [str(item) for item in ast.literal_eval(match.group(1))]


def normal(name: str) -> str:
    """Return the name of a package as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(requirement: str) -> str:
    """Return the name of the package that a requirement is for."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    if match is None:
        raise SystemExit(f"pyproject.toml: {requirement!r} is no requirement")
    return normal(match.group())


def locked(purpose: str) -> set[str]:
    """Return the names of the packages that have a version in the lock file of `purpose`."""
    text = (PYPROJECT.parent / "requirements" / f"{purpose}.txt").read_text(encoding="utf-8")
    return {normal(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", text, re.M)}


def wanted_for(purpose: str) -> list[str]:
    """Return the requirements for ``demo`` or ``test``."""
    text = PYPROJECT.read_text(encoding="utf-8")
    wanted = [*array(text, "build-system", "requires"), "ninja>=1.11,<2"]
    wanted += array(text, "project", "dependencies")
    wanted += array(text, "project.optional-dependencies", "bench")
    if purpose == "test":
        wanted += array(text, "project.optional-dependencies", "dev")
    return list(dict.fromkeys(item for item in wanted if not item.startswith("hotcalls")))


def missing(wanted: Iterable[str], names: set[str]) -> list[str]:
    """Return the names of `wanted` that are not among `names`."""
    return sorted({name_of(item) for item in wanted} - names)


def main() -> None:
    """Print the requirements for the purpose named by the first argument, or check them."""
    purpose = sys.argv[1]
    wanted = wanted_for(purpose)
    if "--locked" not in sys.argv[2:]:
        print("\n".join(wanted))
        return
    absent = missing(wanted, locked(purpose))
    if absent:
        raise SystemExit(
            f"requirements/{purpose}.txt does not have {', '.join(absent)}: run `make lock`"
        )


if __name__ == "__main__":
    main()
