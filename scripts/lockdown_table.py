# SPDX-License-Identifier: Apache-2.0
"""Write the tables of docs/lock-down.md; with --check, compare.

What an enclave may do is stated by the rows of native/sandbox_table.h, and what is tried on it by
those of tests/lockdown/looks.py. The document shows both, so that nobody has to read code for it,
and is never edited by hand.
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "native/sandbox_table.h"
DOCUMENT = ROOT / "docs/lock-down.md"
BEGIN, END = "<!-- table:begin -->\n", "<!-- table:end -->\n"
LOOKS_BEGIN, LOOKS_END = "<!-- looks:begin -->\n", "<!-- looks:end -->\n"
ROW = re.compile(r'^SANDBOX_(ALLOW|ABSENT)\((\w+), (\w+),\s+"([^"]*)",\s*(.*?)\)$', re.M | re.S)

CONDITION = re.compile(r"(\w+)\(([^()]*)\)")
WORDS = {
    "EQUALS": "a{0} = {1}",
    "ONLY_BITS": "a{0} has no bits but {1}",
    "EQUALS_BUT": "a{0} = {1}, apart from {2}",
    "AT_MOST": "a{0} ≤ {1}",
    "OWN_PROCESS": "a{0} is its own process",
    "WRITE_FD": "a{0} is the log or a wake-up descriptor",
    "READ_FD": "a{0} is a wake-up descriptor",
}


def sentence(conditions: str) -> str:
    """Return `conditions` of a row in words; empty when there are none."""
    text = " ".join(conditions.split())
    if text == "ANY":
        return ""
    parts = []
    for name, arguments in CONDITION.findall(text):
        number, *values = (value.strip() for value in arguments.split(","))
        quoted = [f"`{value}`".replace("|", "\\|") for value in values]
        parts.append(WORDS[name].format(number, *quoted))
    return " and ".join(parts)


def markdown() -> str:
    """Return the rows of the header as a Markdown table."""
    text = re.sub(r"/\*.*?\*/", "", TABLE.read_text(encoding="utf-8"), flags=re.S)
    lines = ["| group | system call | allowed when | why |", "|---|---|---|---|"]
    rows = ROW.findall(text)
    if len(rows) != len(re.findall(r"^SANDBOX_(?:ALLOW|ABSENT)\(", text, re.M)):
        raise SystemExit(f"{TABLE}: a row has a form that this script does not read")
    for kind, group, call, why, conditions in rows:
        when = sentence(conditions)
        if kind == "ABSENT":
            when = "never (ENOSYS)" + (f" with {when}" if when else "")
        lines.append(f"| {group.lower()} | `{call}` | {when or 'always'} | {why} |")
    return "\n".join(lines) + "\n"


def looks() -> str:
    """Return the attempts of the tests as a Markdown table, one row for each promise."""
    sys.path.insert(0, str(ROOT))
    sys.dont_write_bytecode = True
    table = importlib.import_module("tests.lockdown.looks").LOOKS
    names: dict[str, list[str]] = {}
    for look in table:
        names.setdefault(look.claim, []).append(look.name)
    lines = ["| promise | attempts |", "|---|---|"]
    lines += [f"| {claim} | {'; '.join(names[claim])} |" for claim in sorted(names)]
    return "\n".join(lines) + "\n"


def put(text: str, begin: str, end: str, table: str) -> str:
    """Return `text` with `table` between its two marks."""
    before, found, rest = text.partition(begin)
    _, found_too, after = rest.partition(end)
    if not (found and found_too):
        raise SystemExit(f"{DOCUMENT}: {begin.strip()} or {end.strip()} is missing")
    return before + begin + table + end + after


def main() -> int:
    """Write or compare."""
    text = DOCUMENT.read_text(encoding="utf-8")
    wanted = put(text, BEGIN, END, markdown())
    wanted = put(wanted, LOOKS_BEGIN, LOOKS_END, looks())
    if text == wanted:
        return 0
    if "--check" in sys.argv[1:]:
        print(f"{DOCUMENT.name}: not what its sources say; run scripts/lockdown_table.py")
        return 1
    DOCUMENT.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
