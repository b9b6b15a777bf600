# SPDX-License-Identifier: Apache-2.0
"""Servers of enclaves as a user runs them, and clients that are processes of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: No wait in these tests is longer; most are over at once.
PATIENCE_SECONDS = 60

MODULE = """
import os
import threading
import time

import hotcalls

count = 0


@hotcalls.ocall
def ask(question: str) -> str: ...


@hotcalls.ecall
def echo(data: bytes) -> bytes:
    return data


@hotcalls.ecall
def add(amount: int) -> int:
    global count
    count += amount
    return count


@hotcalls.ecall
def asked(question: str) -> str:
    return ask(question)


@hotcalls.ecall
def asked_by_a_thread_of_mine(question: str) -> str:
    found = []

    def run() -> None:
        try:
            found.append(ask(question))
        except Exception as error:
            found.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


@hotcalls.ecall
def zeros(size: int) -> bytes:
    return bytes(size)


@hotcalls.ecall
def sleep(seconds: float) -> None:
    time.sleep(seconds)


@hotcalls.ecall
def die() -> None:
    os._exit(7)
"""


class Server:
    """``hotcalls serve`` in a process of its own."""

    def __init__(self, folder: Path, *options: str, text: str = MODULE, **popen: Any) -> None:
        module = folder / "shared_vault.py"
        if not module.exists():
            module.write_text(text)
        self.path = str(folder / "socket")
        command = [sys.executable, "-W", "ignore", "-m", "hotcalls.cli", "serve", str(module)]
        self.process = subprocess.Popen(
            [*command, "--socket", self.path, *options],
            stderr=subprocess.PIPE,
            text=True,
            **popen,
        )
        self.said = ""
        self._ended = False
        self._heard = threading.Condition()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        try:
            self.enclave = int(self.wait_for(r"serving \w+ \(pid (\d+)\)").group(1))
        except BaseException:
            self.kill()
            raise

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read what it says until it has said this."""
        with self._heard:
            self._heard.wait_for(
                lambda: re.search(pattern, self.said) or self._ended,
                PATIENCE_SECONDS,
            )
            found = re.search(pattern, self.said)
        assert found is not None, f"the server did not say {pattern!r}, but:\n{self.said}"
        return found

    def _listen(self) -> None:
        """Read all it says, so that it never waits for us."""
        assert self.process.stderr is not None
        while piece := os.read(self.process.stderr.fileno(), 65536):
            with self._heard:
                self.said += piece.decode()
                self._heard.notify_all()
        with self._heard:
            self._ended = True
            self._heard.notify_all()

    def terminate(self) -> int:
        """End it as a service manager does; return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """End it without letting it do anything."""
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)
        self._listener.join(PATIENCE_SECONDS)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def __enter__(self) -> Server:  # noqa: PYI034 -- Self came with Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def client(path: str, code: str) -> subprocess.Popen[str]:
    """Run code in another process: `path` is the socket's."""
    start = f"import hotcalls, os, sys, time\npath = {path!r}\n"
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", start + textwrap.dedent(code)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> str:
    """Wait for a client to end; return what it printed."""
    out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0
    return out.strip()


def as_user(uid: int, action: Callable[[], object]) -> str:
    """Run an action in a child that has become this user; return what came of it, as text.

    Forked and not started anew: other users cannot read this interpreter's files everywhere.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            try:
                text = str(action())
            except Exception as error:
                text = f"{type(error).__name__}: {error}"
            os.write(write, text.encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read, encoding="utf-8") as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text
