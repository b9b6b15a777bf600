# SPDX-License-Identifier: Apache-2.0
"""Which file a command line means, and whether it can run in an enclave.

Host only.  What is checked here is checked for a clear message; the enclave itself does not rest
on it: a program into which the shim is not loaded cannot do anything but start.
"""

from __future__ import annotations

import os
import stat
import struct
import sys
from pathlib import Path
from typing import NamedTuple

from hotcalls.failure import HotcallsError

EXIT_NOT_FOUND = 127
EXIT_NOT_EXECUTABLE = 126

_SHEBANG_MAX = 256
_ELF_MACHINES = {3: "32-bit x86", 40: "32-bit ARM", 62: "x86-64", 183: "aarch64", 243: "RISC-V"}
_MACHINE = 62
_PT_INTERP = 3


class ProgramError(HotcallsError):
    """A program that cannot be run in an enclave.

    Attributes
    ----------
    path
        The file.
    exit_status
        What a shell would end with: 127 when it is missing, 126 when it cannot be run.
    """

    def __init__(self, path: str, why: str, exit_status: int = EXIT_NOT_EXECUTABLE) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.exit_status = exit_status


class Program(NamedTuple):
    """What to execute: an absolute path, and the arguments from ``argv[0]`` on."""

    path: str
    argv: list[str]


def _which(name: str) -> str | None:
    # As shutil.which, which would bring the modules that compress archives with it.
    for folder in os.get_exec_path():
        path = os.path.join(folder or os.curdir, name)
        if os.path.exists(path) and not os.path.isdir(path):
            return path
    return None


def _find(name: str) -> str:
    path = name if "/" in name else _which(name)
    if path is None:
        raise ProgramError(name, "not found in PATH", EXIT_NOT_FOUND)
    if not os.path.exists(path):
        raise ProgramError(name, "no such file", EXIT_NOT_FOUND)
    return os.path.abspath(path)


def _check_file(path: str) -> None:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ProgramError(path, "is not a file that can be executed")
    if not os.access(path, os.X_OK):
        raise ProgramError(path, "permission to execute is denied: chmod +x")
    if status.st_mode & stat.S_ISUID or (
        status.st_mode & stat.S_ISGID and status.st_mode & stat.S_IXGRP
    ):
        raise ProgramError(
            path, "is setuid or setgid, which the kernel does not allow in an enclave: run a copy"
        )
    try:
        capable = bool(os.getxattr(path, "security.capability"))
    except OSError:
        capable = False
    if capable:
        raise ProgramError(
            path, "has file capabilities, which the kernel does not give in an enclave"
        )


def _check_elf(path: str, head: bytes) -> None:
    if head[4] != 2 or head[5] != 1:
        raise ProgramError(path, "is not a 64-bit program of this machine")
    machine, entries_at = struct.unpack_from("<H", head, 18)[0], struct.unpack_from("<Q", head, 32)
    if machine != _MACHINE:
        name = _ELF_MACHINES.get(machine, f"machine {machine}")
        raise ProgramError(path, f"is for {name}, this machine is x86-64")
    size, count = struct.unpack_from("<HH", head, 54)
    with open(path, "rb") as file:
        file.seek(entries_at[0])
        entries = file.read(size * count)
    types = [struct.unpack_from("<I", entries, at)[0] for at in range(0, len(entries) - 3, size)]
    if _PT_INTERP not in types:
        raise ProgramError(
            path, "is statically linked: the shim cannot be loaded into it; use a dynamic build"
        )


def _interpreter(path: str, line: bytes) -> tuple[str, list[str]]:
    words = line[2:].split(b"\n", 1)[0].strip().split(None, 1)
    if b"\n" not in line or not words:
        raise ProgramError(path, "its first line, `#!`, does not name an interpreter")
    interpreter = os.fsdecode(words[0])
    if not interpreter.startswith("/"):
        raise ProgramError(path, f"its interpreter {interpreter} is not an absolute path")
    return interpreter, [os.fsdecode(word.strip()) for word in words[1:]]


def resolve(command: list[str]) -> Program:
    """Find the program of a command line and check that it can run in an enclave.

    Parameters
    ----------
    command
        The words of the command line.

    Returns
    -------
    Program
        For a script, its interpreter with the script as an argument: once, as the interpreter's
        own ``#!`` line would need a second start.

    Raises
    ------
    ProgramError
        It is missing, not executable, setuid, static, of another machine, or a script whose
        first line is of no use.
    """
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        raise ProgramError(command[0], "hotcalls run needs Linux on x86-64")
    path = _find(command[0])
    argv = list(command)
    for script in (True, False):
        _check_file(path)
        with open(path, "rb") as file:
            head = file.read(_SHEBANG_MAX)
        if head.startswith(b"\x7fELF") and len(head) >= 64:
            _check_elf(path, head)
            return Program(path, argv)
        if not head.startswith(b"#!"):
            raise ProgramError(path, "is neither an ELF program nor a script with a `#!` line")
        if not script:
            raise ProgramError(path, "is a script itself, and interprets another: name its own")
        interpreter, words = _interpreter(path, head)
        if not os.path.exists(interpreter):
            raise ProgramError(path, f"its interpreter {interpreter} does not exist")
        if Path(interpreter).name == "env" and words:
            # /usr/bin/env would start another program, which an enclave cannot.
            names = words[0].split()
            if names[0] == "-S":
                names = names[1:]
            if not names or names[0].startswith("-") or "=" in names[0]:
                raise ProgramError(path, "its `#!` line uses env in a way that is not supported")
            interpreter, words = _find(names[0]), names[1:]
        argv = [interpreter, *words, path, *argv[1:]]
        path = os.path.realpath(interpreter) if os.path.islink(interpreter) else interpreter
    raise AssertionError("not reached")
