# SPDX-License-Identifier: Apache-2.0
"""What the calls of a program cost, by switch call and hot, on the machine that was measured.

Host side; pure. The paper does this sum for memcached on SGX: 200,000 calls a second of 8,200
cycles are 41 % of a core of 4 GHz. Here the cycles are those of a result of ``hotcalls bench``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hotcalls.apps.stats import Stats
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
    """

    switch: float
    hot: float
    hz: float
    source: str
    per_call: float | None = None

    def share(self, cycles: float, calls_per_s: float) -> float:
        """Return which share of one core so many calls take."""
        return calls_per_s * cycles / self.hz


def usual() -> Path | None:
    """Return the result of ``hotcalls bench`` that lies where it usually does."""
    return next((path for name in _USUAL if (path := Path(name)).is_file()), None)


def prices(result: model.Result, source: str, per_call: float | None) -> Prices | None:
    """Return the prices of a result; None when it has no calls out of an enclave.

    Hot calls depend on where the two cores were: the placement that was seen most often counts.
    """
    hot, switch = result.placed("ocall_hot"), result.placed("ocall_switch")
    if hot is None or switch is None:
        return None
    return Prices(
        switch.cycles.median, hot.cycles.median, result.machine.tsc_hz,
        f"{source}, {result.machine.processor.model}, {result.created[:10]}", per_call,
    )  # fmt: skip


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
    head = ["call", "calls", "errors", "calls/s"]
    if prices is not None:
        head += ["switch: cycles", "of a core", "hot: cycles", "of a core"]
        if prices.per_call is not None:
            head += [f"{prices.per_call:,.0f} cycles", "of a core"]
    rows = [head]
    count = errors = 0
    for name, call in sorted(stats.calls.items(), key=lambda item: (-item[1].count, item[0])):
        if only and name not in only:
            continue
        rows.append(_row(name, call.count, call.errors, stats.wall_s, prices))
        count, errors = count + call.count, errors + call.errors
    rows.append(_row("total", count, errors, stats.wall_s, prices))
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
    return "\n".join(lines)


def _row(name: str, count: int, errors: int, wall_s: float, prices: Prices | None) -> list[str]:
    rate = count / wall_s if wall_s else 0.0
    row = [name, f"{count:,}", f"{errors:,}" if errors else "", f"{rate:,.0f}" if wall_s else ""]
    if prices is None:
        return row
    for cycles in (prices.switch, prices.hot, prices.per_call):
        if cycles is not None:
            row += [f"{count * cycles:,.0f}", f"{prices.share(cycles, rate):.1%}"]
    return row
