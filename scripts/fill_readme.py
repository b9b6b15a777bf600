# SPDX-License-Identifier: Apache-2.0
"""Write the table of results in README.md from a result of `hotcalls bench`.

    .venv/bin/python scripts/fill_readme.py build/bench/report.json

Nobody types a figure: what the README shows is what a command measured, with machine and date.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hotcalls.bench import model, words

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- bench:begin -->\n", "<!-- bench:end -->\n"
#: The rows that tell the story, in this order. The whole list is in the report.
ROWS = (
    "call_direct",
    "syscall",
    "ecall_hot",
    "ocall_hot",
    "ecall_hot_2k_inout",
    "ecall_switch",
    "ocall_switch",
)


def table(result: model.Result) -> str:
    """Return the Markdown for `result`."""
    machine = result.machine
    lines = [
        f"{machine.processor.model}, {machine.kernel}"
        + (", a virtual machine" if machine.processor.hypervisor else "")
        + f"; {result.created[:10]}. `hotcalls bench`, "
        f"{result.plan.processes} processes, {result.plan.mode} run.",
        "",
        "| one call | cores | median cycles | p99 | time | to a system call | to a switch call |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for name in ROWS:
        row = result.row(name)
        if row is None:
            continue
        for place, placed in row.classes.items():
            figures = placed.cycles
            cells = [
                row.title,
                words.place(place),
                words.cycles(figures.median),
                words.cycles(figures.p99),
                words.time(result.ns(figures.median)),
                words.times(placed.ratios.get("syscall")),
                words.times(placed.ratios.get("switch")),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    missing = [words.place(name) for name in model.CLASSES if name not in result.seen()]
    if missing:
        lines += ["", f"Placement of the two cores not seen in this run: {', '.join(missing)}."]
    if result.oversubscribed:
        lines += ["", f"**OVERSUBSCRIBED**: {result.oversubscribed}"]
    if result.noise.unstable:
        lines += ["", f"**unstable**: {'; '.join(result.noise.complaints)}"]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Fill the README from the file named by the first argument."""
    if len(sys.argv) != 2:
        print("usage: fill_readme.py RESULT.json", file=sys.stderr)
        return 2
    text = README.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        print("README.md has no place for results", file=sys.stderr)
        return 1
    filled = table(model.read(Path(sys.argv[1])))
    README.write_text(before + BEGIN + filled + END + after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
