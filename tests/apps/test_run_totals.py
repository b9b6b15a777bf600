# SPDX-License-Identifier: Apache-2.0
"""Totals of bytes: no call passes one, whichever it is, and the last one is cut to what is left."""

from __future__ import annotations

import contextlib
import errno
import json
import platform
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hotcalls.apps import policy

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="hotcalls run needs x86-64")
PYTHON = [str(Path(sys.executable).resolve()), "-I", "-S", "-B"]
MOVES = str(Path(__file__).resolve().parent / "programs" / "totals.py")
MODES = ("hot", "switch")

READS = ("read", "readv", "pread64", "preadv", "preadv2", "sendfile", "splice", "copy_file_range")
WRITES = ("write", "writev", "pwrite64", "pwritev", "pwritev2", "sendfile_to", "splice_to",
          "copy_file_range_to")  # fmt: skip
SENDS = ("send", "sendmsg", "sendmmsg", "socket_write")
RECEIVES = ("recv", "recvfrom", "recvmsg", "recvmmsg", "waitall", "peek", "socket_read")
#: Seven bytes a call, and ten in all.
STOPPED = [7, 3, "EDQUOT"]


def run(
    folder: Path, text: str, *words: str, mode: str = "hot", extra: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    path = folder / "policy.toml"
    path.write_text(text)
    line = [sys.executable, "-m", "hotcalls.cli", "run", "--mode", mode, "--policy", str(path)]
    return subprocess.run(
        [*line, *extra, "--", *words], capture_output=True, text=True, timeout=60, check=False
    )


def program(text: str) -> list[str]:
    return [*PYTHON, "-c", text]


def said(done: subprocess.CompletedProcess[str]) -> dict[str, list[int | str]]:
    assert done.returncode == 0, done.stderr
    found: dict[str, list[int | str]] = json.loads(done.stdout)
    return found


@contextlib.contextmanager
def peer() -> Iterator[tuple[int, list[bytes]]]:
    """A server that greets each connection with 100 bytes and keeps what it is told."""
    got: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"." * 100)
            while data := connection.recv(4096):
                got.append(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads = [threading.Thread(target=accept, daemon=True)]
        threads[0].start()
        try:
            yield listener.getsockname()[1], got
        finally:
            listener.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


@pytest.mark.claim("D-POLICY")
@pytest.mark.parametrize("mode", MODES)
def test_each_way_to_read_stops_at_the_total(tmp_path: Path, mode: str) -> None:
    for name in (*READS, "target"):
        (tmp_path / name).write_bytes(b"." * 100)
    listed = ", ".join(f'"{tmp_path}/{name} 10"' for name in READS)
    done = run(tmp_path, f"IOReadBytesMax = [{listed}]\n", *PYTHON, MOVES, "reads", str(tmp_path),
               mode=mode)  # fmt: skip
    assert said(done) == dict.fromkeys(READS, STOPPED)
    lines = [line for line in done.stderr.splitlines() if line.startswith("refused ")]
    assert len(lines) == len(READS)
    assert f"refused total io-read read errno=122 10 {tmp_path}/read" in lines


@pytest.mark.claim("D-POLICY")
@pytest.mark.parametrize("mode", MODES)
def test_each_way_to_write_stops_at_the_total(tmp_path: Path, mode: str) -> None:
    for name in WRITES:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "source").write_bytes(b"." * 100)
    listed = ", ".join(f'"{tmp_path}/{name} 10"' for name in WRITES)
    done = run(tmp_path, f"IOWriteBytesMax = [{listed}]\n", *PYTHON, MOVES, "writes", str(tmp_path),
               mode=mode)  # fmt: skip
    assert said(done) == dict.fromkeys(WRITES, STOPPED)
    at_begin = ("pwrite64", "pwritev", "pwritev2")
    sizes = {name: (tmp_path / name).stat().st_size for name in WRITES}
    assert sizes == {name: 7 if name in at_begin else 10 for name in WRITES}


@pytest.mark.claim("D-POLICY")
@pytest.mark.parametrize("mode", MODES)
def test_each_way_to_send_and_to_receive_stops_at_the_total(tmp_path: Path, mode: str) -> None:
    with contextlib.ExitStack() as stack:
        peers = {name: stack.enter_context(peer()) for name in (*SENDS, *RECEIVES)}
        ports = {name: port for name, (port, _) in peers.items()}
        out = ", ".join(f'"127.0.0.1 {ports[name]} 10"' for name in SENDS)
        into = ", ".join(f'"127.0.0.1 {ports[name]} 10"' for name in RECEIVES)
        text = f"IPEgressBytesMax = [{out}]\nIPIngressBytesMax = [{into}]\n"
        done = run(tmp_path, text, *PYTHON, MOVES, "network", json.dumps(ports), mode=mode)
    assert said(done) == dict.fromkeys((*SENDS, *RECEIVES), STOPPED)
    assert {name: sum(map(len, peers[name][1])) for name in SENDS} == dict.fromkeys(SENDS, 10)


def test_a_total_of_everything_is_one_of_all_files_and_the_errno_is_that_of_the_policy(
    tmp_path: Path,
) -> None:
    text = 'IOWriteBytesMax = 10\nSystemCallErrorNumber = "ENOSPC"\n'
    moves = f"""
import os
try:
    for name in "abc":
        fd = os.open({str(tmp_path)!r} + "/" + name, os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"12345")
except OSError as error:
    os._exit(error.errno)
"""
    done = run(tmp_path, text, *program(moves), extra=("--log", str(tmp_path / "log")))
    assert done.returncode == errno.ENOSPC
    assert [len((tmp_path / name).read_bytes()) for name in "abc"] == [5, 5, 0]
    assert (tmp_path / "log").read_text() == "refused total io-write write errno=28 10\n"


def test_a_total_that_is_just_reached_does_not_hide_the_end(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("0123456789")
    done = run(tmp_path, f'IOReadBytesMax = "{tmp_path}/file 10"\n', "cat", str(tmp_path / "file"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "0123456789", "")


def test_a_message_is_sent_whole_or_not_at_all(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(60)
        sends = f"""
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
to = ("127.0.0.1", {server.getsockname()[1]})
s.sendto(b"1234567", to)
try:
    s.sendto(b"1234567", to)
except OSError as error:
    print(error.errno)
s.sendto(b"123", to)
"""
        done = run(tmp_path, 'IPEgressBytesMax = "10"\n', *program(sends))
        assert (done.returncode, done.stdout) == (0, "122\n"), done.stderr
        assert [server.recv(100) for _ in range(2)] == [b"1234567", b"123"]


@pytest.mark.claim("D-POLICY")
def test_threads_together_do_not_pass_the_total(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"." * 100_000)
    reads = f"""
import os, threading
got = []
def read():
    fd = os.open({str(tmp_path / "file")!r}, os.O_RDONLY)
    try:
        while data := os.read(fd, 997):
            got.append(len(data))
    except OSError as error:
        assert error.errno == 122
threads = [threading.Thread(target=read, daemon=True) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sum(got))
"""
    done = run(tmp_path, f'IOReadBytesMax = "{tmp_path} 150001"\n', *program(reads))
    assert (done.returncode, done.stdout) == (0, "150001\n"), done.stderr


def test_a_thread_that_waits_for_its_peer_takes_nothing_from_the_others(tmp_path: Path) -> None:
    # It waits before the others have taken the rest, unless the machine delays it for longer.
    for pause in (0.0, 0.1, 1.0, 10.0):
        with peer() as (port, _):
            waits = f"""
import socket, threading, time
def connected():
    return socket.create_connection(("127.0.0.1", {port}))
first, got = connected(), []
assert len(first.recv(100)) == 100
thread = threading.Thread(target=lambda: got.append(first.recv(300)), daemon=True)
thread.start()
time.sleep({pause})
got += [len(connected().recv(300)) for _ in range(2)]
first.shutdown(socket.SHUT_WR)
thread.join()
print(got)
"""
            done = run(tmp_path, 'IPIngressBytesMax = "300"\n', *program(waits))
        if "Disk quota exceeded" not in done.stderr:
            break
    assert (done.returncode, done.stdout) == (0, "[100, 100, b'']\n"), done.stderr


def test_another_name_of_a_socket_or_a_file_is_counted_with_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"." * 100)
    (tmp_path / "link").symlink_to("file")
    with peer() as (port, got):
        moves = f"""
import os, socket
file = {str(tmp_path / "link")!r}
one, two = os.open(file, os.O_RDONLY), os.open(file, os.O_RDONLY)
os.unlink({str(tmp_path / "file")!r})
print(len(os.read(one, 6)), len(os.read(os.dup(two), 6)))
s = socket.create_connection(("127.0.0.1", {port}))
print(s.send(b"123456"), s.dup().send(b"123456"))
"""
        text = f'IOReadBytesMax = "{tmp_path}/file 10"\nIPEgressBytesMax = "127.0.0.0/8 10"\n'
        done = run(tmp_path, text, *program(moves))
    assert done.stdout == "6 4\n6 4\n", done.stderr
    assert sum(map(len, got)) == 10


@pytest.mark.claim("D-POLICY")
def test_a_socket_that_is_connected_elsewhere_counts_there(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2)
        ]
        for server in servers:
            server.bind(("127.0.0.1", 0))
        ports = [server.getsockname()[1] for server in servers]
        moves = f"""
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
other = s.dup()
for port, size in (({ports[0]}, 8), ({ports[1]}, 8), ({ports[0]}, 2), ({ports[1]}, 3)):
    s.connect(("127.0.0.1", port))
    try:
        print(other.send(b"." * size))
    except OSError as error:
        print(error.errno)
"""
        text = f'IPEgressBytesMax = ["127.0.0.1 {ports[0]} 10", "127.0.0.1 {ports[1]} 10"]\n'
        done = run(tmp_path, text, *program(moves))
    assert done.stdout.split() == ["8", "8", "2", "122"], done.stderr


def test_what_was_learnt_is_enough_for_the_same_run_and_not_for_more(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("0123456789")
    learnt = tmp_path / "learnt.toml"
    line = [sys.executable, "-m", "hotcalls.cli", "run", "--learn-policy", str(learnt), "--", "cat"]
    subprocess.run([*line, str(tmp_path / "file")], check=True, capture_output=True, timeout=60)
    totals = [line[2:] for line in learnt.read_text().splitlines() if "BytesMax" in line]
    assert 'IOWriteBytesMax = "10"' in totals
    assert policy.load(learnt).totals == []
    for name, more in (("file", 0), ("longer", 1)):
        (tmp_path / name).write_text("0123456789" + "." * more)
        done = run(tmp_path, "\n".join(totals), "cat", str(tmp_path / name))
        assert (done.returncode, done.stdout) == (more, "0123456789"), done.stderr


#: Of a program that has a number replaced meanwhile.
ROUNDS = 3000


@pytest.mark.claim("D-POLICY")
@pytest.mark.claim("D-ARGUMENTS")
def test_who_puts_another_file_at_the_number_in_the_middle_of_a_call_gains_no_second_one(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The bytes are those of a free file when they are judged, and of a counted one when moved."""
    races = f"""
import os, threading
counted = os.open({str(tmp_path / "counted")!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
free = os.open({str(tmp_path / "free")!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
number = os.dup(free)
over = False
def swap():
    while not over:
        os.dup2(counted, number)
        os.dup2(free, number)
thread = threading.Thread(target=swap, daemon=True)
thread.start()
refused = 0
for _ in range({ROUNDS}):
    try:
        os.write(number, b"." * 100)
    except OSError as error:
        assert error.errno == 122
        refused += 1
over = True
thread.join()
# Not by way of standard output, which may be under the total by now.
os._exit(7 if 0 < refused < {ROUNDS} else 8)
"""
    text = f'IOWriteBytesMax = ["{tmp_path}/counted 1000", "{tmp_path}/free 1M"]\n'
    done = run(tmp_path, text, *program(races))
    assert done.returncode == 7, done.stderr
    # One thread writes: one transfer at most is not where it was judged to be.
    assert (tmp_path / "counted").stat().st_size <= 1000 + 100
    record_property("count:writes whose descriptor is being replaced", ROUNDS)


@pytest.mark.claim("D-POLICY")
@pytest.mark.claim("D-ARGUMENTS")
def test_an_address_that_is_rewritten_while_it_is_sent_to_counts_where_it_went(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2)
        ]
        for server in servers:
            server.bind(("127.0.0.1", 0))
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            server.setblocking(False)
        ports = [server.getsockname()[1] for server in servers]
        races = f"""
import ctypes, os, socket, struct, threading
LIBC = ctypes.CDLL(None, use_errno=True)
def address(port):
    return struct.pack("=HHI8x", socket.AF_INET, socket.htons(port), socket.htonl(0x7f000001))
to = ctypes.create_string_buffer(address({ports[1]}), 16)
over = False
rewrites = 0
def rewrite():
    global rewrites
    while not over:
        ctypes.memmove(to, address({ports[0]}), 16)
        ctypes.memmove(to, address({ports[1]}), 16)
        rewrites += 2
thread = threading.Thread(target=rewrite, daemon=True)
thread.start()
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(2000):
    LIBC.sendto(s.fileno(), b"." * 10, ctypes.c_size_t(10), 0, to, 16)
over = True
thread.join()
print(rewrites)
"""
        text = f'IPEgressBytesMax = "127.0.0.1 {ports[0]} 100"\n'
        done = run(tmp_path, text, *program(races))
        assert done.returncode == 0, done.stderr
        got = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                got += len(servers[0].recv(100))
    assert got <= 100
    record_property("count:addresses rewritten while in use", int(done.stdout))
