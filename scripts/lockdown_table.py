# SPDX-License-Identifier: Apache-2.0
"""Write the table of docs/lock-down.md from native/sandbox_table.h; with --check, compare.

The rows of that header are the statement of what an enclave may do. The document shows them, so
that nobody has to read C for it, and is never edited by hand.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "native/sandbox_table.h"
DOCUMENT = ROOT / "docs/lock-down.md"
BEGIN, END = "<!-- table:begin -->\n", "<!-- table:end -->\n"
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


def main() -> int:
    """Write or compare."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    wanted = before + BEGIN + markdown() + END + after
    if text == wanted:
        return 0
    if "--check" in sys.argv[1:]:
        print(f"{DOCUMENT.name}: not what the header says; run scripts/lockdown_table.py")
        return 1
    DOCUMENT.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
