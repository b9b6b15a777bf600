# SPDX-License-Identifier: Apache-2.0
"""A result as tables in the terminal. Host side; drawn from the result alone."""

from __future__ import annotations

import itertools

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from hotcalls.bench import advice, words
from hotcalls.bench.looks import look_of
from hotcalls.bench.model import CLASSES, HERE, Mark, Placed, Result, Row
from hotcalls.bench.report import Point

_STYLES = {"met": "green", "missed": "bold red", "not seen": "yellow"}


def _line(result: Result, row: Row, place: str, placed: Placed) -> list[str]:
    look, figures = look_of(result), placed.cycles

    def show(cycles: float) -> str:
        return look.figure(result, cycles)

    return [
        row.title,
        words.place(place),
        words.count(figures.n),
        show(figures.median if row.batch == 1 else figures.p50),
        show(figures.p90),
        show(figures.p99),
        show(figures.p999),
        show(figures.max),
        *([words.time(result.ns(figures.median))] if look.in_cycles else []),
        *(words.times(placed.ratios.get(key)) for key in look.ratios),
        words.cpu(placed),
    ]


def grouped(result: Result) -> list[tuple[str, list[Row]]]:
    """Return the rows of a result by group, the groups in the order of a reader's interest."""
    order = list(look_of(result).groups)
    rows = sorted(
        result.rows, key=lambda row: order.index(row.group) if row.group in order else len(order)
    )
    return [(name, list(some)) for name, some in itertools.groupby(rows, lambda row: row.group)]


def _group(result: Result, title: str, rows: list[Row]) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        header_style="dim",
        pad_edge=False,
    )
    look = look_of(result)
    table.add_column(look.unit)
    table.add_column("place", no_wrap=True)
    heads = (
        "n",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "max",
        *(["p50 time"] if look.in_cycles else []),
        *look.ratios.values(),
        "CPU s/M",
    )
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        if row.skipped is not None:
            # In one cell, the one that folds: a reason can be long.
            reason = (f"\nskipped: {row.skipped}", "yellow")
            table.add_row(Text.assemble(row.title, reason))
        for place in (*CLASSES, HERE):
            if place in row.classes:
                table.add_row(*_line(result, row, place, row.classes[place]))
    return table


def _values(title: str, rows: list[Row]) -> Table:
    table = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=None,
        show_header=False,
        pad_edge=False,
    )
    for row in rows:
        for key, value in row.values.items():
            name, text = words.quantity(key, value.median)
            spread = ""
            if value.n > 1:
                least, most = (words.quantity(key, v)[1] for v in (value.least, value.most))
                spread = f"{least} … {most}"
            table.add_row(row.title, name, text, spread)
    return table


def _marks(marks: list[Mark]) -> Table:
    table = Table(title="marks", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for head in ("mark", "target", "measured", "verdict"):
        table.add_column(head, header_style="dim")
    for mark in marks:
        measured = ", ".join(
            f"{place} {text or 'not seen'}".removeprefix(f"{HERE} ")
            for place, text in mark.measured.items()
        )
        table.add_row(
            mark.name, mark.target, measured, Text(mark.verdict, style=_STYLES[mark.verdict])
        )
    return table


def within_620(result: Result) -> list[str]:
    """Say which share of the hot calls took no longer than the paper's."""
    lines = []
    for name in ("ecall_hot", "ocall_hot"):
        row = result.row(name)
        shares = [
            f"{words.place(place)} {row.classes[place].cycles.within_620:.2%}"
            for place in CLASSES
            if row is not None and place in row.classes
        ]
        if row is not None and shares:
            lines.append(
                f"{row.title}: within 620 cycles, the paper's hot call: {', '.join(shares)}"
            )
    return lines


def _advice(point: Point) -> Text:
    text = Text("• ")
    text.append(point.title + ". ", style="bold")
    text.append(point.text.replace("`", ""))
    return text


def noise_line(result: Result) -> Text:
    """Say in one line how quiet the machine was."""
    noise = result.noise
    text = Text()
    if noise.unstable:
        text.append("unstable: " + "; ".join(noise.complaints), style="bold yellow")
    else:
        text.append("quiet", style="green")
    text.append(
        f" (fixed loop {noise.spin_before:,.0f} before, {noise.spin_after:,.0f} after; "
        f"steal {noise.steal:.2%}; {noise.involuntary_per_second:.1f} preemptions/s; "
        f"load {noise.load:.2f})"
    )
    return text


def renderables(result: Result) -> list[RenderableType]:
    """Return what to print, from top to bottom."""
    machine = result.machine
    parts: list[RenderableType] = []
    if result.sgx is not None:
        short, long = words.SGX_MODES[result.sgx]
        parts.append(Text(f"{short}. {long}", style="bold yellow"))
    if result.oversubscribed:
        parts.append(Text(f"OVERSUBSCRIBED: {result.oversubscribed}", style="bold white on red"))
    seen = ", ".join(
        f"{words.place(name)} {result.placement.floor[name]:.0f}" for name in result.seen()
    )
    missing = [name for name in CLASSES if name not in result.placement.floor]
    parts += [
        Text(
            f"{machine.processor.model}, {machine.tsc_hz / 1e9:.3f} GHz counter, "
            f"{machine.kernel}, CPUs {machine.processor.used}"
            + (", itself a virtual machine" if machine.processor.hypervisor else "")
        ),
        noise_line(result),
        Text(
            f"empty timer pair {result.timer.overhead:.0f} cycles in steps of {result.timer.step}, "
            "part of every figure; bare mailbox: "
            + (seen or "not probed")
            + (f"; not seen: {', '.join(missing)}" if seen and missing else "")
        ),
        Text(
            f"seed {result.plan.seed}; {result.plan.processes} processes, "
            f"{result.plan.rounds} rounds, {result.plan.duration_s:.0f} s"
        ),
        Text(""),
    ]
    look = look_of(result)
    for group, rows in grouped(result):
        timed = [row for row in rows if not row.values]
        if timed:
            parts += [_group(result, look.title(group), timed), Text("")]
        if len(timed) < len(rows):
            title = look.title(group) if not timed else ""
            parts += [_values(title, [row for row in rows if row.values]), Text("")]
    parts += [Text(line) for line in within_620(result)]
    if any(row.group in look.marked for row in result.rows):
        parts += [Text(""), _marks(result.marks), Text("")]
    if result.kind == "crossings":
        parts += [_advice(point) for point in advice.points(result)]
    return parts


def show(result: Result, console: Console) -> None:
    """Print `result`."""
    for part in renderables(result):
        console.print(part)
