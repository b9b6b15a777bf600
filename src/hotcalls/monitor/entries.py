# SPDX-License-Identifier: Apache-2.0
"""The files of the registry as they are read back: by a program that trusts none of them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Annotated

import msgspec

from hotcalls.monitor.registry import VERSION

#: The names of 100 functions take some kilobytes.
ENTRY_MAX = 1 << 20

_Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
_Pid = Annotated[int, msgspec.Meta(ge=1, lt=1 << 31)]
_Name = Annotated[str, msgspec.Meta(max_length=256)]


class Entry(msgspec.Struct, frozen=True):
    """One enclave, or one program in `hotcalls run`, as its host wrote it down.

    Attributes
    ----------
    pid, started, host, host_started
        The processes, and when they started.
    namespace
        Whose process numbers these are.
    channels
        Descriptors of the host: of its own channel, then of its clients'.
    ecalls, ocalls
        Names by id.
    counters
        Of a program: the file beside this one that its host process counts in. Its `pid` is the
        host process; the program's own is in there.
    """

    version: int
    name: _Name
    pid: _Pid
    started: _Number
    host: _Pid
    host_started: _Number
    namespace: _Number
    channels: Annotated[
        list[Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]], msgspec.Meta(max_length=128)
    ]
    ecalls: Annotated[list[_Name], msgspec.Meta(max_length=65536)]
    ocalls: Annotated[list[_Name], msgspec.Meta(max_length=65536)]
    counters: Annotated[str, msgspec.Meta(pattern=r"^(\d+-\d+-\d+\.stats)?\Z")] = ""


_decode = msgspec.json.Decoder(Entry).decode


def contents(path: Path) -> bytes | None:
    """Return what a file holds; None if it is none of ours."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > ENTRY_MAX:
            return None
        return os.read(descriptor, ENTRY_MAX)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def read(path: Path) -> Entry | None:
    """Return what a file says; None if it is none of ours."""
    data = contents(path)
    try:
        entry = _decode(data) if data is not None else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return entry if entry is not None and entry.version == VERSION else None


def printable(text: str) -> str:
    """The text with what could move a terminal's cursor made visible."""
    return "".join(c if c.isprintable() else "?" for c in text)
