# SPDX-License-Identifier: Apache-2.0
"""Write who attacks which promise into docs/threat-model.md; with --check, compare.

The tests carry the ids: `@pytest.mark.claim("H-ONCE")`. A promise that no test attacks, and a test
that attacks a promise which the page does not make, are both errors.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs/threat-model.md"
BEGIN, END = "<!-- claims:begin -->\n", "<!-- claims:end -->\n"
ID = re.compile(r"[A-Z]-[A-Z-]+\Z")
ROW = re.compile(r"^\| ([A-Z]-[A-Z-]+) \| (.*?) \| (.*?) ?\|$", re.M)


@dataclass(frozen=True)
class Claim:
    """One promise of the page."""

    id: str
    promise: str


def claims(document: Path = DOCUMENT) -> dict[str, Claim]:
    """Return the promises of the page by their id, in its order."""
    text = document.read_text(encoding="utf-8")
    section = text.partition(BEGIN)[2].partition(END)[0]
    return {name: Claim(name, promise) for name, promise, _ in ROW.findall(section)}


def marked(file: Path) -> Iterator[str]:
    """Yield the id of each `pytest.mark.claim(…)` in `file`."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "claim"
            and ast.unparse(node.func) == "pytest.mark.claim"
        ):
            for argument in node.args:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield argument.value
                elif table := table_of(argument, file.parent):
                    yield from in_table(table)
                else:
                    raise SystemExit(
                        f"{file}:{node.lineno}: claim({ast.unparse(argument)}): write the id itself"
                    )


def table_of(argument: ast.expr, folder: Path) -> Path | None:
    """Return where the ids are when a test takes them from a row of a table: `look.claim`."""
    row = argument.value if isinstance(argument, ast.Starred) else argument
    if isinstance(row, ast.Attribute) and isinstance(row.value, ast.Name):
        table = folder / f"{row.value.id}s.py"
        return table if table.exists() else None
    return None


def in_table(file: Path) -> Iterator[str]:
    """Yield the ids that a table gives its rows."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and ID.match(node.value):
            yield node.value


def attackers(tests: Path = ROOT / "tests") -> dict[str, list[Path]]:
    """Return the files with tests that attack each id."""
    found: dict[str, list[Path]] = {}
    for file in sorted(tests.rglob("*.py")):
        for name in dict.fromkeys(marked(file)):
            found.setdefault(name, []).append(file)
    return found


def faults(promised: dict[str, Claim], attacked: dict[str, list[Path]]) -> list[str]:
    """Return what is wrong between the page and the tests, one line each."""
    lines = [
        f"{file.relative_to(ROOT)}: claim {name!r} is not in docs/threat-model.md"
        for name, files in attacked.items()
        if name not in promised
        for file in files
    ]
    lines += [
        f"docs/threat-model.md: no test attacks {name}" for name in promised.keys() - attacked
    ]
    return sorted(lines)


def rewritten(text: str, attacked: dict[str, list[Path]]) -> str:
    """Return the page with its last column as the tests have it."""
    head, _, rest = text.partition(BEGIN)
    section, _, tail = rest.partition(END)

    def row(match: re.Match[str]) -> str:
        files = [
            f"[{file.parent.name}/{file.name}](../{file.relative_to(ROOT)})"
            for file in attacked.get(match[1], [])
        ]
        return f"| {match[1]} | {match[2]} | {', '.join(files)} |"

    return head + BEGIN + ROW.sub(row, section) + END + tail


def main() -> int:
    """Write the page, or with --check say whether it is as it should be."""
    attacked = attackers()
    found = faults(claims(), attacked)
    text = DOCUMENT.read_text(encoding="utf-8")
    wanted = rewritten(text, attacked)
    if sys.argv[1:] == ["--check"]:
        if wanted != text:
            found.append(f"{DOCUMENT}: not what the tests say; run `make sources`")
    else:
        DOCUMENT.write_text(wanted, encoding="utf-8")
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found and sys.argv[1:] == ["--check"] else 0


if __name__ == "__main__":
    sys.exit(main())
