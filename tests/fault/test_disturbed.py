# SPDX-License-Identifier: Apache-2.0
"""One side is stopped for a second, or moved to other processors, in the middle of calls.

It is late then, and nothing else: each call is run once and answered once.
"""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import native
from hotcalls.apps import launcher

HERE = Path(__file__).resolve().parent
#: Longer than everybody's spinning and than what `idle=` is by default.
STOP_SECONDS = 1.0
MOVES = 40
ADDER = """
import hotcalls

total = 0


@hotcalls.ocall
def audit(event: str) -> None: ...


@hotcalls.ecall
def add(n: int) -> int:
    global total
    audit("added something")
    total += n
    return total
"""


@contextmanager
def calling(what: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Have a host that calls; gives it and its enclave's pid."""
    host = subprocess.Popen(
        [sys.executable, str(HERE / "disturbed.py"), what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert host.stdout is not None
        yield host, int(host.stdout.readline())
    finally:
        host.kill()
        host.communicate()


def calls_of(host: subprocess.Popen[str]) -> int:
    """Let it end; return how many calls were made."""
    output, errors = host.communicate("\n", timeout=60)
    assert host.returncode == 0, errors
    return int(output)


def stopped(pid: int) -> None:
    """Keep a process from running for a while."""
    os.kill(pid, signal.SIGSTOP)
    time.sleep(STOP_SECONDS)
    os.kill(pid, signal.SIGCONT)


def moved(pid: int, cores: set[int]) -> None:
    """Let all threads of a process run on these only; a thread may end meanwhile."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread), cores)


@pytest.fixture
def adder(tmp_path: Path, enclaves: dict[str, str], kind: str) -> str:
    """The file of an enclave that counts."""
    if kind == "c":
        return enclaves["c"]
    (tmp_path / "counter.py").write_text(ADDER)
    return str(tmp_path / "counter.py")


@pytest.mark.claim("P-FAULTS")
@pytest.mark.parametrize("kind", ["c", "python"])
class TestDisturbed:
    def test_stopped_side_is_late_and_nothing_is_lost(
        self, adder: str, record_property: Callable[[str, object], None]
    ) -> None:
        with calling(adder) as (host, enclave):
            for pid in (enclave, host.pid):
                stopped(pid)
            calls = calls_of(host)
        assert calls > 0
        record_property("count:calls of stopped sides", calls)

    def test_change_of_processors_in_the_middle_of_calls_loses_nothing(
        self, adder: str, record_property: Callable[[str, object], None]
    ) -> None:
        cores = sorted(os.sched_getaffinity(0))
        with calling(adder) as (host, enclave):
            for n in range(MOVES):
                # Together on one, apart, and changed over.
                moved(enclave, {cores[n % len(cores)]})
                moved(host.pid, {cores[n // 2 % len(cores)]})
                time.sleep(0.01)
            calls = calls_of(host)
        assert calls > 0
        record_property("count:calls of moved sides", calls)


@contextmanager
def echoing(mode: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Have `cat` under ``hotcalls run`` give back what it reads; gives H and the program's pid."""
    command = [str(launcher.host_path()), "--mode", mode, "--", "/bin/cat", "cat"]
    host = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert host.stdin is not None
        assert host.stdout is not None
        host.stdin.write("begins\n")
        host.stdin.flush()
        assert host.stdout.readline() == "begins\n"
        yield host, int(Path(f"/proc/{host.pid}/task/{host.pid}/children").read_text())
    finally:
        host.kill()
        host.communicate()


class Lines:
    """Writes lines to it and checks that each comes back once and in turn, until told to end."""

    def __init__(self, host: subprocess.Popen[str]) -> None:
        self.host, self.sent, self.over = host, 0, threading.Event()
        self.wrong = ""
        self.thread = threading.Thread(target=self.go, daemon=True)
        self.thread.start()

    def go(self) -> None:
        assert self.host.stdin is not None
        assert self.host.stdout is not None
        while not self.over.is_set() and not self.wrong:
            self.host.stdin.write(f"{self.sent}\n")
            self.host.stdin.flush()
            came = self.host.stdout.readline()
            self.wrong = "" if came == f"{self.sent}\n" else f"{self.sent}: {came!r}"
            self.sent += 1

    def end(self) -> int:
        """Let it end; return how many lines there were."""
        self.over.set()
        self.thread.join(60)
        assert not self.thread.is_alive()
        assert self.wrong == ""
        rest, _ = self.host.communicate(timeout=60)
        assert (self.host.returncode, rest) == (0, "")
        return self.sent


@pytest.mark.claim("P-FAULTS")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="hotcalls run needs x86-64")
@pytest.mark.parametrize("mode", native.some(["hot", "switch"], every=2))
def test_program_and_host_process_that_are_stopped_and_moved_lose_nothing(
    mode: str, record_property: Callable[[str, object], None]
) -> None:
    cores = sorted(os.sched_getaffinity(0))
    with echoing(mode) as (host, program):
        lines = Lines(host)
        for pid in (host.pid, program):
            before = lines.sent
            stopped(pid)
            # It was in the middle of calls, and goes on.
            deadline = time.monotonic() + 60
            while lines.sent <= before + 1:
                assert time.monotonic() < deadline
                time.sleep(0.001)
        record_property("count:calls of stopped sides", lines.sent)
        for n in range(MOVES):
            moved(program, {cores[n % len(cores)]})
            moved(host.pid, {cores[n // 2 % len(cores)]})
            time.sleep(0.01)
        record_property("count:calls of moved sides", lines.end())
