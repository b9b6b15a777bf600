# SPDX-License-Identifier: Apache-2.0
"""The page of a result of ``hotcalls bench --python``. Host side; drawn from the result alone."""

from __future__ import annotations

from hotcalls.bench import chart, pages, plots, words
from hotcalls.bench.model import Placed, Result
from hotcalls.bench.report import Figure, Report, Section, Tile

#: What the picture compares: the end of the names of its rows, short name, colour.
_PEERS = (
    ("direct", "function call in one process", chart.BASIC),
    ("bare", "bare extension (the floor)", chart.FLOOR),
    ("hotcalls", "hotcalls", chart.HOT),
    ("iceoryx2", "iceoryx2, polling", chart.MEMORY),
    ("unix", "unix stream socket", chart.KERNEL),
    ("pipe", "multiprocessing.Pipe", chart.KERNEL),
    ("manager", "manager proxy", chart.SWITCH2),
    ("zmq", "pyzmq over ipc", chart.SWITCH),
    ("executor", "ProcessPoolExecutor", chart.SWITCH2),
)


def _picture(result: Result, kind: str, title: str) -> Figure | None:
    """Draw what one kind of call costs with each peer."""
    lines = [
        plots.Dot(label, colour, placed.cycles)
        for name, label, colour in _PEERS
        # In the same process a large payload goes nowhere: there is nothing to compare.
        if (kind, name) != ("mib", "direct")
        and (placed := plots.chosen(result, f"{kind}_{name}")) is not None
    ]
    if len(lines) < 2:
        return None
    place = plots.place_of(result)
    where = f" (class {words.place(place)})" if place else ""
    return Figure(
        f"python-{kind}",
        plots.dots(result, lines, title),
        title,
        f"Dot: median; bar: to the 99th percentile{where}. Caller and far end pinned to two "
        "cores, all measured in one run.",
    )


def _tile(
    name: str, placed: Placed | None, result: Result, text: str, accent: bool = False
) -> list[Tile]:
    if placed is None:
        return []
    ns = result.ns(placed.cycles.median)
    figure, unit = words.time(ns).split(" ")
    return [Tile(name, figure, unit, text, ns, accent)]


def _tiles(result: Result) -> list[Tile]:
    hot = plots.chosen(result, "bytes_hotcalls")
    pipe = plots.chosen(result, "bytes_pipe")
    tiles = [
        *_tile(
            "bytes_hotcalls", hot, result, "call into a Python enclave, 64 bytes each way", True
        ),
        *_tile(
            "bytes_bare",
            plots.chosen(result, "bytes_bare"),
            result,
            "the same over a bare extension, which checks nothing: the floor",
        ),
        *_tile("bytes_pipe", pipe, result, "the same over multiprocessing.Pipe"),
    ]
    ratio = None if hot is None else hot.ratios.get("pipe")
    if ratio is not None:
        times = 1 / ratio.median
        tiles.append(Tile("speedup", f"{times:.0f}", "×", "less than the pipe", times, True))
    return tiles


def build(result: Result) -> Report:
    """Return the page of `result`."""
    drawn = [
        _picture(result, "bytes", "64 bytes to a Python function and back"),
        _picture(result, "typed", "(int, str, bytes) to dict"),
        _picture(result, "mib", "1 MiB to a Python function and back"),
    ]
    figures = [figure for figure in drawn if figure is not None]
    sections = []
    if figures:
        sections.append(Section("glance", "At a glance", figures=figures))
    sections += pages.marks_section(result) + pages.group_sections(result)
    return pages.page(result, "What a call from Python to Python costs", sections, _tiles(result))
