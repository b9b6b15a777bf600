# SPDX-License-Identifier: Apache-2.0
"""An evaluation as a page. Host side; drawn from the result alone."""

from __future__ import annotations

from pathlib import Path

from hotcalls.apps.evaluate import marks, model, modes, plots, published, words
from hotcalls.apps.evaluate.model import HOT, Compared, Result, Scenario
from hotcalls.bench import report
from hotcalls.bench.pages import stem_of
from hotcalls.bench.report import Cell, Line, Report, Section, Table, Tile, Tone

_TONES: dict[str, Tone] = {"met": "good", "missed": "bad", "not seen": "warn"}
_HEAD = ("load", "mode", ">rate", ">mean", ">p50", ">p99", ">per CPU second", ">least … most")
_COMPARED = (
    "load",
    ">hot / switch",
    ">native / switch",
    ">hot / native",
    ">latency, hot against switch",
    ">cycles regained",
    "calls a request",
)


def _rows(scenario: Scenario, found: Compared) -> list[Line]:
    lines = []
    ordered = [mode for mode in (*modes.MODES, *modes.PEERS) if mode.name in found.rate]
    for i, mode in enumerate(ordered):
        rate, name = found.rate[mode.name], mode.name
        cpu = found.rate_per_cpu.get(name)
        cells = [
            Cell(scenario.title if i == 0 else ""),
            Cell(mode.title, tone="strong" if name == HOT else ""),
            Cell(words.rate(rate.median, scenario), rate.median, "rate", "strong"),
        ]
        for key, each in (
            ("mean_us", found.mean_us),
            ("p50_us", found.p50_us),
            ("p99_us", found.p99_us),
        ):
            value = each[name].median if name in each else None
            cells.append(Cell(words.micros(value), value, key))
        cells.append(
            Cell("")
            if cpu is None
            else Cell(
                words.rate(cpu.median, scenario).replace("/s", ""), cpu.median, "rate_per_cpu"
            )
        )
        spread = f"{words.rate(rate.least, scenario)} … {words.rate(rate.most, scenario)}"
        cells.append(Cell(spread if rate.n > 1 else "", tone="dim"))
        lines.append(Line(scenario.name, cells, name, opens=i == 0))
    return lines


def _value(text: str, value: model.Statistic | None, key: str, tone: Tone = "") -> Cell:
    return Cell(text, None if value is None else value.median, key, tone)


def _compared_line(scenario: Scenario, found: Compared) -> Line:
    cells = [
        Cell(scenario.title),
        _value(words.times(found.speedup), found.speedup, "speedup", "strong"),
        _value(words.times(found.ceiling), found.ceiling, "ceiling", "dim"),
        _value(words.times(found.of_native), found.of_native, "of_native"),
        _value(words.percent(found.latency_change, signed=True), found.latency_change,
               "latency_change"),
        _value(words.percent(found.regained), found.regained, "regained"),
        Cell(words.ocalls(found, scenario), tone="dim"),
    ]  # fmt: skip
    note = f"{found.disturbed} runs were disturbed by steal." if found.disturbed else ""
    return Line(scenario.name, cells, "compared", note=note)


def _server(result: Result, server: model.Server) -> Section:
    if server.skipped is not None:
        return Section(server.name, server.name, lead=f"Skipped: {server.skipped}.")
    measured = [
        (scenario, found)
        for scenario in result.scenarios
        if scenario.server == server.name
        and (found := result.comparison(scenario.name)) is not None
    ]
    pictures = [plots.throughput(result, server.name), plots.latency(result, server.name)]
    checks = "; ".join(
        f"{modes.find(each.mode).title}: {each.check}, {each.passed} of {each.passed + each.failed}"
        for each in result.verified
        if each.server == server.name
    )
    tables = [
        Table(
            _COMPARED,
            [_compared_line(*item) for item in measured],
            title="Hot calls against switch calls",
            note="The ceiling of any speed-up is native / switch: no synchronous call can be "
            "faster than none. Cycles regained: (hot − switch) / (native − switch), by time a "
            "request.",
        ),
        Table(_HEAD, [line for item in measured for line in _rows(*item)], title="Every mode"),
    ]
    policy = f"under the policy {server.policy}" if server.policy else "without a policy"
    return Section(
        server.name,
        server.name,
        lead=f"{server.version}, {policy}; client: {server.client}. Answers checked: {checks}.",
        tables=tables,
        figures=[picture for picture in pictures if picture is not None],
    )


def _marks(result: Result) -> Table:
    lines = [
        Line(
            mark.name,
            [
                Cell(mark.name),
                Cell(mark.target, tone="dim"),
                Cell(mark.measured),
                Cell(mark.verdict.replace(" ", "\u00a0"), tone=_TONES[mark.verdict]),
            ],
        )
        for mark in result.marks
    ]
    return Table(("mark", "target", "measured", "verdict"), lines)


def _footprints(result: Result) -> Table:
    lines = [
        Line(
            "footprint",
            [
                Cell(modes.find(each.mode).title),
                Cell(f"{each.start_ms.median:.0f} ms", each.start_ms.median, "start_ms"),
                Cell(f"{each.resident_mib:.1f} MiB", each.resident_mib, "resident_mib"),
                Cell(f"{each.idle_share:.2%}", each.idle_share, "idle_share"),
                Cell("")
                if each.call_ns is None
                else Cell(f"{each.call_ns.median:,.0f} ns", each.call_ns.median, "call_ns"),
            ],
            each.mode,
        )
        for each in result.footprints
    ]
    return Table(
        ("mode", ">start and end of true", ">resident", ">of a core, idle", ">one call"),
        lines,
        note="Resident and idle: memcached without a client, its host process included. One call: "
        "a read or write of one byte by dd, through the C library.",
    )


def _published(result: Result) -> Table:
    """Put our ratios beside the paper's; the two baselines are not the same thing."""
    lines = [
        Line(
            "paper",
            [
                Cell("the paper, SGX: memcached, openVPN, lighttpd"),
                Cell(published.THROUGHPUT.words("×")),
                Cell("the SDK's ordinary call"),
                Cell(
                    f"−{published.LATENCY_LESS.low * 100:.0f} … "
                    f"−{published.LATENCY_LESS.high * 100:.0f} %"
                ),
            ],
        )
    ]
    for scenario in result.scenarios:
        found = result.comparison(scenario.name)
        if found is None or found.speedup is None:
            continue
        lines.append(
            Line(
                scenario.name,
                [
                    Cell(f"{scenario.server}, {scenario.title}"),
                    _value(words.times(found.speedup), found.speedup, "speedup"),
                    Cell(marks.ceiling(found), tone="dim"),
                    _value(
                        words.percent(found.latency_change, signed=True),
                        found.latency_change,
                        "latency_change",
                    ),
                ],
            )
        )
    return Table(
        ("", ">throughput, hot / ordinary", "against what", ">latency"),
        lines,
        note=f"Source: {published.SOURCE}. There, an ordinary call costs "
        f"{published.CROSSING_CYCLES.words()} cycles; here it is a hand-over by the kernel.",
    )


def _tiles(result: Result) -> list[Tile]:
    tiles = []
    for name, text in (
        ("memcached-c1", "memcached, 1 connection"),
        ("memcached-c50", "memcached, 50 connections"),
        ("lighttpd-c50", "lighttpd, 50 connections"),
        ("openvpn-ping", "openvpn, ping"),
    ):
        found = result.comparison(name)
        if found is not None and found.speedup is not None and found.ceiling is not None:
            tiles.append(
                Tile(
                    name,
                    f"{found.speedup.median:.2f}",
                    "×",
                    f"{text}: hot against switch calls; native: {found.ceiling.median:.2f}×",
                    found.speedup.median,
                    accent=True,
                )
            )
    return tiles


def _stamps(result: Result) -> list[tuple[str, str, Tone]]:
    stamps: list[tuple[str, str, Tone]] = []
    cpus = len(result.machine.processor.allowed)
    if cpus <= 2:
        stamps.append(("oversubscribed", f"server, responder and client on {cpus} CPUs", "bad"))
    disturbed = sum(run.disturbed for run in result.runs)
    if disturbed:
        stamps.append(
            ("unstable", f"{disturbed} of {len(result.runs)} runs had steal above "
             f"{result.plan.steal_limit:.0%}", "warn")
        )  # fmt: skip
    if result.plan.mode == "quick":
        stamps.append(("quick", "for quotable figures measure without --quick", ""))
    if result.build.dirty:
        stamps.append(("uncommitted changes", "", "warn"))
    return stamps


def _facts(result: Result) -> list[tuple[str, str]]:
    machine, plan = result.machine, result.plan
    repeated = sum(run.attempts > 1 for run in result.runs)
    facts = [
        ("processor", f"{machine.processor.model}, {machine.processor.family}, CPUs "
         f"{machine.processor.allowed}"),
        ("virtual machine", "yes" if machine.processor.hypervisor else "no"),
        ("system", f"{machine.kernel}, {machine.distribution}"),
        ("built", f"hotcalls {result.build.version}, commit {result.build.commit or 'unknown'}"
         + (" with uncommitted changes" if result.build.dirty else "")),
        ("measured", f"{result.created}: {plan.rounds} rounds of fresh servers, every mode up at "
         f"the same time, {plan.turns} turns a round, {plan.seconds:g} s a measurement, "
         f"order drawn anew (seed {plan.seed}); "
         f"{plan.duration_s:.0f} s in all"),
        ("placement", f"apart: the program on CPU {plan.cpus[0]}, its client on CPU "
         f"{plan.cpus[1]}, responders where the kernel puts them; together: both on CPU "
         f"{plan.cpus[0]}; otherwise nobody is pinned"),
        ("steal", f"a run with more than {plan.steal_limit:.0%} was repeated up to twice "
         f"({repeated} were), the quietest kept, and marked when it was still above"),
        ("CPU seconds", "of the program, its host process and the far end of a tunnel together; "
         "the client's are left out, and the spinning responder's are in"),
    ]  # fmt: skip
    facts += [(name, f"skipped: {why}") for name, why in result.skipped.items()]
    facts += [(mode.title, mode.note) for mode in modes.PEERS
              if any(mode.name == run.mode for run in result.runs)]  # fmt: skip
    return facts


def build(result: Result) -> Report:
    """Return the page of `result`."""
    machine = result.machine
    sections = [
        Section("marks", "What had to hold", tables=[_marks(result)]),
        *(_server(result, server) for server in result.servers),
        *(
            [Section("footprint", "What a mode costs by itself", tables=[_footprints(result)])]
            if result.footprints
            else []
        ),
        Section("paper", "Beside the paper", tables=[_published(result)]),
    ]
    return Report(
        title="Servers in a process enclave",
        subtitle=f"{machine.processor.model} · {machine.kernel} · "
        f"{len(machine.processor.allowed)} CPUs · {result.created[:10]}",
        sections=sections,
        tiles=_tiles(result),
        stamps=_stamps(result),
        lead="Debian's own binaries with real clients: natively, and in a process enclave whose "
        "every system call is an ocall, made by switching to the host process or hot, through a "
        "responder that spins. A process enclave is not SGX.",
        facts=_facts(result),
        footer="Drawn from one JSON result by hotcalls evaluate.",
    )


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
