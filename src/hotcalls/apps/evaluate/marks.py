# SPDX-License-Identifier: Apache-2.0
"""What has to hold, and whether it did. Host side; pure.

A mark whose scenario was not measured is *not seen*, which is not *met*.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from hotcalls.apps.evaluate.model import (
    HOT,
    NATIVE,
    SWITCH,
    Compared,
    Footprint,
    Mark,
    Result,
    Statistic,
    Verdict,
)
from hotcalls.apps.evaluate.modes import GVISOR


class _Wanted(NamedTuple):
    name: str
    scenario: str
    target: str
    holds: Callable[[Compared], bool | None]
    measured: Callable[[Compared], str]


def _at_least(value: Statistic | None, limit: float) -> bool | None:
    return None if value is None else value.median >= limit


def _ratio_text(found: Compared) -> str:
    if found.speedup is None or found.ceiling is None:
        return ""
    return f"{found.speedup.median:.2f}× (native: {found.ceiling.median:.2f}×)"


def _faster(name: str, scenario: str, limit: float) -> _Wanted:
    return _Wanted(
        name,
        scenario,
        f"hot ≥ {limit:g}× switch",
        lambda found: _at_least(found.speedup, limit),
        _ratio_text,
    )


def _latency_text(found: Compared) -> str:
    return "" if found.latency_change is None else f"{found.latency_change.median * 100:+.0f} %"


def _latency(name: str, scenario: str, change: float) -> _Wanted:
    return _Wanted(
        name,
        scenario,
        f"≤ {change * 100:+.0f} % against switch",
        lambda found: (
            None if found.latency_change is None else found.latency_change.median <= change
        ),
        _latency_text,
    )


def _gvisor(found: Compared) -> float | None:
    """Return how many times gVisor's rate the slower of hot and switch calls reach."""
    if not all(mode in found.rate for mode in (GVISOR, HOT, SWITCH)):
        return None
    own = min(found.rate[HOT].median, found.rate[SWITCH].median)
    return own / found.rate[GVISOR].median


def _light(found: Compared) -> float | None:
    """Return hot p50 as a multiple of that by switch calls."""
    if not all(mode in found.p50_us for mode in (HOT, SWITCH)):
        return None
    return found.p50_us[HOT].median / found.p50_us[SWITCH].median


def _light_cpu(found: Compared) -> float | None:
    """Return the CPU time a request by hot calls as a multiple of that by switch calls."""
    if not all(mode in found.rate_per_cpu for mode in (HOT, SWITCH)):
        return None
    return found.rate_per_cpu[SWITCH].median / found.rate_per_cpu[HOT].median


#: Where the client of one connection can be; which is best differs from mode to mode.
_PLACEMENTS = ("memcached-c1", "memcached-c1-together", "memcached-c1-free")
_BESIDE = "memcached, 1 connection, client on the other core"

_WANTED = (
    _faster("memcached, 50 connections", "memcached-c50", 1.4),
    _faster("memcached, client off the processor", "memcached-burst", 2.2),
    _faster(_BESIDE, "memcached-c1", 3.5),
    _Wanted(
        "memcached, 1 connection, against native",
        "memcached-c1",
        "hot ≥ 1.0× native",
        lambda found: _at_least(found.of_native, 1.0),
        lambda found: "" if found.of_native is None else f"{found.of_native.median:.2f}×",
    ),
    _faster("lighttpd, wrk, 50 connections", "lighttpd-c50", 1.9),
    _latency("openvpn, ping, ends pinned", "openvpn-ping", -0.55),
    _faster("openvpn, TCP", "openvpn-tcp", 1.15),
    _latency("latency, 1 connection: memcached", "memcached-c1", -0.62),
    _latency("latency, 1 connection: lighttpd", "lighttpd-c1", -0.62),
    _latency("latency: openvpn, ping", "openvpn-ping", -0.62),
    _Wanted(
        "light load: memcached, 2,000 requests/s",
        "memcached-r2000",
        "hot p50 no worse than switch (within 5 %)",
        lambda found: None if (ratio := _light(found)) is None else ratio <= 1.05,
        lambda found: "" if (ratio := _light(found)) is None else f"{ratio:.2f}×",
    ),
    _Wanted(
        "light load: CPU of memcached, 2,000 requests/s",
        "memcached-r2000",
        "hot no more than switch (within 5 %)",
        lambda found: None if (ratio := _light_cpu(found)) is None else ratio <= 1.05,
        lambda found: "" if (ratio := _light_cpu(found)) is None else f"{ratio:.2f}×",
    ),
    _Wanted(
        "memcached, 50 connections, against gVisor's ptrace platform",
        "memcached-c50",
        "hot and switch ≥ 5×",
        lambda found: None if (ratio := _gvisor(found)) is None else ratio >= 5,
        lambda found: "" if (ratio := _gvisor(found)) is None else f"{ratio:.1f}×",
    ),
)


class _Own(NamedTuple):
    """A mark on what a mode costs by itself."""

    name: str
    mode: str
    target: str
    limit: float
    unit: str
    #: Of the mode and of native; None where it was not measured.
    value: Callable[[Footprint, Footprint, float], float | None]


def _call_cycles(own: Footprint, native: Footprint, hz: float) -> float | None:
    if own.call_ns is None or native.call_ns is None:
        return None
    return (own.call_ns.median - native.call_ns.median) * hz / 1e9


_OWN = (
    _Own("one call through the C library, hot", HOT, "≤ 800 cycles over native", 800, "cycles",
         _call_cycles),
    _Own("one call through the C library, switch", SWITCH, "≤ 16,000 cycles over native", 16000,
         "cycles", _call_cycles),
    _Own("start", HOT, "≤ 100 ms over native", 100, "ms",
         lambda own, native, hz: own.start_ms.median - native.start_ms.median),
    _Own("resident memory", HOT, "≤ 8 MiB over native", 8, "MiB",
         lambda own, native, hz: own.resident_mib - native.resident_mib),
    _Own("idle", HOT, "≤ 0.5 % of a core", 0.5, "%",
         lambda own, native, hz: own.idle_share * 100),
)  # fmt: skip


def _judge_own(result: Result) -> list[Mark]:
    marks = []
    native = result.footprint(NATIVE)
    for wanted in _OWN:
        own = result.footprint(wanted.mode)
        value = None
        if own is not None and native is not None:
            value = wanted.value(own, native, result.machine.tsc_hz)
        text = "" if value is None else f"{value:,.3g} {wanted.unit}"
        if value is not None and abs(value) >= 100:
            text = f"{value:,.0f} {wanted.unit}"
        verdict: Verdict = "not seen"
        if value is not None:
            verdict = "met" if value <= wanted.limit else "missed"
        marks.append(Mark(wanted.name, wanted.target, text, verdict))
    return marks


#: What waits for so long was forgotten until a timer of the server looked again: memcached has one
#: of a second. No load here makes a request wait so long by itself.
_STALL_US = 500_000


def _judge_stalls(result: Result) -> Mark:
    """Say whether a request was forgotten; by the client that times each one by itself."""
    worst = [
        (run.latency.max_us, run)
        for run in result.runs
        if run.mode in (HOT, SWITCH)
        and run.latency is not None
        and result.scenario(run.scenario).client == "hotcalls-load"
    ]
    name, target = "memcached: no request is forgotten", "longest ≤ 500 ms, hot and switch"
    if not worst:
        return Mark(name, target, "", "not seen")
    longest, run = max(worst, key=lambda item: item[0])
    text = f"{longest / 1e3:,.0f} ms ({run.scenario}, {run.mode})"
    return Mark(name, target, text, "met" if longest <= _STALL_US else "missed")


def _best_placements(result: Result) -> str:
    """Compare the modes where each of them is fastest; "" where only one place was measured."""
    seen = [found for name in _PLACEMENTS if (found := result.comparison(name)) is not None]
    best = {
        mode: max(found.rate[mode].median for found in seen if mode in found.rate)
        for mode in (HOT, SWITCH, NATIVE)
        if any(mode in found.rate for found in seen)
    }
    if len(seen) < 2 or len(best) < 3:
        return ""
    return (
        f"; each where it is fastest: {best[HOT] / best[SWITCH]:.2f}× "
        f"(native: {best[NATIVE] / best[SWITCH]:.2f}×)"
    )


def judge(result: Result) -> list[Mark]:
    """Return every mark with its verdict."""
    marks = [*_judge_own(result), _judge_stalls(result)]
    for wanted in _WANTED:
        found = result.comparison(wanted.scenario)
        held = None if found is None else wanted.holds(found)
        text = "" if found is None else wanted.measured(found)
        if wanted.name == _BESIDE and text:
            text += _best_placements(result)
        if found is not None and found.disturbed:
            text += f"; {found.disturbed} runs with steal"
        marks.append(
            Mark(
                wanted.name,
                wanted.target,
                text,
                "not seen" if held is None else "met" if held else "missed",
            )
        )
    return marks


def ceiling(found: Compared) -> str:
    """Say what is the most that synchronous calls could reach."""
    if found.ceiling is None or NATIVE not in found.rate:
        return ""
    return f"at most {found.ceiling.median:.2f}×: what native is to switch here"
