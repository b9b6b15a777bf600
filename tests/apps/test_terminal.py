# SPDX-License-Identifier: Apache-2.0
"""Interactive programs at a terminal: lines, keys that send signals, and job control."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import enclosed
import pytest


class Terminal:
    """A terminal with a program at it."""

    def __init__(self, *command: str) -> None:
        self.here, there = pty.openpty()

        def take() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            enclosed.inside("hot", *command),
            stdin=there,
            stdout=there,
            stderr=there,
            start_new_session=True,
            preexec_fn=take,
            env={**os.environ, "PS1": "ready> ", "TERM": "dumb"},
        )
        os.close(there)
        self.text = ""

    def until(self, words: str) -> None:
        """Read until `words` have been written; what was before them is forgotten."""
        end = time.monotonic() + 60
        while words not in self.text:
            assert time.monotonic() < end, self.text
            if select.select([self.here], [], [], 0.5)[0]:
                self.text += os.read(self.here, 4096).decode()
        self.text = self.text.partition(words)[2]

    def type(self, keys: str) -> None:
        os.write(self.here, keys.encode())


@pytest.fixture
def shell() -> Iterator[Terminal]:
    """Give an interactive shell, which controls jobs."""
    terminal = Terminal("/bin/sh", "-i")
    try:
        yield terminal
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.here)


def test_an_interactive_shell_reads_lines_and_ends_with_their_status(shell: Terminal) -> None:
    shell.until("ready> ")
    shell.type("echo $((6 * 7))\n")
    shell.until("\r\n42\r\n")
    # A job needs a process: one line says that, and the shell goes on.
    shell.type("/bin/true\n")
    shell.until("tried to start a process")
    shell.until("Cannot fork")
    shell.type("exit 3\n")
    assert shell.process.wait(60) == 3


def test_the_interrupt_key_ends_what_the_shell_waits_in(shell: Terminal) -> None:
    shell.until("ready> ")
    shell.type("while :; do read line; echo got-$line; done\n")
    shell.type("x\n")
    shell.until("got-x\r\n")
    shell.type("\x03")
    shell.until("ready> ")
    shell.type("echo alive-$((1 + 1))\n")
    shell.until("alive-2\r\n")


#: Would have each process in front of the terminal signalled when something is typed.
OWNED = """
import fcntl, os
here = os.open("/dev/tty", os.O_RDWR)
for act in (
    lambda: fcntl.fcntl(here, fcntl.F_SETFL, os.O_RDWR | os.O_ASYNC),
    lambda: fcntl.ioctl(here, 0x5452, (1).to_bytes(4, "little")),  # FIOASYNC
):
    try:
        act()
    except OSError as error:
        print("refused", error.errno)
print("owner", fcntl.fcntl(here, fcntl.F_GETOWN))
"""


@pytest.mark.claim("D-DEPUTY")
def test_the_group_in_front_of_a_terminal_is_not_signalled_for_the_program() -> None:
    terminal = Terminal(sys.executable, "-I", "-S", "-c", OWNED)
    try:
        terminal.until(f"refused {errno.EPERM}\r\nrefused {errno.EPERM}\r\nowner 0\r\n")
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.here)


REPLACED = """
import fcntl, os, sys, threading
_, terminal = os.openpty()
pipe, _ = os.pipe()
number = os.dup(pipe)
done = threading.Event()
def replace():
    while not done.is_set():
        os.dup2(terminal, number)
        os.dup2(pipe, number)
thread = threading.Thread(target=replace)
thread.start()
allowed = refused = reached = 0
rounds = int(sys.argv[1])
for tried in range(100 * rounds):
    if tried >= rounds and allowed and refused:
        break
    try:
        fcntl.fcntl(number, fcntl.F_SETFL, os.O_ASYNC)
        allowed += 1
    except PermissionError:
        refused += 1
    reached += bool(fcntl.fcntl(terminal, fcntl.F_GETFL) & os.O_ASYNC)
done.set()
thread.join()
print(allowed, refused, reached)
"""


@pytest.mark.claim("D-DEPUTY")
@pytest.mark.parametrize("mode", enclosed.MODES)
def test_a_terminal_that_takes_a_number_meanwhile_does_not_tell_its_group(
    mode: str, record_property: pytest.RecordProperty
) -> None:
    rounds = 40_000 if os.environ.get("HOTCALLS_TRUST") else 4_000
    done = enclosed.run(enclosed.inside(mode, sys.executable, "-c", REPLACED, str(rounds)))
    assert done.returncode == 0, done.stderr
    allowed, refused, reached = map(int, done.stdout.split())
    assert allowed > 0  # it was the one…
    assert refused > 0  # …and the other
    assert reached == 0
    record_property("count:races with a number", rounds)
