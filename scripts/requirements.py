# SPDX-License-Identifier: Apache-2.0
"""Print what pyproject.toml says is needed for `make demo` or `make test`, one a line.

pip can install a project's dependencies only by building the project; the build runs without
isolation, so its requirements have to be there first. Python 3.10 has no tomllib and nothing is
installed yet, so this reads the few arrays of strings that it needs by itself.
"""

from __future__ import annotations

import ast
import re
import sys
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


def main() -> None:
    """Print the requirements for the purpose named by the first argument."""
    text = PYPROJECT.read_text(encoding="utf-8")
    wanted = [*array(text, "build-system", "requires"), "ninja>=1.11,<2"]
    wanted += array(text, "project", "dependencies")
    wanted += array(text, "project.optional-dependencies", "bench")
    if sys.argv[1:] == ["test"]:
        wanted += array(text, "project.optional-dependencies", "dev")
    print("\n".join(dict.fromkeys(item for item in wanted if not item.startswith("hotcalls"))))


if __name__ == "__main__":
    main()
