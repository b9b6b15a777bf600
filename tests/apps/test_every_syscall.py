# SPDX-License-Identifier: Apache-2.0
"""A program under ``hotcalls run`` tries every system call by the bare instruction, past the C
library and the functions that the shim puts in its place: none gets past the table."""

from __future__ import annotations

import errno
import re
import signal
from pathlib import Path

import enclosed
import pytest

import native
from hotcalls.apps import syscalls

HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
#: The kernel exempts its own trampolines from every filter: uretprobe, uprobe.
EXEMPT = {335, 336}
#: What the probe needs to tell what it found.
NEEDED = {"write", "close"}
#: Nobody would return from it.
WAITS = {"pause"}
#: An errno that no call here has of its own: it was the policy, asked by the host process.
POLICY = errno.EL2HLT


def numbers() -> dict[str, int]:
    found = re.findall(r"__NR_(\w+) (\d+)", HEADER.read_text())
    return {name: int(number) for name, number in found}


def tried(mode: str, which: list[int], *options: str) -> dict[int, int]:
    """Make the calls in an enclave; the result of each."""
    line = enclosed.inside(mode, enclosed.program("raw"), *map(str, which))
    at = line.index("--")
    done = enclosed.run([*line[:at], *options, *line[at:]])
    assert done.returncode == 0, (done.returncode, done.stderr)
    found = dict(map(int, line.split()) for line in done.stdout.splitlines())
    assert list(found) == which
    return found


@pytest.mark.claim("D-BOUNDARY")
@pytest.mark.parametrize("mode", enclosed.MODES)
def test_a_call_that_is_refused_or_unknown_is_refused_by_its_number(
    mode: str, record_property: pytest.RecordProperty
) -> None:
    known = numbers()
    expected = {}
    for row in syscalls.table():
        if row.how == "refused":
            assert row.errno is not None
            expected[known[row.name]] = -getattr(errno, row.errno)
    rows = {known[row.name] for row in syscalls.table()}
    for number in [*range(1024), 1 << 20, (1 << 30) - 1]:
        if number not in rows | EXEMPT:
            expected[number] = -errno.ENOSYS
    assert max(known.values()) < 1024
    found = tried(mode, list(expected))
    record_property("count:system calls tried", len(found))
    assert {n: came for n, came in found.items() if came != expected[n]} == {}


@pytest.mark.claim("D-BOUNDARY", "D-POLICY")
@pytest.mark.parametrize("mode", enclosed.MODES)
def test_a_call_that_leaves_the_enclave_does_not_when_the_policy_refuses_it(
    mode: str, tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    known = numbers()
    passed = [row.name for row in syscalls.table() if row.how in ("passed", "by-hand")]
    emulated = [row.name for row in syscalls.table() if row.how == "emulated"]
    policy = tmp_path / "policy.toml"
    refused = " ".join(name for name in passed if name not in NEEDED)
    policy.write_text(f'SystemCallFilter = "~{refused}"\nSystemCallErrorNumber = "EL2HLT"\n')
    which = [known[name] for name in [*passed, *emulated] if name not in NEEDED | WAITS]
    options = ("--policy", str(policy), "--log", str(tmp_path / "log"))
    found = tried(mode, which, *options)
    record_property("count:system calls tried", len(found))
    # Of an argument that is an address; or the shim knows better.
    own = {
        -getattr(errno, name)
        for name in (
            "EBADF", "EINVAL", "E2BIG", "EFAULT", "EPERM", "ENOSYS", "ECHILD", "ENOTDIR", "ESRCH",
        )
    }  # fmt: skip
    # Its own group, which it is told when it starts.
    del found[known["getpgrp"]]
    assert {n: came for n, came in found.items() if came not in {-POLICY} | own} == {}
    # All that take no descriptor and no size got as far as the policy.
    by_policy = {n for n, came in found.items() if came == -POLICY}
    for name in (
        "open", "creat", "stat", "lstat", "access", "mkdir", "rmdir", "unlink", "rename", "link",
        "symlink", "chmod", "chown", "truncate", "chdir", "chroot", "statfs", "socket",
        "socketpair", "pipe", "pipe2", "eventfd2", "epoll_create1", "timerfd_create",
        "memfd_create", "setuid", "setgid", "setresuid", "capset", "kill", "getppid", "umask",
        "sync", "setsid", "close_range",
    ):  # fmt: skip
        assert known[name] in by_policy, (name, found[known[name]])


#: Harmless ones, those that do most, and the first and last that x32 has for itself. Each ends a
#: program, so not all of them are tried: the filters look at the bit, and at the architecture.
X32 = ["getpid 39", "read 0", "open 2", "mmap 9", "clone 56", "execve 59", "ptrace 101",
       "first 512", "ptrace 521", "last 547", "none 548"]  # fmt: skip
INT80 = ["getpid 20", "open 5", "execve 11", "fork 2", "kill 37", "socketcall 102", "clone 120",
         "mmap2 192", "none 1000"]  # fmt: skip
ENTRIES = [*(f"x32 {call}" for call in X32), *(f"int80 {call}" for call in INT80)]


@pytest.mark.claim("D-BOUNDARY")
@pytest.mark.parametrize("call", native.some(ENTRIES, every=5))
def test_another_entry_into_the_kernel_ends_the_program(
    call: str, record_property: pytest.RecordProperty
) -> None:
    entry, _, number = call.split()
    asked = f"-{number}" if entry == "int80" else str(1 << 30 | int(number))
    done = enclosed.run(enclosed.inside("hot", enclosed.program("raw"), asked))
    record_property("count:calls by another entry", 1)
    fatal = {-signal.SIGSYS, -signal.SIGSEGV} if entry == "int80" else {-signal.SIGSYS}
    assert done.returncode in fatal, done.stderr
    assert done.stdout == ""
