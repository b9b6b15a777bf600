# SPDX-License-Identifier: Apache-2.0
"""``hotcalls bench compare_to``: what changed between two results. Host side; pure.

The words are pyperf's. A change is significant when the 95 % intervals of both medians lie apart:
with few processes that is stricter than a test of means, and it needs no assumption that the
samples of a shared machine would break.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from hotcalls.bench import words
from hotcalls.bench.errors import BenchError
from hotcalls.bench.model import CLASSES, HERE, Distribution, Result

Change = Literal["faster", "slower", "not significant"]


class Difference(msgspec.Struct, frozen=True):
    """One row in one placement class that both results have."""

    row: str
    title: str
    place: str
    before: float
    after: float
    #: Above 1: slower.
    ratio: float
    change: Change


class Comparison(msgspec.Struct, frozen=True):
    """Two results against each other."""

    differences: list[Difference]
    geometric_mean: float | None
    #: Row and class that only one of them has.
    only_before: list[str]
    only_after: list[str]
    #: What makes the comparison doubtful.
    warnings: list[str]


def _apart(before: Distribution, after: Distribution) -> bool:
    if before.low is None or before.high is None or after.low is None or after.high is None:
        return False
    return before.high < after.low or after.high < before.low


def _measured(result: Result) -> dict[tuple[str, str], Distribution]:
    return {
        (row.name, place): row.classes[place].cycles
        for row in result.rows
        for place in (*CLASSES, HERE)
        if place in row.classes
    }


def _warnings(before: Result, after: Result) -> list[str]:
    found = []
    if before.sgx != after.sgx:
        found.append(f"different enclaves: {before.sgx}, then {after.sgx}")
    machines = [result.machine.processor.model for result in (before, after)]
    if machines[0] != machines[1]:
        found.append(f"different processors: {machines[0]}, then {machines[1]}")
    rates = [result.machine.tsc_hz for result in (before, after)]
    if abs(rates[1] / rates[0] - 1) > 0.01:
        found.append(
            f"counters of different rates ({rates[0] / 1e9:.3f} and {rates[1] / 1e9:.3f} GHz): "
            "cycles are not the same time"
        )
    kernels = [result.machine.kernel for result in (before, after)]
    if kernels[0] != kernels[1]:
        found.append(f"different kernels: {kernels[0]}, then {kernels[1]}")
    for name, result in (("the first", before), ("the second", after)):
        if result.noise.unstable:
            found.append(f"{name} run was unstable: {'; '.join(result.noise.complaints)}")
        if result.oversubscribed:
            found.append(f"{name} run was OVERSUBSCRIBED: {result.oversubscribed}")
    return found


def compare(before: Result, after: Result) -> Comparison:
    """Return what changed from `before` to `after`, class by class.

    Raises
    ------
    BenchError
        When they are not about the same.
    """
    if before.kind != after.kind:
        raise BenchError(
            f"the first result is about {before.kind} and the second about {after.kind}: only "
            "what was measured with the same options can be compared"
        )
    first, second = _measured(before), _measured(after)
    differences = []
    for (name, place), old in first.items():
        new = second.get((name, place))
        row = before.row(name)
        if new is None or row is None:
            continue
        ratio = new.median / old.median
        change: Change = "not significant"
        if _apart(old, new):
            change = "slower" if ratio > 1 else "faster"
        differences.append(
            Difference(name, row.title, place, old.median, new.median, ratio, change)
        )
    mean = None
    if differences:
        mean = math.exp(sum(math.log(d.ratio) for d in differences) / len(differences))
    return Comparison(
        differences=differences,
        geometric_mean=mean,
        only_before=[f"{n} {p}" for n, p in first if (n, p) not in second],
        only_after=[f"{n} {p}" for n, p in second if (n, p) not in first],
        warnings=_warnings(before, after),
    )


_STYLES = {"faster": "green", "slower": "red", "not significant": "dim"}


def _change_text(difference: Difference) -> Text:
    if difference.change == "not significant":
        return Text(difference.change, style="dim")
    times = max(difference.ratio, 1 / difference.ratio)
    return Text(f"{times:.2f}x {difference.change}", style=_STYLES[difference.change])


def renderables(comparison: Comparison) -> list[RenderableType]:
    """Return what to print."""
    parts: list[RenderableType] = [
        Text(f"warning: {text}", style="yellow") for text in comparison.warnings
    ]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("cycles")
    table.add_column("place")
    for head in ("before", "after", "change"):
        table.add_column(head, justify="right")
    for difference in comparison.differences:
        table.add_row(
            difference.title,
            words.place(difference.place),
            words.cycles(difference.before),
            words.cycles(difference.after),
            _change_text(difference),
        )
    parts.append(table)
    if comparison.geometric_mean is not None:
        parts.append(Text(f"geometric mean: {comparison.geometric_mean:.3f}x"))
    for words_, names in (("first", comparison.only_before), ("second", comparison.only_after)):
        if names:
            parts.append(Text(f"only in the {words_}: {', '.join(names)}", style="dim"))
    return parts
