# SPDX-License-Identifier: Apache-2.0
"""What the same user does with what an enclave shares with others, rather than with its process:
faults on the channel that nobody resolves, descriptors that are sent to where it may write, and the
file of a library that it has loaded."""

from __future__ import annotations

import array
import ctypes
import errno
import fcntl
import mmap
import os
import select
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import hotcalls
import native

from . import attacks, conftest
from .test_looks_launch import KINDS, call_with_timeout, works
from .test_looks_launch import evil as evil
from .test_looks_launch import launching as launching
from .test_python_outside import LaunchingPython
from .test_python_outside import folder as folder
from .test_python_outside import python as python

# ---- userfaultfd ---------------------------------------------------------------------------------

SYS_USERFAULTFD = 323
USER_MODE_ONLY = 1
UFFDIO_API, UFFDIO_REGISTER, UFFDIO_UNREGISTER = 0xC018AA3F, 0xC020AA00, 0x8010AA01
MISSING = 1
FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE = 1, 2


def catch_faults(_: Any, pid: int) -> list[int]:
    """Map every channel of a host, empty it, and answer no fault on what is missing then.

    One result for each channel: 0 when a fault was caught, of this process itself.
    """
    results = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        if not os.readlink(f"/proc/{pid}/fd/{name}").startswith("/memfd:hotcalls "):
            continue
        fd = os.open(f"/proc/{pid}/fd/{name}", os.O_RDWR)
        memory = mmap.mmap(fd, os.fstat(fd).st_size)
        # As long as this process lives: what waits for an answer gets none.
        KEPT.append(memory)
        results.append(_catch(fd, memory))
    return results


KEPT: list[Any] = []


def _catch(fd: int, memory: mmap.mmap) -> int:
    faults = attacks.libc.syscall(SYS_USERFAULTFD, os.O_CLOEXEC | os.O_NONBLOCK | USER_MODE_ONLY)
    if faults < 0:
        return ctypes.get_errno()
    KEPT.append(faults)
    first = ctypes.c_char.from_buffer(memory)
    start, size = ctypes.addressof(first), len(memory)
    fcntl.ioctl(faults, UFFDIO_API, struct.pack("QQQ", 0xAA, 0, 0))
    fcntl.ioctl(faults, UFFDIO_REGISTER, struct.pack("QQQQ", start, size, MISSING, 0))
    hole = attacks.libc.fallocate(
        fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, ctypes.c_long(0), ctypes.c_long(size)
    )
    if hole != 0:
        return ctypes.get_errno()
    # By a function of C: whoever waits there must not hold the interpreter.
    last = ctypes.c_void_p(start + size - 1)
    touch = threading.Thread(target=attacks.libc.memchr, args=(last, 0, 1), daemon=True)
    touch.start()
    return 0 if select.select([faults], [], [], 20)[0] else errno.ETIMEDOUT


@pytest.mark.claim("L-MEMORY", "L-CHANNEL")
@pytest.mark.parametrize("kind", KINDS)
def test_faults_that_another_process_catches_on_the_channel_stop_nobody_in_it(
    kind: str, launching: Callable[..., Callable[[], Any]], attacker: conftest.Process
) -> None:
    """Whoever registers a mapping with userfaultfd waits for himself."""
    host = conftest.Process(launching(kind))
    try:
        assert works(kind, host)
        pid, address = host.do(conftest.call, "pid"), host.do(conftest.call, "plain_address")
        caught = attacker.do(catch_faults, host.process)
        if set(caught) & {errno.EPERM, errno.ENOSYS}:
            pytest.skip("no userfaultfd for this user here")
        assert set(caught) == {0}
        # The channel is empty now: a right answer, an error, or the end; and in time.
        host.start(call_with_timeout)
        assert isinstance(host.finish(), (int, hotcalls.HotcallsError))
        assert attacker.do(attacks.read_memory, pid, address) in (
            errno.EPERM, errno.EACCES, errno.ESRCH,
        )  # fmt: skip
    finally:
        host.close()
    # Nor does it wait for an answer to a fault when its host is gone.
    gone = conftest.until(lambda: not Path(f"/proc/{pid}/maps").exists())
    assert gone


# ---- descriptors that are sent -------------------------------------------------------------------


class WithSocketForLog:
    """Launches with one end of a socket as the log; the other end sends descriptors."""

    def __init__(self, launch: Callable[..., Any], log: int) -> None:
        self.launch, self.log = launch, log

    def __call__(self) -> Any:
        self.launch.options["log"] = self.log
        return self.launch()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees the descriptors of an enclave")
@pytest.mark.claim("L-DESCRIPTORS", "G-CHANNEL")
@pytest.mark.parametrize("kind", KINDS)
def test_descriptor_that_is_sent_to_it_does_not_arrive(
    kind: str, launching: Callable[..., Callable[[], Any]], record_property: pytest.RecordProperty
) -> None:
    """Its log is the only thing that may be a socket; it may write there, and nothing else."""
    ours, theirs = socket.socketpair()
    with ours, theirs, open("/etc/passwd", "rb") as given:
        host = conftest.Process(WithSocketForLog(launching(kind), theirs.fileno()))
        try:
            pid = host.do(conftest.call, "pid")
            before = descriptors(pid)
            assert any(name.startswith("socket:") for name in before)
            passed = array.array("i", [given.fileno()])
            sent = 0
            for _ in range(8):
                ours.sendmsg([b"take it"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)])
                sent += 1
            for fd in range(16):
                for call in (RECVMSG, RECVFROM, RECVMMSG):
                    assert host.do(raw, call, fd) == (-1, errno.ESRMNT)
            assert descriptors(pid) == before
            assert works(kind, host)
            record_property("count:descriptors sent", sent)
        finally:
            host.close()


RECVFROM, RECVMSG, RECVMMSG = 45, 47, 299


def raw(enclave: Any, number: int, fd: int) -> tuple[int, int]:
    """A system call on a descriptor, made inside."""
    result = enclave.raw(number, [fd, 0, 0, 0, 0, 0])
    return int(result[0]), int(result[1])


def descriptors(pid: int) -> list[str]:
    """What a process has open; root's view."""
    folder = Path(f"/proc/{pid}/fd")
    return sorted(os.readlink(folder / name) for name in os.listdir(folder))


# ---- a library of the user's ---------------------------------------------------------------------

LIBRARY = """
__attribute__((aligned(8192))) int value(void) { return VALUE; }
__attribute__((aligned(8192))) int after(void) { return 0; }
"""
MODULE = """
import ctypes
import hotcalls

OWN = ctypes.CDLL({library!r})


@hotcalls.ecall
def value() -> int:
    return OWN.value()
"""
ORDINARY = """
import ctypes, sys
own = ctypes.CDLL({library!r})
print("ready", flush=True)
sys.stdin.readline()
print(own.value(), flush=True)
"""


@pytest.fixture
def own(public: Path) -> Iterator[Path]:
    """A library of the user's, and beside it what it is to become."""
    place = public / "own"
    place.mkdir(mode=0o755)
    for value, name in ((1, "libown.so"), (2, "libown.so.other")):
        built = native.build(name, [_source(place)], ["-shared", "-fPIC", "-w", f"-DVALUE={value}"])
        shutil.copy(built, place / name)
    conftest.give_to_user([place, *place.iterdir()])
    yield place / "libown.so"
    shutil.rmtree(place)


def _source(place: Path) -> Path:
    source = place / "own.c"
    source.write_text(LIBRARY)
    return source


class LaunchingText(LaunchingPython):
    """Launches a module of another name."""

    def __call__(self) -> Any:
        return hotcalls.launch(self.folder / self.name, **self.options)


@pytest.mark.claim("L-FILES")
@pytest.mark.parametrize("attack", ["overwrite", "truncate"])
def test_library_that_a_module_has_loaded_is_not_changed_through_its_file(
    attack: str, folder: Path, python: str, own: Path, attacker: conftest.Process
) -> None:
    """Its pages were never touched before: they would be read from the file as it is now."""
    module = folder / "loads.py"
    module.write_text(MODULE.format(library=str(own)))
    host = conftest.Process(LaunchingText(folder, module.name, python=python))
    ordinary = subprocess.Popen(
        [python, "-I", "-c", ORDINARY.format(library=str(own))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/",
        preexec_fn=conftest.become_user,
    )  # fmt: skip
    try:
        assert ordinary.stdout is not None
        assert ordinary.stdout.readline() == "ready\n"
        if attack == "overwrite":
            other = Path(f"{own}.other").read_bytes()
            assert attacker.do(attacks.overwrite, str(own), other) == 0
        else:
            assert attacker.do(attacks.cut, str(own)) == 0
        # It works on an ordinary process: other code, or none at all.
        said, _ = ordinary.communicate("\n", 20)
        assert (ordinary.returncode, said) != (0, "1\n")
        assert host.do(conftest.call, "value") == 1
        if os.geteuid() == 0:
            assert conftest.files_that_the_user_can_change(host.do(conftest.call, "pid")) == []
    finally:
        ordinary.kill()
        ordinary.wait()
        host.close()
        module.unlink()
