# SPDX-License-Identifier: Apache-2.0
"""The host process of ``hotcalls run`` has a filter as well: it makes the calls of the table, those
that it needs for itself, and no others."""

from __future__ import annotations

import errno
import platform
import re
import signal
import subprocess
import time
from pathlib import Path

import enclosed
import pytest

import native
from hotcalls.apps import syscalls

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="hotcalls run needs x86-64")

HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
#: What the host process needs for itself, and with which arguments of -1 it may be tried: never.
OWN = [
    "brk",
    "munmap",
    "mremap",
    "madvise",
    "futex",
    "set_robust_list",
    "rseq",
    "gettid",
    "getpid",
    "exit",
    "exit_group",
    "sched_yield",
    "getcpu",
    "sched_getaffinity",
    "nanosleep",
    "clock_nanosleep",
    "clock_gettime",
    "gettimeofday",
    "restart_syscall",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "rt_sigtimedwait",
    "wait4",
    "getrusage",
    "poll",
    "openat2",
    "readlink",
    "writev",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "getrandom",
]
#: Let through under conditions, each of which is tried; with -1 they may be let through.
CONDITIONAL = ["mmap", "mprotect", "clone", "clone3", "ioctl"]
#: In the table, but not made, or with other arguments than -1 alone.
NOT_MADE = ["signalfd4", "setsid", "setpgid", "prctl", "prlimit64", "ioctl", "kill"]
#: The kernel exempts its own trampolines from every filter: uretprobe, uprobe.
EXEMPT = {335, 336}


def numbers() -> dict[str, int]:
    text = HEADER.read_text()
    return {name: int(number) for name, number in re.findall(r"__NR_(\w+) (\d+)", text)}


@pytest.fixture(scope="module")
def outcomes() -> dict[str, int]:
    """What came of each number and attempt."""
    known = numbers()
    table = [row.name for row in syscalls.table() if row.how in ("passed", "by-hand")]
    allowed = {known[name] for name in [*table, *OWN, *CONDITIONAL]}
    allowed -= {known[name] for name in NOT_MADE if name not in CONDITIONAL}
    tried = [n for n in [*range(1024), 1 << 20, (1 << 30) - 1] if n not in allowed | EXEMPT]
    probe = native.build(
        "guard_probe",
        [enclosed.HERE / "guard/probe.c", native.NATIVE / "run_guard.c"],
        [f"-I{native.NATIVE}", "-O1"],
    )
    done = subprocess.run(
        [probe, *(str(known[name]) for name in table)],
        input=" ".join(map(str, tried)), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    found = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    assert {str(n) for n in tried} <= set(found)
    return {name: int(value) for name, value in found.items()}


@pytest.mark.claim("D-DEPUTY")
def test_a_call_that_the_host_process_does_not_need_is_refused(
    outcomes: dict[str, int], record_property: pytest.RecordProperty
) -> None:
    tried = {name: value for name, value in outcomes.items() if name.isdigit()}
    record_property("count:system calls tried", len(tried))
    assert {name for name, value in tried.items() if value != errno.ESRMNT} == set()
    known = numbers()
    for name in (
        "execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev",
        "pidfd_getfd", "pidfd_open", "bpf", "perf_event_open", "userfaultfd", "io_uring_setup",
        "unshare", "setns", "mount", "seccomp", "kcmp", "process_madvise", "memfd_secret",
        "open_by_handle_at", "init_module", "keyctl", "shmat", "remap_file_pages", "personality",
        "pkey_mprotect", "arch_prctl", "modify_ldt", "signalfd4", "setsid", "vmsplice",
    ):  # fmt: skip
        assert outcomes[str(known[name])] == errno.ESRMNT, name


@pytest.mark.claim("D-DEPUTY")
def test_arguments_of_what_is_let_through_are_looked_at(outcomes: dict[str, int]) -> None:
    refused = {name for name, value in outcomes.items() if value == errno.ESRMNT}
    assert refused >= {
        "code by mmap", "code by mprotect", "fork by clone", "namespace by clone",
        "clone with high bits", "signal to another", "signal to a process",
        "signal to a group", "signal to everybody", "dumpable", "tracer", "death signal",
        "limits of another", "affinity of another", "TIOCSTI", "TIOCLINUX",
    }  # fmt: skip
    for name in (
        "not dumpable", "memory", "signal to the program", "signal to itself",
        "asking for a process",
    ):  # fmt: skip
        assert outcomes[name] == 0, name
    assert outcomes["clone3"] == errno.ENOSYS


@pytest.mark.claim("D-DEPUTY")
def test_another_entry_into_the_kernel_ends_the_host_process(outcomes: dict[str, int]) -> None:
    assert outcomes["x32"] == signal.SIGSYS
    # Where the kernel has no 32-bit entry at all it is a fault.
    assert outcomes["int80"] in (signal.SIGSYS, signal.SIGSEGV)


@pytest.mark.claim("D-DEPUTY")
@pytest.mark.parametrize("mode", enclosed.MODES)
def test_every_thread_of_the_host_process_is_filtered(mode: str) -> None:
    with subprocess.Popen(enclosed.inside(mode, "sleep", "60")) as process:
        try:
            folder = Path(f"/proc/{process.pid}")
            until = time.monotonic() + 60
            while len(list((folder / "task").iterdir())) < 3 and time.monotonic() < until:
                time.sleep(0.02)
            for task in (folder / "task").iterdir():
                status = (task / "status").read_text()
                assert re.search(r"^Seccomp:\s+2$", status, re.M), (task.name, status)
                assert re.search(r"^NoNewPrivs:\s+1$", status, re.M)
        finally:
            process.terminate()
            process.wait(60)
