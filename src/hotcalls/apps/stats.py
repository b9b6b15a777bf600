# SPDX-License-Identifier: Apache-2.0
"""What the host process of ``hotcalls run`` counted, as a table.

Host side. The counters are the host process's own: the enclave cannot forge them.
"""

from __future__ import annotations

import struct
import time

import msgspec

from hotcalls.failure import HotcallsError

#: native/run_stats.h: struct run_stats_header, struct run_stats_row.
_MAGIC = 0x3153544154534348
_HEADER = struct.Struct("<QIIQQQQQQqqQQQ24x")
_ROW = struct.Struct("<24s6Q8x124I")
_MODES = ("hot", "switch", "switch-unpinned")
#: More rows than there are system calls are none of ours.
_ROWS_MAX = 1024


#: As channel.h has them: the first bucket ends at 32 cycles, then four to an octave.
_FIRST_SHIFT = 5


def bucket_end(bucket: int) -> float:
    """Return the cycles at which a bucket of channel.h ends."""
    octave, quarter = divmod(bucket, 4)
    return float((4 + quarter + 1) << (octave + _FIRST_SHIFT)) / 4


class StatsError(HotcallsError):
    """There are no statistics to show; says why."""


class Call(msgspec.Struct, frozen=True):
    """The calls of one name.

    Attributes
    ----------
    count, hot, switch
        All of them; those that a spinning responder took; those made by switching.
    bytes
        That passed either way.
    errors
        Calls that returned an errno.
    histogram
        Of the cycles from the request to the answer, in the buckets of channel.h.
    """

    count: int
    hot: int = 0
    switch: int = 0
    bytes: int = 0
    errors: int = 0
    histogram: list[int] = []

    def cycles(self, share: float) -> float:
        """Return below how many cycles `share` of the timed calls stayed; 0 without any."""
        wanted = share * sum(self.histogram)
        reached = 0
        for bucket, count in enumerate(self.histogram):
            reached += count
            if count and reached >= wanted:
                return bucket_end(bucket)
        return 0.0


class Stats(msgspec.Struct, frozen=True):
    """The statistics of one run."""

    calls: dict[str, Call]
    mode: str = ""
    host_cpu_s: float = 0
    enclave_cpu_s: float = 0
    wall_s: float = 0
    tsc_hz: float = 0
    host_pid: int = 0
    #: When the run is over: calls that could not be answered at once, those of them that a thread
    #: had to block in, and how often the polling thread went to sleep.
    parked: int = 0
    handed: int = 0
    sleeps: int = 0
    program_pid: int = 0


def decode(data: bytes, now_ns: int | None = None) -> Stats:
    """Return what a host process has counted.

    Parameters
    ----------
    data
        The file.
    now_ns
        The time by the monotonic clock while the program runs; by default, now.

    Raises
    ------
    StatsError
        When it is no file of a host process, or of one that has not begun.
    """
    if len(data) < _HEADER.size:
        raise StatsError("the host process counted nothing: it ended before the program began")
    (
        magic,
        count,
        size,
        mode,
        per_us,
        started,
        ended,
        host,
        program,
        host_pid,
        program_pid,
        *waits,
    ) = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise StatsError("these are no statistics of a host process of this version")
    if size != _ROW.size or count > _ROWS_MAX or len(data) < _HEADER.size + count * size:
        raise StatsError("the statistics are cut off, or of another version")
    calls = {}
    for row in range(count):
        name, *numbers = _ROW.unpack_from(data, _HEADER.size + row * size)
        hot, switched = numbers[0], numbers[3]
        if hot + switched:
            calls[name.rstrip(b"\0").decode("ascii", "replace")] = Call(
                count=hot + switched,
                hot=hot,
                switch=switched,
                errors=numbers[1] + numbers[4],
                bytes=numbers[2] + numbers[5],
                histogram=list(numbers[6:]),
            )
    if not ended:
        ended = time.monotonic_ns() if now_ns is None else now_ns
    return Stats(
        calls,
        mode=_MODES[mode] if mode < len(_MODES) else "",
        host_cpu_s=host / 1e9,
        enclave_cpu_s=program / 1e9,
        wall_s=max(0, ended - started) / 1e9,
        tsc_hz=per_us * 1e6,
        host_pid=host_pid,
        parked=waits[0],
        handed=waits[1],
        sleeps=waits[2],
        program_pid=program_pid,
    )


def _nanoseconds(value: float) -> str:
    if value <= 0:
        return ""
    for limit, scale, unit in ((1e3, 1.0, "ns"), (1e6, 1e3, "µs"), (1e9, 1e6, "ms")):
        if value < limit:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e9:.3g} s"


def in_bytes(value: int) -> str:
    """A size as people read it."""
    for limit, scale, unit in ((1 << 20, 1 << 10, "KiB"), (1 << 30, 1 << 20, "MiB")):
        if value < 1 << 10:
            return f"{value} B"
        if value < limit:
            return f"{value / scale:.1f} {unit}"
    return f"{value / (1 << 30):.1f} GiB"


def table(stats: Stats) -> str:
    """Return the statistics as text, the most frequent call first."""
    head = ("call", "calls", "calls/s", "hot", "errors", "p50", "p99", "bytes")
    rows: list[tuple[str, ...]] = [head]
    total = Call(0)
    for name, call in sorted(stats.calls.items(), key=lambda item: (-item[1].count, item[0])):
        rows.append(_row(name, call, stats))
        total = Call(
            total.count + call.count, total.hot + call.hot, total.switch + call.switch,
            total.bytes + call.bytes, total.errors + call.errors,
        )  # fmt: skip
    rows.append(_row("total", total, stats))
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    if stats.wall_s:
        lines.append(f"{stats.mode}, {stats.wall_s:.2f} s")
    if stats.host_cpu_s:
        lines[-1] += (
            f"; CPU: program {stats.enclave_cpu_s:.2f} s, host process with its responders "
            f"{stats.host_cpu_s:.2f} s"
        )
    return "\n".join(lines)


def _row(name: str, call: Call, stats: Stats) -> tuple[str, ...]:
    ns = 1e9 / stats.tsc_hz if stats.tsc_hz else 0.0
    return (
        name,
        f"{call.count:,}",
        f"{call.count / stats.wall_s:,.0f}" if stats.wall_s else "",
        f"{call.hot / call.count:.0%}" if call.count else "",
        f"{call.errors:,}" if call.errors else "",
        _nanoseconds(call.cycles(0.5) * ns),
        _nanoseconds(call.cycles(0.99) * ns),
        in_bytes(call.bytes),
    )
