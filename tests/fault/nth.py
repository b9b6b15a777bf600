# SPDX-License-Identifier: Apache-2.0
"""Running a command while its n-th system call fails, or while who makes it is killed (nth.c)."""

from __future__ import annotations

import errno
import os
import re
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import native

HERE = Path(__file__).resolve().parent
#: With HOTCALLS_TRUST=1 every n, which takes minutes; else some.
TRUST = os.environ.get("HOTCALLS_TRUST", "") not in ("", "0")
#: Of struct nth in nth.h.
LAYOUT = struct.Struct("<9I16s")
ANY = 0xFFFFFFFF

#: System calls of x86-64, and what they fail with.
X86_64 = {
    "read": (0, errno.EIO), "write": (1, errno.ENOSPC), "poll": (7, errno.ENOMEM),
    "mmap": (9, errno.ENOMEM), "mprotect": (10, errno.ENOMEM), "ioctl": (16, errno.ENOMEM),
    "pwrite64": (18, errno.ENOSPC), "madvise": (28, errno.ENOMEM), "sendmsg": (46, errno.ENOBUFS),
    "recvmsg": (47, errno.EMFILE), "socketpair": (53, errno.EMFILE), "clone": (56, errno.EAGAIN),
    "execve": (59, errno.ENOMEM), "fcntl": (72, errno.EMFILE), "ftruncate": (77, errno.ENOSPC),
    "prctl": (157, errno.EINVAL), "futex": (202, errno.EAGAIN), "openat": (257, errno.EMFILE),
    "eventfd2": (290, errno.EMFILE), "dup3": (292, errno.EMFILE), "pipe2": (293, errno.EMFILE),
    "prlimit64": (302, errno.EPERM), "seccomp": (317, errno.EINVAL),
    "memfd_create": (319, errno.EMFILE), "execveat": (322, errno.ENOMEM),
    "pidfd_open": (434, errno.EMFILE), "clone3": (435, errno.EAGAIN),
    "close_range": (436, errno.EINVAL), "landlock_restrict_self": (446, errno.EPERM),
    "memfd_secret": (447, errno.ENOMEM),
}  # fmt: skip


def kinds(*names: str) -> list[str]:
    """Return what launching.py takes for these calls."""
    return [f"{name}={X86_64[name][0]}:{X86_64[name][1]}" for name in names]


def shares(*, short: int, of: int) -> list[tuple[int, int]]:
    """Return where tests begin that fail each n together, and how far apart theirs are.

    Each n costs a launch, and several workers run tests. Else one test takes some.
    """
    return [(first, of) for first in range(1, of + 1)] if TRUST else [(1, short)]


@dataclass
class Outcome:
    """What came of a command."""

    seen: int
    triggered: bool
    hit: int
    signal: int
    status: int
    left: int
    hung: bool
    output: str
    errors: str


class Place:
    """Where a command runs: its own folders for temporary files and for the runtime's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.temporary = folder / "tmp"
        self.runtime = folder / "run"
        for path in (self.temporary, self.runtime):
            path.mkdir(mode=0o700)
        self._words = folder / "words"
        self._program = native.build("nth", [HERE / "nth.c"], native.PLAIN)

    def files(self) -> list[str]:
        """The files that are there."""
        return sorted(
            str(path.relative_to(self.folder))
            for where in (self.temporary, self.runtime)
            for path in where.rglob("*")
            if path.is_file()
        )

    def run(
        self,
        command: list[str],
        *,
        numbers: str = "all",
        name: str = "",
        n: int = 0,
        number: int = ANY,
        error: int = 0,
        starve: bool = False,
        armed: bool = False,
        timeout: float = 100,
    ) -> Outcome:
        """Run to the end; the n-th call fails with `error`, or ends its process if that is 0.

        Parameters
        ----------
        numbers
            Of the calls that are looked at.
        name
            Of the processes whose calls count.
        starve
            The n-th and all behind it.
        armed
            From the beginning; else the command does it.
        """
        action = 2 if starve else 1 if error == 0 else 0
        self._words.write_bytes(
            LAYOUT.pack(armed, number, n, action, error, 0, 0, 0, 0, name.encode())
        )
        done = subprocess.run(
            [str(self._program), str(self._words), numbers, "--", *command],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            env={
                **os.environ,
                "TMPDIR": str(self.temporary),
                "XDG_RUNTIME_DIR": str(self.runtime),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
        )
        output, _, last = done.stdout.rpartition("nth: ")
        assert done.returncode == 0, done.stdout + done.stderr
        found = {key: int(value) for key, value in re.findall(r"(\w+)=(-?\d+)", last)}
        return Outcome(
            found["seen"], bool(found["triggered"]), found["hit"], found["signal"], found["exit"],
            found["left"], bool(found["hung"]), output, done.stderr,
        )  # fmt: skip

    def launching(self, *words: str, timeout: float = 100, **options: object) -> Outcome:
        """Run launching.py."""
        command = [sys.executable, str(HERE / "launching.py"), *words]
        return self.run(command, timeout=timeout, **options)  # type: ignore[arg-type]
