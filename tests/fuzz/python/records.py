# SPDX-License-Identifier: Apache-2.0
"""What other processes left in files, or sent: read, or refused with the reader's own error."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from hotcalls.apps import policy, policy_learn, stats
from hotcalls.bench import model
from hotcalls.errors import ConnectError, PolicyError
from hotcalls.failure import HotcallsError
from hotcalls.monitor import entries
from hotcalls.serving import protocol

_PATH_LINE = b"used path read openat /"
_FILE = os.memfd_create("record")
_PATH = Path(f"/proc/self/fd/{_FILE}")


def _write(data: bytes) -> Path:
    os.ftruncate(_FILE, 0)
    os.pwrite(_FILE, data, 0)
    return _PATH


def _entry(data: bytes) -> None:
    # A link is not followed, so the reader is asked for the file's content only.
    try:
        entry = entries._decode(data)
    except (ValueError, entries.msgspec.DecodeError):
        return
    assert entries.printable(entry.name).isprintable()


def _statistics(data: bytes) -> None:
    rows = data[1:]
    header = stats._HEADER.size
    if data[:1] == b"r" and len(rows) >= header:
        # As a host process that counts lies: the head is right, and says how much there is.
        count = (len(rows) - header) // stats._ROW.size
        rows = struct.pack("<QII", stats._MAGIC, min(count, 4096), stats._ROW.size) + rows[16:]
    try:
        found = stats.decode(rows, now_ns=1)
    except stats.StatsError:
        return
    assert stats.table(found)
    for call in found.calls.values():
        assert call.cycles(0.5) <= call.cycles(0.99)


def _learned(data: bytes) -> None:
    # Of what H writes only paths are a program's choice; those may hold any byte.
    lines = [
        line.decode("utf-8", "surrogateescape" if line.startswith(_PATH_LINE) else "replace")
        for line in data.split(b"\n")
    ]
    used = policy_learn.learn(lines)
    text = policy_learn.toml(used, "program")
    try:
        policy.load(_write(text.encode()))
    except PolicyError:
        # The rest of a line is H's own words: a policy of nothing but paths is one, whatever they
        # are called.
        assert not all(line.startswith(_PATH_LINE) for line in data.split(b"\n")), text


def _result(data: bytes) -> None:
    try:
        model.read(_write(data))
    except HotcallsError:
        return


def _handshake(data: bytes) -> None:
    flags, rest = (data[0] if data else 0), data[1:]
    try:
        welcome = protocol._checked(rest, [3, 4, 5, 6][: flags & 7], flags & 0x28, "server")
    except ConnectError as error:
        assert str(error).isprintable()
        return
    assert welcome.version == protocol.VERSION


_READERS = (_entry, _statistics, _learned, _result, _handshake)


def run(data: bytes) -> None:
    """Give it to the reader that the first byte names."""
    _READERS[(data[0] if data else 0) % len(_READERS)](data[1:])
