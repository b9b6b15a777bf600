# SPDX-License-Identifier: Apache-2.0
"""What a running enclave does: its channels, and the processor time of its threads.

Host side, as anybody of the same user. A channel is opened through /proc/HOST/fd, read-only, and
never mapped. Its numbers may be anything: they are only shown.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import msgspec

from hotcalls import _native
from hotcalls.monitor.entries import Entry
from hotcalls.stats import Counters, Latency, Statistics, statistics_of

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")

#: Names of the runtime's threads that run calls (prctl PR_SET_NAME in endpoint_*.c).
RESPONDER = "hc-responder"


class Unreadable(Exception):
    """A channel that cannot be read; says why."""


class Reading(msgspec.Struct, frozen=True):
    """One look at an enclave.

    Attributes
    ----------
    statistics
        Of all its channels together; None, with `error`, when they cannot be read.
    clients
        Channels that somebody uses: 1 for an enclave that was launched.
    cpu_s, responder_cpu_s
        Processor time of the enclave so far; of all responders, its host's included.
    memory_bytes
        Resident.
    """

    statistics: Statistics | None
    error: str
    clients: int
    cpu_s: float
    responder_cpu_s: float
    memory_bytes: int


def read(entry: Entry) -> Reading:
    """Look at an enclave once. What has ended meanwhile reads as zeros."""
    statistics: Statistics | None = None
    error = ""
    clients = 0
    try:
        raw = [read_channel(entry.host, number) for number in entry.channels]
        clients = sum(1 for each in raw if each["enclave"]["responders"])
        if len(raw) > 1:
            # A server's own channel carries no calls of clients.
            clients -= 1
            del raw[0]
        statistics = statistics_of(_together(raw), entry.ecalls, entry.ocalls)
    except Unreadable as unreadable:
        error = str(unreadable)
    inside, inside_responders = threads(entry.pid)
    _, outside_responders = threads(entry.host)
    return Reading(
        statistics=statistics,
        error=error,
        clients=max(0, clients),
        cpu_s=inside,
        responder_cpu_s=inside_responders + outside_responders,
        memory_bytes=memory(entry.pid),
    )


def read_channel(host: int, number: int) -> dict[str, Any]:
    """Read one channel.

    Raises
    ------
    Unreadable
        It is gone, or not ours to read, or no channel.
    """
    path = f"/proc/{host}/fd/{number}"
    try:
        # Not whatever it is: opening a device or a pipe has effects.
        if not os.readlink(path).startswith("/memfd:hotcalls"):
            raise Unreadable("not a channel")
        channel = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        raise Unreadable("its host is another user's, or protects itself") from None
    except OSError:
        raise Unreadable("it has ended") from None
    try:
        return _native.read_channel(channel)
    except (ValueError, OSError) as error:
        raise Unreadable(str(error)) from None
    finally:
        os.close(channel)


def _together(raw: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Add channels up."""
    if not raw:
        raise Unreadable("it has no channel")
    total: dict[str, Any] = {
        part: {key: sum(each[part][key] for each in raw) for key in raw[0][part]}
        for part in ("ecalls", "ocalls", "host", "enclave")
    }
    latency: tuple[dict[int, list[Any]], ...] = ({}, {})
    for each in raw:
        for known, found in zip(latency, each["latency"], strict=True):
            for id_, count, worst, buckets in found:
                before = known.setdefault(id_, [0, 0, [0] * len(buckets)])
                before[0] += count
                before[1] = max(before[1], worst)
                before[2] = [a + b for a, b in zip(before[2], buckets, strict=True)]
    total["latency"] = tuple(
        [(id_, *values) for id_, values in sorted(known.items())] for known in latency
    )
    return total


def threads(pid: int) -> tuple[float, float]:
    """Processor time of a process, and of its responders."""
    total = responders = 0
    try:
        for thread in os.scandir(f"/proc/{pid}/task"):
            with open(f"{thread.path}/stat", encoding="ascii", errors="replace") as file:
                text = file.read()
            fields = text.rpartition(")")[2].split()
            ticks = int(fields[11]) + int(fields[12])
            total += ticks
            if text.partition("(")[2].startswith(RESPONDER):
                responders += ticks
    except (OSError, ValueError, IndexError):
        pass
    return total / _TICKS, responders / _TICKS


def memory(pid: int) -> int:
    """Resident memory of a process."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


def since(now: Statistics, before: Statistics) -> Statistics:
    """What happened between two looks. Counters that went back, as a client left, count as 0."""

    def counters(a: Counters, b: Counters) -> Counters:
        return Counters(
            **{
                field: max(0, getattr(a, field) - getattr(b, field))
                for field in Counters.__dataclass_fields__
            }
        )

    def latency(a: Sequence[Latency], b: Sequence[Latency]) -> tuple[Latency, ...]:
        known = {each.name: each for each in b}
        found = []
        for each in a:
            old = known.get(each.name)
            buckets = each.buckets
            if old is not None:
                buckets = tuple(max(0, x - y) for x, y in zip(buckets, old.buckets, strict=True))
            if sum(buckets):
                found.append(Latency(each.name, sum(buckets), each.max_cycles, buckets))
        return tuple(found)

    return Statistics(
        counters(now.ecalls, before.ecalls),
        counters(now.ocalls, before.ocalls),
        now.host,
        now.enclave,
        latency(now.ecall_latency, before.ecall_latency),
        latency(now.ocall_latency, before.ocall_latency),
    )


def overall(latency: Sequence[Latency]) -> Latency:
    """All functions as one."""
    if not latency:
        return Latency("all", 0, 0, ())
    return Latency(
        "all",
        sum(each.samples for each in latency),
        max(each.max_cycles for each in latency),
        tuple(map(sum, zip(*(each.buckets for each in latency), strict=True))),
    )


def microseconds(cycles: float) -> float:
    """Of cycles of the time-stamp counter, which all processes of a machine share."""
    return cycles / _native.cycles_per_us()
