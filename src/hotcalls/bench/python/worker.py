# SPDX-License-Identifier: Apache-2.0
"""Runs rows in interleaved blocks, between two probes of the bare mailbox.

Host side; one process of it is one repetition. Speaks as ``hotcalls-bench-worker`` does
(``native/bench_worker.c``): samples of each row to ``DIRECTORY/ROW.u32``, one JSON object a line
to standard output. Ends with status 3 when a result was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import sys
import time
from array import array
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hotcalls.bench.python import _floor, costs, hot
from hotcalls.bench.python.floor import Bare
from hotcalls.bench.python.functions import LETTERS, MANY, Work, echo, work
from hotcalls.bench.python.peers import Executor, Peer
from hotcalls.bench.python.rows import CASES, OTHERS, PEERS, Case
from hotcalls.errors import HotcallsError

_LEAST = 8
_MOST = 16384
_WOKEN = 6
_SLEEP_S = 0.02
#: Calls right before a block, when looking at clocks has taken a while.
_ROUSED = 64


def _say(kind: str, **fields: Any) -> None:
    print(json.dumps({"type": kind, **fields}), flush=True)


def _pin(pid: int, cpus: set[int]) -> None:
    """Have every thread of a process, and those that they start, run on `cpus`."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            os.sched_setaffinity(int(thread), cpus)
        except ProcessLookupError:
            continue


class Worker:
    """One repetition.

    Parameters
    ----------
    folder
        Gets the samples.
    cpus
        CPU of the caller and of the far end; one alone when nothing can cross.
    cases
        What to measure.
    rounds, block_us, probe, seed, full
        As in `hotcalls.bench.measure.Plan`.
    """

    def __init__(
        self,
        folder: Path,
        cpus: list[int],
        cases: list[Case],
        rounds: int,
        block_us: int,
        probe: int,
        seed: int,
        full: bool,
    ) -> None:
        self.folder = folder
        self.cpus = cpus
        self.cases = cases
        self.rounds = rounds
        self.block_us = block_us
        self.probe_count = probe
        self.random = random.Random(seed)  # noqa: S311 (an order, not a secret)
        self.full = full
        self.allowed = os.sched_getaffinity(0)
        self.peers: dict[str, Peer] = {}
        self.absent: dict[str, str] = {}
        self.skipped: set[str] = set()
        self.wrong = 0
        self.samples = array("I", bytes(4 * _MOST))
        self.overhead, self.step = _floor.timer()

    # --- the machine ----------------------------------------------------------------------------

    def _steal_ticks(self) -> int:
        total = 0
        names = {f"cpu{cpu}" for cpu in self.cpus}
        for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
            fields = line.split()
            if fields[0] in names:
                total += int(fields[8])
        return total

    def _state(self, kind: str) -> None:
        spins = sorted(_floor.spin_loop() for _ in range(15))
        _say(
            kind,
            spin_least=spins[0],
            spin_median=spins[len(spins) // 2],
            spin_most=spins[-1],
            tsc=_floor.stamp(),
            wall_ns=time.monotonic_ns(),
            steal_ticks=self._steal_ticks(),
            timer_overhead=self.overhead,
            timer_step=self.step,
            compiler=f"Python {sys.version.split()[0]}, {_floor.COMPILER}",
            flags=_floor.FLAGS,
        )

    def _look(self) -> tuple[int, int]:
        """Return steal and involuntary switches so far, which take a while to read."""
        return self._steal_ticks(), resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw

    def _clocks(self, peer: Peer) -> tuple[int, int, int]:
        """Return wall time, our CPU time and the far end's."""
        return time.monotonic_ns(), time.process_time_ns(), costs.cpu_ns(peer.pids())

    def _around(
        self, peer: Peer, looked: tuple[int, int], clocks: tuple[int, int, int]
    ) -> dict[str, int]:
        """Return what has changed since."""
        wall, mine, far = (now - then for now, then in zip(self._clocks(peer), clocks, strict=True))
        steal, involuntary = (now - then for now, then in zip(self._look(), looked, strict=True))
        return {
            "wall_ns": wall,
            "cpu_ns": mine,
            # The kernel adds a spinning process's time to its clock only at the next tick.
            "peer_cpu_ns": wall if peer.spins else far,
            "steal_ticks": steal,
            "involuntary": involuntary,
        }

    def _place(self, peer: Peer, pinned: bool) -> None:
        """Put the caller on its CPU and the far end on another one, or both wherever they like."""
        _pin(os.getpid(), {self.cpus[0]} if pinned else self.allowed)
        for pid in peer.pids():
            _pin(pid, {self.cpus[-1]} if pinned else self.allowed)

    # --- peers ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start whoever is called or launched by a row, before anything is pinned."""
        names = {case.peer for case in self.cases}
        if any(case.info.cross for case in self.cases):
            names.add("bare")
        begun = {}
        for name, kind in (PEERS | OTHERS).items():
            reason = kind.missing()
            if name in names and reason is not None:
                self.absent[name] = reason
            elif name in names:
                begun[name] = kind(self.folder)
                begun[name].begin()
        for name, peer in begun.items():
            self.peers[name] = peer
            try:
                peer.start()
            except Exception as error:  # each package has errors of its own
                self.absent[name] = f"does not start: {type(error).__name__}: {error}"
                self.peers.pop(name).stop()

    def stop(self) -> None:
        """End every server, and let this process run anywhere again."""
        while self.peers:
            self.peers.popitem()[1].stop()
        _pin(os.getpid(), self.allowed)

    # --- blocks ---------------------------------------------------------------------------------

    def _why_not(self, case: Case) -> str | None:
        if case.peer in self.absent:
            return self.absent[case.peer]
        if case.info.cross and len(self.cpus) < 2:
            return "needs two CPUs, and this process may use one"
        if case.info.cross and "bare" in self.absent:
            return f"cannot be probed: the bare extension {self.absent['bare']}"
        return None

    def _probe(self) -> float:
        bare = self.peers["bare"]
        assert isinstance(bare, Bare)
        self._place(bare, pinned=True)
        found = bare.probe(self.probe_count)
        return float(statistics.median_grouped(found, interval=self.step))

    def _work(self, case: Case, peer: Peer) -> tuple[Callable[..., Any], Work]:
        """Return what a case calls."""
        if case.kind in ("map", "loop"):
            call: Callable[..., Any]
            if isinstance(peer, Executor):
                pool = peer.pool

                def call() -> list[Any]:
                    return list(pool.map(echo, LETTERS, chunksize=MANY))
            else:
                assert isinstance(peer, hot.Hotcalls)
                call = peer.map_many if case.kind == "map" else peer.call_many
            return call, Work("echo", [()], [LETTERS])
        todo = work(case.kind)
        return peer.calls[todo.function], todo

    def _warm_up(self, call: Callable[..., Any], todo: Work) -> tuple[int, int]:
        """Call until the median of a chunk no longer falls by 3 %.

        16 chunks bound it: where a neighbour keeps disturbing, it never settles. Returns how many
        calls fit in a block, and how many were wrong. A chunk begins with one call, which may have
        to wake the far end, and grows while it takes less than an eighth of a block.
        """
        block_ns = self.block_us * 1000
        chunk, wrong, least = 1, 0, block_ns
        last: int | None = None
        for _ in range(16):
            begin = time.perf_counter_ns()
            wrong += _floor.take(call, todo.arguments, todo.answers, self.samples, chunk)
            took = time.perf_counter_ns() - begin
            least = min(least, took // chunk + 1)
            if least * chunk * 4 <= block_ns // 8 and chunk < 64:
                chunk *= 4
                continue
            median = sorted(self.samples[:chunk])[chunk // 2]
            if last is not None and median >= last - last // 33:
                break
            last = median
        return min(max(block_ns // least, _LEAST), _MOST), wrong

    def _take_waiting(self, call: Callable[..., Any], todo: Work, peer: Peer) -> int:
        wrong = 0
        view = memoryview(self.samples)
        for i in range(_WOKEN):
            if isinstance(peer, hot.Hotcalls):
                peer.pause()
            time.sleep(_SLEEP_S)
            wrong += _floor.take(call, todo.arguments, todo.answers, view[i : i + 1], 1, i)
        return wrong

    def _block(self, case: Case, number: int) -> None:
        peer, name = self.peers[case.peer], case.info.name
        before = self._probe() if case.info.cross else 0.0
        self._place(peer, case.pinned)
        call, todo = self._work(case, peer)
        peer.prepare(todo.function)
        if case.waits:
            count, wrong = _WOKEN, 0
            looked, clocks = self._look(), self._clocks(peer)
            wrong = self._take_waiting(call, todo, peer)
        else:
            count, wrong = self._warm_up(call, todo)
            looked = self._look()
            if peer.spins:
                peer.rouse()
                few = min(count, _ROUSED)
                wrong += _floor.take(call, todo.arguments, todo.answers, self.samples, few)
            clocks = self._clocks(peer)
            wrong += _floor.take(call, todo.arguments, todo.answers, self.samples, count)
        around = self._around(peer, looked, clocks)
        peer.pause()
        after = self._probe() if case.info.cross else 0.0
        with (self.folder / f"{name}.u32").open("ab") as file:
            offset = file.tell() // 4
            file.write(memoryview(self.samples)[:count])
        self.wrong += wrong
        _say(
            "block",
            row=name,
            round=number,
            offset=offset,
            count=count,
            probe_before=before,
            probe_after=after,
            reference_before=0.0,
            reference_after=0.0,
            **around,
            checked=count,
            wrong=wrong,
            fault=None,
        )

    def _values(self, case: Case) -> None:
        peer = self.peers[case.peer]
        span_s = 1.0 if self.full else 0.25
        if case.kind == "launch":
            place = self.folder / case.info.name
            place.mkdir()
            values, checked = costs.launch(PEERS[case.peer], place, 5 if self.full else 2)
        elif case.kind == "cpu":
            values, checked = costs.cpu(peer, span_s / 2)
        else:
            assert isinstance(peer, hot.Hotcalls)
            if case.kind == "idle":
                values, checked = costs.idle(peer, span_s * 2)
            else:
                values, checked = costs.threads(span_s / 4, 8 if self.full else 4)
        _say("values", row=case.info.name, wrong=0, checked=checked, **values)

    def _run(self, case: Case, number: int) -> None:
        name = case.info.name
        if name in self.skipped:
            return
        reason = self._why_not(case)
        if reason is not None:
            self.skipped.add(name)
            _say("skip", row=name, reason=reason)
        elif case.info.values:
            self._place(self.peers[case.peer], pinned=False)
            self._values(case)
        else:
            self._block(case, number)

    def run(self) -> None:
        """Measure, and write everything down."""
        self.start()
        self._state("start")
        # Rows that run once go last: a launch or an idle second between blocks disturbs pairs.
        for once in (False, True):
            order = [case for case in self.cases if case.info.once == once]
            for number in range(1 if once else self.rounds):
                self.random.shuffle(order)
                for case in order:
                    self._run(case, number)
        self._state("end")


def main(arguments: list[str]) -> int:
    """Run a worker as its command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m hotcalls.bench.python")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--cpus", type=lambda text: [int(cpu) for cpu in text.split(",")])
    parser.add_argument("--rows", type=lambda text: text.split(","), default=list(CASES))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--block-us", type=int, default=2000)
    parser.add_argument("--probe", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--full", action="store_true")
    given = parser.parse_args(arguments)
    if given.list:
        for case in CASES.values():
            _say("row", **asdict(case.info))
        return 0
    if given.out is None or given.cpus is None:
        parser.error("--out and --cpus are needed")
    unknown = [name for name in given.rows if name not in CASES]
    if unknown:
        parser.error(f"no row is called `{unknown[0]}`; see --list")
    worker = Worker(
        given.out,
        given.cpus,
        [CASES[name] for name in given.rows],
        given.rounds,
        given.block_us,
        given.probe,
        given.seed,
        given.full,
    )
    try:
        worker.run()
    except (HotcallsError, OSError, EOFError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    finally:
        worker.stop()
    return 3 if worker.wrong else 0
