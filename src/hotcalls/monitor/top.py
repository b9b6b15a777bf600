# SPDX-License-Identifier: Apache-2.0
"""``hotcalls top``: a live view of every enclave of the user, and of programs in one."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import click
import msgspec

from hotcalls.monitor import registry, runs
from hotcalls.monitor.entries import Entry, printable
from hotcalls.monitor.reading import Reading, microseconds, overall, read, since
from hotcalls.monitor.runs import RunReading

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


class Row(msgspec.Struct, frozen=True):
    """An enclave over one interval. What could not be read, or did not happen, is None.

    Attributes
    ----------
    name, pid, host
        Of the enclave; its process; the process that launched it.
    clients
        Processes that are connected: 1 unless it is served.
    calls_per_s
        Ecalls; of a program in `hotcalls run` its ocalls, as in all that follows.
    hot_share
        Of them, those that a spinning responder took: 0 to 1.
    p50_us, p99_us
        Latency of ecalls, of one in 64; of a program the time in its host process, of one in 32.
    cpu, responder_cpu
        Processors used: by the enclave; by the responders of both sides, of a program by its
        host process.
    fallbacks_per_s
        Calls made hot that nobody took in time; None of a program.
    calls
        Ecalls since the launch.
    kind
        ``enclave``, or ``run`` for a program in `hotcalls run`.
    memory_bytes
        Resident in the enclave.
    error
        Why its channel cannot be read; empty when it can.
    """

    name: str
    pid: int
    host: int
    clients: int
    calls_per_s: float | None
    hot_share: float | None
    p50_us: float | None
    p99_us: float | None
    cpu: float
    responder_cpu: float
    fallbacks_per_s: float | None
    calls: int | None
    memory_bytes: int
    error: str
    kind: Literal["enclave", "run"] = "enclave"


_Looks = dict[tuple[int, int], tuple[float, "Reading | RunReading"]]


class Watcher:
    """Looks at all enclaves again and again, and says what happened in between."""

    def __init__(self) -> None:
        self._before: _Looks = {}

    def look(self) -> list[Row]:
        """Return a row for each enclave that was there at the last look too, or since."""
        now: _Looks = {}
        rows = []
        for entry in registry.entries():
            key = (entry.pid, entry.started)
            at = time.monotonic()
            reading = runs.read(entry) if entry.counters else read(entry)
            now[key] = (at, reading)
            before_at, before = self._before.get(key, (at, reading))
            if isinstance(reading, RunReading):
                assert isinstance(before, RunReading)
                rows.append(_run_row(entry, reading, before, at - before_at))
            else:
                assert isinstance(before, Reading)
                rows.append(_row(entry, reading, before, at - before_at))
        self._before = now
        return sorted(rows, key=lambda row: (-(row.calls_per_s or 0), row.name, row.pid))


def _row(entry: Entry, now: Reading, before: Reading, seconds: float) -> Row:
    rate = fallbacks = share = p50 = p99 = calls = None
    if now.statistics is not None:
        calls = now.statistics.ecalls.calls
        if before.statistics is not None and seconds > 0:
            what = since(now.statistics, before.statistics)
            rate = what.ecalls.calls / seconds
            fallbacks = what.ecalls.fallen_back / seconds
            if what.ecalls.calls:
                share = what.ecalls.hot / what.ecalls.calls
            latency = overall(what.ecall_latency)
            if latency.samples:
                p50 = microseconds(latency.percentile(0.5))
                p99 = microseconds(latency.percentile(0.99))
    return Row(
        name=printable(entry.name),
        pid=entry.pid,
        host=entry.host,
        clients=now.clients,
        calls_per_s=rate,
        hot_share=share,
        p50_us=p50,
        p99_us=p99,
        cpu=max(0.0, now.cpu_s - before.cpu_s) / seconds if seconds > 0 else 0.0,
        responder_cpu=(
            max(0.0, now.responder_cpu_s - before.responder_cpu_s) / seconds if seconds > 0 else 0.0
        ),
        fallbacks_per_s=fallbacks,
        calls=calls,
        memory_bytes=now.memory_bytes,
        error=printable(now.error),
    )


def _run_row(entry: Entry, now: RunReading, before: RunReading, seconds: float) -> Row:
    rate = share = p50 = p99 = calls = None
    if now.stats is not None:
        total = runs.together(now.stats)
        calls = total.count
        if before.stats is not None and seconds > 0:
            what = runs.since(total, runs.together(before.stats))
            rate = what.count / seconds
            if what.count:
                share = what.hot / what.count
            if sum(what.histogram) and now.stats.tsc_hz:
                p50 = what.cycles(0.5) * 1e6 / now.stats.tsc_hz
                p99 = what.cycles(0.99) * 1e6 / now.stats.tsc_hz
    return Row(
        name=printable(entry.name),
        pid=now.pid or entry.pid,
        host=entry.host,
        clients=1,
        calls_per_s=rate,
        hot_share=share,
        p50_us=p50,
        p99_us=p99,
        cpu=max(0.0, now.cpu_s - before.cpu_s) / seconds if seconds > 0 else 0.0,
        responder_cpu=(
            max(0.0, now.host_cpu_s - before.host_cpu_s) / seconds if seconds > 0 else 0.0
        ),
        fallbacks_per_s=None,
        calls=calls,
        memory_bytes=now.memory_bytes,
        error=printable(now.error),
        kind="run",
    )


def in_time(us: float | None) -> str:
    """A time as people read it."""
    if us is None or math.isnan(us):
        return "–"
    if us < 1:
        return f"{us * 1000:.0f} ns"
    return f"{us:.3g} µs" if us < 1000 else f"{us / 1000:.3g} ms"


def in_bytes(size: int) -> str:
    """A size as people read it."""
    return f"{size / (1 << 20):.1f} MiB" if size < 1 << 30 else f"{size / (1 << 30):.2f} GiB"


def _count(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.1f}"


#: Titles of the columns, and how wide a terminal has to be to show them.
COLUMNS = (
    ("PID", 0), ("HOST", 120), ("CLIENTS", 100), ("CALLS/S", 0), ("HOT", 0), ("P50", 0),
    ("P99", 0), ("CPU", 0), ("RESP CPU", 0), ("FALLBACKS/S", 120), ("CALLS", 130),
    ("MEMORY", 110),
)  # fmt: skip


def table(rows: Sequence[Row], width: int) -> Table:
    """Make the table that is shown."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, header_style="bold", pad_edge=False)
    shown.add_column("ENCLAVE", no_wrap=True)
    for title, needed in COLUMNS:
        if width >= needed:
            shown.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        cells = (
            str(row.pid),
            str(row.host),
            str(row.clients) if not row.error else "–",
            _count(row.calls_per_s),
            "–" if row.hot_share is None else f"{row.hot_share:.0%}",
            in_time(row.p50_us),
            in_time(row.p99_us),
            f"{row.cpu:.0%}",
            f"{row.responder_cpu:.0%}",
            _count(row.fallbacks_per_s),
            _count(row.calls),
            in_bytes(row.memory_bytes),
        )
        fitting = [
            cell for cell, (_, needed) in zip(cells, COLUMNS, strict=True) if width >= needed
        ]
        # Text, not str: names are not markup.
        shown.add_row(Text(row.name + (f" ({row.error})" if row.error else "")), *fitting)
    return shown


NONE = "no enclave of this user is running"


@click.command("top", epilog="Exit codes: 0 shown, 2 wrong usage, 130 interrupted.")
@click.option("--interval", type=click.FloatRange(0.05, 3600), default=1.0, show_default=True,
              help="Seconds between two looks.")  # fmt: skip
@click.option("--once", is_flag=True, help="Look for one interval, print, and leave.")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON, a list of enclaves.")
def top_command(interval: float, once: bool, as_json: bool) -> None:
    """Show every running enclave of this user, and every program in `hotcalls run`.

    Calls, latency, processor time, memory; of a program its calls to the outside.

    The numbers of channels are written by the programs and enclaves that are watched, which can
    write what they like: they are for people, not for decisions. Ends with Ctrl-C.
    """
    watcher = Watcher()
    watcher.look()
    if as_json or once:
        time.sleep(interval)
        rows = watcher.look()
        if as_json:
            sys.stdout.buffer.write(
                msgspec.json.format(msgspec.json.encode(rows), indent=1) + b"\n"
            )
            return
        if not rows:
            click.echo(NONE)
            if registry.obstacle():
                click.echo(f"hotcalls top: {registry.obstacle()}", err=True)
            return
        out = console()
        out.print(table(rows, out.width))
        return
    _live(watcher, interval)


def console() -> Console:
    """Where tables go. In a pipe they keep their width: they are for grep and awk."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=200)


def _live(watcher: Watcher, interval: float) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    with Live(screen=sys.stdout.isatty(), auto_refresh=False) as live:
        while True:
            time.sleep(interval)
            rows = watcher.look()
            head = Text(f"hotcalls top – {len(rows)} enclaves, every {interval:g} s\n", "dim")
            shown = table(rows, live.console.width) if rows else Text(NONE)
            live.update(Group(head, shown), refresh=True)
