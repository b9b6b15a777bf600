# SPDX-License-Identifier: Apache-2.0
"""What the calls of a program cost, by switch call and hot, on the machine that was measured.

Host side; pure. The paper does this sum for memcached on SGX: 200,000 calls a second of 8,200
cycles are 41 % of a core of 4 GHz. Here the cycles are those of a result of ``hotcalls bench``: of
leaving the enclave, and of copying what the call carries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hotcalls.apps.stats import Call, Stats, in_bytes
from hotcalls.bench import model

#: Where a result of this machine usually is, seen from a clone.
_USUAL = ("build/bench/report.json", "results/bench.json")


@dataclass(frozen=True)
class Prices:
    """Cycles of one call.

    Parameters
    ----------
    switch, hot
        Of an empty call out of an enclave.
    hz
        Cycles a second.
    source
        Where that was measured.
    per_call
        Of another interface, to compare with; None without.
    switch_copies, hot_copies
        What copying costs beside that: sizes of a call's data, one way, and cycles; by size.
    """

    switch: float
    hot: float
    hz: float
    source: str
    per_call: float | None = None
    switch_copies: Sequence[tuple[float, float]] = ()
    hot_copies: Sequence[tuple[float, float]] = ()

    def of(self, call: Call) -> list[float]:
        """Return what calls cost by switch, hot, and by another interface, if there is one.

        That other one is a price for a call, whatever it carries.
        """
        size = call.bytes / call.count if call.count else 0.0
        found = [
            call.count * (self.switch + copying(self.switch_copies, size)),
            call.count * (self.hot + copying(self.hot_copies, size)),
        ]
        return found if self.per_call is None else [*found, call.count * self.per_call]

    def share(self, cycles: float, seconds: float) -> float:
        """Return which share of one core so many cycles in so many seconds are."""
        return cycles / seconds / self.hz if seconds else 0.0


def copying(points: Sequence[tuple[float, float]], size: float) -> float:
    """Return the cycles for `size` bytes, between measured sizes and beyond the largest by lines.

    Parameters
    ----------
    points
        Measured sizes and their cycles, smallest first; from nothing on, which costs nothing.
    size
        In bytes.
    """
    before = (0.0, 0.0)
    slope = 0.0
    for at, cycles in points:
        if at <= before[0]:
            continue
        slope = (cycles - before[1]) / (at - before[0])
        if size <= at:
            break
        before = (at, cycles)
    return before[1] + slope * (size - before[0])


def usual() -> Path | None:
    """Return the result of ``hotcalls bench`` that lies where it usually does."""
    return next((path for name in _USUAL if (path := Path(name)).is_file()), None)


def _copies(result: model.Result, way: str, placement: str) -> list[tuple[float, float]]:
    """Return what copying costs in calls of one way, beyond the same call without data.

    The sweep carries its data in and out. A system call has one of both: half of it.
    """
    empty = result.placed(f"ecall_{way}", placement)
    if empty is None:
        return []
    found = [(0.0, 0.0)]
    for row in result.rows:
        if row.name.startswith(f"ecall_{way}_sweep_") and placement in row.classes:
            cycles = row.classes[placement].cycles.median - empty.cycles.median
            found.append((float(row.size_bytes), cycles / 2))
    found.sort()
    # A larger call that was measured to be cheaper is noise.
    return [(size, max(cost for _, cost in found[: i + 1])) for i, (size, _) in enumerate(found)]


def prices(result: model.Result, source: str, per_call: float | None) -> Prices | None:
    """Return the prices of a result; None when it has no calls out of an enclave.

    Hot calls depend on where the two cores were: the placement that was seen most often counts.
    """
    hot, switch = result.row("ocall_hot"), result.placed("ocall_switch", model.HERE)
    if hot is None or not hot.classes or switch is None:
        return None
    placement = max(hot.classes, key=lambda name: hot.classes[name].cycles.n)
    return Prices(
        switch.cycles.median,
        hot.classes[placement].cycles.median,
        result.machine.tsc_hz,
        f"{source}, {result.machine.processor.model}, {result.created[:10]}",
        per_call,
        _copies(result, "switch", model.HERE),
        _copies(result, "hot", placement),
    )


def summary(stats: Stats, prices: Prices | None, only: Sequence[str] = ()) -> str:
    """Return the table of ``hotcalls trace -c``.

    Parameters
    ----------
    stats
        Of the whole run.
    prices
        What a call costs; None leaves these columns out.
    only
        Names to show; none means all.
    """
    head = ["call", "calls", "errors", "calls/s", "bytes"]
    if prices is not None:
        head += ["switch: cycles", "of a core", "hot: cycles", "of a core"]
        if prices.per_call is not None:
            head += [f"{prices.per_call:,.0f} cycles", "of a core"]
    rows = [head]
    total = Call(0)
    costs = [0.0] * len(prices.of(total)) if prices is not None else []
    for name, call in sorted(stats.calls.items(), key=lambda item: (-item[1].count, item[0])):
        if only and name not in only:
            continue
        each = prices.of(call) if prices is not None else []
        rows.append(_row(name, call, each, stats.wall_s, prices))
        total = Call(
            total.count + call.count,
            errors=total.errors + call.errors,
            bytes=total.bytes + call.bytes,
        )
        costs = [sum(pair) for pair in zip(costs, each, strict=True)]
    rows.append(_row("total", total, costs, stats.wall_s, prices))
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    if prices is not None:
        lines.append(
            f"a call out of an enclave: {prices.switch:,.0f} cycles by switch, {prices.hot:,.0f} "
            f"hot, beside what the call itself takes, at {prices.hz / 1e9:.2f} GHz "
            f"({prices.source})"
        )
        if prices.hot_copies and prices.switch_copies:
            size = 65536
            lines.append(
                "copying is in it, at the mean size of each call: 64 KiB cost "
                f"{copying(prices.switch_copies, size):,.0f} cycles by switch, "
                f"{copying(prices.hot_copies, size):,.0f} hot"
            )
    return "\n".join(lines)


def _row(
    name: str, call: Call, costs: Sequence[float], wall_s: float, prices: Prices | None
) -> list[str]:
    row = [
        name,
        f"{call.count:,}",
        f"{call.errors:,}" if call.errors else "",
        f"{call.count / wall_s:,.0f}" if wall_s else "",
        in_bytes(call.bytes) if call.bytes else "",
    ]
    if prices is not None:
        for cycles in costs:
            row += [f"{cycles:,.0f}", f"{prices.share(cycles, wall_s):.1%}"]
    return row
