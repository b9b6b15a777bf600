# SPDX-License-Identifier: Apache-2.0
"""One client of `hotcalls serve` means harm: what the other one asks is answered as ever.

The hostile client rewrites its channel while it calls, keeps coming back, and says to the server
what no client says. The honest one makes calls of every kind meanwhile: each has the right answer,
within what a call may take on a busy machine. In the end the server has what it had before.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from serving import PATIENCE_SECONDS, Server

import hotcalls
import native

#: Of the server.
PLACES = 6
PROGRAM = Path(__file__).resolve().parent / "hostile_client.py"
#: Honest calls beside each attack, at least; what is counted of it, and how much of that.
CALLS = 20_000 if native.LONG else 1000
ATTACKS = {
    "scribble": ("channels destroyed", 150 if native.LONG else 5),
    "handshake": ("malformed handshakes", 5000 if native.LONG else 100),
}


@contextmanager
def hostile(path: str, seed: int, what: str) -> Iterator[Counter[str]]:
    """A hostile client at work; what it did is known when it has ended."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", PROGRAM, path, str(seed), what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    done: Counter[str] = Counter()

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            done.update(Counter(json.loads(line)) - done)

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        yield done
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(PATIENCE_SECONDS) == 0
    finally:
        process.kill()
        process.wait(PATIENCE_SECONDS)
        listener.join()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()


def used(server: Server) -> Counter[str]:
    """Descriptors of the server, and threads of its enclave that every client has for itself.

    Companions are not among them: a client gets one for each of its own threads that needs it.
    """
    found = Counter({"descriptors": len(os.listdir(f"/proc/{server.process.pid}/fd"))})
    for task in Path(f"/proc/{server.enclave}/task").iterdir():
        with suppress(FileNotFoundError):
            found[(task / "comm").read_text().strip()] += 1
    del found["hc-companion"]
    return found


def not_as(before: Counter[str], now: Counter[str]) -> Counter[str]:
    """What there is too much of, and which threads are missing.

    When the first look was taken, the server may just have been about to close a descriptor.
    """
    missing = before - now
    del missing["descriptors"]
    return (now - before) + missing


def all_kinds(enclave: hotcalls.Enclave, number: int) -> int:
    """Make a call of each kind, with data that nobody else sends; how many."""
    small, large = b"%d" % number, os.urandom(5000)
    assert enclave.echo(small) == small
    assert enclave.echo(large) == large
    assert enclave.echo.options(mode="switch")(large) == large
    assert enclave.echo.submit(small).result(PATIENCE_SECONDS) == small
    assert list(enclave.echo.map([small, large, small])) == [small, large, small]
    assert enclave.asked(f"{number}?") == f"{number}? honestly"
    assert enclave.asked.submit(f"{number}?").result(PATIENCE_SECONDS) == f"{number}? honestly"
    return 9


@pytest.mark.claim("E-CLIENTS", "H-MEMORY", "H-BOUND")
@pytest.mark.parametrize("what", ATTACKS)
def test_hostile_client_hurts_nobody_but_itself(
    what: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    seed = int(os.environ.get("HOTCALLS_SEED", time.time_ns() % (1 << 32)))
    print(f"HOTCALLS_SEED={seed}")
    counted, least = ATTACKS[what]
    calls, slowest = 0, 0.0
    with Server(tmp_path, "--clients", str(PLACES), "--threads", "2") as server:
        with hotcalls.connect(
            server.path, ocalls={"ask": lambda question: question + " honestly"}
        ) as enclave:
            all_kinds(enclave, 0)
            before = used(server)
            with hostile(server.path, seed, what) as done:
                while calls < CALLS or done[counted] < least:
                    start = time.monotonic()
                    calls += all_kinds(enclave, calls)
                    slowest = max(slowest, time.monotonic() - start)
                newcomer(server).close()
            print(dict(done), f"{calls} honest calls, the slowest nine in {slowest:.3f} s")
            all_kinds(enclave, 1)
            # Nothing of it is left: every other place can be had.
            newcomers = [newcomer(server) for _ in range(PLACES - 1)]
            for each in newcomers:
                each.close()
            until = time.monotonic() + PATIENCE_SECONDS
            while not_as(before, used(server)):
                assert time.monotonic() < until, (before, used(server), server.said)
                time.sleep(0.01)
        assert slowest < PATIENCE_SECONDS
        assert server.process.poll() is None
        assert "Traceback" not in server.said
    for name, count in done.items():
        record_property(f"count:{name}", count)
    record_property("count:honest calls beside a hostile client", calls)


def newcomer(server: Server) -> hotcalls.Enclave:
    """Somebody who comes is served as soon as there is a place."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            enclave = hotcalls.connect(server.path)
        except hotcalls.ConnectError as error:
            if "places for clients" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.005)
        else:
            assert enclave.echo(b"new here") == b"new here"
            return enclave
