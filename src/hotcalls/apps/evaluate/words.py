# SPDX-License-Identifier: Apache-2.0
"""How figures of an evaluation are written, everywhere the same. Host side; pure."""

from __future__ import annotations

from hotcalls.apps.evaluate.model import Compared, Scenario, Statistic


def rate(value: float | None, scenario: Scenario) -> str:
    """Write a rate with its unit."""
    if value is None:
        return ""
    if scenario.unit == "Mbit/s":
        return f"{value:.0f} Mbit/s"
    unit = "" if scenario.unit == "requests/s" else " pings"
    return f"{value / 1e3:.1f} k{unit}/s" if value >= 1000 else f"{value:.0f}{unit}/s"


def micros(value: float | None) -> str:
    """Write microseconds with the unit that suits them."""
    if value is None:
        return ""
    if value >= 1e6:
        return f"{value / 1e6:.2f} s"
    if value >= 1e3:
        return f"{value / 1e3:.2f} ms" if value < 1e5 else f"{value / 1e3:.0f} ms"
    return f"{value:.0f} µs" if value >= 100 else f"{value:.1f} µs"


def times(value: Statistic | None) -> str:
    """Write a ratio, and its range where there were several rounds."""
    if value is None:
        return ""
    return f"{value.median:.2f}×" + _spread(value, "{:.2f}")


def percent(value: Statistic | None, signed: bool = False) -> str:
    """Write a share, and its range where there were several rounds."""
    if value is None:
        return ""
    sign = "+" if signed else ""
    return f"{value.median * 100:{sign}.0f} %" + _spread(value, "{:.0f}", 100)


def _spread(value: Statistic, form: str, scale: float = 1) -> str:
    if value.n < 2:
        return ""
    return f" ({form.format(value.least * scale)} … {form.format(value.most * scale)})"


def ocalls(found: Compared, scenario: Scenario, most: int = 5) -> str:
    """Write the calls of one request (or MiB) by name, the most frequent first."""
    unit, scale = {
        "Mbit/s": ("MiB", 1 << 20),
        "pings/s": ("ping", 1),
    }.get(scenario.unit, ("request", 1))
    counts = {name: count * scale for name, count in found.ocalls.items()}
    named = [f"{name} {count:.2f}" for name, count in counts.items() if count >= 0.005]
    if not named:
        return ""
    text = f"{sum(counts.values()):.2f} a {unit}: {', '.join(named[:most])}"
    return text + (f"; {found.hot_share.median:.0%} hot" if found.hot_share else "")
