# SPDX-License-Identifier: Apache-2.0
"""A result as a page. Host side; drawn from the result alone."""

from __future__ import annotations

from pathlib import Path

from hotcalls.bench import advice, chart, model, plots, report, words
from hotcalls.bench.errors import BenchError
from hotcalls.bench.looks import look_of
from hotcalls.bench.model import CLASSES, HERE, Mark, Placed, Result, Row
from hotcalls.bench.report import (
    Cell,
    Figure,
    Line,
    Points,
    Report,
    Section,
    Table,
    Tile,
    Tone,
)
from hotcalls.bench.table import grouped

_COLOURS = {
    "basic": chart.BASIC,
    "kernel": chart.KERNEL,
    "mailbox": chart.FLOOR,
    "memory": chart.MEMORY,
}
#: Of the rows of calls from Python; by the end of their names.
_PEER_COLOURS = {"_bare": chart.FLOOR, "_direct": chart.BASIC} | dict.fromkeys(
    ("_iceoryx2", "_unix", "_pipe", "_manager", "_zmq", "_executor"), chart.KERNEL
)
_TONES: dict[str, Tone] = {"met": "good", "missed": "bad", "not seen": "warn"}


def _head(result: Result) -> list[str]:
    look = look_of(result)
    if look.in_cycles:
        strip = "10 cycles … 10 M"
    else:
        strip = f"{words.time(result.ns(10))} … {words.time(result.ns(1e7))}"
    return [
        "crossing" if look.in_cycles else "call",
        "place",
        strip,
        ">median",
        ">p90",
        ">p99",
        ">p99.9",
        ">max",
        *([">time"] if look.in_cycles else []),
        *(f">{head}" for head in look.ratios.values()),
        ">CPU s/M",
        ">n",
    ]


def _colour(row: Row) -> str:
    if "switch" in row.name:
        return chart.SWITCH
    for ending, colour in _PEER_COLOURS.items():
        if row.name.removesuffix("_unpinned").endswith(ending):
            return colour
    return _COLOURS.get(row.group, chart.HOT)


def _interval(result: Result, placed: Placed) -> str:
    d, show = placed.cycles, look_of(result).figure
    if d.low is None or d.high is None:
        return ""
    return f"{show(result, d.low)}–{show(result, d.high)}"


def _place_cell(row: Row, place: str, placed: Placed) -> Cell:
    """Name the class; of the hot calls also the share that is as fast as the paper's."""
    if row.name not in ("ecall_hot", "ocall_hot"):
        return Cell(words.place(place), tone="dim")
    share = placed.cycles.within_620
    return Cell(words.place(place), share, "within_620", "dim", note=f"{share:.1%} ≤ 620")


def _cells(result: Result, row: Row, place: str, placed: Placed, first: bool) -> list[Cell]:
    d, look = placed.cycles, look_of(result)

    def ratio(key: str) -> Cell:
        found = placed.ratios.get(key)
        return Cell(words.times(found), None if found is None else found.median, f"to_{key}")

    def figure(key: str, cycles: float, tone: Tone = "", note: str = "") -> Cell:
        return Cell(look.figure(result, cycles), cycles, key, tone, note=note)

    median_ns = result.ns(d.median)
    return [
        Cell(row.title if first else ""),
        _place_cell(row, place, placed),
        Cell("", picture=chart.spark(d.histogram, d.median, _colour(row))),
        figure("median", d.median, "strong", _interval(result, placed)),
        figure("p90", d.p90),
        figure("p99", d.p99),
        figure("p999", d.p999),
        figure("max", d.max, "dim"),
        *([Cell(words.time(median_ns), median_ns, "median_ns")] if look.in_cycles else []),
        *(ratio(key) for key in look.ratios),
        Cell(words.cpu(placed), placed.cpu_s_per_million, "cpu_s_per_million"),
        Cell(words.count(d.n), float(d.n), "n", "dim"),
    ]


def _row_table(result: Result, rows: list[Row]) -> Table:
    lines = []
    for row in rows:
        note = words.note(result, row)
        if row.skipped is not None:
            lines.append(Line(row.name, [Cell(row.title)], words=f"skipped: {row.skipped}"))
        places = [place for place in (*CLASSES, HERE) if place in row.classes]
        for place in places:
            first, last = place == places[0], place == places[-1]
            cells = _cells(result, row, place, row.classes[place], first)
            lines.append(Line(row.name, cells, place, note=note if last else "", opens=first))
    return Table(_head(result), lines)


def _value_table(result: Result, rows: list[Row]) -> Table:
    lines = []
    for row in rows:
        for i, (key, value) in enumerate(row.values.items()):
            name, text = words.quantity(key, value.median)
            spread = ""
            if value.n > 1:
                least, most = (words.quantity(key, v)[1] for v in (value.least, value.most))
                spread = f"{least} … {most}"
            cells = [
                Cell(row.title if i == 0 else ""),
                Cell(name),
                Cell(text, value.median, key, "strong"),
                Cell(spread, tone="dim"),
                Cell(str(value.n), tone="dim"),
            ]
            note = words.note(result, row) if i == len(row.values) - 1 else ""
            lines.append(Line(row.name, cells, opens=i == 0, note=note))
    return Table(("what", "figure", ">median", ">least … most", ">processes"), lines)


def _mark_line(mark: Mark) -> Line:
    measured = "; ".join(
        f"{place}: {text or 'not seen'}".removeprefix(f"{HERE}: ")
        for place, text in mark.measured.items()
    )
    cells = [
        Cell(mark.name),
        Cell(mark.target, tone="dim"),
        Cell(measured),
        Cell(mark.verdict.replace(" ", "\u00a0"), tone=_TONES[mark.verdict]),
    ]
    return Line(mark.name, cells)


def _tile(name: str, placed: Placed | None, result: Result, text: str, accent: bool) -> Tile | None:
    if placed is None:
        return None
    median = placed.cycles.median
    return Tile(
        name,
        words.cycles(median),
        "cycles",
        f"{text}: {words.time(result.ns(median))}",
        median,
        accent,
    )


def _tiles(result: Result) -> list[Tile]:
    hot = plots.chosen(result, "ecall_hot")
    tiles = [
        _tile("ecall_hot", hot, result, "hot call into the enclave", True),
        _tile(
            "ecall_switch",
            plots.chosen(result, "ecall_switch"),
            result,
            "the same call by a switch of processes",
            False,
        ),
    ]
    if hot is not None and "switch" in hot.ratios:
        times = 1 / hot.ratios["switch"].median
        tiles.append(Tile("speedup", f"{times:.0f}", "×", "less than the switch call", times, True))
    if hot is None:
        tiles += [
            _tile(
                "mailbox",
                plots.chosen(result, "mailbox"),
                result,
                "bare mailbox between two cores",
                True,
            ),
            _tile(
                "eventfd_same",
                plots.chosen(result, "eventfd_same"),
                result,
                "hand-over to another process and back by eventfd",
                False,
            ),
        ]
    tiles.append(_tile("syscall", plots.chosen(result, "syscall"), result, "a system call", False))
    return [tile for tile in tiles if tile is not None]


def _stamps(result: Result) -> list[tuple[str, str, Tone]]:
    stamps: list[tuple[str, str, Tone]] = []
    if result.sgx is not None:
        short, long = words.SGX_MODES[result.sgx]
        stamps.append((short, long, "good" if result.sgx == "hardware" else "bad"))
    if result.oversubscribed:
        stamps.append(("oversubscribed", result.oversubscribed, "bad"))
    if result.noise.unstable:
        stamps.append(("unstable", "; ".join(result.noise.complaints), "warn"))
    else:
        stamps.append(("quiet", f"steal {result.noise.steal:.2%}", "good"))
    if result.plan.mode == "quick":
        stamps.append(("quick", "for quotable figures measure without --quick", ""))
    if result.build.dirty:
        stamps.append(("uncommitted changes", "", "warn"))
    return stamps


def _placement_text(result: Result) -> str:
    floor = result.placement.floor
    if not floor:
        return "No row crossed cores."
    seen = ", ".join(
        f"{words.place(c)} ({floor[c]:.0f} cycles, {result.placement.blocks[c]} blocks)"
        for c in result.seen()
    )
    missing = [words.place(c) for c in CLASSES if c not in floor]
    first, second = result.placement.cuts
    return (
        f"Seen: {seen}."
        + (f" Not seen: {', '.join(missing)}." if missing else "")
        + f" Cut at {first:.0f} and {second:.0f} cycles of the bare mailbox, which is probed "
        "before and after every block; blocks in which the class changed are dropped."
    )


def _facts(result: Result) -> list[tuple[str, str]]:
    machine, cpu, noise, plan = (
        result.machine,
        result.machine.processor,
        result.noise,
        result.plan,
    )
    vulnerable = [name for name, text in cpu.mitigations.items() if text.startswith("Vulnerable")]
    mitigated = [
        f"{name}: {text}" for name, text in cpu.mitigations.items() if text.startswith("Mitigation")
    ]
    return [
        (
            "processor",
            f"{cpu.model}, {cpu.family}, microcode {cpu.microcode}, counter "
            f"{machine.tsc_hz / 1e9:.4f} GHz"
            + (f", governor {cpu.governor}" if cpu.governor else ""),
        ),
        (
            "virtual machine",
            "yes: every exit of a guest of ours, as the KVM rows make them, is nested: it passes "
            "this machine's own hypervisor"
            if cpu.hypervisor
            else "no",
        ),
        ("memory encryption", cpu.encrypted_memory or "none: no SGX, SEV or TDX"),
        (
            "CPUs",
            f"{cpu.used} used of {cpu.allowed}"
            + (", threads of one core" if cpu.siblings else "")
            + (f", quota {cpu.quota:g}" if cpu.quota else ""),
        ),
        ("mitigations", "; ".join(mitigated) or "none reported"),
        ("vulnerable", ", ".join(vulnerable) or "to nothing that the kernel knows"),
        (
            "system",
            f"{machine.kernel}, {machine.distribution}, {machine.memory_bytes / 2**30:.0f} GiB",
        ),
        (
            "built",
            f"hotcalls {result.build.version}, commit {result.build.commit or 'unknown'}"
            + (" with uncommitted changes" if result.build.dirty else "")
            + f", {result.build.compiler}, {result.build.flags}",
        ),
        (
            "measured",
            f"{result.created}: {plan.processes} fresh processes, {plan.rounds} rounds of "
            f"all rows in an order drawn anew, blocks of {plan.block_us / 1000:g} ms; "
            f"{plan.duration_s:.0f} s; seed {plan.seed}, processes' seeds "
            + ", ".join(map(str, plan.seeds)),
        ),
        (
            "timer",
            f"an empty pair of time stamps takes {result.timer.overhead:.0f} cycles, in "
            f"steps of {result.timer.step}; it is part of every figure and never subtracted",
        ),
        ("placement", _placement_text(result)),
        (
            "noise",
            f"a fixed loop took {noise.spin_before:,.0f} cycles before and "
            f"{noise.spin_after:,.0f} after, {noise.spin_least:,.0f} at best; steal "
            f"{noise.steal:.2%}; {noise.involuntary_per_second:.1f} preemptions a second; load "
            f"{noise.load:.2f} at the start",
        ),
        (
            "figures",
            "median: of all calls, within the step of the timer by rank; 95 %: bootstrap "
            "over processes and blocks; ratios: of blocks of the same round, their median; the "
            f"results of all {sum(row.checked for row in result.rows):,} timed calls were checked",
        ),
    ]


def marks_section(result: Result) -> list[Section]:
    """Return the marks, unless nothing was measured that they are about."""
    look = look_of(result)
    if not any(row.group in look.marked for row in result.rows):
        return []
    table = Table(
        ("mark", "target", "measured", "verdict"),
        [_mark_line(mark) for mark in result.marks],
        wraps=True,
    )
    lead = look.marks_lead + " A placement class that did not occur is not seen, never met."
    return [Section("marks", "Marks", lead, tables=[table])]


def group_sections(result: Result) -> list[Section]:
    """Return one section for each group of rows, with every figure."""
    sections = []
    for group, rows in grouped(result):
        tables = []
        timed = [row for row in rows if not row.values]
        if timed:
            tables.append(_row_table(result, timed))
        if any(row.values for row in rows):
            tables.append(_value_table(result, [row for row in rows if row.values]))
        title = look_of(result).title(group)
        sections.append(Section(f"group-{group}", title[0].upper() + title[1:], tables=tables))
    return sections


def page(result: Result, title: str, sections: list[Section], tiles: list[Tile]) -> Report:
    """Return a page with what every result says of itself."""
    machine = result.machine
    return Report(
        title=title,
        subtitle=f"{machine.processor.model} · {machine.kernel} · "
        f"{len(machine.processor.allowed)} CPUs · {result.created[:10]} · hotcalls "
        f"{result.build.version}"
        + (f" at {result.build.commit[:10]}" if result.build.commit else ""),
        sections=sections,
        tiles=tiles,
        stamps=_stamps(result),
        lead=look_of(result).lead,
        facts=_facts(result),
        footer="Drawn from one JSON result by hotcalls bench.",
    )


def _crossings(result: Result) -> Report:
    drawn = {figure.name: figure for figure in plots.figures(result)}

    def some(*names: str) -> list[Figure]:
        return [drawn[name] for name in names if name in drawn]

    sections = []
    if drawn:
        sections.append(Section("glance", "At a glance", figures=some("taxonomy", "latency")))
    points = advice.points(result)
    if points:
        sections.append(
            Section(
                "advice",
                "What follows",
                "Derived from the figures of this run, for the process enclave on this machine.",
                points=Points(points),
            )
        )
    if some("sweep", "crowd"):
        sections.append(Section("scale", "Buffers and crowds", figures=some("sweep", "crowd")))
    sections += marks_section(result) + group_sections(result)
    return page(result, "What a crossing costs", sections, _tiles(result))


def build(result: Result) -> Report:
    """Return the page of `result`."""
    if result.kind == "python":
        # Late: it draws with this module.
        from hotcalls.bench.python import pages as python_pages

        return python_pages.build(result)
    return _crossings(result)


def stem_of(output: Path) -> Path:
    """Return what the names of all files begin with.

    Raises
    ------
    BenchError
        When they would lie in a directory that does not exist.
    """
    stem = output.with_suffix("") if output.suffix in (".json", ".html") else output
    if not stem.parent.is_dir():
        raise BenchError(f"{stem.parent} is no directory: create it first")
    return stem


def write(result: Result, output: Path) -> list[Path]:
    """Write the JSON, the page and its pictures; return the files, the page last.

    Parameters
    ----------
    result
        What to write.
    output
        ``DIR/NAME``, or with ``.json`` or ``.html`` behind it: all files begin with its stem.
    """
    return report.write(stem_of(output), model.encode(result), lambda: build(result))
