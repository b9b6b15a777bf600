# SPDX-License-Identifier: Apache-2.0
"""The marks that the project has set itself, evaluated on a result.

Host side; pure. A mark that needs a placement class which did not occur is "not seen", never
"met". No test depends on a verdict: a figure is not a behaviour.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from hotcalls.bench.model import CLASSES, HERE, Mark, Placed, Result, Row, Verdict

#: Medians of Intel's switchless calls (SDK, simulation mode), measured on the machine that the
#: project is developed on: cycles by class, ocall and ecall.
SWITCHLESS = {
    "ocall_hot": {"S": 1066.0, "N": 1222.0, "F": 2210.0},
    "ecall_hot": {"S": 1170.0, "N": 1404.0, "F": 3328.0},
}
NEAR = ("S", "N")
_STEAL = 0.02

#: What one class, or one value, says: the text shown, and whether it is good enough.
Finding = tuple[str, bool] | None


def _worst(verdicts: dict[str, Verdict]) -> Verdict:
    """Return the verdict of a mark: one miss misses it, and what was seen must be something."""
    if "missed" in verdicts.values():
        return "missed"
    return "met" if "met" in verdicts.values() else "not seen"


def mark(name: str, target: str, findings: dict[str, Finding]) -> Mark:
    """Return a mark with its verdicts."""
    measured = {}
    verdicts: dict[str, Verdict] = {}
    for place, finding in findings.items():
        measured[place] = "" if finding is None else finding[0]
        verdicts[place] = "not seen" if finding is None else "met" if finding[1] else "missed"
    return Mark(name, target, measured, verdicts, _worst(verdicts))


def by_class(
    result: Result, name: str, classes: tuple[str, ...], judge: Callable[[str, Placed], Finding]
) -> dict[str, Finding]:
    """Judge a row in each of some classes."""
    row = result.row(name)
    findings: dict[str, Finding] = {}
    for place in classes:
        placed = None if row is None else row.classes.get(place)
        findings[place] = None if placed is None else judge(place, placed)
    return findings


def ratio_at_most(key: str, limit: float) -> Callable[[str, Placed], Finding]:
    """Return a judge of the ratio `key`."""

    def judge(_: str, placed: Placed) -> Finding:
        ratio = placed.ratios.get(key)
        return None if ratio is None else (f"{ratio.median:.2f} ×", ratio.median <= limit)

    return judge


def _times_below(near: float, far: float) -> Callable[[str, Placed], Finding]:
    def judge(place: str, placed: Placed) -> Finding:
        ratio = placed.ratios.get("switch")
        if ratio is None:
            return None
        times = 1 / ratio.median
        return f"{times:.1f} ×", times >= (far if place == "F" else near)

    return judge


def _half_of_switchless(name: str) -> Callable[[str, Placed], Finding]:
    def judge(place: str, placed: Placed) -> Finding:
        share = placed.cycles.median / SWITCHLESS[name][place]
        return f"{placed.cycles.median:.0f} ({share:.0%})", share < 0.5

    return judge


def _tail(_: str, placed: Placed) -> Finding:
    if placed.steal >= _STEAL:
        return None
    share = placed.cycles.within_1400
    return f"{share:.3%} (p99.9 {placed.cycles.p999:.0f})", share >= 0.999


def _value(
    result: Result, row: str, key: str, show: Callable[[float], str], good: Callable[[float], bool]
) -> dict[str, Finding]:
    found: Row | None = result.row(row)
    value = None if found is None else found.values.get(key)
    return {HERE: None if value is None else (show(value.median), good(value.median))}


def limit(
    result: Result, row: str, key: str, unit: str, bound: float, kind: Literal["most", "least"]
) -> dict[str, Finding]:
    """Judge one value of a row without samples."""
    return _value(
        result,
        row,
        key,
        lambda v: f"{v:.3g} {unit}".strip(),
        (lambda v: v <= bound) if kind == "most" else (lambda v: v >= bound),
    )


def evaluate(result: Result) -> list[Mark]:
    """Return every mark with what `result` says of it."""
    marks = []
    for kind in ("ecall", "ocall"):
        hot = f"{kind}_hot"
        marks += [
            mark(
                f"empty hot {kind}, to the floor",
                "median ≤ 1.5 × the bare mailbox, in each class",
                by_class(result, hot, CLASSES, ratio_at_most("floor", 1.5)),
            ),
            mark(
                f"empty hot {kind}, to Intel's switchless",
                "median < half of the SDK's in simulation mode, in each class "
                "(cycles of the development machine)",
                by_class(result, hot, CLASSES, _half_of_switchless(hot)),
            ),
            mark(
                f"empty hot {kind}, tail",
                "99.9 % ≤ 1,400 cycles in the near classes, where steal is below 2 %",
                by_class(result, hot, NEAR, _tail),
            ),
            mark(
                f"empty hot {kind}, to the switch call",
                "median ≥ 24 × below it in the near classes, ≥ 13 × in the far one",
                by_class(result, hot, CLASSES, _times_below(24, 13)),
            ),
            mark(
                f"hot {kind} with 2 KiB in,out",
                "median ≤ 1.5 × the same copies over the bare mailbox, in each class",
                by_class(result, f"{hot}_2k_inout", CLASSES, ratio_at_most("reference", 1.5)),
            ),
            mark(
                f"switch {kind}",
                "median ≤ 1.25 × the best kernel primitive of the run",
                by_class(result, f"{kind}_switch", (HERE,), ratio_at_most("kernel", 1.25)),
            ),
        ]
    marks += [
        mark(
            "batch of 32 empty calls",
            "≤ a quarter of 32 single ones, in each class",
            by_class(result, "ecall_batch", CLASSES, ratio_at_most("single", 0.25)),
        ),
        mark(
            "call that finds the responders asleep",
            "≤ 1.2 × a switch call",
            by_class(result, "ecall_asleep", (HERE,), ratio_at_most("switch", 1.2)),
        ),
        mark(
            "the same, to a switch call after the same pause",
            "≤ 1.2 × it: what is asked is the price of finding them asleep, not of a cold cache",
            by_class(result, "ecall_asleep", (HERE,), ratio_at_most("apart", 1.2)),
        ),
        mark(
            "idle enclave",
            "≤ 0.5 % of one CPU with its responders asleep",
            limit(result, "idle", "cpu_percent", "%", 0.5, "most"),
        ),
        mark(
            "8 requesters on 2 CPUs, unpinned",
            "throughput ≥ 0.85 of one requester's",
            limit(result, "crowd", "unpinned_share", "", 0.85, "least"),
        ),
        mark(
            "8 requesters on 2 CPUs, pinned",
            "throughput ≥ 0.9 of one requester's",
            limit(result, "crowd", "pinned_share", "", 0.9, "least"),
        ),
        mark(
            "8 requesters, tokens",
            "≥ 10 million calls in the full mode, each token right on both sides",
            _value(
                result,
                "crowd",
                "tokens",
                lambda v: f"{v / 1e6:.1f} M in each process",
                lambda v: v * result.plan.processes >= 1e7,
            )
            if result.plan.mode == "full"
            else {HERE: None},
        ),
        mark(
            "one CPU only (as with taskset -c 0)",
            "hot mode ≤ 1.2 × the time of switch mode",
            limit(result, "one_cpu", "hot_to_switch", "×", 1.2, "most"),
        ),
        mark(
            "launch of a C enclave to its first answer",
            "≤ 50 ms",
            limit(result, "launch", "first_answer_ms", "ms", 50, "most"),
        ),
        mark(
            "memory of an idle C enclave",
            "≤ 8 MiB resident beyond the channel",
            limit(result, "idle", "resident_mib", "MiB", 8, "most"),
        ),
    ]
    return marks


def evaluate_sgx(result: Result) -> list[Mark]:
    """Return the marks of ``--target sgx-sdk``.

    Rows with the mitigations on are shown for comparison only: they have no mark.
    """
    marks = []
    for kind in ("ecall", "ocall"):
        for ending, words in (("_off", "off"), ("", "on (reported beside it)")):
            marks.append(
                mark(
                    f"stubs of sgx-sdk, empty hot {kind}, mitigations {words}",
                    "median ≤ 1.5 × the bare mailbox, in each class",
                    by_class(
                        result,
                        f"sgx_{kind}_hot_empty{ending}",
                        CLASSES,
                        ratio_at_most("floor", 1.5),
                    ),
                )
            )
    for ending, words in (("_off", "off"), ("", "on")):
        marks.append(
            mark(
                f"stubs of sgx-sdk, hot ocall with 64 B in,out, mitigations {words}",
                "median ≤ 1.7 × the same copies over the bare mailbox, in each class",
                by_class(
                    result,
                    f"sgx_ocall_hot_64_inout{ending}",
                    CLASSES,
                    ratio_at_most("reference", 1.7),
                ),
            )
        )
    return marks
