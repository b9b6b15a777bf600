# SPDX-License-Identifier: Apache-2.0
"""Rows without samples: launching, idling, CPU time, and four threads against one. Host side."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hotcalls.bench.errors import WrongResultError
from hotcalls.bench.python import functions, hot
from hotcalls.bench.python.peers import Peer

Values = dict[str, float]


def cpu_ns(pids: list[int]) -> int:
    """Return the CPU time of other processes."""
    # The clock of a process, as clock_getcpuclockid(3) makes it.
    return sum(time.clock_gettime_ns((~pid << 3) | 2) for pid in pids)


def resident_mib(pids: list[int]) -> float:
    """Return the resident memory of processes, without what they share: /proc/PID/status."""
    kib = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith(("RssAnon:", "RssFile:")):
                kib += int(line.split()[1])
    return kib / 1024


def _echo(peer: Peer, payload: bytes) -> None:
    if peer.calls["echo"](payload) != payload:
        raise WrongResultError(peer.name, 1, 1)


def launch(kind: Callable[[Path], Peer], folder: Path, turns: int) -> tuple[Values, int]:
    """Start a peer anew some times, until its first answer."""
    payload = bytes(functions.SMALL)
    first, closed, resident = [], [], 0.0
    for turn in range(turns):
        place = folder / f"launch-{turn}"
        place.mkdir()
        peer = kind(place)
        begin = time.monotonic()
        peer.begin()
        peer.start()
        peer.prepare("echo")
        _echo(peer, payload)
        answered = time.monotonic()
        peer.pause()
        resident = resident_mib(peer.pids())
        stopping = time.monotonic()
        peer.stop()
        first.append(answered - begin)
        closed.append(time.monotonic() - stopping)
    return {
        "first_answer_ms": statistics.median(first) * 1e3,
        "first_answer_slowest_ms": max(first) * 1e3,
        "close_ms": statistics.median(closed) * 1e3,
        "resident_mib": resident,
    }, turns


def idle(peer: hot.Hotcalls, span_s: float) -> tuple[Values, int]:
    """Leave the enclave alone after a burst."""
    payload = bytes(functions.SMALL)
    for _ in range(1000):
        _echo(peer, payload)
    begin = time.monotonic()
    hot.await_asleep(peer.enclave)
    spun = time.monotonic() - begin
    wall, host, inside = time.monotonic_ns(), time.process_time_ns(), cpu_ns(peer.pids())
    time.sleep(span_s)
    inside = cpu_ns(peer.pids()) - inside
    host = time.process_time_ns() - host
    wall = time.monotonic_ns() - wall
    return {
        "cpu_percent": 100 * (host + inside) / wall,
        "enclave_cpu_ms_per_s": 1e3 * inside / wall,
        "host_cpu_ms_per_s": 1e3 * host / wall,
        "spins_before_it_sleeps_ms": 1e3 * spun,
        "resident_mib": resident_mib(peer.pids()),
    }, 1000


def cpu(peer: Peer, span_s: float) -> tuple[Values, int]:
    """Call for a while, so long that the ticks in which the kernel counts CPU time do not show."""
    payload = bytes(functions.SMALL)
    peer.prepare("echo")
    for _ in range(50):
        _echo(peer, payload)
    calls, end = 0, time.monotonic_ns() + int(span_s * 1e9)
    wall, host, far = time.monotonic_ns(), time.process_time_ns(), cpu_ns(peer.pids())
    while time.monotonic_ns() < end:
        for _ in range(16):
            _echo(peer, payload)
        calls += 16
    far = cpu_ns(peer.pids()) - far
    host = time.process_time_ns() - host
    wall = time.monotonic_ns() - wall
    peer.pause()
    return {
        "caller_cpu_s_per_million": host / calls / 1e3,
        "server_cpu_s_per_million": far / calls / 1e3,
        "wall_s_per_million": wall / calls / 1e3,
    }, calls + 50


def _call_for(echo: Callable[[bytes], Any], span_s: float, payload: bytes, made: list[int]) -> None:
    end = time.monotonic() + span_s
    calls = 0
    while time.monotonic() < end:
        for _ in range(16):
            if echo(payload) != payload:
                return
        calls += 16
    made.append(calls)


def _rate(echo: Callable[[bytes], Any], callers: int, span_s: float) -> tuple[float, int]:
    """Return calls a second of some threads together."""
    made: list[int] = []
    threads = [
        threading.Thread(
            target=_call_for,
            args=(echo, span_s, i.to_bytes(1, "big") * functions.SMALL, made),
            daemon=True,
        )
        for i in range(callers)
    ]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(made) < callers:
        raise WrongResultError("threads", callers - len(made), callers)
    return sum(made) / (time.monotonic() - begin), sum(made)


def threads(span_s: float, turns: int) -> tuple[Values, int]:
    """Call an enclave with four threads from four and from one, in turns."""
    one, four, ratios, checked = [], [], [], 0
    with hot.launch(threads=4) as enclave:
        for _ in range(turns):
            single, some = _rate(enclave.echo, 1, span_s)
            together, more = _rate(enclave.echo, 4, span_s)
            one.append(single)
            four.append(together)
            ratios.append(together / single)
            checked += some + more
    return {
        "one_calls_per_s": statistics.median(one),
        "four_calls_per_s": statistics.median(four),
        "four_to_one": statistics.median(ratios),
    }, checked
