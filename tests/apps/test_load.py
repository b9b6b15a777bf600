# SPDX-License-Identifier: Apache-2.0
"""The load generator against a native memcached, and against servers that answer wrongly.

Bounded: every run is a fraction of a second, over the loopback interface or a unix socket.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import enclosed
import pytest

from hotcalls.apps.evaluate import clients
from hotcalls.apps.evaluate.errors import WrongReplyError


def load(*options: str) -> subprocess.CompletedProcess[str]:
    command = [str(clients.load_path()), "--warmup=0", "--keys=50", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def measured(*options: str) -> dict[str, Any]:
    done = load(*options)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="module")
def memcached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """A memcached on a unix socket: its path, and the server's process."""
    program = shutil.which("memcached")
    if program is None:
        pytest.skip("memcached is not installed (apt-get install memcached)")
    path = tmp_path_factory.mktemp("m") / "s"
    user = ["-u", "root"] if os.geteuid() == 0 else []
    with subprocess.Popen([program, *user, "-s", str(path), "-t", "1", "-c", "512"]) as server:
        deadline = time.monotonic() + 60
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        yield path, server.pid
        server.terminate()


def test_every_reply_is_counted_once(memcached: tuple[Path, int]) -> None:
    result = measured(f"--unix={memcached[0]}", "--connections=4", "--seconds=0.2")
    assert result["replies"] == result["gets"] + result["sets"] > 0
    assert sum(count for _, count in result["histogram"]) == result["replies"]


def test_the_mix_is_what_was_asked_for(memcached: tuple[Path, int]) -> None:
    gets = replies = 0
    # Of so many, 0.05 are seven deviations.
    while replies < 2000:
        result = measured(f"--unix={memcached[0]}", "--gets=9", "--connections=4", "--seconds=0.3")
        gets += result["gets"]
        replies += result["replies"]
    assert 0.85 < gets / replies < 0.95
    only = measured(f"--unix={memcached[0]}", "--gets=0", "--seconds=0.1")
    assert only["gets"] == 0 < only["sets"]


def test_many_connections_with_many_requests_in_flight_are_answered(
    memcached: tuple[Path, int],
) -> None:
    options = ("--connections=200", "--pipeline=8", "--seconds=0.3")
    assert measured(f"--unix={memcached[0]}", *options)["replies"] > 200


def test_an_open_loop_sends_what_is_due(memcached: tuple[Path, int]) -> None:
    # What is due while the client waits for a processor at the very end is not sent any more.
    for _ in range(10):
        result = measured(f"--unix={memcached[0]}", "--rate=500", "--connections=4", "--seconds=1")
        # A Poisson stream of 500: its deviation is 22.
        sent = result["replies"] + result["overdue"]
        assert sent < 620
        if sent > 380:
            break
    assert sent > 380


def test_an_open_loop_charges_a_stall_to_every_request_that_it_held_up(
    tmp_path: Path,
) -> None:
    def stall(peer: socket.socket) -> None:
        answer_honestly(peer, pause_at=60, pause_s=0.3)

    with serving(tmp_path / "s", stall):
        result = measured(f"--unix={tmp_path / 's'}", "--rate=400", "--gets=0", "--seconds=2")
    late = sum(count for edge, count in result["histogram"] if edge > 50e6)
    # 0.3 s at 400 a second are 120 requests, most of which waited for more than 50 ms.
    assert late > 40


def test_values_of_any_size_come_back(memcached: tuple[Path, int]) -> None:
    for size in (1, 100, 20000):
        options = (f"--value-size={size}", "--connections=2", "--seconds=0.1")
        assert measured(f"--unix={memcached[0]}", *options)["replies"] > 0


def answer_honestly(peer: socket.socket, pause_at: int, pause_s: float) -> None:
    """Answer sets; stop once for a while."""
    buffer, answered = b"", 0
    while data := peer.recv(1 << 16):
        buffer += data
        while (head := buffer.find(b"\r\n")) >= 0:
            size = int(buffer[:head].split()[4])
            if len(buffer) < head + 2 + size + 2:
                break
            buffer = buffer[head + 2 + size + 2 :]
            answered += 1
            if answered == 50 + pause_at:
                time.sleep(pause_s)
            peer.sendall(b"STORED\r\n")


class serving:  # noqa: N801 (reads like a statement)
    """A server on a unix socket that treats its one connection with a function."""

    def __init__(self, path: Path, treat: Callable[[socket.socket], None]) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.listener.settimeout(60)
        self.thread = threading.Thread(target=self.run, args=(treat,), daemon=True)

    def run(self, treat: Callable[[socket.socket], None]) -> None:
        peer, _ = self.listener.accept()
        with peer:
            peer.settimeout(60)
            try:
                treat(peer)
            except OSError:
                return

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.thread.join(60)
        self.listener.close()


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"ERROR\r\n", "wrong reply to `set load0`: ERROR"),
        (b"SERVER_ERROR out of memory storing object\r\n", "wrong reply to `set load0`: SERVER_E"),
        (b"STORED\r\nSTORED\r\n", "the server sent 8 bytes that nobody asked for"),
        (b"", "the server closed a connection with 1 requests under way"),
    ],
)
def test_a_wrong_reply_is_an_error_that_shows_it(tmp_path: Path, reply: bytes, said: str) -> None:
    def treat(peer: socket.socket) -> None:
        peer.recv(1 << 16)
        if reply:
            peer.sendall(reply)
            peer.recv(1 << 16)

    with serving(tmp_path / "s", treat):
        done = load(f"--unix={tmp_path / 's'}", "--seconds=0.1")
    assert done.returncode == 1
    assert said in done.stderr


def test_one_wrong_byte_of_a_value_is_noticed(tmp_path: Path) -> None:
    kept: dict[bytes, bytes] = {}

    def treat(peer: socket.socket) -> None:
        buffer = b""
        while data := peer.recv(1 << 16):
            buffer += data
            while (head := buffer.find(b"\r\n")) >= 0:
                words = buffer[:head].split()
                if words[0] == b"get":
                    value = bytearray(kept[words[1]])
                    value[len(value) // 2] ^= 1
                    peer.sendall(b"VALUE %s 0 %d\r\n%s\r\nEND\r\n" % (words[1], len(value), value))
                    buffer = buffer[head + 2 :]
                    continue
                size = int(words[4])
                if len(buffer) < head + 2 + size + 2:
                    break
                kept[words[1]] = buffer[head + 2 : head + 2 + size]
                buffer = buffer[head + 2 + size + 2 :]
                peer.sendall(b"STORED\r\n")

    with serving(tmp_path / "s", treat):
        with pytest.raises(WrongReplyError, match="wrong reply to `get load"):
            clients.memcached_load(
                [f"--unix={tmp_path / 's'}"], {"gets": 1, "sets": 0, "keys": 5}, 0.2, None
            )


def test_a_burst_is_stamped_by_the_kernel_while_the_client_sleeps(
    tmp_path: Path,
) -> None:
    program = shutil.which("memcached")
    if program is None:
        pytest.skip("memcached is not installed (apt-get install memcached)")
    port = enclosed.free_port()
    user = ["-u", "root"] if os.geteuid() == 0 else []
    command = [program, *user, "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-t", "1"]
    with subprocess.Popen(command) as server:
        try:
            deadline = time.monotonic() + 60
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert time.monotonic() < deadline
                time.sleep(0.02)
            done = load(f"--connect=127.0.0.1:{port}", "--connections=50", "--burst=3",
                        f"--stop={server.pid}")  # fmt: skip
        finally:
            server.terminate()
    assert done.returncode == 0, done.stderr
    rounds = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rounds) == 3
    for each in rounds:
        assert each["requests"] == 50
        assert 0 < each["first_ns"] <= each["last_ns"]


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        ((), 2, "one of --connect and --unix is needed"),
        (("--connect=127.0.0.1",), 2, "must be HOST:PORT"),
        (("--unix=/nothing/here",), 1, "connect to /nothing/here: No such file"),
        (("--unix=x", "--connections=0"), 2, "--connections=0: must be a whole number from 1"),
        (("--unix=x", "--gets=0", "--sets=0"), 2, "--gets and --sets are both 0"),
        (("--unix=x", "--burst=1", "--stop=1"), 2, "--stop=1: must be a whole number from 2"),
        (("--unix=x", "--burst=1", "--stop=2"), 2, "--burst needs --connect"),
        (("--unix=x", "--burst=1"), 2, "--burst and --stop belong together"),
        (("--unix=x", "--rate=-1"), 2, "--rate=-1: must be a number from 0"),
        (("--unix=x", "more"), 2, "it takes options alone"),
    ],
)
def test_wrong_usage_is_named(options: tuple[str, ...], status: int, said: str) -> None:
    done = load(*options)
    assert done.returncode == status
    assert said in done.stderr
