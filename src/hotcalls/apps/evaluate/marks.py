# SPDX-License-Identifier: Apache-2.0
"""What has to hold, and whether it did. Host side; pure.

A mark whose scenario was not measured is *not seen*, which is not *met*.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from hotcalls.apps.evaluate.model import HOT, NATIVE, SWITCH, Compared, Mark, Result, Statistic
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


_WANTED = (
    _faster("memcached, 50 connections", "memcached-c50", 1.4),
    _faster("memcached, client off the processor", "memcached-burst", 2.2),
    _faster("memcached, 1 connection, client on the other core", "memcached-c1", 3.5),
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
        "memcached, 50 connections, against gVisor's ptrace platform",
        "memcached-c50",
        "hot and switch ≥ 5×",
        lambda found: None if (ratio := _gvisor(found)) is None else ratio >= 5,
        lambda found: "" if (ratio := _gvisor(found)) is None else f"{ratio:.1f}×",
    ),
)


def judge(result: Result) -> list[Mark]:
    """Return every mark with its verdict."""
    marks = []
    for wanted in _WANTED:
        found = result.comparison(wanted.scenario)
        held = None if found is None else wanted.holds(found)
        text = "" if found is None else wanted.measured(found)
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
