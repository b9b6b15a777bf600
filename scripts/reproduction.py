#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write docs/reproduction.md from result files: every claim of the paper's abstract, and ours.

    .venv/bin/python scripts/reproduction.py results/bench.json [results/evaluate.json]

Nobody types a figure: what the document shows is what a command measured, with machine and date.
Without the second file the claims on servers say that they have not been measured.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

from hotcalls.apps.evaluate import model as evaluation
from hotcalls.apps.evaluate import published
from hotcalls.apps.evaluate import words as rates
from hotcalls.bench import model, words

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "reproduction.md"
NOT_MEASURED = "not measured yet"


class Claim(NamedTuple):
    """One claim of the abstract."""

    claim: str
    command: str
    paper: str
    ours: str
    #: same, analogue, or not measurable here.
    kind: str
    why: str


def _cycles(result: model.Result, name: str) -> str:
    row = result.row(name)
    if row is None or not row.classes:
        return NOT_MEASURED
    return ", ".join(
        f"{words.cycles(placed.cycles.median)}"
        + (f" ({words.place(place)})" if words.place(place) else "")
        for place, placed in row.classes.items()
    )


def _speedups(result: model.Result) -> str:
    """Write how much less a hot call takes than a switch call, in each placement."""
    parts = []
    for name, title in (("ecall_hot", "ecall"), ("ocall_hot", "ocall")):
        row = result.row(name)
        for place, placed in (row.classes if row is not None else {}).items():
            if "switch" in placed.ratios:
                times = 1 / placed.ratios["switch"].median
                parts.append(f"{title} {times:.0f}× ({words.place(place)})")
    return ", ".join(parts) or NOT_MEASURED


def _closed(result: evaluation.Result) -> list[tuple[evaluation.Scenario, evaluation.Compared]]:
    return [
        (scenario, found)
        for scenario in result.scenarios
        if (found := result.comparison(scenario.name)) is not None and found.speedup is not None
    ]


def _span(values: list[float], form: str) -> str:
    if not values:
        return NOT_MEASURED
    low, high = min(values), max(values)
    return form.format(low) if low == high else f"{form.format(low)} … {form.format(high)}"


def _throughput(result: evaluation.Result | None) -> str:
    if result is None:
        return NOT_MEASURED
    parts = []
    for server in ("memcached", "openvpn", "lighttpd"):
        found = [each for scenario, each in _closed(result) if scenario.server == server]
        if found:
            speed = _span([f.speedup.median for f in found if f.speedup], "{:.2f}×")
            most = _span([f.ceiling.median for f in found if f.ceiling], "{:.2f}×")
            parts.append(f"{server} {speed} (native: {most})")
    return "; ".join(parts) or NOT_MEASURED


def _latency(result: evaluation.Result | None) -> str:
    if result is None:
        return NOT_MEASURED
    parts = []
    for server in ("memcached", "openvpn", "lighttpd"):
        changes = [
            found.latency_change.median * 100
            for scenario, found in _closed(result)
            if scenario.server == server and found.latency_change is not None
        ]
        if changes:
            parts.append(f"{server} {_span(changes, '{:+.0f} %')}")
    return "; ".join(parts) or NOT_MEASURED


def _degradation(result: evaluation.Result | None) -> str:
    """Write the worst loss of throughput by switch calls against native."""
    if result is None:
        return NOT_MEASURED
    losses = [
        (1 - 1 / found.ceiling.median, scenario)
        for scenario, found in _closed(result)
        if found.ceiling is not None
    ]
    if not losses:
        return NOT_MEASURED
    worst, where = max(losses, key=lambda item: item[0])
    return f"{worst * 100:.0f} % ({where.server}, {where.title})"


def _integrated(result: evaluation.Result | None) -> str:
    if result is None:
        return NOT_MEASURED
    checks = [
        f"{each.server}: {each.check}, {each.passed} of {each.passed + each.failed}"
        for each in result.verified
        if each.mode == evaluation.HOT
    ]
    return "; ".join(checks) or NOT_MEASURED


def claims(bench: model.Result, servers: evaluation.Result | None) -> list[Claim]:
    """Return every claim of the abstract, with what was measured here."""
    return [
        Claim(
            "a call into or out of an enclave by the SDK's primitives is far dearer than a system "
            "call",
            "`hotcalls bench`",
            f"{published.CROSSING_CYCLES.words()} cycles against {published.SYSCALL_CYCLES}",
            f"switch ecall {_cycles(bench, 'ecall_switch')}, ocall "
            f"{_cycles(bench, 'ocall_switch')}; system call {_cycles(bench, 'syscall')}",
            "analogue",
            "there is no SGX hardware here: a process enclave's ordinary call is a hand-over by "
            "the kernel, the fastest that this kernel offers",
        ),
        Claim(
            "servers with many system calls lose most of their throughput by it",
            "`hotcalls evaluate all`",
            f"up to {published.DEGRADATION * 100:.0f} %",
            _degradation(servers),
            "analogue",
            "the same three servers, whose every system call is an ocall by switching; the client "
            "shares the machine's CPUs",
        ),
        Claim(
            "where the cycles go, by microbenchmarks of calls and of encrypted memory",
            "`hotcalls bench`",
            "enclave entry, exit, and encrypted memory",
            "calls and buffers: measured; memory encryption: "
            + (bench.machine.processor.encrypted_memory or "none on this machine"),
            "same for calls; not measurable here for memory",
            "an SGX enclave's memory is encrypted by the processor, a process enclave's is not",
        ),
        Claim(
            "a hot call takes a fraction of the default interface's",
            "`hotcalls bench`",
            f"{published.CALL_SPEEDUP.words('×')} faster",
            _speedups(bench),
            "analogue",
            "the protocol is the same, the baseline is the kernel's; by where the two cores are",
        ),
        Claim(
            "hot calls raise the servers' throughput",
            "`hotcalls evaluate all`",
            published.THROUGHPUT.words("×"),
            _throughput(servers),
            "analogue",
            "native is only that much faster than switch calls here, and no synchronous call can "
            "be faster than none, except where a second CPU runs the system calls beside the "
            "program; with two CPUs the client takes part of it",
        ),
        Claim(
            "hot calls reduce the servers' latency",
            "`hotcalls evaluate all`",
            f"−{published.LATENCY_LESS.low * 100:.0f} … −{published.LATENCY_LESS.high * 100:.0f} %",
            _latency(servers),
            "analogue",
            "against switch calls; mean latencies, all loads",
        ),
        Claim(
            "it is easily integrated into existing code",
            "`hotcalls run -- PROGRAM`",
            "stated",
            _integrated(servers),
            "analogue",
            "the binaries are Debian's, unmodified and not ported; in the enclave by hot calls "
            "they gave the right answers",
        ),
    ]


def _servers_table(result: evaluation.Result) -> list[str]:
    lines = [
        "## Every speed-up, and what it could be",
        "",
        "The ceiling of a speed-up is native / switch. *Regained* is (hot − switch) / (native − "
        "switch) by time a request: 100 % is as fast as native.",
        "",
        "| server | load | native | switch | hot | hot / switch | ceiling: native / switch "
        "| latency | regained |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for scenario, found in _closed(result):
        medians = [
            rates.rate(found.rate[mode].median, scenario) if mode in found.rate else ""
            for mode in (evaluation.NATIVE, evaluation.SWITCH, evaluation.HOT)
        ]
        cells = [
            scenario.server,
            scenario.title,
            *medians,
            rates.times(found.speedup),
            rates.times(found.ceiling),
            rates.percent(found.latency_change, signed=True),
            rates.percent(found.regained),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "| what had to hold | target | measured | verdict |", "|---|---|---|---|"]
    lines += [
        f"| {mark.name} | {mark.target} | {mark.measured} | {mark.verdict} |"
        for mark in result.marks
    ]
    return [*lines, ""]


def _source(result: model.Result | evaluation.Result, command: str) -> str:
    machine = result.machine
    text = (
        f"- `{command}`: {machine.processor.model}, {len(machine.processor.allowed)} CPUs, "
        f"{machine.kernel}"
        + (", a virtual machine" if machine.processor.hypervisor else "")
        + f"; {result.created[:10]}, {result.plan.mode} run, seed {result.plan.seed}"
    )
    if isinstance(result, evaluation.Result):
        disturbed = sum(run.disturbed for run in result.runs)
        text += f"; {disturbed} of {len(result.runs)} measurements disturbed by steal"
    elif result.noise.unstable:
        text += f"; **unstable**: {'; '.join(result.noise.complaints)}"
    return text


def document(bench: model.Result, servers: evaluation.Result | None) -> str:
    """Return the whole document."""
    lines = [
        "# What of the paper is reproduced here",
        "",
        "O. Weisse, V. Bertacco, T. Austin: *Regaining Lost Cycles with HotCalls: A Fast Interface "
        "for SGX Secure Enclaves*, ISCA 2017. Every claim of its abstract, the command that "
        "measures the same here, and both figures. This page is generated from result files by "
        "`scripts/reproduction.py`; no figure on it was typed.",
        "",
        "*Same*: the same thing was measured. *Analogue*: what corresponds to it in a process "
        "enclave, which is **not SGX**. *Not measurable here*: it needs hardware that is missing.",
        "",
        "| the paper claims | measured by | paper | here | | why |",
        "|---|---|---|---|---|---|",
        *(
            f"| {each.claim} | {each.command} | {each.paper} | {each.ours} | {each.kind} "
            f"| {each.why} |"
            for each in claims(bench, servers)
        ),
        "",
    ]
    if servers is not None:
        lines += _servers_table(servers)
    lines += ["## Where the figures come from", "", _source(bench, "hotcalls bench")]
    if servers is not None:
        lines.append(_source(servers, "hotcalls evaluate"))
    else:
        lines.append("- `hotcalls evaluate all`: there is no result file yet")
    return "\n".join([*lines, ""])


def main() -> int:
    """Write the document from the files that the arguments name."""
    if len(sys.argv) not in (2, 3):
        print("usage: reproduction.py BENCH.json [EVALUATE.json]", file=sys.stderr)
        return 2
    servers = evaluation.read(Path(sys.argv[2])) if len(sys.argv) == 3 else None
    DOCUMENT.write_text(document(model.read(Path(sys.argv[1])), servers), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
