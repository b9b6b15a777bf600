# SPDX-License-Identifier: Apache-2.0
"""Where the counters of a run lie, so that another command can look at them. Host side.

Small on purpose: `hotcalls run` loads it before every program that it starts.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from hotcalls.failure import HotcallsError


class StatsError(HotcallsError):
    """There are no statistics to show; says why."""


def folder() -> Path:
    """Return where the statistics of this user's runs are: nobody else may write there.

    Raises
    ------
    StatsError
        When somebody else has put something there.
    """
    user = os.getuid()
    given = os.environ.get("XDG_RUNTIME_DIR")
    base = Path(given) if given and Path(given).is_dir() else None
    path = Path(f"/tmp/hotcalls-{user}") if base is None else base / "hotcalls"  # noqa: S108
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user or found.st_mode & 0o022:
        raise StatsError(f"{path} is not a directory that user {user} alone may write: remove it")
    return path


def path_of(pid: int) -> Path:
    """Return the file of the host process `pid`."""
    return folder() / f"{pid}.stats"


def create() -> int | None:
    """Return a descriptor for the statistics of the host process that this process will become.

    What runs that are over have left is removed. Where no file can be made, as in a container whose
    /tmp is read-only, the program runs all the same: None, and nobody can look at its counters.
    """
    try:
        for path in folder().glob("*.stats"):
            if not Path("/proc", path.stem).exists():
                path.unlink(missing_ok=True)
        path = path_of(os.getpid())
        path.unlink(missing_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except (OSError, StatsError):
        return None
