# SPDX-License-Identifier: Apache-2.0
"""Where the kernel, or a container's filter, refuses a part of the lock-down: a clear refusal, or
the fall-back that the documentation names. A filter in the host's process plays the container."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from pathlib import Path
from typing import Any

import pytest

from . import attacks, conftest

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of x86-64")

NUMBERS = {
    "memfd_create": 319, "memfd_secret": 447, "landlock_create_ruleset": 444,
    "landlock_restrict_self": 446, "seccomp": 317, "pidfd_open": 434, "close_range": 436,
    "execveat": 322,
}  # fmt: skip


class Refusing:
    """Installs a filter that refuses some system calls, then launches."""

    def __init__(self, public: Path, number: int, *calls: str) -> None:
        self.public, self.number, self.calls = public, number, calls

    def __call__(self) -> Any:
        def instruction(code: int, jt: int, jf: int, k: int) -> bytes:
            return struct.pack("<HBBI", code, jt, jf, k)

        program = [instruction(0x20, 0, 0, 0)]  # load the number of the call
        for name in self.calls:
            program.append(instruction(0x15, 0, 1, NUMBERS[name]))
            program.append(instruction(0x06, 0, 0, 0x00050000 | self.number))
        program.append(instruction(0x06, 0, 0, 0x7FFF0000))
        code = b"".join(program)
        buffer = ctypes.create_string_buffer(code, len(code))
        fprog = struct.pack("<HxxxxxxQ", len(program), ctypes.addressof(buffer))
        holder = ctypes.create_string_buffer(fprog, len(fprog))
        assert attacks.libc.prctl(38, 1, 0, 0, 0) == 0
        assert attacks.libc.prctl(22, 2, holder, 0, 0) == 0
        return conftest.Launching(self.public, timeout=60)()


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
@pytest.mark.parametrize("call", ["memfd_secret", "landlock_create_ruleset"])
def test_without_it_the_enclave_runs_with_the_fall_back(
    public: Path, call: str, number: int
) -> None:
    process = conftest.Process(Refusing(public, number, call))
    try:
        assert process.do(conftest.call, "work", 2, 5) == 2
        assert process.do(conftest.call, "attempt", "open") == (-1, errno.ESRMNT)
    finally:
        process.close()


@pytest.mark.claim("L-MEMORY")
@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.ENOSYS])
def test_where_a_copy_cannot_be_run_the_loader_is_not_run_by_its_path(
    public: Path, number: int
) -> None:
    """Of a file that its user can read, the user can look into the process until it is closed."""
    with pytest.raises(RuntimeError, match="LaunchError") as caught:
        conftest.Process(Refusing(public, number, "execveat")).close()
    assert "hotcalls-enclave" in str(caught.value)
    assert os.strerror(number) in str(caught.value)
    assert ("see hotcalls doctor" in str(caught.value)) == (number != errno.ENOSYS)


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
@pytest.mark.parametrize("call", ["seccomp", "close_range"])
def test_without_it_the_launch_is_refused_as_a_lockdown_error(
    public: Path, call: str, number: int
) -> None:
    with pytest.raises(RuntimeError, match="LockdownError") as caught:
        conftest.Process(Refusing(public, number, call)).close()
    text = str(caught.value)
    assert {"seccomp": "seccomp", "close_range": "descriptors"}[call] in text
    assert os.strerror(number) in text or "seccomp" in text


@pytest.mark.parametrize("call", ["memfd_create", "pidfd_open"])
def test_without_it_the_launch_is_refused_with_the_step(public: Path, call: str) -> None:
    with pytest.raises(RuntimeError, match=r"LaunchError|LockdownError") as caught:
        conftest.Process(Refusing(public, errno.EPERM, call)).close()
    assert os.strerror(errno.EPERM) in str(caught.value)
