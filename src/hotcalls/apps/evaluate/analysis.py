# SPDX-License-Identifier: Apache-2.0
"""From measurements to what they say: medians, ratios of the same round, marks. Host side; pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence

from hotcalls.apps.evaluate.model import (
    HOT,
    NATIVE,
    SWITCH,
    Compared,
    Run,
    Scenario,
    Statistic,
)


def statistic(values: Iterable[float]) -> Statistic | None:
    """Return the median, the least and the most; None without a value."""
    known = list(values)
    if not known:
        return None
    return Statistic(statistics.median(known), min(known), max(known), len(known))


def regained(native: float, switch: float, hot: float) -> float | None:
    """Return which share of what switch calls cost over native the hot calls give back.

    Parameters
    ----------
    native, switch, hot
        Time (or cycles) a request. None where switch calls cost nothing: nothing can be regained.
    """
    if switch <= native:
        return None
    return (switch - hot) / (switch - native)


def _by_mode(runs: Sequence[Run], value: Callable[[Run], float | None]) -> dict[str, Statistic]:
    found: dict[str, list[float]] = {}
    for run in runs:
        number = value(run)
        if number is not None:
            found.setdefault(run.mode, []).append(number)
    return {
        mode: Statistic(statistics.median(values), min(values), max(values), len(values))
        for mode, values in found.items()
    }


def _pairs(runs: Sequence[Run], *modes: str) -> list[tuple[Run, ...]]:
    """Return the runs of `modes` turn by turn, where all of them were measured.

    A turn during which the hypervisor took the CPUs away counts only where there is no other.
    """
    turns: dict[int, dict[str, Run]] = {}
    for run in runs:
        turns.setdefault(run.round, {})[run.mode] = run
    paired = [
        tuple(found[mode] for mode in modes)
        for _, found in sorted(turns.items())
        if all(mode in found for mode in modes)
    ]
    quiet = [pair for pair in paired if not any(run.disturbed for run in pair)]
    return quiet or paired


def _ratio(runs: Sequence[Run], above: str, below: str) -> Statistic | None:
    return statistic(a.rate / b.rate for a, b in _pairs(runs, above, below) if b.rate > 0)


def _latency_change(runs: Sequence[Run]) -> Statistic | None:
    return statistic(
        hot.latency.mean_us / switch.latency.mean_us - 1
        for hot, switch in _pairs(runs, HOT, SWITCH)
        if hot.latency is not None and switch.latency is not None and switch.latency.mean_us > 0
    )


def _regained(runs: Sequence[Run]) -> Statistic | None:
    shares = (
        regained(1 / native.rate, 1 / switch.rate, 1 / hot.rate)
        for native, switch, hot in _pairs(runs, NATIVE, SWITCH, HOT)
        if min(native.rate, switch.rate, hot.rate) > 0
    )
    return statistic(share for share in shares if share is not None)


def _latency(run: Run, name: str) -> float | None:
    return None if run.latency is None else float(getattr(run.latency, name))


def _ocalls(runs: Sequence[Run]) -> dict[str, float]:
    hot = [run.ocalls for run in runs if run.mode == HOT and run.ocalls]
    names = list(dict.fromkeys(name for each in hot for name in each))
    found = {name: statistics.median([each.get(name, 0.0) for each in hot]) for name in names}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def compare(scenario: Scenario, runs: Sequence[Run]) -> Compared | None:
    """Compare the modes of one scenario; None when it was not measured.

    An open loop has no speed-up: its rate is the client's choice. Latency is what it shows.
    """
    own = [run for run in runs if run.scenario == scenario.name]
    if not own:
        return None
    closed = scenario.loop != "open" and "udp_mbit" not in scenario.load
    return Compared(
        scenario=scenario.name,
        rate=_by_mode(own, lambda run: run.rate),
        p50_us=_by_mode(own, lambda run: _latency(run, "p50_us")),
        p99_us=_by_mode(own, lambda run: _latency(run, "p99_us")),
        mean_us=_by_mode(own, lambda run: _latency(run, "mean_us")),
        rate_per_cpu=_by_mode(own, Run.rate_per_cpu),
        ocalls=_ocalls(own),
        speedup=_ratio(own, HOT, SWITCH) if closed else None,
        ceiling=_ratio(own, NATIVE, SWITCH) if closed else None,
        of_native=_ratio(own, HOT, NATIVE) if closed else None,
        latency_change=_latency_change(own),
        regained=_regained(own) if closed else None,
        hot_share=statistic(
            run.hot_share for run in own if run.mode == HOT and run.hot_share is not None
        ),
        disturbed=sum(run.disturbed for run in own),
    )
