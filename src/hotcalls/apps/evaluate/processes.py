# SPDX-License-Identifier: Apache-2.0
"""Servers and clients as processes: starting and ending them, and what CPU time they used.

Host side; reads /proc, trusts the kernel. Ends only what it started: a server's processes are
those that descend from the one that was started here.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hotcalls.apps.evaluate.errors import EvaluateError

#: A server that does not answer after so long will not.
READY_S = 15.0
_END_S = 5.0
#: clockid of a process's CPU time: see clock_getcpuclockid(3), which Python does not offer.
_SCHED_CLOCK = 2


def children(pid: int) -> list[int]:
    """Return the children of all threads of a process."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(word) for word in path.read_text().split()]
    return sorted(found)


def descendants(pid: int) -> list[int]:
    """Return all processes that descend from `pid`, without itself."""
    found: list[int] = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


def cpu_ns(pid: int) -> int:
    """Return the CPU time of a process in ns, ended threads included; 0 when it is gone."""
    try:
        return time.clock_gettime_ns((~pid << 3) | _SCHED_CLOCK)
    except OSError:
        return 0


class Ticks:
    """Share of the time of all CPUs that was stolen since this was made."""

    def __init__(self) -> None:
        self._begin = self._read()

    @staticmethod
    def _read() -> tuple[int, int]:
        words = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
        numbers = [int(word) for word in words]
        return numbers[7], sum(numbers)

    def steal(self) -> float:
        """Return the share, between 0 and 1."""
        stolen, total = self._read()
        passed = total - self._begin[1]
        return (stolen - self._begin[0]) / passed if passed > 0 else 0.0


@dataclass
class Started:
    """A server that runs, in some mode.

    Parameters
    ----------
    name
        For messages.
    process
        What was started: the server itself, or the host of its enclave.
    log
        Where its output goes.
    enclosed
        Whether `process` is a host, and the program one of its descendants.
    others
        Processes that belong to it besides: the far end of a tunnel.
    """

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    enclosed: bool
    others: Mapping[str, int] = field(default_factory=dict)

    def parties(self) -> dict[str, list[int]]:
        """Return every process of the server's side by its role."""
        below = descendants(self.process.pid)
        if not self.enclosed:
            roles = {"program": [self.process.pid, *below]}
        else:
            roles = {"host": [self.process.pid], "program": below}
        return {**roles, **{role: [pid] for role, pid in self.others.items()}}

    def program(self) -> list[int]:
        """Return the processes of the program itself."""
        return self.parties()["program"]

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU seconds so far of each role."""
        return {
            role: sum(cpu_ns(pid) for pid in pids) / 1e9 for role, pids in self.parties().items()
        }

    def last_words(self) -> str:
        """Return the last lines that it wrote, on one line."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return " | ".join(lines[-3:]) or "(it said nothing)"

    def check(self) -> None:
        """Raise `EvaluateError` when it has ended."""
        status = self.process.poll()
        if status is not None:
            raise EvaluateError(f"{self.name} ended with status {status}: {self.last_words()}")

    def wait_ready(self, ready: Callable[[], bool]) -> None:
        """Wait until `ready` says so.

        Raises
        ------
        EvaluateError
            When it ends first, or is not ready within `READY_S`.
        """
        deadline = time.monotonic() + READY_S
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise EvaluateError(
                    f"{self.name} was not ready after {READY_S:g} s: {self.last_words()}"
                )
            time.sleep(0.02)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started here: first kindly, then for certain, its children too."""
    # By descriptor: a number could be somebody else's by the time it is used.
    below: list[int] = []
    for pid in descendants(process.pid) if process.poll() is None else []:
        with contextlib.suppress(OSError):
            below.append(os.pidfd_open(pid))
    try:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            # One that a measurement left stopped would not notice.
            process.send_signal(signal.SIGCONT)
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        deadline = time.monotonic() + 1.0
        for descriptor in below:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([descriptor], [], [], left)[0]:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    finally:
        for descriptor in below:
            os.close(descriptor)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold SIGINT back: raised in the middle of Popen, it would leave a child that nobody knows."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if held:
            signal.raise_signal(signal.SIGINT)


@contextlib.contextmanager
def running(
    name: str,
    command: Sequence[str],
    log: Path,
    *,
    enclosed: bool,
    environment: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> Iterator[Started]:
    """Run a server for as long as the context lasts."""
    process: subprocess.Popen[bytes] | None = None
    try:
        with log.open("wb") as output, _uninterrupted():
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
                env={**os.environ, **(environment or {})},
                pass_fds=pass_fds,
            )
        yield Started(name, process, log, enclosed)
    finally:
        if process is not None:
            end(process)


@contextlib.contextmanager
def pinned(pids: Sequence[int], cpus: set[int] | None) -> Iterator[None]:
    """Pin every thread of `pids` to `cpus` for a while; None leaves all of them where they are.

    Afterwards each thread may run where it could before: a runtime pins some by itself.
    """
    before: dict[int, set[int]] = {}
    for pid in pids if cpus is not None else ():
        for task in Path(f"/proc/{pid}/task").iterdir():
            # A thread that has just ended is none.
            with contextlib.suppress(ProcessLookupError):
                before[int(task.name)] = os.sched_getaffinity(int(task.name))
                os.sched_setaffinity(int(task.name), cpus or set())
    try:
        yield
    finally:
        for thread, allowed in before.items():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(thread, allowed)


def run_client(
    command: Sequence[str], *, timeout: float, cpu: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a client to its end.

    Raises
    ------
    EvaluateError
        When it fails or takes longer than `timeout` seconds; has its last words.
    """
    pinned = [] if cpu is None else ["taskset", "-c", str(cpu)]
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            [*pinned, *command], capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise EvaluateError(f"{name} did not end within {timeout:g} s") from error
    except FileNotFoundError as error:
        raise EvaluateError(f"{error.filename} is not installed") from error
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["(it said nothing)"]
        raise EvaluateError(f"{name} ended with status {done.returncode}: {words[0]}")
    return done


def children_cpu_s() -> float:
    """Return the CPU seconds of all children of this process that have been waited for."""
    times = os.times()
    return times.children_user + times.children_system
