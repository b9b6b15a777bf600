# SPDX-License-Identifier: Apache-2.0
"""Runs the C worker: several fresh processes, rows interleaved in an order drawn anew.

Host side. One process of the worker is one repetition. Trusts the worker's output, which is our
own program's.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import json
import os
import random
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hotcalls.bench.errors import BenchError, WrongResultError
from hotcalls.bench.stats import Samples

#: A worker that says nothing for so long hangs: the longest row is bounded by far less.
SILENCE_S = 120.0


@dataclass(frozen=True)
class Plan:
    """How much to measure.

    Parameters
    ----------
    processes
        Fresh processes, one after the other.
    rounds
        Blocks of every row in each process.
    block_us
        How long a block should last, in microseconds.
    probe
        Round trips of the bare mailbox before and after each block.
    seed
        Draws the seeds of the processes, and so the order of the rows.
    full
        Whether the rows that run once take their long form.
    """

    processes: int
    rounds: int
    block_us: int
    probe: int
    seed: int
    full: bool

    def seeds(self) -> list[int]:
        """Return a seed for each process."""
        rng = random.Random(self.seed)  # noqa: S311 (an order, not a secret)
        return [rng.getrandbits(63) for _ in range(self.processes)]


def quick(seed: int) -> Plan:
    """Return the plan that ends within 20 seconds."""
    return Plan(processes=2, rounds=5, block_us=2000, probe=300, seed=seed, full=False)


def full(seed: int) -> Plan:
    """Return the plan whose figures may be quoted."""
    return Plan(processes=5, rounds=24, block_us=4000, probe=500, seed=seed, full=True)


@dataclass(frozen=True)
class RowInfo:
    """What the worker says of one of its rows (`native/bench.h`, struct bench_row)."""

    name: str
    group: str
    title: str
    cold: str | None
    reference: str | None
    note: str | None
    cross: bool
    once: bool
    enclave: bool
    values: bool
    cpu: bool
    batch: int
    size: int


@dataclass(frozen=True)
class Block:
    """One block of one row, with what surrounded it."""

    process: int
    round: int
    samples: Samples
    probe_before: float
    probe_after: float
    reference_before: float
    reference_after: float
    wall_ns: int
    cpu_ns: int
    peer_cpu_ns: int
    steal_ticks: int
    involuntary: int
    checked: int


@dataclass(frozen=True)
class State:
    """The machine at the beginning or the end of a process."""

    spin_least: float
    spin_median: float
    tsc: int
    wall_ns: int
    steal_ticks: int
    timer_overhead: float
    timer_step: int
    compiler: str
    flags: str


@dataclass
class Run:
    """Everything that was measured, before any statistics."""

    plan: Plan
    cpus: list[int]
    rows: list[RowInfo]
    blocks: dict[str, list[Block]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    values: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    #: Results that the rows without samples checked.
    checked: dict[str, int] = field(default_factory=dict)
    states: list[tuple[State, State]] = field(default_factory=list)
    load: float = 0.0
    duration_s: float = 0.0

    def tsc_hz(self) -> float:
        """Return the rate of the counter, over the whole of each process."""
        first = [end.tsc - start.tsc for start, end in self.states]
        wall = [end.wall_ns - start.wall_ns for start, end in self.states]
        return sum(first) / sum(wall) * 1e9


def worker_path() -> Path:
    """Return the worker that was built with this package.

    Raises
    ------
    BenchError
        When there is none: the package was installed without its compiled part.
    """
    path = Path(str(importlib.resources.files("hotcalls") / "bin" / "hotcalls-bench-worker"))
    if not path.is_file():
        raise BenchError(f"{path} is missing: install hotcalls with `make build` or from a wheel")
    return path


def enclave_path() -> Path | None:
    """Return the benchmark enclave that was built with this package, or None without one."""
    path = Path(str(importlib.resources.files("hotcalls") / "bench" / "bench.enclave.so"))
    return path if path.is_file() else None


#: The worker: a program, or a command line that begins with one.
Program = Path | Sequence[str]


def _command(worker: Program) -> list[str]:
    return [str(worker)] if isinstance(worker, Path) else list(worker)


def list_rows(worker: Program) -> list[RowInfo]:
    """Return the rows that the worker knows, in the order of the table."""
    command = [*_command(worker), "--list"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        raise BenchError(f"{' '.join(command)} failed: {error.stderr.strip()}") from error
    rows = []
    for line in done.stdout.splitlines():
        fields = json.loads(line)
        del fields["type"]
        rows.append(RowInfo(**fields))
    return rows


def select(rows: Sequence[RowInfo], wanted: Iterable[str]) -> list[RowInfo]:
    """Return the rows that `wanted` names: by name, by group, or by the beginning of a name.

    What a chosen row is compared with in the report (its reference, the floor, the system call)
    is not added: the worker probes references and the floor by itself.

    Raises
    ------
    BenchError
        When a word names nothing; lists what there is.
    """
    chosen: set[str] = set()
    for word in wanted:
        found = {
            row.name
            for row in rows
            if word in (row.name, row.group)
            or (word.endswith("*") and row.name.startswith(word[:-1]))
        }
        if not found:
            groups = ", ".join(dict.fromkeys(row.group for row in rows))
            names = ", ".join(row.name for row in rows)
            raise BenchError(
                f"no row is called `{word}`; there are the groups {groups}; the rows {names}; "
                "and `call*` means all that begin so"
            )
        chosen |= found
    return [row for row in rows if row.name in chosen]


def _state(event: dict[str, Any]) -> State:
    names = State.__dataclass_fields__
    return State(**{name: event[name] for name in names})


def _wrong(event: dict[str, Any]) -> WrongResultError:
    return WrongResultError(event["row"], event["wrong"], event["checked"], event.get("fault"))


class _Worker:
    """One process of the worker: feeds its lines into a run."""

    def __init__(
        self, run: Run, process: int, folder: Path, advance: Callable[[str], None]
    ) -> None:
        self.run = run
        self.process = process
        self.folder = folder
        self.advance = advance
        self.start: State | None = None
        self.samples: dict[str, Samples] = {}
        self.pending: list[dict[str, Any]] = []

    def feed(self, event: dict[str, Any]) -> None:
        """Take one line."""
        kind = event["type"]
        if kind == "start":
            self.start = _state(event)
        elif kind == "end":
            if self.start is not None:
                self.run.states.append((self.start, _state(event)))
        elif kind == "skip":
            self.run.skipped[event["row"]] = event["reason"]
            self.advance(event["row"])
        elif kind == "values":
            if event["wrong"]:
                raise _wrong(event)
            name = event["row"]
            values = {
                key: float(value)
                for key, value in event.items()
                if key not in ("type", "row", "wrong", "checked", "fault")
            }
            self.run.values.setdefault(name, []).append(values)
            self.run.checked[name] = self.run.checked.get(name, 0) + event["checked"]
            self.advance(event["row"])
        elif kind == "block":
            if event["wrong"]:
                raise _wrong(event)
            self.pending.append(event)
            self.advance(event["row"])

    def collect(self) -> None:
        """Read the samples of every block, once the worker has ended."""
        for event in self.pending:
            name = event["row"]
            if name not in self.samples:
                self.samples[name] = np.fromfile(self.folder / f"{name}.u32", dtype="<u4")
            first = event["offset"]
            block = Block(
                process=self.process,
                samples=self.samples[name][first : first + event["count"]],
                **{
                    key: event[key]
                    for key in Block.__dataclass_fields__
                    if key not in ("process", "samples")
                },
            )
            self.run.blocks.setdefault(name, []).append(block)


def _threads(pid: int) -> str:
    """What the threads of a process do: for each its name, its state and the processor seconds."""
    told = []
    for task in sorted(Path(f"/proc/{pid}/task").glob("*")):
        with contextlib.suppress(OSError):
            name, fields = (task / "stat").read_text().partition("(")[2].rsplit(")", 1)
            state, ticks = fields.split()[0], sum(map(int, fields.split()[11:13]))
            told.append(f"{name} {state} {ticks / os.sysconf('SC_CLK_TCK'):.1f} s")
    return ", ".join(told)


def _run_worker(command: list[str], worker: _Worker) -> None:
    """Start one worker and feed its lines.

    Raises
    ------
    BenchError
        When it fails, is killed, or says nothing for `SILENCE_S`.
    """
    silent = threading.Event()
    last_row = threads = ""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process:

            def give_up() -> None:
                nonlocal threads
                threads = _threads(process.pid)
                silent.set()
                process.kill()

            assert process.stdout is not None
            try:
                while True:
                    watchdog = threading.Timer(SILENCE_S, give_up)
                    watchdog.daemon = True
                    watchdog.start()
                    line = process.stdout.readline()
                    watchdog.cancel()
                    if not line:
                        break
                    event = json.loads(line)
                    last_row = event.get("row", last_row)
                    worker.feed(event)
            except BaseException:
                process.kill()
                raise
        if silent.is_set():
            raise BenchError(
                f"the worker said nothing for {SILENCE_S:g} s and was killed, "
                f"{f'after {last_row}' if last_row else 'before its first row'}; "
                f"its threads: {threads or 'none'}"
            )
        if process.returncode != 0:
            errors.seek(0)
            last = errors.read().strip().splitlines()[-1:] or ["(it said nothing)"]
            how = (
                f"was killed by signal {-process.returncode}"
                if process.returncode < 0
                else f"exited with status {process.returncode}"
            )
            raise BenchError(f"the worker {how}: {last[0]}")


def steps(plan: Plan, rows: Sequence[RowInfo]) -> int:
    """Return how many blocks a run takes at most: the length of a progress bar."""
    return plan.processes * sum(1 if row.once else plan.rounds for row in rows)


def measure(
    worker: Program,
    plan: Plan,
    rows: Sequence[RowInfo],
    cpus: list[int],
    enclave: Path | None,
    advance: Callable[[str], None],
) -> Run:
    """Run the worker `plan.processes` times.

    Parameters
    ----------
    worker
        The program.
    plan
        How much to measure.
    rows
        What to measure.
    cpus
        CPU of the requester and of the responder; one alone when nothing can cross.
    enclave
        The benchmark enclave; without one, rows that need it are skipped with the reason.
    advance
        Called with the name of a row after each of its blocks.

    Returns
    -------
    Run
        All samples.

    Raises
    ------
    BenchError
        When a worker fails, or a result was wrong (`WrongResultError`).
    """
    run = Run(plan=plan, cpus=cpus, rows=list(rows), load=os.getloadavg()[0])
    begin = time.monotonic()
    for number, seed in enumerate(plan.seeds()):
        with tempfile.TemporaryDirectory(prefix="hotcalls-bench-") as folder:
            command = [
                *_command(worker),
                f"--out={folder}",
                f"--cpus={','.join(map(str, cpus))}",
                f"--rows={','.join(row.name for row in rows)}",
                f"--rounds={plan.rounds}",
                f"--block-us={plan.block_us}",
                f"--probe={plan.probe}",
                f"--seed={seed}",
            ]
            if enclave is not None:
                command.append(f"--enclave={enclave}")
            if plan.full:
                command.append("--full")
            process = _Worker(run, number, Path(folder), advance)
            _run_worker(command, process)
            process.collect()
    run.duration_s = time.monotonic() - begin
    return run


def save_raw(run: Run, path: Path) -> None:
    """Write every sample and every block to an ``.npz`` file.

    For each row two arrays: ``ROW`` (cycles of each sample, 32 bits) and ``ROW.blocks`` (one
    record for each block: process, round, first sample, samples, probes, CPU time, steal).
    """
    arrays: dict[str, Any] = {}
    for name, blocks in run.blocks.items():
        arrays[name] = np.concatenate([block.samples for block in blocks])
        counts = [len(block.samples) for block in blocks]
        firsts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        columns = [key for key in Block.__dataclass_fields__ if key not in ("samples",)]
        arrays[f"{name}.blocks"] = np.array(
            [
                (first, count, *(getattr(block, key) for key in columns))
                for first, count, block in zip(firsts, counts, blocks, strict=True)
            ],
            dtype=[("first", "i8"), ("count", "i8")]
            + [(key, "f8" if "probe" in key or "reference" in key else "i8") for key in columns],
        )
    np.savez_compressed(path, **arrays)
