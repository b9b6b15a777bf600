# SPDX-License-Identifier: Apache-2.0
"""What a program in ``hotcalls run`` does: the counters of its host process, and processor time.

Host side, as anybody of the same user. The counters are the host process's own, out of the reach
of the program.
"""

from __future__ import annotations

import msgspec

from hotcalls.apps.stats import Call, Stats, StatsError, decode
from hotcalls.monitor import registry
from hotcalls.monitor.entries import Entry, contents
from hotcalls.monitor.reading import memory, threads


class RunReading(msgspec.Struct, frozen=True):
    """One look at a program.

    Attributes
    ----------
    stats
        Of its calls; None, with `error`, when they cannot be read.
    cpu_s, host_cpu_s
        Processor time so far: of the program; of its host process with the responders.
    memory_bytes
        Resident in the program.
    """

    stats: Stats | None
    error: str
    cpu_s: float
    host_cpu_s: float
    memory_bytes: int

    @property
    def pid(self) -> int:
        """The program's process; 0 when it has none yet."""
        return self.stats.program_pid if self.stats is not None else 0


def read(entry: Entry) -> RunReading:
    """Look at a program once. What has ended meanwhile reads as zeros."""
    stats: Stats | None = None
    error = "it has ended"
    where = registry.folder()
    data = contents(where / entry.counters) if where is not None else None
    try:
        stats = decode(data) if data is not None else None
    except StatsError as unreadable:
        error = str(unreadable)
    pid = stats.program_pid if stats is not None else 0
    return RunReading(
        stats=stats,
        error="" if stats is not None else error,
        cpu_s=threads(pid)[0],
        host_cpu_s=threads(entry.host)[0],
        memory_bytes=memory(pid),
    )


def together(stats: Stats) -> Call:
    """All calls as one."""
    calls = list(stats.calls.values())
    return Call(
        sum(call.count for call in calls),
        sum(call.hot for call in calls),
        sum(call.switch for call in calls),
        sum(call.bytes for call in calls),
        sum(call.errors for call in calls),
        [sum(column) for column in zip(*(call.histogram for call in calls), strict=True)],
    )


def since(now: Call, before: Call) -> Call:
    """What happened between two looks."""
    old = before.histogram or [0] * len(now.histogram)
    return Call(
        now.count - before.count,
        now.hot - before.hot,
        now.switch - before.switch,
        now.bytes - before.bytes,
        now.errors - before.errors,
        [a - b for a, b in zip(now.histogram, old, strict=True)],
    )
