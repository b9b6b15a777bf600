# SPDX-License-Identifier: Apache-2.0
"""The list of a user's running enclaves: a file for each, which its host writes and removes.

Host side. The list is a convenience: not being able to write it never keeps an enclave from
running, and what it says is checked against /proc before anybody believes it.
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
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotcalls.monitor.entries import Entry

VERSION = 1
FOLDER = "hotcalls"
#: What is not finished by then never is.
DRAFT_SECONDS = 60.0


def folder() -> Path | None:
    """Where the files are, made if need be; None: there is no place that only this user writes."""
    uid = os.geteuid()
    for parent in (os.environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{uid}"):
        if parent.startswith("/") and _is_ours(Path(parent), uid):
            return _made(Path(parent) / FOLDER, uid)
    # Anybody may have made this name before us: it counts only if it is ours, and ours alone.
    return _made(Path(f"/tmp/{FOLDER}-{uid}"), uid)  # noqa: S108


def _made(path: Path, uid: int) -> Path | None:
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    return path if _is_ours(path, uid) else None


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
        path = where / f"{os.getpid()}-{pid}.json"
        _write(path, json.dumps(entry).encode())
    except Exception:
        # Whatever it is: a full disk, or an interpreter that has given up the right to read its
        # own library. The enclave runs.
        return None
    return path


def _write(path: Path, data: bytes) -> None:
    """Make a file that is whole or not there."""
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
        forget(draft)
        raise


def forget(path: Path | None) -> None:
    """Take an enclave off the list."""
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
    """All enclaves of this user that run; files of others that have ended are removed."""
    from hotcalls.monitor.entries import read

    where = folder()
    if where is None:
        return
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
    try:
        return started(entry.host) == entry.host_started and started(entry.pid) == entry.started
    except (OSError, ValueError):
        return False
