# SPDX-License-Identifier: Apache-2.0
"""As an ordinary user, and in a container: no root, no capabilities, a filter, masked files."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import enclosed
import pytest

from hotcalls.apps import launcher

#: What a container's default filter refuses, by the numbers of x86-64: ptrace, mount, unshare, …
REFUSED = (
    101, 103, 155, 163, 165, 166, 167, 168, 169, 175, 176, 180, 237, 238, 239, 246, 248, 249, 250,
    256, 272, 279, 298, 303, 304, 308, 310, 311, 312, 313, 321, 323, 425, 426, 427, 434, 438, 440,
    447,
)  # fmt: skip
CLONE, CLONE3 = 56, 435
NEW_NAMESPACES = 0x7E020000
ALLOW, ERRNO = 0x7FFF0000, 0x50000
#: Tells of its own state what a program usually asks.
ASKS = (
    "import os, resource; "
    "open('/proc/self/maps').read().index('[stack]'); "
    "print(sorted(os.listdir('/proc/self/fd')), os.getcwd() == os.readlink('/proc/self/cwd'), "
    "os.path.realpath('/proc/self/exe') == os.path.realpath('/usr/bin/python3'), "
    "open('/proc/self/comm').read().strip(), "
    "'NoNewPrivs:\\t1' in open('/proc/self/status').read(), os.readlink('/proc/self/fd/1')[:5])"
)


def container_filter() -> bytes:
    """Return the seccomp program of a container."""

    def step(code: int, yes: int, no: int, value: int) -> bytes:
        return struct.pack("HBBI", code, yes, no, value)

    program = step(0x20, 0, 0, 0)
    for number in REFUSED:
        program += step(0x15, 0, 1, number) + step(0x06, 0, 0, ERRNO | 1)
    program += step(0x15, 0, 1, CLONE3) + step(0x06, 0, 0, ERRNO | 38)
    program += step(0x15, 0, 3, CLONE) + step(0x20, 0, 0, 16)
    program += step(0x45, 0, 1, NEW_NAMESPACES) + step(0x06, 0, 0, ERRNO | 1)
    return program + step(0x06, 0, 0, ALLOW)


def _works(start: Sequence[str], **options: object) -> bool:
    return enclosed.run([*start, "/bin/true"], **options).returncode == 0


def user() -> list[str]:
    """Return the words that make an ordinary user, without capabilities, start a command."""
    found = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    if os.getuid() != 0:
        return ["env"]
    if not _works(found):
        pytest.skip("no user namespaces here")
    return found


def container(folder: Path, *more: str) -> list[str]:
    """Return the words that start a command in a container; only `folder` can be written there."""
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed; scripts/setup.sh test installs it")
    rules = folder / "filter"
    rules.write_bytes(container_filter())
    words = (
        "--unshare-all --share-net --die-with-parent --uid 1000 --gid 1000 --cap-drop ALL "
        "--ro-bind / / --dev /dev --proc /proc --ro-bind /proc/sys /proc/sys "
        f"--tmpfs /proc/irq --bind {folder} {folder} {' '.join(more)} --seccomp 9"
    )
    found = ["/bin/sh", "-c", f'exec bwrap {words} "$@" 9< {rules}', "-"]
    if not _works(found):
        pytest.skip("bubblewrap cannot make a container here")
    return found


@pytest.fixture(params=["user", "container"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """Give the words that put a command into the surroundings."""
    return user() if request.param == "user" else container(tmp_path)


def test_a_program_finds_itself_as_outside(start: list[str], tmp_path: Path) -> None:
    command = ["/usr/bin/python3", "-c", ASKS]
    natively = enclosed.run([*start, "setpriv", "--no-new-privs", *command])
    assert natively.returncode == 0, natively.stderr
    done = enclosed.run([*start, *enclosed.inside("hot", *command)])
    assert done.stdout == natively.stdout, done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("mode", enclosed.MODES)
def test_threads_and_their_stacks_are_as_outside(
    mode: str, start: list[str], tmp_path: Path
) -> None:
    command = [enclosed.program("stacks")]
    natively = enclosed.run([*start, *command])
    done = enclosed.run([*start, *enclosed.inside(mode, *command)])
    assert done.stdout == natively.stdout, done.stderr
    assert "main 0" in done.stdout


def _serve(start: list[str], folder: Path, port: int, command: list[str], request: bytes) -> bytes:
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*start, *enclosed.inside("hot", *command)], stdout=file, stderr=file, cwd=folder
        )
    try:
        until = time.monotonic() + 60
        while True:
            try:
                client = socket.create_connection(("127.0.0.1", port), 60)
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.02)
        with client:
            client.sendall(request)
            answer = client.recv(4096)
            # One leaves in the middle, and another is served all the same.
            client.sendall(request[:5])
        with socket.create_connection(("127.0.0.1", port), 60) as client:
            client.sendall(request)
            assert client.recv(4096) == answer
        return answer
    finally:
        process.terminate()
        process.wait(60)


def test_memcached_serves(start: list[str], tmp_path: Path) -> None:
    if shutil.which("memcached") is None:
        pytest.skip("memcached is not installed; scripts/setup.sh test installs it")
    port = enclosed.free_port()
    command = ["memcached", "-l", "127.0.0.1", "-p", str(port), "-U", "0"]
    answer = _serve(start, tmp_path, port, command, b"set k 0 0 1\r\nv\r\n")
    assert answer == b"STORED\r\n"


def test_lighttpd_serves(start: list[str], tmp_path: Path) -> None:
    if shutil.which("lighttpd") is None:
        pytest.skip("lighttpd is not installed; scripts/setup.sh test installs it")
    port = enclosed.free_port()
    (tmp_path / "page").write_text("a page")
    (tmp_path / "conf").write_text(
        f'server.document-root = "{tmp_path}"\nserver.port = {port}\n'
        f'server.bind = "127.0.0.1"\nserver.modules = ()\nserver.upload-dirs = ("{tmp_path}")\n'
        'server.tag = "x"\n'
    )
    command = ["lighttpd", "-D", "-f", str(tmp_path / "conf")]
    answer = _serve(start, tmp_path, port, command, b"HEAD /page HTTP/1.0\r\n\r\n")
    assert b"200 OK" in answer
    assert b"Content-Length: 6" in answer


def test_without_procfs_there_is_one_line_that_says_so(tmp_path: Path) -> None:
    start = container(tmp_path, "--tmpfs", "/proc")
    done = enclosed.run([*start, *enclosed.inside("hot", "/bin/true")])
    assert done.returncode == 125
    assert "mount procfs" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_another_user_runs_what_he_may_read() -> None:
    # Really another one: without a right to anything of the user who runs these tests.
    host = launcher.host_path()
    own = 65534 if os.getuid() == 0 else os.getuid()
    become = ["setpriv", "--reuid=65534", "--clear-groups", "--inh-caps=-all"]
    script = (
        "import os; print(os.getresuid()); open('/proc/self/maps').read(1); open('/etc/shadow')"
    )
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for part in ("bin/hotcalls-run", "lib/libhotcalls_shim.so"):
            (folder / part).parent.mkdir()
            shutil.copy(host.parent.parent / part, folder / part)
        line = [str(folder / "bin/hotcalls-run"), "--", "/usr/bin/python3", "python3", "-c", script]
        done = enclosed.run([*(become if os.getuid() == 0 else []), *line])
    assert done.stdout == f"({own}, {own}, {own})\n", done.stderr
    assert done.stderr.splitlines()[-1].startswith("PermissionError")
    assert "/etc/shadow" in done.stderr


@pytest.mark.claim("D-END")
@pytest.mark.parametrize("victim", ["host", "program"])
def test_nothing_is_left_when_either_is_killed(victim: str, tmp_path: Path) -> None:
    start = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
    if not _works(start):
        pytest.skip("no user namespaces here")
    path = tmp_path / "socket"
    script = (
        "import fcntl, os, socket, struct, sys, threading, time\n"
        f"listener = socket.socket(socket.AF_UNIX); listener.bind({str(path)!r})\n"
        "listener.listen()\n"
        "tcp = socket.create_server(('0.0.0.0', 0))\n"
        "tun = os.open('/dev/net/tun', os.O_RDWR)\n"
        "fcntl.ioctl(tun, 0x400454CA, struct.pack('16sH22x', b'hc-left', 1))\n"
        "os.memfd_create('left'); os.pipe(); threading.Thread(target=listener.accept).start()\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )

    def spaces() -> set[str]:
        found = set()
        for link in Path("/proc").glob("[0-9]*/ns/net"):
            try:
                found.add(os.readlink(link))
            except OSError:
                continue
        return found

    command = [*start, *enclosed.inside("hot", "/usr/bin/python3", "-c", script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        program = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
        space = os.readlink(f"/proc/{process.pid}/ns/net")
        assert space in spaces()
        assert "hc-left" in Path(f"/proc/{process.pid}/net/dev").read_text()
        os.kill(process.pid if victim == "host" else program, signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
    until = time.monotonic() + 60
    # The program, every thread of it, and with them the namespace and what was in it.
    while Path(f"/proc/{program}").exists() or space in spaces():
        assert time.monotonic() < until
        time.sleep(0.01)
    with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
        client.connect(str(path))


@pytest.mark.claim("D-END")
def test_a_killed_server_leaves_its_port_to_the_next(tmp_path: Path) -> None:
    port = enclosed.free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    for _ in range(2):
        with enclosed.server("hot", *command, port=port, folder=tmp_path) as process:
            process.kill()
            assert process.wait(60) == -signal.SIGKILL
