# SPDX-License-Identifier: Apache-2.0
"""A host and its attackers, all of one unprivileged user, around the test enclave.

Where the tests run as root, both become ``nobody`` (uid 65534) after a fork; otherwise they stay
who they are. What they need to read lies in a directory that everybody may read.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import hotcalls
from hotcalls.build import build
from hotcalls.launching import loader_path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
NOBODY = 65534
#: What hc_enclave_start() puts together in memory; it must not be in any file in one piece.
SECRET = b"EXTIRPATE-THE-" + b"BADGERS"

libc = ctypes.CDLL(None, use_errno=True)


def become_user() -> None:
    """Drop to the unprivileged user, as an ordinary (dumpable) process of it."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        libc.prctl(4, 1, 0, 0, 0)
    os.chdir("/")


class Process:
    """A forked process of the user that runs functions sent to it."""

    def __init__(self, prepare: Callable[[], Any] | None = None, *, drop: bool = True) -> None:
        self._socket, theirs = socket.socketpair()
        self.process = os.fork()
        if self.process == 0:
            self._socket.close()
            try:
                if drop:
                    become_user()
                state = prepare() if prepare is not None else None
                self._reply(theirs, (True, None))
                self._serve(theirs, state)
            except BaseException as error:
                kind = f"{type(error).__module__}.{type(error).__name__}"
                self._reply(theirs, (False, f"{kind}: {error}\n{traceback.format_exc()}"))
            finally:
                os._exit(0)
        theirs.close()
        try:
            self._receive()
        except RuntimeError:
            self.close()
            raise

    @staticmethod
    def _reply(connection: socket.socket, answer: Any) -> None:
        data = pickle.dumps(answer)
        connection.sendall(len(data).to_bytes(4, "little") + data)

    def _serve(self, connection: socket.socket, state: Any) -> None:
        with connection.makefile("rb") as stream:
            while head := stream.read(4):
                function, arguments = pickle.loads(stream.read(int.from_bytes(head, "little")))
                try:
                    answer: Any = (True, function(state, *arguments))
                except hotcalls.HotcallsError as error:
                    answer = (True, error)
                self._reply(connection, answer)

    def _receive(self) -> Any:
        with self._socket.makefile("rb") as stream:
            head = stream.read(4)
            if len(head) < 4:
                raise RuntimeError("the process has ended")
            fine, value = pickle.loads(stream.read(int.from_bytes(head, "little")))
        if not fine:
            raise RuntimeError(value)
        return value

    def start(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Send work without waiting for it."""
        data = pickle.dumps((function, arguments))
        self._socket.sendall(len(data).to_bytes(4, "little") + data)

    def finish(self) -> Any:
        """The result of what was started."""
        return self._receive()

    def do(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function of the process's state and some arguments there."""
        self.start(function, *arguments)
        return self.finish()

    def close(self) -> None:
        self._socket.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)


@pytest.fixture(scope="session")
def public() -> Iterator[Path]:
    """A directory of the user, with the loader and the enclave in it."""
    folder = Path(tempfile.mkdtemp(prefix="hotcalls-lockdown-"))
    build(
        HERE / "enclaves/inside.edl",
        [HERE / "enclaves/inside.c"],
        folder / "inside.enclave.so",
    )
    shutil.copy(loader_path(), folder / "hotcalls-enclave")
    folder.chmod(0o755)
    give_to_user([folder, *folder.iterdir()])
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


class Launching:
    """Launches the enclave; made here, run in the process that becomes the host."""

    def __init__(self, folder: Path, name: str = "inside.enclave.so", **options: Any) -> None:
        self.folder, self.name, self.options = folder, name, options

    def __call__(self) -> Any:
        os.environ["HOTCALLS_LOADER"] = str(self.folder / "hotcalls-enclave")
        return hotcalls.launch(self.folder / self.name, **self.options)


def call(enclave: Any, name: str, *arguments: Any) -> Any:
    """Call an ecall of a host's enclave, or read an attribute."""
    value = getattr(enclave, name)
    return value(*arguments) if callable(value) else value


@pytest.fixture(scope="module")
def host(public: Path) -> Iterator[Process]:
    """A host of the user with a running enclave."""
    process = Process(Launching(public))
    yield process
    process.close()


@pytest.fixture(scope="module")
def target(host: Process) -> dict[str, int]:
    """The enclave: its process, and where its secrets lie."""
    return {
        "pid": host.do(call, "pid"),
        "hidden": host.do(call, "secret_address"),
        "plain": host.do(call, "plain_address"),
    }


def files_that_the_user_can_change(pid: int) -> list[str]:
    """The mappings of a process through which this user could change its memory; root's view."""
    found = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) < 6 or not fields[5].startswith("/"):
            continue
        path = fields[5]
        if path.startswith(("/memfd:hotcalls ", "/secretmem ")):
            continue  # the channel, and memory that is no file
        shared = "w" in fields[1] and "p" not in fields[1]
        if shared or path.startswith("/memfd:") or _is_the_users(path):
            found.append(line)
    return found


def _is_the_users(path: str) -> bool:
    status = os.stat(path)
    return status.st_uid != 0 or status.st_mode & 0o022 != 0


def give_to_user(paths: Iterable[Path]) -> None:
    """Make files the user's, where the tests run as root."""
    if os.geteuid() == 0:
        for path in paths:
            os.chown(path, NOBODY, NOBODY)


def until(true: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Wait until it is true; False when it is not in so many seconds."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def ended(pid: int) -> bool:
    """Whether a process ends; whoever is to reap it may not have."""

    def gone() -> bool:
        try:
            return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return True

    return until(gone)


@pytest.fixture
def attacker() -> Iterator[Process]:
    """Another process of the same user."""
    process = Process()
    yield process
    process.close()
