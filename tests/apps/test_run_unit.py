# SPDX-License-Identifier: Apache-2.0
"""As a service manager starts it: notification, sockets that are passed, process ids."""

from __future__ import annotations

import os
import platform
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="hotcalls run needs x86-64")
PYTHON = [str(Path(sys.executable).resolve()), "-I", "-S", "-B", "-c"]
HOTCALLS = [sys.executable, "-m", "hotcalls.cli", "run", "--"]


def test_a_notification_comes_from_the_main_process(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    program = (
        "import os, socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); "
        "s.sendto(b'READY=1', os.environ['NOTIFY_SOCKET'])"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        manager.settimeout(60)
        manager.bind(str(path))
        environment = {**os.environ, "NOTIFY_SOCKET": str(path)}
        with subprocess.Popen([*HOTCALLS, *PYTHON, program], env=environment) as unit:
            data, control, _, _ = manager.recvmsg(100, socket.CMSG_SPACE(12))
            assert unit.wait(60) == 0
    sender = next(
        struct.unpack("3i", found[:12])
        for level, kind, found in control
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)
    )
    assert data == b"READY=1"
    assert sender == (unit.pid, os.getuid(), os.getgid())


def test_a_socket_that_was_passed_is_the_programs() -> None:
    program = (
        "import os, socket; "
        "assert os.environ['LISTEN_PID'] == str(os.getpid()), 'not meant for us'; "
        "peer, _ = socket.socket(fileno=3).accept(); "
        "peer.sendall(os.environ['LISTEN_FDS'].encode())"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        # As systemd does it: descriptor 3, and the id of the process that it starts.
        start = 'exec 3<&"$FD"; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
        unit = subprocess.Popen(
            ["bash", "-c", start, "-", *HOTCALLS, *PYTHON, program],
            env={**os.environ, "FD": str(server.fileno())},
            pass_fds=[server.fileno()],
        )
        with unit, socket.create_connection(server.getsockname(), timeout=60) as client:
            assert client.recv(10) == b"1"
            assert unit.wait(60) == 0


def test_a_pid_that_is_meant_for_another_process_is_left_alone() -> None:
    program = "import os; print(os.environ['LISTEN_PID'])"
    done = subprocess.run(
        [*HOTCALLS, *PYTHON, program],
        env={**os.environ, "LISTEN_PID": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "1\n", done.stderr


def test_the_peer_of_a_socket_is_the_host_process(tmp_path: Path) -> None:
    path = tmp_path / "s"
    program = (
        f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({str(path)!r}); s.recv(1)"
    )
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        server.settimeout(60)
        with subprocess.Popen([*HOTCALLS, *PYTHON, program]) as unit:
            peer, _ = server.accept()
            with peer:
                found = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            assert unit.wait(60) == 0
    assert struct.unpack("3i", found)[0] == unit.pid
