# SPDX-License-Identifier: Apache-2.0
"""The ways to run a server: natively, in a process enclave three ways, and in other sandboxes.

Host side; builds command lines, runs nothing.
"""

from __future__ import annotations

import os
import shutil
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hotcalls.apps.evaluate.model import HOT, NATIVE, SWITCH, UNPINNED

GVISOR, BUBBLEWRAP = "gvisor_ptrace", "bubblewrap"


@dataclass(frozen=True)
class Mode:
    """A way to run a server.

    Parameters
    ----------
    name
        In results.
    title
        For people.
    enclosed
        Whether what is started is a host, and the program one of its descendants.
    peer
        Whether it is somebody else's sandbox.
    """

    name: str
    title: str
    enclosed: bool
    peer: bool = False
    note: str = ""


MODES = (
    Mode(NATIVE, "native", enclosed=False),
    Mode(SWITCH, "switch, companion on the same core", enclosed=True),
    Mode(UNPINNED, "switch, unpinned", enclosed=True),
    Mode(HOT, "hot", enclosed=True),
)
PEERS = (
    Mode(
        GVISOR,
        "gVisor, ptrace platform",
        enclosed=True,
        peer=True,
        note="gVisor as Debian has it (2022), on its ptrace platform: the only one that needs no "
        "KVM there. Its newer systrap platform is faster.",
    ),
    Mode(
        BUBBLEWRAP,
        "bubblewrap with a seccomp filter",
        enclosed=True,
        peer=True,
        note="Native speed, because the kernel decides by the number of the call alone: it can "
        "neither count calls, nor log them, nor look at a path, an address or a byte.",
    ),
)


def find(name: str) -> Mode:
    """Return the mode called `name`."""
    return next(mode for mode in (*MODES, *PEERS) if mode.name == name)


def missing(mode: Mode) -> str | None:
    """Say why a mode cannot be run here; None when it can."""
    if mode.name == GVISOR and shutil.which("runsc") is None:
        return "runsc is not installed (apt-get install runsc)"
    if mode.name == BUBBLEWRAP and shutil.which("bwrap") is None:
        return "bwrap is not installed (apt-get install bubblewrap)"
    return None


def hotcalls() -> list[str]:
    """Return the command of this very installation."""
    return [sys.executable, "-m", "hotcalls.cli"]


def wrap(
    mode: Mode,
    command: Sequence[str],
    *,
    policy: Path | None = None,
    stats: Path | None = None,
    seccomp_fd: int | None = None,
) -> list[str]:
    """Return the command line that runs `command` in `mode`.

    Parameters
    ----------
    mode
        The way.
    command
        The server, with its arguments.
    policy, stats
        Of ``hotcalls run``; ignored elsewhere.
    seccomp_fd
        Descriptor of a filter for bubblewrap.
    """
    if mode.name == NATIVE:
        return list(command)
    if mode.name == GVISOR:
        # Rootless: with root, `runsc do` changes the host's network settings.
        options = ["--rootless", "--network=host", "--ignore-cgroups", "--platform=ptrace"]
        return ["runsc", *options, "do", *command]
    if mode.name == BUBBLEWRAP:
        bound = ["--bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--die-with-parent"]
        filtered = [] if seccomp_fd is None else ["--seccomp", str(seccomp_fd)]
        return ["bwrap", *bound, *filtered, *command]
    options = ["--mode", mode.name.replace("_", "-")]
    if policy is not None:
        options += ["--policy", str(policy)]
    if stats is not None:
        options += ["--stats-file", str(stats)]
    return [*hotcalls(), "run", *options, "--", *command]


#: What bubblewrap's filter refuses: the calls that no server here makes and no sandbox should
#: pass on, by their numbers on x86-64.
_REFUSED = {
    "ptrace": 101, "mount": 165, "umount2": 166, "swapon": 167, "reboot": 169, "init_module": 175,
    "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250, "unshare": 272,
    "perf_event_open": 298, "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311,
    "finit_module": 313, "bpf": 321, "userfaultfd": 323, "io_uring_setup": 425,
    "io_uring_enter": 426, "io_uring_register": 427, "pidfd_getfd": 438,
}  # fmt: skip
_AUDIT_ARCH_X86_64 = 0xC000003E
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _KILL, _EPERM = 0x7FFF0000, 0x80000000, 0x00050001


def seccomp_filter() -> bytes:
    """Return a BPF program that refuses `_REFUSED` with EPERM and allows the rest."""
    numbers = sorted(_REFUSED.values())
    program = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, _AUDIT_ARCH_X86_64), (_RETURN, 0, 0, _KILL)]
    program.append((_LOAD, 0, 0, 0))
    for place, number in enumerate(numbers):
        program.append((_EQUAL, len(numbers) - place, 0, number))
    program += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _EPERM)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def seccomp_descriptor() -> int:
    """Return a descriptor from which the filter can be read once; the caller closes it."""
    descriptor = os.memfd_create("seccomp", 0)
    os.write(descriptor, seccomp_filter())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
