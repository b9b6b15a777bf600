# SPDX-License-Identifier: Apache-2.0
"""What other processes left in files, or sent: read, or refused with the reader's own error."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from hotcalls.apps import policy, policy_learn, stats
from hotcalls.apps.stats_file import StatsError
from hotcalls.bench import model
from hotcalls.errors import ConnectError, PolicyError
from hotcalls.failure import HotcallsError
from hotcalls.monitor import entries
from hotcalls.serving import protocol

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
    except StatsError:
        return
    assert stats.table(found)
    for call in found.calls.values():
        assert call.cycles(0.5) <= call.cycles(0.99)


def _learned(data: bytes) -> None:
    used = policy_learn.learn(data.decode("utf-8", "surrogateescape").splitlines())
    text = policy_learn.toml(used, "program")
    try:
        policy.load(_write(text.encode()))
    except PolicyError as error:
        # Learned lines come from H, which is trusted; calls that it does not know are said so.
        assert "call" in str(error) or "address" in str(error) or "path" in str(error), error


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
