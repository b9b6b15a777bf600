# SPDX-License-Identifier: Apache-2.0
"""The ways in which one process can look into another of the same user, as one table.

Each row is an attempt, the promise of docs/threat-model.md that it attacks, and what has to come of
it; tests/lockdown/test_looks.py makes every one on each kind of enclave and, where it works there,
on an ordinary process, so that it is the enclave that refuses. docs/lock-down.md shows the table.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import mmap
import os
import signal
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .attacks import Iovec, libc, outcome

REFUSED = frozenset({errno.EACCES, errno.EPERM})
#: As refused: the kernel has no such thing, or forbids it to everybody here.
ABSENT = frozenset({errno.ENOENT, errno.ENOSYS})
SUBJECTS = ("C enclave", "Python enclave", "program", "host process")

SYSCALLS = {
    "setns": 308, "kcmp": 312, "migrate_pages": 256, "move_pages": 279, "get_robust_list": 274,
    "perf_event_open": 298, "pidfd_open": 434, "pidfd_getfd": 438, "process_madvise": 440,
    "process_mrelease": 448,
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """One attempt: what it is called, which promise it attacks, and what has to come of it."""

    name: str
    claim: str
    attempt: Callable[[int, int], int]
    #: Errnos that mean that it failed as it has to.
    allowed: frozenset[int] = REFUSED
    #: Whether it succeeds on an ordinary process of the same user.
    works: bool = True


def _number(call: str, *arguments: Any) -> int:
    return outcome(libc.syscall(SYSCALLS[call], *arguments))


def _errno(act: Callable[[], object]) -> int:
    try:
        act()
    except OSError as error:
        return error.errno or -1
    return 0


def _read(path: str, pid: int, address: int) -> int:
    def act() -> None:
        with open(path.format(pid=pid), "rb", buffering=0) as file:
            file.read(8)

    return _errno(act)


def _open(path: str, flags: int, pid: int, address: int) -> int:
    return _errno(lambda: os.close(os.open(path.format(pid=pid), flags)))


def _write(path: str, text: bytes, pid: int, address: int) -> int:
    def act() -> None:
        fd = os.open(path.format(pid=pid), os.O_WRONLY)
        try:
            os.write(fd, text)
        finally:
            os.close(fd)

    return _errno(act)


def _link(path: str, pid: int, address: int) -> int:
    return _errno(lambda: os.readlink(path.format(pid=pid)))


def _list(path: str, pid: int, address: int) -> int:
    return _errno(lambda: os.listdir(path.format(pid=pid)))


def _copy(call: Any, pid: int, address: int) -> int:
    buffer = ctypes.create_string_buffer(8)
    here = Iovec(ctypes.cast(buffer, ctypes.c_void_p), 8)
    there = Iovec(address, 8)
    return outcome(call(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0))


def _pidfd(pid: int) -> int:
    return int(libc.syscall(SYSCALLS["pidfd_open"], pid, 0))


def _descriptor(number: int, pid: int, address: int) -> int:
    pidfd = _pidfd(pid)
    fd = libc.syscall(SYSCALLS["pidfd_getfd"], pidfd, number, 0)
    result = outcome(fd)
    if fd >= 0:
        os.close(fd)
    os.close(pidfd)
    return result


def _advise(advice: int, pid: int, address: int) -> int:
    pidfd = _pidfd(pid)
    there = Iovec(address & ~4095, 4096)
    result = _number("process_madvise", pidfd, ctypes.byref(there), 1, advice, 0)
    os.close(pidfd)
    return result


def _release(pid: int, address: int) -> int:
    pidfd = _pidfd(pid)
    result = _number("process_mrelease", pidfd, 0)
    os.close(pidfd)
    return result


def _join(kind: int, pid: int, address: int) -> int:
    pidfd = _pidfd(pid)
    result = _number("setns", pidfd, kind)
    os.close(pidfd)
    return result


def _namespace(command: int, pid: int, address: int) -> int:
    """PIDFD_GET_…_NAMESPACE of Linux 6.11."""
    pidfd = _pidfd(pid)
    fd = libc.ioctl(pidfd, command, 0)
    result = outcome(fd)
    if fd >= 0:
        os.close(fd)
    os.close(pidfd)
    return result


def _compare(kind: int, pid: int, address: int) -> int:
    return 0 if libc.syscall(SYSCALLS["kcmp"], os.getpid(), pid, kind, 0, 0) >= 0 else (
        ctypes.get_errno()
    )  # fmt: skip


def _pages(pid: int, address: int) -> int:
    page = ctypes.c_void_p(address & ~4095)
    status = ctypes.c_int(0)
    return _number("move_pages", pid, 1, ctypes.byref(page), None, ctypes.byref(status), 0)


def _migrate(pid: int, address: int) -> int:
    nodes = ctypes.c_ulong(1)
    return _number("migrate_pages", pid, 8, ctypes.byref(nodes), ctypes.byref(nodes))


def _robust_list(pid: int, address: int) -> int:
    head, size = ctypes.c_void_p(), ctypes.c_size_t()
    return _number("get_robust_list", pid, ctypes.byref(head), ctypes.byref(size))


def _perf(kind: int, config: int, pid: int, address: int) -> int:
    # struct perf_event_attr: type, size, config; exclude_kernel and exclude_hv.
    attributes = struct.pack("<IIQ", kind, 128, config).ljust(40, b"\0") + struct.pack("<Q", 0x60)
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    fd = libc.syscall(SYSCALLS["perf_event_open"], buffer, pid, -1, -1, 0)
    if fd >= 0:
        os.close(fd)
    return outcome(fd)


def _raise_core(pid: int, address: int) -> int:
    limit = (ctypes.c_uint64 * 2)(1 << 30, 1 << 30)
    return outcome(libc.prlimit(pid, 4, ctypes.byref(limit), None))


def _detach(pid: int) -> None:
    libc.ptrace(0x4207, pid, None, None)  # PTRACE_INTERRUPT
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if os.waitpid(pid, os.WNOHANG | 0x40000000)[0] == pid:
            libc.ptrace(17, pid, None, None)
            return
        time.sleep(0.001)


def _attach(pid: int, address: int) -> int:
    result = outcome(libc.ptrace(16, pid, None, None))
    if result == 0:
        os.waitpid(pid, 0x40000000)
        libc.ptrace(17, pid, None, None)
    return result


def _seize(pid: int, address: int) -> int:
    result = outcome(libc.ptrace(0x4206, pid, None, None))
    if result == 0:
        _detach(pid)
    return result


def _peek(pid: int, address: int) -> int:
    """Without having attached: never anybody's right."""
    ctypes.set_errno(0)
    libc.ptrace(1, pid, ctypes.c_void_p(address), None)
    return ctypes.get_errno()


def _stopped(attempt: Callable[[int, int], int], pid: int, address: int) -> int:
    """While it is stopped, as somebody who wants to attach in peace would have it."""
    os.kill(pid, signal.SIGSTOP)
    try:
        return attempt(pid, address)
    finally:
        os.kill(pid, signal.SIGCONT)


def _mapped_file(pid: int, address: int) -> int:
    start = address & ~(mmap.PAGESIZE - 1)
    return _open(f"/proc/{{pid}}/map_files/{start:x}-{start + 4096:x}", os.O_RDONLY, pid, address)


def _stat_addresses(pid: int, address: int) -> int:
    """/proc/PID/stat is everybody's; its addresses are zero for who may not look in."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    # startcode, endcode, startstack, kstkesp, kstkeip; start_data .. env_end
    numbers = [int(fields[at - 3]) for at in (26, 27, 28, 29, 30, 45, 46, 47, 48, 49, 50, 51)]
    return errno.EPERM if all(number <= 1 for number in numbers) else 0


def _where_it_waits(pid: int, address: int) -> int:
    with open(f"/proc/{pid}/wchan", "rb") as file:
        return errno.EPERM if file.read() == b"0" else 0


def _each_thread(attempt: Callable[..., int], path: str, *more: Any) -> Callable[[int, int], int]:
    def act(pid: int, address: int) -> int:
        results = [
            attempt(path.format(pid=f"{pid}/task/{task}"), *more, pid, address)
            for task in os.listdir(f"/proc/{pid}/task")
        ]
        return 0 if 0 in results else max(results)

    return act


_part = functools.partial


def _files() -> list[Look]:
    memory = "L-MEMORY"
    found = [
        Look(f"read {name}", memory, _part(_read, f"/proc/{{pid}}/{name}"), works=works)
        for name, works in (
            ("maps", True), ("smaps", True), ("smaps_rollup", True), ("numa_maps", True),
            ("pagemap", True), ("auxv", True), ("io", True), ("timerslack_ns", False),
            ("syscall", True), ("personality", True), ("stack", False),
        )
    ]  # fmt: skip
    found += [
        Look(f"open mem, {name}", memory, _part(_open, "/proc/{pid}/mem", flags))
        for name, flags in (
            ("reading", os.O_RDONLY), ("writing", os.O_WRONLY), ("both", os.O_RDWR),
        )
    ]  # fmt: skip
    found += [
        Look("open mem of each thread", memory, _each_thread(_open, "/proc/{pid}/mem", os.O_RDWR)),
        Look("read maps of each thread", memory, _each_thread(_read, "/proc/{pid}/maps")),
        Look("write clear_refs", memory, _part(_write, "/proc/{pid}/clear_refs", b"4")),
        Look("open a mapping in map_files", memory, _mapped_file, REFUSED, works=False),
        Look("list map_files", memory, _part(_list, "/proc/{pid}/map_files")),
        Look("addresses in stat", memory, _stat_addresses),
        Look("what wchan says", memory, _where_it_waits, works=False),
        Look("write coredump_filter", "L-CORE", _part(_write, "/proc/{pid}/coredump_filter", b"1")),
        Look("write oom_score_adj", "L-EXHAUST",
             _part(_open, "/proc/{pid}/oom_score_adj", os.O_WRONLY)),
        Look("read environ", "L-ENVIRONMENT", _part(_open, "/proc/{pid}/environ", os.O_RDONLY)),
        Look("read environ of each thread", "L-ENVIRONMENT",
             _each_thread(_open, "/proc/{pid}/environ", os.O_RDONLY)),
        Look("list fd", "L-DESCRIPTORS", _part(_list, "/proc/{pid}/fd")),
        Look("list fdinfo", "L-DESCRIPTORS", _part(_list, "/proc/{pid}/fdinfo")),
        Look("list cwd", "L-FILES", _part(_list, "/proc/{pid}/cwd/")),
        Look("list root", "L-FILES", _part(_list, "/proc/{pid}/root/")),
        Look("open a file by way of root", "L-FILES",
             _part(_open, "/proc/{pid}/root/etc/passwd", os.O_RDONLY)),
        Look("open exe", "L-FILES", _part(_open, "/proc/{pid}/exe", os.O_RDONLY), works=False),
        Look("overwrite exe", "L-FILES", _part(_open, "/proc/{pid}/exe", os.O_WRONLY), works=False),
    ]  # fmt: skip
    for number in range(8):
        path = f"/proc/{{pid}}/fd/{number}"
        # An ordinary process has no such descriptor, perhaps.
        found.append(
            Look(f"open fd/{number}", "L-DESCRIPTORS", _part(_open, path, os.O_RDONLY), works=False)
        )
    found += [
        Look(f"read the link {name}", claim, _part(_link, f"/proc/{{pid}}/{name}"))
        for name, claim in (
            ("cwd", "L-FILES"), ("root", "L-FILES"), ("exe", "L-FILES"), ("fd/1", "L-DESCRIPTORS"),
            ("ns/user", "L-NAMESPACE"), ("ns/mnt", "L-NAMESPACE"), ("ns/pid", "L-NAMESPACE"),
            ("ns/net", "L-NAMESPACE"), ("ns/ipc", "L-NAMESPACE"), ("ns/uts", "L-NAMESPACE"),
            ("ns/cgroup", "L-NAMESPACE"), ("ns/time", "L-NAMESPACE"),
        )
    ]  # fmt: skip
    return found


def _calls() -> list[Look]:
    memory, trace, descriptors = "L-MEMORY", "L-TRACE", "L-DESCRIPTORS"
    found = [
        Look("process_vm_readv", memory, _part(_copy, libc.process_vm_readv)),
        Look("process_vm_writev", memory, _part(_copy, libc.process_vm_writev)),
        Look("kcmp of its memory", memory, _part(_compare, 1)),
        Look("kcmp of its files", descriptors, _part(_compare, 2)),
        Look("get_robust_list", memory, _robust_list),
        Look("move_pages", memory, _pages),
        Look("migrate_pages", memory, _migrate, works=False),
        Look("process_mrelease", memory, _release, REFUSED | {errno.EINVAL}, works=False),
        Look("perf_event_open, time", trace, _part(_perf, 1, 1), works=False),
        Look("perf_event_open, faults", trace, _part(_perf, 1, 2), works=False),
        Look("perf_event_open, cycles", trace, _part(_perf, 0, 0), REFUSED | ABSENT, works=False),
        Look("ptrace attach", trace, _attach),
        Look("ptrace seize", trace, _seize),
        Look("ptrace peek without attaching", trace, _peek, REFUSED | {errno.ESRCH}, works=False),
        Look("ptrace attach while it is stopped", trace, _part(_stopped, _attach)),
        Look("ptrace seize while it is stopped", trace, _part(_stopped, _seize)),
        Look("open mem while it is stopped", memory,
             _part(_stopped, _part(_open, "/proc/{pid}/mem", os.O_RDWR))),
        Look("process_vm_readv while it is stopped", memory,
             _part(_stopped, _part(_copy, libc.process_vm_readv))),
    ]  # fmt: skip
    found += [
        # EINVAL: not an advice to others, on this kernel.
        Look(f"process_madvise {name}", memory, _part(_advise, advice), REFUSED | {errno.EINVAL},
             works=False)
        for name, advice in (
            ("cold", 20), ("pageout", 21), ("willneed", 3), ("dontneed", 4), ("collapse", 25),
        )
    ]  # fmt: skip
    found += [
        Look(f"pidfd_getfd {number}", descriptors, _part(_descriptor, number), works=number < 3)
        for number in range(8)
    ]
    found += [
        Look(f"setns {name}", "L-NAMESPACE", _part(_join, kind), works=False)
        for name, kind in (
            ("user", 0x10000000), ("mount", 0x20000), ("pid", 0x20000000), ("net", 0x40000000),
            ("ipc", 0x08000000), ("uts", 0x04000000), ("cgroup", 0x02000000), ("time", 0x80),
        )
    ]  # fmt: skip
    found += [
        Look(f"namespace of a pidfd, {name}", "L-NAMESPACE", _part(_namespace, 0xFF00 | number),
             REFUSED | {errno.ENOTTY}, works=False)
        for name, number in (
            ("cgroup", 1), ("ipc", 2), ("mount", 3), ("net", 4), ("pid", 5), ("time", 7),
            ("user", 9), ("uts", 10),
        )
    ]  # fmt: skip
    found.append(Look("prlimit, more core", "L-CORE", _raise_core, works=False))
    return found


LOOKS: tuple[Look, ...] = (*_files(), *_calls())


def try_all(_: Any, pid: int, address: int) -> dict[str, int]:
    """Make every attempt; 0 or the errno of each."""
    return {look.name: look.attempt(pid, address) for look in LOOKS}
