# SPDX-License-Identifier: Apache-2.0
"""Write the tables of results in README.md from results of `hotcalls bench`.

    .venv/bin/python scripts/fill_readme.py results/python.json results/bench.json

A result of `hotcalls bench --target sgx-sdk` goes to docs/from-edger8r.md instead. Nobody types a
figure: what a document shows is what a command measured, with machine and date.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hotcalls.bench import model, plots, words

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
SGX_GUIDE = ROOT / "docs/from-edger8r.md"
BEGIN, END = "<!-- bench:begin -->\n", "<!-- bench:end -->\n"
#: The rows that tell the story, in this order. The whole list is in the report.
ROWS = ("call_direct", "syscall", "ecall_hot", "ecall_hot_2k_inout", "ecall_switch")
#: Between processes of Python: who is called, as its rows end, and with what, as they begin.
PYTHON_PEERS = {
    "direct": "a function call in the same process",
    "hotcalls": "**hotcalls**, a Python enclave",
    "iceoryx2": "iceoryx2, polling",
    "unix": "unix stream socket",
    "pipe": "`multiprocessing.Pipe`",
    "manager": "`multiprocessing` manager proxy",
    "zmq": "pyzmq over ipc",
    "executor": "`ProcessPoolExecutor`",
}
PYTHON_KINDS = {
    "empty": "no arguments",
    "bytes": "64 bytes to 64 bytes",
    "typed": "`(int, str, bytes)` to `dict`",
    "mib": "1 MiB to 1 MiB",
}
#: Of an SGX enclave: the row, and what its ratio is to.
SGX_ROWS = (
    ("sgx_ecall_hot_empty", "hot ecall, empty", "floor", "bare mailbox, ≤ 1.5"),
    ("sgx_ocall_hot_empty", "hot ocall, empty", "floor", "bare mailbox, ≤ 1.5"),
    ("sgx_ocall_hot_64_inout", "hot ocall, 64 B in,out", "reference", "copies by hand, ≤ 1.7"),
)


def heading(result: model.Result, command: str) -> str:
    """Return the machine, the date and how it was measured."""
    machine = result.machine
    return (
        f"{machine.processor.model}, {machine.kernel}"
        + (", a virtual machine" if machine.processor.hypervisor else "")
        + f"; {result.created[:10]}. `{command}`, "
        f"{result.plan.processes} processes, {result.plan.mode} run."
    )


def remarks(result: model.Result) -> list[str]:
    """Return what the reader must know beside the figures."""
    lines = []
    missing = [words.place(name) for name in model.CLASSES if name not in result.seen()]
    if missing:
        lines += ["", f"Placement of the two cores not seen in this run: {', '.join(missing)}."]
    if result.oversubscribed:
        lines += ["", f"**OVERSUBSCRIBED**: {result.oversubscribed}"]
    if result.noise.unstable:
        lines += ["", f"**unstable**: {'; '.join(result.noise.complaints)}"]
    return lines


def sgx_table(result: model.Result) -> str:
    """Return the Markdown for a result of an SGX enclave."""
    assert result.sgx is not None
    short, long = words.SGX_MODES[result.sgx]
    lines = [
        heading(result, "hotcalls bench --target sgx-sdk"),
        "",
        f"**{short}.** {long}",
        "",
        "| one call, mitigations off / on | cores | median cycles | ratio | to, and its mark |",
        "|---|---|--:|--:|---|",
    ]
    for name, title, key, base in SGX_ROWS:
        for place in result.seen():
            pair = [result.placed(f"{name}{ending}", place) for ending in ("_off", "")]
            medians = ["–" if p is None else words.cycles(p.cycles.median) for p in pair]
            ratios = [
                "–" if p is None or key not in p.ratios else f"{p.ratios[key].median:.2f}"
                for p in pair
            ]
            cells = [title, words.place(place), " / ".join(medians), " / ".join(ratios), base]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines + remarks(result)) + "\n"


def python_table(result: model.Result) -> str:
    """Return the Markdown for a result of ``hotcalls bench --python``: a row for each peer."""
    place = plots.place_of(result)
    cores = f" Cores: {words.place(place)}." if place else ""
    lines = [
        f"{heading(result, 'hotcalls bench --python')}{cores} Median time of a call.",
        "",
        f"| a call from Python to Python | {' | '.join(PYTHON_KINDS.values())} |",
        f"|---|{'--:|' * len(PYTHON_KINDS)}",
    ]
    for peer, title in PYTHON_PEERS.items():
        cells = []
        for kind in PYTHON_KINDS:
            placed = plots.chosen(result, f"{kind}_{peer}")
            if (kind, peer) == ("mib", "direct"):
                placed = None  # in one process nothing is carried anywhere
            cells.append(words.time(result.ns(placed.cycles.median)) if placed else "")
        if any(cells):
            lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines + remarks(result)) + "\n"


def table(result: model.Result) -> str:
    """Return the Markdown for `result`."""
    if result.sgx is not None:
        return sgx_table(result)
    if result.row("bytes_hotcalls") is not None:
        return python_table(result)
    lines = [
        heading(result, "hotcalls bench"),
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
    return "\n".join(lines + remarks(result)) + "\n"


def fill(document: Path, results: list[model.Result]) -> bool:
    """Put the tables of `results` into a document, in their order; False if it has no place."""
    text = document.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        print(f"{document} has no place for results", file=sys.stderr)
        return False
    tables = "\n".join(table(result) for result in results)
    document.write_text(before + BEGIN + tables + END + after, encoding="utf-8")
    return True


def main() -> int:
    """Fill the documents from the files that are named."""
    if len(sys.argv) < 2:
        print("usage: fill_readme.py RESULT.json...", file=sys.stderr)
        return 2
    results = [model.read(Path(name)) for name in sys.argv[1:]]
    documents = {
        README: [result for result in results if result.sgx is None],
        SGX_GUIDE: [result for result in results if result.sgx is not None],
    }
    filled = [fill(document, found) for document, found in documents.items() if found]
    return 0 if all(filled) else 1


if __name__ == "__main__":
    sys.exit(main())
