# SPDX-License-Identifier: Apache-2.0
"""What a program under ``hotcalls run`` tries by way of the calls that its enclave makes natively,
or that its host process would make for it: with arguments that would hurt another process, from an
instruction of its own and from the shim's."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import enclosed
import pytest

WAYS = ("own", "gate")
#: What reaches the victim when nothing is in the way. Of madvise the kernel may know nothing.
MADVISE = {"madvise, MADV_HWPOISON", "madvise, MADV_SOFT_OFFLINE"}
#: PR_GET_… of a value, of what is native: whose answer is the program's own business; and what is
#: accepted because it changes nothing (the state is looked at from outside, test_looks.py).
HARMLESS_PRCTL = {1, 3, 4, 7, 8, 21, 23, 24, 29, 30, 38, 39, 0x59616D61, 0x53564D41}


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    """Another process of the same user, in a group of its own."""
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def state_of(process: subprocess.Popen[bytes]) -> tuple[object, ...]:
    """What others could have changed about it."""
    pid = process.pid
    return (
        process.poll(),
        os.sched_getaffinity(pid),
        os.sched_getscheduler(pid),
        os.getpriority(os.PRIO_PROCESS, pid),
        Path(f"/proc/{pid}/limits").read_text(),
    )


def results(text: str) -> dict[str, int]:
    lines = text.splitlines()
    assert lines.pop() == "tried"
    return {what: int(result) for what, result in (line.rsplit(": ", 1) for line in lines)}


def test_these_attempts_work_from_an_ordinary_program(victim: subprocess.Popen[bytes]) -> None:
    before = state_of(victim)
    done = enclosed.run(
        [enclosed.program("reach"), "own", str(victim.pid)], env={**os.environ, "OUTSIDE": "1"}
    )
    found = results(done.stdout)
    assert {what: came for what, came in found.items() if what not in MADVISE and came != 0} == {}
    assert {found[what] for what in MADVISE} <= {0, -errno.EINVAL, -errno.EPERM}
    assert state_of(victim) != before


@pytest.mark.claim("D-BOUNDARY", "D-DEPUTY")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", enclosed.MODES)
def test_no_other_process_is_reached_and_none_is_made(
    mode: str,
    way: str,
    victim: subprocess.Popen[bytes],
    record_property: pytest.RecordProperty,
) -> None:
    before = state_of(victim)
    done = enclosed.run(enclosed.inside(mode, enclosed.program("reach"), way, str(victim.pid)))
    assert done.returncode == 0, done.stderr
    found = results(done.stdout)
    record_property("count:attempts on other processes", len(found))
    assert state_of(victim) == before
    others = {what: found.pop(what) for what in list(found) if "prctl" not in what
              and "PR_" not in what and not what.startswith("clone")}  # fmt: skip
    # By our tables, not by the kernel for a reason of its own.
    assert others.pop("tkill") == -errno.ESRCH
    assert {what: came for what, came in others.items() if came != -errno.EPERM} == {}
    clones = [came for what, came in found.items() if what.startswith("clone")]
    assert len(clones) == 130
    assert set(clones) == {-errno.ENOSYS}
    controls = {what: came for what, came in found.items() if what.startswith("prctl ")}
    assert len(controls) == 128
    taken = {int(what.split()[1]) for what, came in controls.items() if came != -errno.EINVAL}
    assert taken <= HARMLESS_PRCTL


@pytest.mark.claim("D-DEPUTY")
def test_whether_a_process_is_there_may_be_asked(victim: subprocess.Popen[bytes]) -> None:
    """As daemons do of their pid file: with the answers of the kernel, and no signal."""
    ask = (
        "import os, sys\n"
        "for pid, number in (*((sys.argv[1], n) for n in (0, 15, 65)), (4194304, 0)):\n"
        "    try:\n"
        "        os.kill(int(pid), number)\n"
        "        print(0)\n"
        "    except OSError as error:\n"
        "        print(error.errno)\n"
    )
    done = enclosed.run(enclosed.inside("switch", sys.executable, "-c", ask, str(victim.pid)))
    expected = [0, errno.EPERM, errno.EINVAL, errno.ESRCH]
    assert [int(line) for line in done.stdout.split()] == expected, done.stderr
    assert victim.poll() is None
