# SPDX-License-Identifier: Apache-2.0
"""An evaluation as tables in the terminal. Host side; drawn from the result alone."""

from __future__ import annotations

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from hotcalls.apps.evaluate import modes, published, words
from hotcalls.apps.evaluate.model import HOT, Compared, Mark, Result, Scenario

_STYLES = {"met": "green", "missed": "bold red", "not seen": "yellow"}


def _table(title: str, heads: tuple[str, ...], left: int = 1) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", box=None, header_style="dim",
        pad_edge=False,
    )  # fmt: skip
    for i, head in enumerate(heads):
        table.add_column(head, justify="left" if i < left else "right", no_wrap=i >= left)
    return table


def _scenarios(result: Result, server: str) -> Table:
    table = _table(
        server,
        ("scenario", "mode", "rate", "mean", "p50", "p99", "per CPU second", "least … most"),
        left=2,
    )
    for scenario in result.scenarios:
        found = result.comparison(scenario.name)
        if scenario.server != server or found is None:
            continue
        ordered = [mode for mode in (*modes.MODES, *modes.PEERS) if mode.name in found.rate]
        for i, mode in enumerate(ordered):
            name = mode.name
            rate = found.rate[name]
            mean, p50, p99 = (
                each[name].median if name in each else None
                for each in (found.mean_us, found.p50_us, found.p99_us)
            )
            cpu = found.rate_per_cpu.get(name)
            table.add_row(
                scenario.title if i == 0 else "",
                Text(mode.title, style="bold" if name == HOT else ""),
                words.rate(rate.median, scenario),
                words.micros(mean),
                words.micros(p50),
                words.micros(p99),
                words.rate(cpu.median, scenario).replace("/s", "") if cpu else "",
                f"{words.rate(rate.least, scenario)} … {words.rate(rate.most, scenario)}"
                if rate.n > 1
                else "",
            )
    return table


def _line(scenario: Scenario, found: Compared) -> list[str]:
    return [
        scenario.server,
        scenario.title,
        words.times(found.speedup),
        words.times(found.ceiling),
        words.times(found.of_native),
        words.percent(found.latency_change, signed=True),
        words.percent(found.regained),
        f"{found.disturbed} with steal" if found.disturbed else "",
    ]


def _comparison(result: Result) -> Table:
    heads = (
        "", "scenario", "hot / switch", "native / switch", "hot / native", "latency", "regained",
        "",
    )  # fmt: skip
    table = _table("hot calls against switch calls", heads, left=2)
    for scenario in result.scenarios:
        found = result.comparison(scenario.name)
        if found is not None:
            table.add_row(*_line(scenario, found))
    table.add_row(
        "the paper", "memcached, openVPN, lighttpd on SGX", published.THROUGHPUT.words("×"), "", "",
        f"−{published.LATENCY_LESS.low * 100:.0f} … −{published.LATENCY_LESS.high * 100:.0f} %",
        "", "", "",
    )  # fmt: skip
    return table


def _calls(result: Result) -> Table:
    table = _table("calls out of the enclave for each request", ("", "scenario", "calls"), left=3)
    for scenario in result.scenarios:
        found = result.comparison(scenario.name)
        if found is not None and found.ocalls:
            table.add_row(scenario.server, scenario.title, words.ocalls(found, scenario))
    return table


def _footprints(result: Result) -> Table:
    heads = ("by itself", "start", "resident", "idle", "one call")
    table = _table("what a mode costs by itself", heads)
    for each in result.footprints:
        table.add_row(
            modes.find(each.mode).title,
            f"{each.start_ms.median:.0f} ms",
            f"{each.resident_mib:.1f} MiB",
            f"{each.idle_share:.2%} of a core",
            f"{each.call_ns.median:,.0f} ns" if each.call_ns else "",
        )
    return table


def _marks(marks: list[Mark]) -> Table:
    table = _table("marks", ("mark", "target", "measured", "verdict"), left=4)
    for mark in marks:
        verdict = Text(mark.verdict, style=_STYLES[mark.verdict])
        table.add_row(mark.name, mark.target, mark.measured, verdict)
    return table


def renderables(result: Result) -> list[RenderableType]:
    """Return what to print, from top to bottom."""
    machine = result.machine
    parts: list[RenderableType] = [
        Text(
            f"{machine.processor.model}, {machine.kernel}, {len(machine.processor.allowed)} CPUs"
            + (", a virtual machine" if machine.processor.hypervisor else "")
            + f"; {result.plan.mode}, {result.plan.rounds} rounds of {result.plan.turns} turns, "
            f"seed {result.plan.seed}, {result.plan.duration_s:.0f} s"
        )
    ]
    for server in result.servers:
        if server.skipped is not None:
            parts.append(Text(f"{server.name}: skipped: {server.skipped}", style="yellow"))
            continue
        parts += [Text(""), _scenarios(result, server.name)]
    parts += [Text(f"{name}: skipped: {why}", style="yellow")
              for name, why in result.skipped.items()]  # fmt: skip
    if result.verified:
        parts.append(Text(""))
    for verified in result.verified:
        style = "green" if not verified.failed else "bold red"
        total = verified.passed + verified.failed
        parts.append(
            Text(
                f"{verified.server}, {modes.find(verified.mode).title}: {verified.check}: "
                f"{verified.passed} of {total}"
                + (f"; failed: {verified.words}" if verified.failed else ""),
                style=style,
            )
        )
    if result.compared:
        parts += [Text(""), _comparison(result)]
    if any(found.ocalls for found in result.compared):
        parts += [Text(""), _calls(result)]
    if result.footprints:
        parts += [Text(""), _footprints(result)]
    if result.marks:
        parts += [Text(""), _marks(result.marks)]
    return parts


def show(result: Result, console: Console) -> None:
    """Print `result`."""
    for part in renderables(result):
        console.print(part)
