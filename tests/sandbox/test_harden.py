# SPDX-License-Identifier: Apache-2.0
"""Stage 1: after sandbox_harden() nobody of the same user looks in, and nothing was carried in."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Probes

SECRET = "the secret of the target process"
#: Ways in that the kernel's ptrace access check guards, each with the errors that mean "refused".
#: The others of attack.c say nothing about it (they need privileges anyway, or tell nothing).
REFUSED = {str(errno.EACCES), str(errno.EPERM)}
GUARDED = {
    "maps", "smaps", "environ", "auxv", "syscall", "personality", "io", "numa_maps", "fd",
    "fdinfo", "map_files", "clear_refs", "coredump_filter", "cwd", "exe", "root", "fd/1",
    "ns/user", "ns/mnt", "mem", "pidfd_getfd", "process_vm_readv", "process_vm_writev", "kcmp",
    "get_robust_list", "move_pages", "perf_event_open", "prlimit-core", "ptrace-seize",
    "ptrace-attach",
}  # fmt: skip


def address(target_line: str) -> str:
    return target_line.split()[1]


def test_plain_process_is_open_to_its_user(probes: Probes) -> None:
    """The control: the same attempts succeed on a process that does not harden itself."""
    target = probes.start(probes.path("target"), "address", "wait")
    at = address(target.line("address"))
    found = probes.attack("look", str(target.pid), at)
    assert found["content"] == SECRET
    # Two of them a kernel may forbid by sysctl or by missing configuration.
    optional = {"perf_event_open", "kcmp", "numa_maps", "prlimit-core", "ptrace-attach"}
    closed = {name for name in GUARDED - optional if found[name] != "0"}
    assert not closed, {name: found[name] for name in closed}


@pytest.mark.claim("L-MEMORY", "L-TRACE")
def test_hardened_process_is_closed_to_its_user(probes: Probes) -> None:
    target = probes.start(probes.path("target"), "harden", "address", "wait")
    at = address(target.line("address"))
    found = probes.attack("look", str(target.pid), at)
    open_ways = {name: found[name] for name in GUARDED if found[name] not in REFUSED}
    assert not open_ways
    assert "content" not in found


@pytest.mark.claim("L-MEMORY", "L-TRACE")
def test_locked_process_is_closed_to_its_user(probes: Probes) -> None:
    target = probes.start(probes.path("target"), "harden", "address", "anonymize", "lock", "wait")
    at = address(target.line("address"))
    target.line("waiting")
    found = probes.attack("look", str(target.pid), at)
    assert not {name: found[name] for name in GUARDED if found[name] not in REFUSED}


def test_memory_descriptor_opened_before_harden_keeps_access(probes: Probes) -> None:
    """Why stage 1 comes first: the kernel checks at open, and never again."""
    target = probes.start(probes.path("target"), "address", "wait", "harden", "wait")
    at = address(target.line("address"))
    target.line("waiting")
    attacker = probes.start(probes.path("attack"), "keep", str(target.pid), at)
    assert attacker.line("mem") == "mem 0"
    target.go()
    target.line("harden")
    attacker.go()
    assert attacker.line("content") == f"content {SECRET}"
    assert attacker.line("mem-write") == "mem-write 0"


@pytest.mark.claim("L-MEMORY")
def test_process_from_image_is_closed_before_harden(probes: Probes) -> None:
    """The gap between exec and harden is none when the program may not be read."""
    target = probes.start(probes.path("attack"), "image", probes.path("target"), "address", "wait")
    at = address(target.line("address"))
    found = probes.attack("look", str(target.pid), at)
    assert not {
        name: found[name]
        for name in GUARDED - {"prlimit-core"}  # that limit is harden's
        if found[name] not in REFUSED
    }


def test_image_then_harden_and_lock_works(probes: Probes) -> None:
    target = probes.start(
        probes.path("attack"), "image", probes.path("target"),
        "harden", "anonymize-all", "lock", "wait",
    )  # fmt: skip
    assert target.line("lock") == "lock ok"


def test_image_of_missing_file_says_so(probes: Probes) -> None:
    lines = probes.run(probes.path("attack"), "image", "/nonexistent", check=False)
    assert lines[0].startswith("image failed image: No such file or directory: /nonexistent")


@pytest.mark.claim("L-TRACE")
def test_traced_launch_is_refused(probes: Probes) -> None:
    lines = probes.run(probes.path("attack"), "traced", probes.path("target"), "harden")
    assert lines[0].startswith("harden failed tracer 0 tracer: process ")
    assert "insecure_debug" in lines[0]


@pytest.mark.hardware  # the kernel's configuration decides
@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.claim("L-NAMESPACE")
def test_user_namespace_of_the_attacker_is_refused(probes: Probes, levels: int) -> None:
    """Nested twice, the owner seems to be uid 0, mapped from uid 0: still the attacker."""
    lines = probes.run(
        probes.path("attack"), "namespace", str(levels), probes.path("target"), "harden",
        check=False,
    )  # fmt: skip
    if lines[0].startswith("unshare "):
        pytest.skip("unprivileged user namespaces are switched off here")
    assert lines[0].startswith("harden failed user-namespace 0 ")


@pytest.mark.hardware
def test_owner_of_the_user_namespace_reads_what_runs_in_it(probes: Probes) -> None:
    """Why that is refused: not being dumpable does not help against the namespace's owner."""
    target = probes.start(
        probes.path("attack"), "namespace", "1", probes.path("target"),
        "harden-any-namespace", "address", "wait",
    )  # fmt: skip
    assert target.process.stdout is not None
    first = target.process.stdout.readline()
    if first.startswith("unshare "):
        pytest.skip("unprivileged user namespaces are switched off here")
    assert first == "harden-any-namespace ok\n"
    found = probes.attack("look", str(target.pid), address(target.line("address")))
    assert found["content"] == SECRET


@pytest.mark.claim("L-ENVIRONMENT")
def test_library_preloaded_is_refused(probes: Probes) -> None:
    for name in ("LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH", "LD_DEBUG_OUTPUT", "GLIBC_TUNABLES"):
        lines = probes.run(probes.path("target"), "harden", env={name: "x"}, check=False)
        refusal = [line for line in lines if line.startswith("harden")]
        assert refusal[0].startswith(f"harden failed environment 0 environment: {name} is set")


@pytest.mark.claim("L-ENVIRONMENT")
def test_environment_is_wiped(probes: Probes) -> None:
    env = {
        "KEPT": "yes",
        "KEPTNOT": "no",
        "PYTHONPATH": "/evil",
        "TOKEN": "sec-ret-in-environment",
    }
    lines = probes.run(probes.path("target"), "search-stack", "harden", "describe", env=env)
    assert lines[0] == "stack found"
    assert "env KEPT=yes" in lines
    lines = probes.run(probes.path("target"), "harden", "search-stack", env=env)
    assert lines[-1] == "stack clean"


@pytest.mark.claim("L-DESCRIPTORS")
def test_state_of_the_process_is_fresh(probes: Probes) -> None:
    """Descriptors, signals, umask and directory of whoever launched are gone."""
    stray = [os.open("/dev/null", os.O_RDONLY) for _ in range(3)]
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    mask = os.umask(0)
    try:
        target = probes.start(
            probes.path("target"), "harden", "describe",
            pass_fds=stray, cwd=str(probes.folder), restore_signals=False,
        )  # fmt: skip
        state = target.line("state")
        fds = target.line("fds")
    finally:
        signal.signal(signal.SIGUSR1, before)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
        os.umask(mask)
        for fd in stray:
            os.close(fd)
    assert state == ("state cwd=/ umask=077 core=0,0 dumpable=0 nnp=1 sid=1 usr1=1 blocked=0")
    assert fds == "fds 0 1 2"


def test_inherited_alarm_is_off(probes: Probes) -> None:
    """Interval timers survive exec: without the reset this target would be killed."""

    def arm() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.3)

    target = probes.start(probes.path("target"), "harden", "wait", preexec_fn=arm)
    target.line("waiting")
    with pytest.raises(subprocess.TimeoutExpired):
        target.process.wait(0.6)


def test_second_thread_before_harden_is_refused(probes: Probes) -> None:
    lines = probes.run(probes.path("target"), "thread", "harden", check=False)
    assert lines[-1].startswith("harden failed threads 0 ")


def test_fixed_address_space_is_refused(probes: Probes) -> None:
    try:
        lines = probes.run("setarch", "-R", probes.path("target"), "harden", check=False)
    except FileNotFoundError:
        pytest.skip("needs setarch (util-linux)")
    assert lines[0].startswith("harden failed personality 0 ")


def test_debug_option_accepts_tracer_and_stays_dumpable(probes: Probes) -> None:
    target = probes.start(probes.path("target"), "harden-debug", "address", "wait")
    at = address(target.line("address"))
    assert probes.attack("look", str(target.pid), at)["content"] == SECRET


def test_set_user_id_loader_is_refused(probes: Probes, own_folder: Path) -> None:
    if not probes.as_root:
        pytest.skip("needs root to make a set-uid program of another user")
    path = own_folder / "suid"
    path.write_bytes(Path(probes.path("target")).read_bytes())
    os.chown(path, probes.uid + 1, probes.uid + 1)
    path.chmod(0o4755)
    lines = probes.run(str(path), "harden", check=False)
    assert lines[0].startswith("harden failed identity 0 ")


@pytest.mark.claim("L-CORE")
def test_crash_leaves_no_core(probes: Probes, own_folder: Path) -> None:
    """Neither a file nor a handler gets one. The control may be kept from it by a hard limit."""

    def crash(*words: str) -> str:
        command = (probes.path("target"), *words, "crash", str(own_folder))
        return probes.run(probes.path("attack"), "core", *command)[-1]

    control = crash()
    assert control in ("ended 6 core 1", "ended 6 core 0")
    for left in own_folder.iterdir():
        left.unlink()
    assert crash("harden") == "ended 6 core 0"
    assert not list(own_folder.iterdir())
