# SPDX-License-Identifier: Apache-2.0
"""The pictures of a benchmark result. Host side; drawn from the result alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure as Canvas

from hotcalls.bench import chart, words
from hotcalls.bench.looks import look_of
from hotcalls.bench.model import HERE, Distribution, Placed, Result, Value
from hotcalls.bench.report import Figure


class _Curve(NamedTuple):
    row: str
    label: str
    colour: str
    style: str = "-"
    width: float = 2.2


_CDF = (
    _Curve("mailbox", "bare mailbox", chart.FLOOR, "--", 1.6),
    _Curve("ecall_hot", "hot ecall", chart.HOT),
    _Curve("ocall_hot", "hot ocall", chart.HOT2),
    _Curve("ecall_switch", "switch ecall", chart.SWITCH),
    _Curve("ocall_switch", "switch ocall", chart.SWITCH2),
    _Curve("syscall", "system call", chart.BASIC, ":", 1.8),
    _Curve("eventfd_same", "eventfd, one core", chart.KERNEL, "--", 1.4),
    _Curve("futex_cross", "futex, across cores", chart.KERNEL, ":", 1.6),
)

#: What the first picture compares, from the cheapest to the dearest: row, short name, colour.
_TAXONOMY = (
    ("call_direct", "function call", chart.BASIC),
    ("mailbox", "bare mailbox", chart.FLOOR),
    ("syscall", "system call", chart.BASIC),
    ("ecall_hot", "hot ecall", chart.HOT),
    ("ocall_hot", "hot ocall", chart.HOT),
    ("paper", "the paper's protocol, bare", chart.PAPER),
    ("ecall_hot_2k_inout", "hot ecall, 2 KiB in and out", chart.HOT),
    ("kvm_exit", "KVM exit to the kernel", chart.BASIC),
    ("kvm_exit_user", "KVM exit to user space", chart.BASIC),
    ("ecall_switch", "switch ecall", chart.SWITCH),
    ("ocall_switch", "switch ocall", chart.SWITCH),
    ("eventfd_same", "eventfd, one core", chart.KERNEL),
    ("futex_same", "futex, one core", chart.KERNEL),
    ("pipe_same", "pipe, one core", chart.KERNEL),
    ("unix_same", "unix socket, one core", chart.KERNEL),
    ("futex_cross", "futex, across cores", chart.KERNEL),
    ("pipe_cross", "pipe, across cores", chart.KERNEL),
)


def _nanoseconds(axis: Any, result: Result, label: str = "nanoseconds") -> None:
    """Put a second scale in nanoseconds on top of an axis in cycles."""
    scale = 1e9 / result.machine.tsc_hz
    top = axis.secondary_xaxis("top", functions=(lambda c: c * scale, lambda ns: ns / scale))
    chart.log_axis(top.xaxis)
    top.set_xlabel(label, color=chart.SOFT, fontsize=10)
    top.spines["top"].set_visible(False)
    top.tick_params(length=0, labelsize=9.5)


def _finish(made: Canvas, result: Result) -> bytes:
    if result.oversubscribed:
        chart.stamp(made, "OVERSUBSCRIBED")
    return chart.png(made)


def place_of(result: Result) -> str | None:
    """Return the class that the pictures show where one must be chosen: the most often seen."""
    blocks = result.placement.blocks
    return max(blocks, key=lambda name: blocks[name]) if blocks else None


def chosen(result: Result, name: str) -> Placed | None:
    """Return row `name` in the class that the pictures show."""
    row = result.row(name)
    if row is None:
        return None
    place = place_of(result)
    return row.classes.get(HERE) or (row.classes.get(place) if place is not None else None)


class Dot(NamedTuple):
    """One line of `dots`."""

    label: str
    colour: str
    cycles: Distribution


def dots(result: Result, lines: list[Dot], title: str) -> bytes:
    """Draw medians on one logarithmic axis, the least on top."""
    look = look_of(result)
    lines = sorted(lines, key=lambda line: line.cycles.median)
    with chart.figure(11.2, 1.9 + 0.36 * len(lines)) as made:
        axis = made.add_subplot()
        for i, (label, colour, d) in enumerate(lines):
            y = len(lines) - 1 - i
            axis.plot(
                (d.p50, d.p99),
                (y, y),
                color=colour,
                alpha=0.28,
                linewidth=7,
                solid_capstyle="round",
            )
            axis.plot(d.median, y, "o", color=colour, markersize=9)
            axis.annotate(
                look.figure(result, d.median),
                (max(d.median, d.p99), y),
                xytext=(11, 0),
                textcoords="offset points",
                va="center",
                fontsize=10,
                color=colour,
                weight="bold",
            )
            axis.annotate(
                label,
                (0, y),
                xycoords=("axes fraction", "data"),
                xytext=(-10, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=10.5,
                color=colour if colour == chart.HOT else chart.INK,
                weight="bold" if colour == chart.HOT else "normal",
            )
        axis.set_xscale("log")
        chart.log_axis(axis.xaxis)
        axis.set_xlim(right=axis.get_xlim()[1] * 2.2)
        axis.set_ylim(-0.7, len(lines) - 0.3)
        axis.set_yticks([])
        axis.spines["left"].set_visible(False)
        axis.grid(axis="y", visible=False)
        axis.set_xlabel("cycles of the time-stamp counter (logarithmic)")
        axis.set_title(title)
        _nanoseconds(axis, result)
        return _finish(made, result)


def taxonomy(result: Result) -> Figure | None:
    """Draw what each crossing costs."""
    lines = []
    for name, label, colour in _TAXONOMY:
        placed = chosen(result, name)
        if name.startswith("kvm") and result.machine.processor.hypervisor:
            label += " (nested)"
        if placed is not None:
            lines.append(Dot(label, colour, placed.cycles))
    if len(lines) < 2:
        return None
    place = place_of(result)
    where = "" if place is None else f" Rows that cross cores: class {words.place(place)}."
    return Figure(
        "taxonomy",
        dots(result, lines, "What each crossing costs here"),
        "Median of every crossing on a logarithmic axis",
        "Dot: median. Band: from the median to the 99th percentile. Warm caches." + where,
    )


def _cumulative(placed: Placed) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the upper edges of the histogram's buckets and the share of calls below them."""
    edges = np.array([edge for edge, _ in placed.cycles.histogram])
    counts = np.array([count for _, count in placed.cycles.histogram])
    shares = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
    return np.concatenate([edges[:1], edges * 2 ** (1 / 32)]), shares


def latency(result: Result) -> Figure | None:
    """Draw the latency CDFs, hot against switch; the tail has a scale of its own."""
    curves = [(curve, placed) for curve in _CDF if (placed := chosen(result, curve.row))]
    if not curves:
        return None
    with chart.figure(11.2, 6.2) as made:
        axis = made.add_subplot()
        for curve, placed in curves:
            x, y = _cumulative(placed)
            # A scale on which 90, 99 and 99.9 % are equally far apart shows the tail.
            axis.step(
                x,
                -np.log10(np.maximum(1 - y, 1e-5)),
                where="post",
                color=curve.colour,
                linestyle=curve.style,
                linewidth=curve.width,
                label=curve.label,
            )
        axis.set_xscale("log")
        chart.log_axis(axis.xaxis)
        shares = (0.5, 0.9, 0.99, 0.999, 0.9999)
        axis.set_yticks(
            [-np.log10(1 - share) for share in shares],
            ["50 %", "90 %", "99 %", "99.9 %", "99.99 %"],
        )
        axis.set_ylim(0, 4.4)
        right = max(placed.cycles.p999 for _, placed in curves) * 6
        axis.set_xlim(min(placed.cycles.p50 for _, placed in curves) / 3, right)
        axis.set_xlabel("cycles of the time-stamp counter (logarithmic)")
        axis.set_ylabel("share of calls that took at most so long")
        axis.set_title("Latency: hot calls against switch calls")
        axis.legend(loc="lower right", fontsize=10)
        _nanoseconds(axis, result)
        picture = _finish(made, result)
    return Figure(
        "latency",
        picture,
        "Cumulative distribution of latencies on logarithmic axes",
        "Empty calls, warm caches, each call timed by itself. The vertical scale spreads the tail: "
        "each step upwards leaves a tenth of the calls.",
    )


def _sweep_rows(result: Result, prefix: str) -> tuple[list[int], list[Placed]]:
    found = [
        (row.size_bytes, placed)
        for row in result.rows
        if row.name.startswith(prefix)
        and row.size_bytes
        and row.name[len(prefix) :].rstrip("km").isdigit()
        and (placed := chosen(result, row.name)) is not None
    ]
    found.sort(key=lambda item: item[0])
    return [size for size, _ in found], [placed for _, placed in found]


def sweep(result: Result) -> Figure | None:
    """Draw what a buffer adds: 64 B to 1 MiB, in and out."""
    lines: Sequence[tuple[str, str, str, str]] = (
        ("ecall_switch_sweep_", "switch ecall", chart.SWITCH, "-"),
        ("ecall_hot_sweep_", "hot ecall", chart.HOT, "-"),
        ("mailbox_", "bare mailbox with the same copies", chart.FLOOR, "--"),
    )
    found = [(line, *_sweep_rows(result, line[0])) for line in lines]
    found = [item for item in found if len(item[1]) > 1]
    if not found:
        return None
    with chart.figure(11.2, 5.6) as made:
        axis = made.add_subplot()
        for (_, label, colour, style), sizes, placed in found:
            medians = [p.cycles.median for p in placed]
            axis.plot(
                sizes,
                medians,
                style,
                color=colour,
                marker="o",
                markersize=6,
                linewidth=2.2,
                label=label,
            )
            axis.fill_between(
                sizes,
                medians,
                [p.cycles.p90 for p in placed],
                color=colour,
                alpha=0.12,
                linewidth=0,
            )
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        sizes = sorted({size for _, some, _ in found for size in some})
        axis.set_xticks(sizes, [words.size(size) for size in sizes], fontsize=9.5)
        axis.minorticks_off()
        chart.log_axis(axis.yaxis)
        axis.set_xlabel("size of an [in, out] buffer")
        axis.set_ylabel("cycles (logarithmic)")
        axis.set_title("What a buffer adds")
        axis.legend(loc="upper left")
        picture = _finish(made, result)
    return Figure(
        "sweep",
        picture,
        "Latency against buffer size on logarithmic axes",
        "Line: median; shade: up to the 90th percentile. The buffer is copied four times: into the "
        "channel, out of it, and the same on the way back.",
    )


def crowd(result: Result) -> Figure | None:
    """Draw throughput against the number of requesters, for each number of responders."""
    series: dict[int, dict[int, Value]] = {}
    for row in result.rows:
        if row.group == "load" and "calls_per_s" in row.values:
            requesters, responders = (int(part) for part in row.name[5:].split("x"))
            series.setdefault(responders, {})[requesters] = row.values["calls_per_s"]
    if not series:
        return None
    with chart.figure(11.2, 4.2) as made:
        axis = made.add_subplot()
        width = 0.8 / len(series)
        names = sorted({n for points in series.values() for n in points})
        for i, (responders, points) in enumerate(sorted(series.items())):
            for n, value in points.items():
                x = names.index(n) + (i - (len(series) - 1) / 2) * width
                rate = value.median
                axis.plot(
                    (x, x),
                    (value.least / 1e6, value.most / 1e6),
                    color=chart.INK,
                    alpha=0.55,
                    linewidth=1.4,
                    zorder=3,
                )
                axis.bar(
                    x,
                    rate / 1e6,
                    width * 0.92,
                    color=(chart.HOT, chart.HOT2)[i % 2],
                    label=f"{responders} responder{'s' if responders > 1 else ''}"
                    if n == names[0]
                    else None,
                )
                axis.annotate(
                    f"{rate / 1e6:.2f}",
                    (x, value.most / 1e6),
                    xytext=(0, 4),
                    ha="center",
                    textcoords="offset points",
                    fontsize=9.5,
                    color=chart.SOFT,
                )
        axis.set_xticks(range(len(names)), [f"{n} requester{'s' if n > 1 else ''}" for n in names])
        axis.grid(axis="x", visible=False)
        axis.set_ylabel("million calls a second")
        axis.set_title("Throughput of empty hot ecalls", pad=14)
        axis.legend(loc="upper right", ncols=2)
        picture = _finish(made, result)
    cpus = len(result.machine.processor.allowed)
    return Figure(
        "crowd",
        picture,
        "Throughput by number of requesters and responders",
        f"Bar: median of the processes; line: from the least to the most. OVERSUBSCRIBED "
        f"where requesters and responders are more than the {cpus} CPUs: they wait for turns.",
    )


def figures(result: Result) -> list[Figure]:
    """Return every picture that `result` has the figures for."""
    drawn = (draw(result) for draw in (taxonomy, latency, sweep, crowd))
    return [figure for figure in drawn if figure is not None]
