# SPDX-License-Identifier: Apache-2.0
"""What a process tries on another one, by plain system calls. Each returns 0 or the errno."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import time
from typing import Any

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

PTRACE_ATTACH, PTRACE_DETACH = 16, 17
SYS_PIDFD_OPEN, SYS_PIDFD_GETFD = 434, 438


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]


def outcome(result: int) -> int:
    return ctypes.get_errno() if result < 0 else 0


def open_file(_: Any, path: str, flags: int) -> int:
    try:
        os.close(os.open(path, flags))
    except OSError as error:
        return error.errno or -1
    return 0


def read_memory(_: Any, pid: int, address: int) -> int:
    buffer = ctypes.create_string_buffer(8)
    here = Iovec(ctypes.cast(buffer, ctypes.c_void_p), 8)
    there = Iovec(address, 8)
    return outcome(libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0))


def write_memory(_: Any, pid: int, address: int) -> int:
    buffer = ctypes.create_string_buffer(8)
    here = Iovec(ctypes.cast(buffer, ctypes.c_void_p), 8)
    there = Iovec(address, 8)
    return outcome(libc.process_vm_writev(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0))


def attach(_: Any, pid: int) -> int:
    result = outcome(libc.ptrace(PTRACE_ATTACH, pid, None, None))
    if result == 0:
        os.waitpid(pid, 0)
        libc.ptrace(PTRACE_DETACH, pid, None, None)
    return result


def get_descriptor(_: Any, pid: int, number: int) -> int:
    pidfd = libc.syscall(SYS_PIDFD_OPEN, pid, 0)
    result = outcome(libc.syscall(SYS_PIDFD_GETFD, pidfd, number, 0))
    os.close(pidfd)
    return result


def kill(_: Any, pid: int, number: int) -> int:
    try:
        os.kill(pid, number)
    except OSError as error:
        return error.errno or -1
    return 0


def overwrite(_: Any, path: str, data: bytes) -> int:
    try:
        fd = os.open(path, os.O_WRONLY)
        os.pwrite(fd, data, 0)
        os.close(fd)
    except OSError as error:
        return error.errno or -1
    return 0


def cut(_: Any, path: str) -> int:
    try:
        os.truncate(path, 0)
    except OSError as error:
        return error.errno or -1
    return 0


def last_pid() -> int:
    """The process id that was given out last."""
    # In bytes: an unprivileged process may not be able to import a codec.
    with open("/proc/loadavg", "rb", buffering=0) as file:
        return int(file.read().split()[-1])


def race(_: Any, seconds: float) -> dict[int, int]:
    """Open the memory of every process that appears within some time; return pid: descriptor."""
    opened: dict[int, int] = {}
    first = last_pid() + 1
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        last = last_pid()
        # Behind the last one as well: it may be there by the time it is tried.
        for pid in range(max(first, last - 4), last + 4):
            if pid in opened:
                continue
            try:
                opened[pid] = os.open(f"/proc/{pid}/mem", os.O_RDWR)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.EACCES, errno.EPERM, errno.ESRCH):
                    raise
    return opened


def read_opened(_: Any, opened: dict[int, int], addresses: list[int]) -> list[bytes]:
    """What the kept descriptors read at the addresses."""
    found = []
    for fd in opened.values():
        for address in addresses:
            try:
                found.append(os.pread(fd, 32, address))
            except (OSError, OverflowError):
                continue
        os.close(fd)
    return found


def stop_and_go(_: Any, pid: int) -> int:
    os.kill(pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGCONT)
    return 0
