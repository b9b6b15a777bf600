# SPDX-License-Identifier: Apache-2.0
"""When the host process polls for calls, when it sleeps, and who helps when it lost its core.

Counts of what happened, never times: a loaded machine makes a program slower than it meant to be,
and bounds here hold for every slower one.
"""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import enclosed
import pytest

from hotcalls.apps import stats
from hotcalls.apps.evaluate.processes import children

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64" or len(os.sched_getaffinity(0)) < 2,
    reason="hotcalls run polls on x86-64 with two processors",
)
#: native/shim_call.c: so many calls in a row, or so many events at once, wake the leader.
ROW_CALLS, READY_MANY = 16, 8
#: So often at most is tried what a loaded machine may delay.
ROUNDS = 8


def line(kept: Path, *words: str) -> list[str]:
    return [
        sys.executable, "-m", "hotcalls.cli", "run", "--stats-file", str(kept), "--",
        enclosed.program("pace"), *words,
    ]  # fmt: skip


def paced(tmp_path: Path, *words: str) -> stats.Stats:
    kept = tmp_path / "stats"
    done = enclosed.run(line(kept, *words))
    assert done.returncode == 0, done.stderr
    return stats.decode(kept.read_bytes())


def test_calls_that_come_rarely_are_not_polled_for(tmp_path: Path) -> None:
    counted = paced(tmp_path, "calls", "300", "2000")
    assert counted.calls["read"].count >= 300
    # Starting makes a burst of its own, after which polling goes on for a moment.
    assert counted.calls["read"].hot <= 30
    others = sum(call.switch for call in counted.calls.values())
    assert counted.sleeps <= 2 + (others - counted.calls["read"].switch) // ROW_CALLS


def test_each_wake_of_the_polling_thread_is_earned_by_a_row_of_calls(tmp_path: Path) -> None:
    # To fall asleep, the polling thread needs the processor, which others may have.
    for _ in range(ROUNDS):
        counted = paced(tmp_path, "bursts", "40", "3000", "200")
        switched = sum(call.switch for call in counted.calls.values())
        assert counted.calls["read"].count >= 8000
        assert counted.sleeps <= 1 + switched // ROW_CALLS
        if counted.sleeps >= 1:
            break
    assert counted.sleeps >= 1


def test_many_events_at_once_wake_the_polling_thread_before_the_calls_come(tmp_path: Path) -> None:
    few = many = 0
    # On a loaded machine a thread that was woken may get no processor before the next events.
    for _ in range(ROUNDS):
        few += paced(tmp_path, "events", "60", "5000", str(READY_MANY - 1)).sleeps
        many += paced(tmp_path, "events", "60", "5000", str(2 * READY_MANY)).sleeps
        if many >= few + 10:
            break
    # At 200 calls a second nothing but the number of events can have woken it.
    assert many >= few + 10


def thread_named(pid: int, name: str) -> int:
    # A thread gives itself its name, when it first gets the processor.
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                if (task / "comm").read_text().strip() == name:
                    return int(task.name)
        time.sleep(0.01)
    raise AssertionError(f"process {pid} has no thread {name}")


def test_calls_go_on_beside_a_polling_thread_that_lost_its_core(tmp_path: Path) -> None:
    kept = tmp_path / "stats"
    with subprocess.Popen(
        line(kept, "for", "300"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as host:
        assert host.stdin is not None
        assert host.stdout is not None
        assert host.stdout.readline() == "ready\n"
        (program,) = children(host.pid)
        core = {min(os.sched_getaffinity(0))}
        os.sched_setaffinity(program, core)
        os.sched_setaffinity(thread_named(host.pid, "hc-leader"), core)
        host.stdin.write("go\n")
        host.stdin.flush()
        said = host.stdout.readline()
        assert host.wait(60) == 0
    calls = int(said.split()[-1])
    counted = stats.decode(kept.read_bytes())
    # Every one of them was made once, whoever made it.
    assert counted.calls["read"].count >= calls > 0
    assert counted.calls["read"].switch > 0
