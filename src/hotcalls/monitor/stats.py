# SPDX-License-Identifier: Apache-2.0
"""``hotcalls stats``: what one enclave or program did since its start, function by function."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
import msgspec

from hotcalls.apps import stats as counted
from hotcalls.errors import HotcallsError
from hotcalls.monitor import registry, runs
from hotcalls.monitor.entries import Entry, printable
from hotcalls.monitor.reading import Reading, microseconds, overall, read
from hotcalls.monitor.top import console, in_bytes, in_time
from hotcalls.stats import Counters, Latency

if TYPE_CHECKING:
    from rich.table import Table


class NoStatistics(HotcallsError):
    """There is nothing to show of that process; says why."""


def find(pid: int) -> Entry | None:
    """Return the enclave or program with this process or this host; None if there is none.

    Raises
    ------
    NoStatistics
        There is more than one.
    """
    found = [
        entry
        for entry in registry.entries()
        if pid in (entry.pid, entry.host) or (entry.counters and runs.read(entry).pid == pid)
    ]
    exact = [entry for entry in found if entry.pid == pid]
    if exact:
        return exact[0]
    if len(found) > 1:
        listed = ", ".join(f"{entry.pid} ({printable(entry.name)})" for entry in found)
        raise NoStatistics(f"process {pid} is the host of several enclaves: name one of {listed}")
    return found[0] if found else None


def summary(entry: Entry, reading: Reading) -> dict[str, Any]:
    """Everything there is to say, for JSON."""
    statistics = reading.statistics
    if statistics is None:
        raise NoStatistics(f"enclave {printable(entry.name)}: {reading.error}")

    def functions(latency: Sequence[Latency]) -> list[dict[str, Any]]:
        return [
            {
                "name": each.name,
                "samples": each.samples,
                "p50_us": microseconds(each.percentile(0.5)),
                "p99_us": microseconds(each.percentile(0.99)),
                "max_us": microseconds(each.max_cycles),
            }
            for each in latency
        ]

    def direction(counters: Counters, latency: Sequence[Latency]) -> dict[str, Any]:
        counted = {name: getattr(counters, name) for name in Counters.__dataclass_fields__}
        return {"calls": counters.calls, **counted, "functions": functions(latency)}

    return {
        "name": entry.name,
        "pid": entry.pid,
        "host": entry.host,
        "clients": reading.clients,
        "cpu_s": reading.cpu_s,
        "responder_cpu_s": reading.responder_cpu_s,
        "memory_bytes": reading.memory_bytes,
        "ecalls": direction(statistics.ecalls, statistics.ecall_latency),
        "ocalls": direction(statistics.ocalls, statistics.ocall_latency),
    }


def table(reading: Reading) -> Table:
    """Make the table of functions."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, header_style="bold", pad_edge=False)
    shown.add_column("FUNCTION", no_wrap=True)
    for title in ("SAMPLES", "P50", "P99", "MAX"):
        shown.add_column(title, justify="right", no_wrap=True)
    statistics = reading.statistics
    assert statistics is not None
    for kind, latency in (
        ("ecall", statistics.ecall_latency),
        ("ocall", statistics.ocall_latency),
    ):
        by_use = sorted(latency, key=lambda each: (-each.samples, each.name))
        for each in (*by_use, overall(latency)) if len(by_use) > 1 else by_use:
            shown.add_row(
                Text(f"{kind} {printable(each.name)}"),
                f"{each.samples:,}",
                in_time(microseconds(each.percentile(0.5))),
                in_time(microseconds(each.percentile(0.99))),
                in_time(microseconds(each.max_cycles)),
            )
    return shown


def _line(kind: str, counters: Counters) -> str:
    if not counters.calls:
        return f"{kind}: none"
    return (
        f"{kind}: {counters.calls:,}, {counters.hot / counters.calls:.0%} hot, "
        f"{counters.switched:,} switched, {counters.fallen_back:,} fell back, "
        f"{counters.errors:,} failed, {in_bytes(counters.bytes_out)} out, "
        f"{in_bytes(counters.bytes_in)} in"
    )


def _show_run(entry: Entry, as_json: bool) -> None:
    """Show the calls of a program, which its host process counts."""
    look = runs.read(entry)
    if look.stats is None:
        raise NoStatistics(f"{printable(entry.name)}: {look.error}")
    if as_json:
        found = {"name": entry.name, **msgspec.to_builtins(look.stats)}
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
        return
    click.echo(f"{printable(entry.name)}: pid {look.pid}, host {entry.host}")
    click.echo(counted.table(look.stats))


@click.command("stats", epilog="Exit codes: 0 printed, 1 nothing of that PID, 2 wrong usage.")
@click.argument("pid", type=click.IntRange(1))
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def stats_command(pid: int, as_json: bool) -> None:
    """Show what the enclave, host of an enclave or `hotcalls run` with process id PID called.

    Latencies are of one call in 64; of a run in 32.
    """
    entry = find(pid)
    if entry is None:
        why = registry.obstacle() or "see `hotcalls top`"
        raise NoStatistics(
            f"process {pid} is no enclave of this user, no `hotcalls run`, nor the host of one; "
            f"{why}"
        )
    if entry.counters:
        _show_run(entry, as_json)
        return
    reading = read(entry)
    found = summary(entry, reading)
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
        return
    statistics = reading.statistics
    assert statistics is not None
    click.echo(f"{printable(entry.name)}: pid {entry.pid}, host {entry.host}")
    click.echo(_line("ecalls", statistics.ecalls))
    click.echo(_line("ocalls", statistics.ocalls))
    console().print(table(reading))
