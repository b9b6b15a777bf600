# SPDX-License-Identifier: Apache-2.0
"""One side is stopped for a second, or moved to other processors, in the middle of calls.

It is late then, and nothing else: each call is run once and answered once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

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
    output, errors = host.communicate("\n", timeout=30)
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
