# SPDX-License-Identifier: Apache-2.0
"""The pictures of an evaluation. Host side; drawn from the result alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hotcalls.apps.evaluate import modes, words
from hotcalls.apps.evaluate.model import HOT, NATIVE, SWITCH, UNPINNED, Compared, Result, Scenario
from hotcalls.bench import chart
from hotcalls.bench.report import Figure

COLOURS = {
    NATIVE: chart.BASIC,
    SWITCH: chart.SWITCH,
    UNPINNED: chart.SWITCH2,
    HOT: chart.HOT,
    modes.GVISOR: chart.PAPER,
    modes.BUBBLEWRAP: chart.FLOOR,
}


def _measured(result: Result, server: str) -> list[tuple[Scenario, Compared]]:
    return [
        (scenario, found)
        for scenario in result.scenarios
        if scenario.server == server and (found := result.comparison(scenario.name)) is not None
    ]


def _modes(found: Sequence[tuple[Scenario, Compared]]) -> list[modes.Mode]:
    seen = {name for _, compared in found for name in compared.rate}
    return [mode for mode in (*modes.MODES, *modes.PEERS) if mode.name in seen]


def throughput(result: Result, server: str) -> Figure | None:
    """Draw the rate of every scenario of a server as bars, one for each mode."""
    found = [item for item in _measured(result, server) if item[0].loop != "open"]
    if not found:
        return None
    drawn = _modes(found)
    rows = len(found)
    with chart.figure(11.2, 1.4 + rows * (0.24 * len(drawn) + 0.3)) as made:
        axis = made.add_subplot()
        height = 0.86 / len(drawn)
        for i, (scenario, compared) in enumerate(found):
            most = max(value.median for value in compared.rate.values())
            for k, mode in enumerate(drawn):
                value = compared.rate.get(mode.name)
                if value is None:
                    continue
                y = rows - 1 - i + 0.43 - height * (k + 0.5)
                label = mode.title if i == 0 else None
                # Of the fastest: so that requests and Mbit/s share one axis.
                axis.barh(y, value.median / most, height * 0.9, color=COLOURS[mode.name],
                          label=label)  # fmt: skip
                text = words.rate(value.median, scenario)
                axis.annotate(text, (value.median / most, y), xytext=(5, 0), va="center",
                              textcoords="offset points", fontsize=9, color=chart.SOFT)  # fmt: skip
        axis.set_yticks(range(rows), [scenario.title for scenario, _ in reversed(found)])
        axis.set_xlim(0, 1.18)
        axis.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "fastest"])
        axis.grid(axis="y", visible=False)
        axis.set_title(f"{server}: throughput")
        _legend(axis, len(drawn))
        picture = chart.png(made)
    return Figure(
        f"{server}-throughput",
        picture,
        f"Throughput of {server} in every mode",
        "Medians of the rounds, as a share of the fastest mode of the same load.",
    )


def latency(result: Result, server: str) -> Figure | None:
    """Draw the latencies of every scenario that has them: dot p50, bar to p99."""
    found = [item for item in _measured(result, server) if item[1].p50_us]
    if not found:
        return None
    drawn = _modes(found)
    rows = len(found)
    with chart.figure(11.2, 1.6 + rows * (0.22 * len(drawn) + 0.3)) as made:
        axis = made.add_subplot()
        step = 0.86 / len(drawn)
        for i, (_, compared) in enumerate(found):
            for k, mode in enumerate(drawn):
                p50, p99 = compared.p50_us.get(mode.name), compared.p99_us.get(mode.name)
                if p50 is None or p99 is None:
                    continue
                y = rows - 1 - i + 0.43 - step * (k + 0.5)
                colour = COLOURS[mode.name]
                axis.plot((p50.median, p99.median), (y, y), color=colour, alpha=0.3, linewidth=6,
                          solid_capstyle="round")  # fmt: skip
                axis.plot(p50.median, y, "o", color=colour, markersize=7,
                          label=mode.title if i == 0 else None)  # fmt: skip
        axis.set_xscale("log")
        chart.log_axis(axis.xaxis)
        axis.set_yticks(range(rows), [scenario.title for scenario, _ in reversed(found)])
        axis.grid(axis="y", visible=False)
        axis.set_xlabel("microseconds (logarithmic)")
        axis.set_title(f"{server}: latency")
        _legend(axis, len(drawn))
        picture = chart.png(made)
    return Figure(
        f"{server}-latency",
        picture,
        f"Latency of {server} in every mode",
        "Dot: median. Band: to the 99th percentile. Open loops count from when a request was due.",
    )


def _legend(axis: Any, count: int) -> None:
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=min(count, 3), fontsize=9,
                borderaxespad=0.2)  # fmt: skip
    # The title goes above the legend.
    axis.title.set_position((0, 1.0))
    axis.set_title(axis.get_title(loc="left"), loc="left", pad=22 + 14 * ((count + 2) // 3))
