# SPDX-License-Identifier: Apache-2.0
"""From inside a running enclave, of C or of Python, every number is tried as a system call, and
each way into the kernel: what has no row in the table is refused, by the filter and nothing else.

tests/sandbox tries the same on the bare lock-down, with more arguments; here it is the enclaves as
they are launched. tests/apps/test_every_syscall.py does it under ``hotcalls run``.
"""

from __future__ import annotations

import errno
import platform
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import hotcalls

from . import conftest
from .test_python_outside import LaunchingPython
from .test_python_outside import folder as folder
from .test_python_outside import python as python

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of x86-64")

DENIED = errno.ESRMNT
NATIVE = conftest.HERE.parents[1] / "native"
HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
#: The kernel exempts its own trampolines from every filter: uretprobe, uprobe.
EXEMPT = {335, 336}
NOTHING = (1 << 64) - 1
KINDS = ("C", "Python")


def numbers() -> dict[str, int]:
    found = re.findall(r"__NR_(\w+) (\d+)", HEADER.read_text())
    return {name: int(number) for name, number in found}


def with_a_row(kind: str) -> set[int]:
    """The calls that the table lets through, perhaps under conditions."""
    text = re.sub(r"/\*.*?\*/", "", (NATIVE / "sandbox_table.h").read_text(), flags=re.S)
    rows = re.findall(r"^SANDBOX_(?:ALLOW|ABSENT)\((\w+), (\w+),", text, re.M)
    known = numbers()
    return {
        known[call]
        for group, call in rows
        if call in known and (kind == "Python" or group != "INTERPRETER")
    }


@pytest.fixture(scope="module", params=KINDS)
def inside(
    request: pytest.FixtureRequest, public: Path, folder: Path, python: str
) -> Iterator[tuple[str, conftest.Process]]:
    """A kind of enclave, and the host of one."""
    kind = request.param
    launch = conftest.Launching(public) if kind == "C" else LaunchingPython(folder, python=python)
    host = conftest.Process(launch)
    yield kind, host
    host.close()


def call_raw(enclave: Any, number: int, arguments: tuple[int, ...]) -> tuple[int, int]:
    given = [*arguments, *[0] * (6 - len(arguments))]
    result = enclave.raw(number, given)
    return int(result[0]), int(result[1])


def sweep(enclave: Any, tried: list[int], argument: int) -> dict[int, tuple[int, int]]:
    return {number: call_raw(enclave, number, (argument,) * 6) for number in tried}


@pytest.mark.claim("G-SYSCALLS")
@pytest.mark.parametrize("argument", [NOTHING, 0])
def test_system_call_without_a_row_is_refused(
    inside: tuple[str, conftest.Process], argument: int, record_property: pytest.RecordProperty
) -> None:
    kind, host = inside
    rows = with_a_row(kind)
    highest = max(numbers().values())
    assert highest < 1000
    tried = [n for n in range(1024) if n not in rows | EXEMPT]
    # Between the last number and the bit of x32, which kills.
    tried += [1 << 16, 1 << 20, (1 << 29) - 1, (1 << 30) - 1]
    found = host.do(sweep, tried, argument)
    record_property("count:system calls tried", len(found))
    assert {number: came for number, came in found.items() if came != (-1, DENIED)} == {}
    # With the rows, and what the kernel exempts: all there are.
    assert set(found) | rows | EXEMPT >= set(range(highest + 1))


#: Calls that have a row, with arguments that have none.
ARGUMENTS: dict[str, tuple[str, tuple[int, ...]]] = {
    "code by mmap": ("mmap", (0, 4096, 5, 0x22, NOTHING, 0)),
    "code and data by mmap": ("mmap", (0, 4096, 7, 0x22, NOTHING, 0)),
    "a file by mmap": ("mmap", (0, 4096, 1, 2, 1, 0)),
    "shared memory by mmap": ("mmap", (0, 4096, 3, 0x21, NOTHING, 0)),
    "growing memory by mmap": ("mmap", (0, 4096, 3, 0x122, NOTHING, 0)),
    "huge pages by mmap": ("mmap", (0, 1 << 21, 3, 0x40022, NOTHING, 0)),
    "code by mprotect": ("mprotect", (4096, 4096, 5)),
    "memory that grows down by mprotect": ("mprotect", (4096, 4096, 0x1000003)),
    "advice to remove": ("madvise", (4096, 4096, 9)),
    "advice to poison": ("madvise", (4096, 4096, 100)),
    "advice to merge": ("madvise", (4096, 4096, 12)),
    "fork": ("clone", (17, 0, 0, 0, 0)),
    "a process that shares memory": ("clone", (0x100 | 17, 0, 0, 0, 0)),
    "a user namespace": ("clone", (0x10000000 | 17, 0, 0, 0, 0)),
    "a mount namespace": ("clone", (0x20000 | 17, 0, 0, 0, 0)),
    "a thread that is traced": ("clone", (0x3D0F00 | 0x2000, 0, 0, 0, 0)),
    "a thread in a new namespace": ("clone", (0x3D0F00 | 0x10000000, 0, 0, 0, 0)),
    "flags beyond 32 bits": ("clone", (0x1003D0F00, 0, 0, 0, 0)),
    "dumpable": ("prctl", (4, 1)),
    "a tracer": ("prctl", (0x59616D61, NOTHING)),
    "death without the host": ("prctl", (1, 0)),
    "another filter": ("prctl", (22, 2, 0)),
    "capabilities": ("prctl", (47, 2, 0)),
    "speculation": ("prctl", (53, 0, 0)),
    "a signal to another": ("tgkill", (1, 1, 0)),
    "reading the log": ("read", (1, 4096, 0)),
    "writing elsewhere": ("write", (5, 4096, 0)),
    "gathering elsewhere": ("writev", (3, 4096, 0)),
    "affinity of another": ("sched_setaffinity", (1, 8, 4096)),
    "a lock of priorities by futex": ("futex", (4096, 3, 0, 0, 0, 0)),
    "a requeue by futex": ("futex", (4096, 4, 0, 0, 4096, 0)),
    "a clock of processes": ("clock_gettime", (0xFFFFFFFA, 4096)),
}


@pytest.mark.claim("G-SYSCALLS", "G-CODE", "G-PROCESSES", "G-CHANNEL")
@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_that_no_row_has_are_refused(
    inside: tuple[str, conftest.Process], name: str, record_property: pytest.RecordProperty
) -> None:
    call, arguments = ARGUMENTS[name]
    record_property("count:system calls tried", 1)
    assert inside[1].do(call_raw, numbers()[call], arguments) == (-1, DENIED)


@pytest.mark.claim("G-ENTRIES")
@pytest.mark.parametrize("call", ["openat", "execve", "socket", "ptrace", "memfd_create", "fork"])
def test_a_forged_signal_frame_leads_past_nothing(host: Any, call: str) -> None:
    assert host.do(conftest.call, "forged", numbers()[call]) == (-1, DENIED)


@pytest.mark.claim("G-ENTRIES")
@pytest.mark.parametrize("way", [0, 1, 2], ids=["x32", "int80", "32-bit code segment"])
def test_another_way_into_the_kernel_ends_the_enclave(public: Path, way: int) -> None:
    host = conftest.Process(conftest.Launching(public))
    try:
        assert isinstance(host.do(conftest.call, "enter", way), hotcalls.EnclaveLost)
    finally:
        host.close()


@pytest.mark.claim("G-ENTRIES")
def test_an_x32_number_ends_a_python_enclave(folder: Path, python: str) -> None:
    host = conftest.Process(LaunchingPython(folder, python=python))
    try:
        assert isinstance(host.do(_x32), hotcalls.EnclaveLost)
    finally:
        host.close()


def _x32(enclave: Any) -> Any:
    call: Callable[..., Any] = enclave.raw
    return call((1 << 30) | 39, [0] * 6)
