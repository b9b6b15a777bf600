# SPDX-License-Identifier: Apache-2.0
"""The probes of the sandbox tests: plain C programs, built once, run by an unprivileged user.

Attacks are only attacks when they come from where an attacker is: another process of the same
user, without privileges. When the tests run as root, targets and attackers run under a user id
that nobody else has; otherwise as whoever runs the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import native  # noqa: E402
from native import NATIVE  # noqa: E402

AS_ROOT = os.geteuid() == 0
#: Not `nobody`, whose other processes could get in the way (and into the picture).
UID = 60000 + os.getpid() % 5000 if AS_ROOT else os.getuid()
TIMEOUT = 30.0


@dataclass
class Target:
    """A started program whose standard input is held open, and the lines it has printed."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self, start: str) -> str:
        """Return the next line that begins with ``start``; remember those before it."""
        assert self.process.stdout is not None
        for raw in self.process.stdout:
            text = raw.rstrip("\n")
            self.lines.append(text)
            if text == start or text.startswith(start + " "):
                return text
        raise AssertionError(f"{start!r} never came: {self.lines}")

    def go(self) -> None:
        """Let a target that waits go on."""
        assert self.process.stdin is not None
        self.process.stdin.write("g")
        self.process.stdin.flush()


@dataclass
class Probes:
    """The folder with the built programs, and ways to run them."""

    folder: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)
    as_root: bool = AS_ROOT
    uid: int = UID

    def identity(self) -> dict[str, object]:
        """Return the arguments that make subprocess drop root."""
        if not self.as_root:
            return {}
        return {"user": self.uid, "group": self.uid, "extra_groups": []}

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def build(self, name: str, sources: Sequence[str | Path], *flags: str, link: str = "") -> None:
        """Put a program or library where every user may run it; it is compiled once."""
        made = native.build(name, [HERE / each for each in sources], ["-O2", *flags], link=link)
        shutil.copy(made, self.folder)
        (self.folder / name).chmod(0o755)

    def run(
        self,
        *command: str,
        env: dict[str, str] | None = None,
        check: bool = True,
        as_root: bool = False,
    ) -> list[str]:
        """Run a program to its end and return the lines it printed."""
        done = subprocess.run(
            command,
            env=env or {},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
            **({} if as_root else self.identity()),  # type: ignore[call-overload]
        )
        assert not check or done.returncode == 0, (done.returncode, done.stdout, done.stderr)
        return str(done.stdout).splitlines()

    def start(self, *command: str, **options: object) -> Target:
        """Start a program that talks; it is ended after the test."""
        arguments: dict[str, object] = {"env": {}, **self.identity(), **options}
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **arguments,  # type: ignore[call-overload]
        )
        self.started.append(process)
        return Target(process)

    def attack(self, *command: str) -> dict[str, str]:
        """Run attack.c and return what came of each attempt."""
        lines = self.run(self.path("attack"), *command)
        return dict(line.split(" ", 1) for line in lines)

    def end(self) -> None:
        for process in self.started:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
        self.started.clear()


def sandbox_sources(*without: str) -> list[Path]:
    return [path for path in sorted(NATIVE.glob("sandbox_*.c")) if path.name not in without]


@pytest.fixture(scope="session")
def built() -> Iterator[Probes]:
    """Build the probes in a folder that every user may read."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    if not Path("/usr/include/seccomp.h").exists():
        pytest.skip("needs seccomp.h (Debian: libseccomp-dev)")
    folder = Path(tempfile.mkdtemp(prefix="hotcalls-sandbox-", dir="/var/tmp"))
    folder.chmod(0o755)
    probes = Probes(folder)
    seccomp = "-lseccomp"
    probes.build("target", ["target.c", *sandbox_sources()], link=seccomp)
    probes.build("late", ["late.c", *sandbox_sources()], link=seccomp)
    probes.build("attack", ["attack.c", NATIVE / "sandbox_image.c", NATIVE / "sandbox_error.c"])
    probes.build(
        "inside",
        ["inside.c", "inside_attempts.c", "inside_table.c", *sandbox_sources()],
        link=seccomp,
    )
    # Without the filter, so that what stands behind it can be seen.
    rest = sandbox_sources("sandbox_filter.c", "sandbox_verify.c")
    probes.build("behind", ["behind.c", *rest], link=seccomp)
    for value in (11, 22):
        name = f"victim{value}.so"
        probes.build(name, ["victim.c"], "-fPIC", "-shared", f"-DVALUE={value}")
    try:
        yield probes
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def probes(built: Probes) -> Iterator[Probes]:
    """The probes; what a test started is ended with it."""
    try:
        yield built
    finally:
        built.end()


@pytest.fixture
def own_folder(built: Probes) -> Iterator[Path]:
    """A folder that belongs to the attacker, as a virtual environment does."""
    folder = Path(tempfile.mkdtemp(dir=built.folder))
    if AS_ROOT:
        os.chown(folder, UID, UID)
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def own_copy(built: Probes, own_folder: Path) -> Callable[[str], str]:
    """Copy a built file into the attacker's folder, owned by the attacker."""

    def copy(name: str) -> str:
        path = own_folder / name
        shutil.copy(built.path(name), path)
        if AS_ROOT:
            os.chown(path, UID, UID)
        return str(path)

    return copy
