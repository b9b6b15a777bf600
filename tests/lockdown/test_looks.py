# SPDX-License-Identifier: Apache-2.0
"""Nobody of the same user looks into an enclave of C, one of Python, a program under
``hotcalls run`` or its host process: every attempt of looks.py, on each."""

from __future__ import annotations

import contextlib
import errno
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hotcalls.apps import launcher

from . import conftest, looks
from .test_outside import YAMA
from .test_python_outside import LaunchingPython
from .test_python_outside import folder as folder
from .test_python_outside import python as python

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of x86-64")

#: A kernel may lack them or forbid them to everybody: nothing to compare with.
OPTIONAL = {"kcmp of its memory", "kcmp of its files", "read numa_maps"}


class Running:
    """Starts a program under ``hotcalls run`` in a process of the user."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [str(self.folder / "bin/hotcalls-run"), "--mode", "switch", "--", "/bin/sleep",
             "sleep", "60"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip


def host_of(process: Any) -> int:
    return int(process.pid)


def end(process: Any) -> None:
    process.kill()
    process.wait()


def address_of(_: Any) -> int:
    """Of something that every process of this program's image has, too."""
    return id(looks.LOOKS)


@pytest.fixture(scope="module")
def outcomes(public: Path, folder: Path, python: str) -> Iterator[dict[str, dict[str, int]]]:
    """What came of every attempt on every subject, and on an ordinary process."""
    for part in ("bin", "lib"):
        # A worker that steals tests may come back to this module.
        if not (public / part).exists():
            shutil.copytree(launcher.host_path().parent.parent / part, public / part)
    processes = {
        "C enclave": conftest.Process(conftest.Launching(public)),
        "Python enclave": conftest.Process(LaunchingPython(folder, python=python)),
        "run": conftest.Process(Running(public)),
        "ordinary": conftest.Process(),
    }
    attacker = conftest.Process()
    try:
        plain = processes["ordinary"].do(address_of)
        subjects = {
            name: (processes[name].do(conftest.call, "pid"),
                   processes[name].do(conftest.call, "plain_address"))
            for name in ("C enclave", "Python enclave")
        }  # fmt: skip
        host = processes["run"].do(host_of)
        subjects["host process"] = (host, plain)
        subjects["program"] = (program_of(host), plain)
        subjects["ordinary"] = (processes["ordinary"].process, plain)
        found = {
            name: attacker.do(looks.try_all, pid, address)
            for name, (pid, address) in subjects.items()
        }
        # All that did it no harm.
        assert processes["C enclave"].do(conftest.call, "work", 2, 5) == 2
        assert processes["Python enclave"].do(conftest.call, "work", 4, 20) == 4
        yield found
    finally:
        processes["run"].do(end)
        for process in (attacker, *processes.values()):
            process.close()


def program_of(host: int) -> int:
    """The program of a host process, once it is in its enclave."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        children = Path(f"/proc/{host}/task/{host}/children").read_text().split()
        for child in children:
            status = ""
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{child}/status").read_text()
            if "Seccomp:\t2" in status and "Seccomp_filters:\t2" in status:
                return int(child)
        time.sleep(0.02)
    raise AssertionError("the program did not get into its enclave")


def attempts() -> list[Any]:
    """Each row, with the promise that it attacks: what is counted is counted for that one."""
    return [
        pytest.param(look, id=look.name, marks=pytest.mark.claim(look.claim))
        for look in looks.LOOKS
    ]


@pytest.mark.parametrize("subject", looks.SUBJECTS)
@pytest.mark.parametrize("look", attempts())
def test_attempt_to_look_in_fails(
    outcomes: dict[str, dict[str, int]],
    look: looks.Look,
    subject: str,
    record_property: pytest.RecordProperty,
) -> None:
    record_property("count:attempts to look in", 1)
    result = outcomes[subject][look.name]
    assert result in look.allowed, errno.errorcode.get(result, result)


def test_what_is_refused_works_on_an_ordinary_process(
    outcomes: dict[str, dict[str, int]],
) -> None:
    if YAMA:
        pytest.skip("Yama forbids it to everybody here")
    failed = {
        look.name: errno.errorcode.get(outcomes["ordinary"][look.name], "?")
        for look in looks.LOOKS
        if look.works and look.name not in OPTIONAL and outcomes["ordinary"][look.name] != 0
    }
    assert failed == {}
