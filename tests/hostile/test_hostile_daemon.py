# SPDX-License-Identifier: Apache-2.0
"""A daemon under `hotcalls run` that serves while a peer rewrites the channel at random.

The peer (scribble_run.c) is a process of root's with the shared memory mapped. As a hostile host
process it attacks memcached, as a hostile program the host process H. Whatever memcached then says
to its client, neither side is ended by a fault of memory, and when one side is killed, or has
ended, nothing is left of the other.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import native

HERE = Path(__file__).resolve().parent
ROUNDS = 12 if native.LONG else 2
REWRITES = 40_000 if native.LONG else 3_000
#: The ends of a process that touched what is not its own.
FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)
#: H's own descriptors are above all of the program's: the last of those that there may be.
OWN = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 65_536) - 64
#: Longer than anything here waits for.
BOUND = 60.0

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can map the channel of others"),
    pytest.mark.skipif(
        shutil.which("memcached") is None,
        reason="memcached is not installed; scripts/setup.sh test installs it",
    ),
]


def free_port() -> int:
    """Return a port of loopback that nobody uses and that the kernel gives to nobody."""
    while True:
        port = random.randrange(12000, 30000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def processes(session: int) -> set[int]:
    """Return the processes of a session that have not ended."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(words[3]) == session and words[0] not in "ZX":
                    found.add(int(entry.name))
    return found


def own_descriptors(pid: int) -> int:
    """Return how many descriptors H has above the program's."""
    return sum(int(name) >= OWN for name in os.listdir(f"/proc/{pid}/fd"))


def until(true: Callable[[], bool], what: str) -> None:
    """Wait until it is true; a wait beyond the bound is what may not happen."""
    end = time.monotonic() + BOUND
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def answers(port: int) -> bool:
    """Whether somebody stores and gives back a value there, in a moment's time."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.3) as peer:
        peer.settimeout(0.3)
        peer.sendall(b"set key 0 0 5\r\nvalue\r\nget key\r\n")
        got = b""
        while not got.endswith(b"END\r\n"):
            more = peer.recv(4096)
            if not more:
                return False
            got += more
        return got == b"STORED\r\nVALUE key 0 5\r\nvalue\r\nEND\r\n"
    return False


@contextlib.contextmanager
def memcached(mode: str, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start memcached under `hotcalls run`; H is the process."""
    command = [Path(sys.executable).parent / "hotcalls", "run", "--mode", mode, "--"]
    command += ["memcached", "-u", "root", "-l", "127.0.0.1", "-p", port, "-U", "0", "-t", "2"]
    with log.open("wb") as file:
        host = subprocess.Popen(
            [str(word) for word in command], stdout=file, stderr=file, start_new_session=True
        )
    try:
        until(lambda: answers(port) or host.poll() is not None, log.read_text())
        assert host.poll() is None, log.read_text()
        yield host
    finally:
        for pid in processes(host.pid):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        host.wait(BOUND)


def channel_of(host: int) -> Path:
    """Return where root finds the memory that H shares with its program."""
    for entry in Path(f"/proc/{host}/map_files").iterdir():
        if "memfd:hotcalls-run" in os.readlink(entry):
            return entry
    raise AssertionError("H has mapped no channel")


def attack(mode: str, who: str, number: int, folder: Path) -> tuple[int, int, bool]:
    """Rewrite a channel while its daemon serves; rewrites, right answers, and was it the end?"""
    seed = int(os.environ.get("HOTCALLS_SEED", random.randrange(1 << 31))) // 2 * 2 + number % 2
    print(f"{mode} {who}: HOTCALLS_SEED={seed}")
    scribbler = native.build("scribble_run", [HERE / "scribble_run.c"], native.PLAIN)
    port, log, right = free_port(), folder / "log", 0
    with memcached(mode, port, log) as host:
        before = own_descriptors(host.pid)
        (program,) = processes(host.pid) - {host.pid}
        with subprocess.Popen(
            [scribbler, channel_of(host.pid), who, str(REWRITES), str(seed)],
            stdout=subprocess.PIPE,
            text=True,
        ) as peer:
            while peer.poll() is None:
                right += answers(port)
                time.sleep(0.01)
            assert peer.stdout is not None
            rewrites = int(re.findall(r"rewrites=(\d+)", peer.stdout.read())[0])
        assert peer.returncode == 0
        ended = host.poll() is not None
        if not ended:
            # A call that is under way may have one of its own for a moment.
            until(
                lambda: own_descriptors(host.pid) == before, f"seed {seed}: H holds what it opened"
            )
            # Whichever side is killed now, the other does not outlive it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(program if number % 2 else host.pid, signal.SIGKILL)
        until(lambda: host.poll() is not None, f"seed {seed}: H outlives its program")
        until(lambda: not processes(host.pid), f"seed {seed}: somebody outlives H")
        fault = host.returncode in [-number for number in FAULTS]
        assert not fault, f"seed {seed}: ended by {host.returncode}: {log.read_text()}"
        assert "Sanitizer" not in log.read_text()
    print(f"{rewrites} rewrites, {right} right answers, {'ended' if ended else 'killed'}")
    return rewrites, right, ended


@pytest.mark.claim("D-LIES", "D-DEPUTY", "D-END")
@pytest.mark.parametrize("who", ["host", "program"])
@pytest.mark.parametrize("mode", ["hot", "switch"])
def test_daemon_whose_channel_is_rewritten_answers_or_ends_and_leaves_nothing(
    mode: str, who: str, tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    done = [attack(mode, who, number, tmp_path) for number in range(ROUNDS)]
    assert len(os.listdir("/proc/self/fd")) == descriptors
    rewrites = sum(each for each, *_ in done)
    assert rewrites == ROUNDS * REWRITES
    record_property("count:rewrites of the channel", rewrites)
    record_property("count:daemons attacked", len(done))
    record_property(
        "count:right answers of a daemon under attack", sum(right for _, right, _ in done)
    )
