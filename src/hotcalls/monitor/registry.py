# SPDX-License-Identifier: Apache-2.0
"""The list of what a user runs: a file for each enclave and each program in one.

Host side. Its host writes and removes it; what a host has left that was killed, or that ``hotcalls
run`` became, is removed by whoever looks next. The name begins with the process that it stands or
falls with, when that started, and whose process numbers these are; so nobody has to read a file to
know that it is over. The list is a convenience: not being able to write it never keeps anything
from running, and what it says is checked against /proc before anybody believes it.

Small on purpose: ``hotcalls run`` loads it before every program that it starts.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from hotcalls.monitor.entries import Entry

VERSION = 2
FOLDER = "hotcalls"
#: What is not finished by then never is.
DRAFT_SECONDS = 60.0


class Counters(NamedTuple):
    """A file that the host process of a program counts in, and its descriptor, which is open."""

    path: Path
    descriptor: int


def _place(uid: int) -> Path:
    for parent in (os.environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{uid}"):
        if parent.startswith("/") and _is_ours(Path(parent), uid):
            return Path(parent) / FOLDER
    # Anybody may have made this name before us: it counts only if it is ours, and ours alone.
    return Path(f"/tmp/{FOLDER}-{uid}")  # noqa: S108


def folder() -> Path | None:
    """Where the files are, made if need be; None: there is no place that only this user uses."""
    uid = os.geteuid()
    path = _place(uid)
    with contextlib.suppress(OSError):
        path.mkdir(mode=0o700)
    return path if _is_ours(path, uid) else None


def obstacle() -> str:
    """Why nothing is listed, in words; empty when there is a list."""
    if folder() is not None:
        return ""
    uid = os.geteuid()
    return f"{_place(uid)} is not a directory that user {uid} alone may use: remove it"


def _is_ours(path: Path, uid: int) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == uid and not status.st_mode & 0o077


def register(
    name: str, pid: int, channels: Sequence[int], ecalls: Sequence[str], ocalls: Sequence[str]
) -> Path | None:
    """Add an enclave of this process to the list; None if that is not possible.

    Parameters
    ----------
    channels
        Numbers of this process's descriptors of its channels.
    """
    try:
        where = folder()
        if where is None:
            return None
        entry = {
            "version": VERSION,
            "name": name,
            "pid": pid,
            "started": started(pid),
            "host": os.getpid(),
            "host_started": started(os.getpid()),
            "namespace": namespace(),
            "channels": list(channels),
            "ecalls": list(ecalls),
            "ocalls": list(ocalls),
        }
        return _write(where / f"{_stem(os.getpid())}-{pid}.json", entry)
    except Exception:
        # Whatever it is: a full disk, or an interpreter that has given up the right to read its
        # own library. The enclave runs.
        return None


def _stem(pid: int) -> str:
    return f"{pid}-{started(pid)}-{namespace()}"


def create_counters() -> Counters | None:
    """Make a file for the counters of a program; None if that is not possible.

    The caller closes the descriptor. What is over is removed from the list.
    """
    try:
        where = folder()
        if where is None:
            return None
        _sweep(where)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        # Another one in this process may not have its final name yet.
        for attempt in range(100):
            path = where / f"{_stem(os.getpid())}-{attempt}.stats"
            with contextlib.suppress(FileExistsError):
                return Counters(path, os.open(path, flags, 0o600))
    except (OSError, ValueError):
        pass
    return None


def register_run(name: str, host: int, counters: Counters) -> tuple[Path, ...]:
    """Add a program to the list, whose host process counts in `counters`; what to `forget`.

    Parameters
    ----------
    name
        Of the program.
    host
        The host process, or this one before it becomes the host process.
    """
    path = counters.path
    try:
        path = path.rename(path.with_name(f"{_stem(host)}.stats"))
        entry = {
            "version": VERSION,
            "name": name[:256],
            "pid": host,
            "started": started(host),
            "host": host,
            "host_started": started(host),
            "namespace": namespace(),
            "channels": [],
            "ecalls": [],
            "ocalls": [],
            "counters": path.name,
        }
        return _write(path.with_suffix(".json"), entry), path
    except (OSError, ValueError):
        return (path,)


def _sweep(where: Path) -> None:
    """Remove what belongs to processes that have ended."""
    for path in where.iterdir():
        try:
            pid, since, whose = map(int, path.name.partition(".")[0].split("-")[:3])
        except ValueError:
            continue
        if whose == namespace() and not _runs(pid, since):
            forget(path)


def _write(path: Path, entry: dict[str, Any]) -> Path:
    """Make a file that is whole or not there."""
    data = json.dumps(entry).encode()
    draft = path.with_suffix(".new")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        try:
            if os.write(file, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(draft))
        finally:
            os.close(file)
        draft.rename(path)
    except BaseException:
        # Also what it became: rename() makes a new Path, for which there may be no memory.
        forget(draft)
        forget(path)
        raise
    return path


def forget(path: Path | None) -> None:
    """Take something off the list."""
    if path is not None:
        with contextlib.suppress(OSError):
            path.unlink()


def started(pid: int) -> int:
    """When a process started, in ticks since boot: with its number, it is that process.

    Raises
    ------
    OSError, ValueError
        There is no such process.
    """
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


def namespace() -> int:
    """Whose process numbers these are."""
    return os.stat("/proc/self/ns/pid").st_ino


def entries() -> Iterator[Entry]:
    """All that this user runs; files of what has ended are removed."""
    from hotcalls.monitor.entries import read

    where = folder()
    if where is None:
        return
    _sweep(where)
    for draft in where.glob("*.new"):
        # Of a host that was killed while it wrote, which takes no time.
        with contextlib.suppress(OSError):
            if time.time() - draft.lstat().st_mtime > DRAFT_SECONDS:
                forget(draft)
    for path in sorted(where.glob("*.json")):
        entry = read(path)
        if entry is None or (entry.namespace == namespace() and not alive(entry)):
            forget(path)
        elif entry.namespace == namespace():
            yield entry


def alive(entry: Entry) -> bool:
    """Whether the enclave and its host are still the processes of the entry."""
    return _runs(entry.host, entry.host_started) and _runs(entry.pid, entry.started)


def _runs(pid: int, since: int) -> bool:
    try:
        return started(pid) == since
    except (OSError, ValueError):
        return False
