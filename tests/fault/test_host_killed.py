# SPDX-License-Identifier: Apache-2.0
"""A host that is killed, at any step of a call or of a launch, takes its enclave with it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import native

HERE = Path(__file__).resolve().parent
STEPS = ["idle", "hot", "switched", "inside", "ocall", "pipelined"]
#: The enclave polls a pidfd of its host, so it ends as soon as it is scheduled.
SOON = 60.0


def start(step: str) -> subprocess.Popen[str]:
    program = native.build(
        "host_victim", [HERE / "host_victim.c", *native.sources(*native.HOST)], native.PLAIN
    )
    environment = {
        **os.environ,
        "FAULT_IMAGE": str(native.build_enclave(HERE / "fault_enclave.c")),
        "HOTCALLS_LOADER": str(native.build_loader()),
    }
    return subprocess.Popen([program, step], stdout=subprocess.PIPE, text=True, env=environment)


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie that init has not reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill(host: subprocess.Popen[str]) -> None:
    host.kill()
    host.wait()
    assert host.returncode == -signal.SIGKILL
    assert host.stdout is not None
    host.stdout.close()


@pytest.mark.claim("P-DEATH")
@pytest.mark.parametrize("step", STEPS)
def test_enclave_ends_with_its_killed_host(step: str) -> None:
    host = start(step)
    assert host.stdout is not None
    pid = int(host.stdout.readline())
    assert alive(pid)
    kill(host)
    end = time.monotonic() + SOON
    while alive(pid):
        assert time.monotonic() < end, f"the enclave outlives its host, killed while {step}"
        time.sleep(0.002)


@pytest.mark.claim("P-DEATH")
def test_host_killed_while_launching_leaves_no_enclave() -> None:
    """What is left would be found by the fixture that looks after each module."""
    chance = random.Random(20250105)
    for _ in range(25):
        host = start("launching")
        assert host.stdout is not None
        assert host.stdout.readline() == "0\n"
        time.sleep(chance.uniform(0, 0.03))
        kill(host)


#: Code of the user's that never returns, while the host waits for the enclave to be ready.
ENDLESS = """
import os
import hotcalls

@hotcalls.startup
def start():
    print(os.getpid(), flush=True)
    {what}

@hotcalls.ecall
def never() -> None: ...
"""


@pytest.mark.claim("P-DEATH")
@pytest.mark.parametrize(
    "what", ["while True: pass", "import signal; signal.pause()"], ids=["busy", "asleep"]
)
def test_enclave_that_never_starts_ends_with_its_killed_host(tmp_path: Path, what: str) -> None:
    """Nobody in it looks after the host yet: the kernel does."""
    module = tmp_path / "endless.py"
    module.write_text(ENDLESS.format(what=what))
    launch = f"import hotcalls; hotcalls.launch({str(module)!r})"
    host = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", launch],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert host.stdout is not None
    pid = int(host.stdout.readline())
    assert alive(pid)
    kill(host)
    end = time.monotonic() + SOON
    while alive(pid):
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            pytest.fail("the enclave outlives its host")
        time.sleep(0.002)
