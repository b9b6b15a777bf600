# SPDX-License-Identifier: Apache-2.0
"""What the same user tries while an enclave is being launched, and with what it runs on: its
environment, its limits, its channel, the moment between exec and lock-down."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hotcalls
import native

from . import attacks, conftest, looks
from .test_outside import YAMA
from .test_python_outside import LaunchingPython
from .test_python_outside import folder as folder
from .test_python_outside import python as python

KINDS = ("C", "Python")
LONG = bool(os.environ.get("HOTCALLS_TRUST"))
#: Modules that an interpreter imports by itself, or that the runtime inside does.
MODULES = ("sitecustomize", "usercustomize", "hotcalls", "msgspec", "keeper", "ctypes")


@pytest.fixture(scope="module")
def launching(public: Path, folder: Path, python: str) -> Callable[[str], Callable[[], Any]]:
    """What launches an enclave of a kind, in the process that becomes its host."""

    def make(kind: str, **options: Any) -> Callable[[], Any]:
        if kind == "C":
            return conftest.Launching(public, **options)
        return LaunchingPython(folder, python=python, **options)

    return make


class Prepared:
    """Does something in the process that becomes the host, before it launches."""

    def __init__(self, before: Callable[..., Any], launch: Callable[[], Any], *more: Any) -> None:
        self.before, self.launch, self.more = before, launch, more

    def __call__(self) -> Any:
        self.before(*self.more)
        return self.launch()


def works(kind: str, host: conftest.Process) -> bool:
    """Whether an enclave answers as it has to."""
    if kind == "C":
        return bool(host.do(conftest.call, "work", 2, 5) == 2)
    return bool(host.do(conftest.call, "work", 4, 20) == 4)


# ---- the environment -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def evil(public: Path) -> dict[str, str]:
    """An environment that gets into every program that heeds it; MARKER then exists."""
    place = public / "evil"
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    marker = place / "loaded"
    library = native.build(
        "evil.so", [conftest.HERE / "evil.c"], ["-shared", "-fPIC", f'-DMARKER="{marker}"']
    )
    shutil.copy(library, place / "evil.so")
    for name in (*MODULES, "evil_start", "evil_warnings"):
        (place / f"{name}.py").write_text(f"open({str(marker)!r}, 'w')\n")
    every = str(place / "evil.so")
    return {
        "MARKER": str(marker),
        "LD_PRELOAD": every, "LD_AUDIT": every, "LD_LIBRARY_PATH": str(place), "LD_DEBUG": "all",
        "LD_DEBUG_OUTPUT": str(place / "debug"), "LD_BIND_NOW": "1", "LD_PROFILE": "libc.so.6",
        "LD_PROFILE_OUTPUT": str(place), "LD_ORIGIN_PATH": str(place), "LD_SHOW_AUXV": "1",
        "GLIBC_TUNABLES": "glibc.malloc.check=3:glibc.malloc.perturb=165",
        "MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "165", "MALLOC_TRACE": str(place / "trace"),
        "GCONV_PATH": str(place), "LOCPATH": str(place), "NLSPATH": str(place),
        "HOSTALIASES": every,
        "PYTHONPATH": str(place), "PYTHONSTARTUP": str(place / "evil_start.py"),
        "PYTHONWARNINGS": "ignore::evil_warnings.Warning", "PYTHONINSPECT": "1",
        "PYTHONUSERBASE": str(place), "PYTHONBREAKPOINT": "evil_start.main",
        "PYTHONPYCACHEPREFIX": str(place), "PYTHONPLATLIBDIR": str(place), "PYTHONVERBOSE": "1",
        "PYTHONMALLOC": "debug", "PYTHONFAULTHANDLER": "1", "PYTHONTRACEMALLOC": "1",
        "PYTHONDEVMODE": "1", "PYTHONPERFSUPPORT": "1", "PYTHONOPTIMIZE": "2",
    }  # fmt: skip


@pytest.mark.claim("L-ENVIRONMENT")
def test_this_environment_gets_into_an_ordinary_program(
    evil: dict[str, str], python: str, public: Path
) -> None:
    marker = Path(evil["MARKER"])
    for command, name in (
        (["/bin/true"], "LD_PRELOAD"), (["/bin/true"], "LD_AUDIT"),
        ([python, "-c", ""], "PYTHONPATH"), ([python, "-c", ""], "PYTHONWARNINGS"),
    ):  # fmt: skip
        environment = {"PYTHONPATH": evil["PYTHONPATH"], "PYTHONDONTWRITEBYTECODE": "1"}
        environment[name] = evil[name]
        subprocess.run(command, env=environment, check=False, capture_output=True)
        assert marker.exists(), name
        marker.unlink()


@pytest.mark.claim("L-ENVIRONMENT")
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_injected_through_the_environment(
    kind: str,
    evil: dict[str, str],
    launching: Callable[..., Callable[[], Any]],
    record_property: pytest.RecordProperty,
) -> None:
    host = conftest.Process(Prepared(os.environ.update, launching(kind), evil))
    try:
        assert works(kind, host)
        record_property("count:variables of the environment", len(evil) - 1)
        if kind == "C":
            assert host.do(conftest.call, "environment") == 0
    finally:
        host.close()
    left = {path.name for path in Path(evil["MARKER"]).parent.iterdir()}
    assert left == {
        "evil.so",
        *(f"{name}.py" for name in (*MODULES, "evil_start", "evil_warnings")),
    }


# ---- between exec and lock-down ------------------------------------------------------------------


def stop_and_open(_: Any, seconds: float) -> dict[int, int]:
    """Stop every process that appears, try to open its memory while it stands, let it go on."""
    opened: dict[int, int] = {}
    seen: set[int] = set()
    first = attacks.last_pid() + 1
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        last = attacks.last_pid()
        for pid in range(max(first, last - 4), last + 3):
            if pid in opened or pid == os.getpid():
                continue
            try:
                os.kill(pid, signal.SIGSTOP)
            except OSError:
                continue
            try:
                seen.add(pid)
                opened[pid] = os.open(f"/proc/{pid}/mem", os.O_RDWR)
            except OSError:
                pass
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
    opened[-1] = len(seen)
    return opened


@pytest.mark.claim("L-MEMORY", "L-TRACE")
@pytest.mark.parametrize("kind", KINDS)
def test_a_process_that_is_stopped_on_its_way_to_lock_down_shows_nothing(
    kind: str, launching: Callable[..., Callable[[], Any]], record_property: pytest.RecordProperty
) -> None:
    stopped = 0
    rounds = 40 if LONG else 3
    for done in range(4 * rounds):
        # On a busy machine the attacker may not have got at anything yet, and is given longer.
        if done >= rounds and stopped > 0:
            break
        attacker = conftest.Process()
        try:
            seconds = 0.5 if kind == "Python" else 0.15
            attacker.start(stop_and_open, seconds * max(1, done - rounds + 2))
            time.sleep(0.02)
            host = conftest.Process(launching(kind))
            try:
                addresses = [
                    host.do(conftest.call, "plain_address"),
                    host.do(conftest.call, "secret_address"),
                ]
                descriptors = attacker.finish()
                stopped += descriptors.pop(-1)
                for data in attacker.do(attacks.read_opened, descriptors, addresses):
                    assert conftest.SECRET not in data
                assert works(kind, host)
            finally:
                host.close()
        finally:
            attacker.close()
    record_property("count:processes stopped on their way", stopped)
    assert YAMA or stopped > 0


# ---- limits --------------------------------------------------------------------------------------

LIMITS = {
    "address space": (resource.RLIMIT_AS, 256 << 20), "data": (resource.RLIMIT_DATA, 1 << 20),
    "processes": (resource.RLIMIT_NPROC, 0), "descriptors": (resource.RLIMIT_NOFILE, 12),
    "locked memory": (resource.RLIMIT_MEMLOCK, 0), "stack": (resource.RLIMIT_STACK, 64 << 10),
    "file size": (resource.RLIMIT_FSIZE, 0),
}  # fmt: skip


def limit(name: str) -> None:
    number, value = LIMITS[name]
    resource.setrlimit(number, (value, value))


@pytest.mark.claim("L-EXHAUST")
@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_launch_under_a_limit_ends_in_an_error_or_in_an_enclave(
    kind: str, name: str, launching: Callable[..., Callable[[], Any]]
) -> None:
    refusal = ""
    try:
        host = conftest.Process(Prepared(limit, launching(kind, timeout=60), name))
    except RuntimeError as error:
        refusal = str(error)
    if refusal:
        # Of this package, or what Python itself raises before anything has been launched.
        kinds = ("hotcalls.errors.", "builtins.MemoryError", "builtins.OSError")
        assert refusal.startswith(kinds), refusal
        return
    try:
        result = host.do(conftest.call, "work", *((2, 5) if kind == "C" else (4, 20)))
        assert isinstance(result, (int, hotcalls.HotcallsError))
    finally:
        host.close()


def lower(_: Any, pid: int) -> dict[str, int]:
    """Take from a running process what it has; the same user may."""
    results = {}
    for number in (*(value[0] for value in LIMITS.values()), resource.RLIMIT_SIGPENDING):
        none = (ctypes.c_uint64 * 2)(0, 0)
        results[str(number)] = attacks.outcome(
            attacks.libc.prlimit(pid, number, ctypes.byref(none), None)
        )
    return results


@pytest.mark.claim("L-EXHAUST")
@pytest.mark.parametrize("kind", KINDS)
def test_an_enclave_from_which_everything_is_taken_keeps_its_secret(
    kind: str, launching: Callable[..., Callable[[], Any]], attacker: conftest.Process
) -> None:
    host = conftest.Process(launching(kind))
    try:
        pid = host.do(conftest.call, "pid")
        address = host.do(conftest.call, "plain_address")
        assert 0 in attacker.do(lower, pid).values()
        for _ in range(3):
            result = host.do(conftest.call, "work", 8, 50)
            assert isinstance(result, (int, hotcalls.HotcallsError))
        found = attacker.do(looks.try_all, pid, address)
        wrong = {
            look.name: found[look.name]
            for look in looks.LOOKS
            # Ended, it has nothing to be looked at.
            if found[look.name] not in look.allowed | {errno.ESRCH, errno.ENOENT, errno.EBADF}
        }
        assert wrong == {}
    finally:
        host.close()
    # It still notices that its host has ended.
    assert conftest.ended(pid)


# ---- the channel ---------------------------------------------------------------------------------


def channels() -> list[int]:
    """The descriptors of channels that this process has."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}").startswith("/memfd:hotcalls "):
                found.append(int(name))
    return found


#: Descriptors that a process had from the one it was forked from: channels of other tests.
INHERITED: set[int] = set()


def leave_out_inherited() -> None:
    """Take note of them, in the process that becomes the host."""
    INHERITED.update(channels())


def on_channel(_: Any, attempt: str) -> list[int]:
    """Attack the memory of the channel by way of the host's own descriptor of it."""
    libc = attacks.libc
    results = []
    for fd in set(channels()) - INHERITED:
        size = os.fstat(fd).st_size
        if attempt == "seal":
            results.append(attacks.outcome(libc.fcntl(fd, 1033, 0x8 | 0x10)))
        elif attempt == "truncate":
            for other in (0, 4096, size - 4096, size + 4096):
                results.append(attacks.outcome(libc.ftruncate(fd, ctypes.c_long(other))))
        elif attempt == "reopen":
            results.append(attacks.open_file(None, f"/proc/self/fd/{fd}", os.O_RDWR | os.O_TRUNC))
        elif attempt == "collapse":
            # FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE
            for mode in (0x8, 0x20):
                results.append(attacks.outcome(
                    libc.fallocate(fd, mode, ctypes.c_long(0), ctypes.c_long(4096))))  # fmt: skip
        else:
            # A hole is zeros, for those who have it mapped; nobody gets a SIGBUS.
            results.append(attacks.outcome(
                libc.fallocate(fd, 0x3, ctypes.c_long(0), ctypes.c_long(size))))  # fmt: skip
    return results


@pytest.mark.claim("L-CHANNEL")
@pytest.mark.parametrize("attempt", ["seal", "truncate", "reopen", "collapse"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_channel_keeps_its_size(
    kind: str, attempt: str, launching: Callable[..., Callable[[], Any]]
) -> None:
    host = conftest.Process(Prepared(leave_out_inherited, launching(kind)))
    try:
        tried = host.do(on_channel, attempt)
        assert tried
        assert set(tried) <= {errno.EPERM, errno.EOPNOTSUPP}
        assert works(kind, host)
    finally:
        host.close()


@pytest.mark.claim("L-CHANNEL")
@pytest.mark.parametrize("kind", KINDS)
def test_a_hole_in_the_channel_ends_no_enclave_by_sigbus(
    kind: str, launching: Callable[..., Callable[[], Any]], attacker: conftest.Process
) -> None:
    host = conftest.Process(Prepared(leave_out_inherited, launching(kind)))
    try:
        pid, address = host.do(conftest.call, "pid"), host.do(conftest.call, "plain_address")
        assert host.do(on_channel, "hole") == [0]
        host.start(call_with_timeout)
        result = host.finish()
        assert isinstance(result, (int, hotcalls.HotcallsError))
        # Whether it has ended or waits: nobody sees into it.
        assert attacker.do(attacks.read_memory, pid, address) in (*looks.REFUSED, errno.ESRCH)
    finally:
        host.close()


def call_with_timeout(enclave: Any) -> Any:
    value = enclave.work.options(timeout=2.0)
    return value(1, 1)


# ---- core files ----------------------------------------------------------------------------------


@pytest.mark.claim("L-CORE")
@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGQUIT, signal.SIGSEGV, signal.SIGSYS])
@pytest.mark.parametrize("kind", KINDS)
def test_an_enclave_that_is_killed_by_a_signal_leaves_no_core(
    kind: str, number: signal.Signals, public: Path, launching: Callable[..., Callable[[], Any]]
) -> None:
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    where = Path("/") if pattern.startswith("|") or "/" not in pattern else Path(pattern).parent
    before = set(where.glob("*core*"))
    host = conftest.Process(Prepared(no_limit_of_core, launching(kind)))
    try:
        pid = host.do(conftest.call, "pid")
        os.kill(pid, number)
        result = host.do(conftest.call, "work", 1, 1)
        # Handled by whoever runs the call inside, or the end of it.
        assert isinstance(result, (int, hotcalls.EnclaveLost))
    finally:
        host.close()
    found = {*where.glob("*core*"), *public.glob("*core*")} - before
    assert found == set()


def no_limit_of_core() -> None:
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


# ---- a user namespace ----------------------------------------------------------------------------


class InNamespace:
    def __init__(self, launch: Callable[[], Any]) -> None:
        self.launch = launch

    def __call__(self) -> Any:
        if attacks.libc.unshare(0x10000000) != 0:
            raise RuntimeError("no user namespaces here")
        return self.launch()


@pytest.mark.claim("L-NAMESPACE")
@pytest.mark.parametrize("kind", KINDS)
def test_a_launch_in_a_user_namespace_of_the_attackers_is_refused(
    kind: str, launching: Callable[..., Callable[[], Any]]
) -> None:
    with pytest.raises(RuntimeError) as caught:
        conftest.Process(InNamespace(launching(kind))).close()
    text = str(caught.value)
    if "no user namespaces" in text:
        pytest.skip("user namespaces are not available")
    assert "LockdownError" in text
    assert "user-namespace" in text


# ---- files that are changed while they are read --------------------------------------------------


def churn(_: Any, path: str, good: bytes, seconds: float) -> int:
    """Overwrite and cut a file, again and again, and leave it as it was."""
    rounds = 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for bad in (b"\xcc" * len(good), b"#" * (len(good) // 2), b""):
            with open(path, "r+b", buffering=0) as file:
                file.truncate(len(bad))
                file.write(bad)
            with open(path, "r+b", buffering=0) as file:
                file.truncate(len(good))
                file.write(good)
        rounds += 1
    return rounds


def sum_of(enclave: Any) -> Any:
    """Of its code; None when it was taken while there was no such function in its file."""
    function = getattr(enclave, "code_sum", None)
    return None if function is None else function()


@pytest.mark.claim("L-FILES")
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_changes_all_the_time_ends_in_an_error_or_stays_what_was_taken(
    kind: str,
    public: Path,
    launching: Callable[..., Callable[[], Any]],
    record_property: pytest.RecordProperty,
) -> None:
    path = public / ("inside.enclave.so" if kind == "C" else "keeper.py")
    good = path.read_bytes()
    launched, refusals = 0, set()
    attacker = conftest.Process()
    seconds = 20.0 if LONG else 0.6
    deadline = time.monotonic() + seconds
    try:
        attacker.start(churn, str(path), good, seconds)
        while time.monotonic() < deadline:
            try:
                host = conftest.Process(launching(kind, timeout=60))
            except RuntimeError as error:
                refusals.add(str(error).partition(":")[0])
                continue
            try:
                launched += 1
                first = host.do(sum_of)
                time.sleep(0.01)
                assert host.do(sum_of) == first
            finally:
                host.close()
        record_property("count:changes of a file of an enclave", attacker.finish() * 6)
    finally:
        attacker.close()
        path.write_bytes(good)
    record_property("count:launches meanwhile", launched)
    assert {name for name in refusals if not name.startswith("hotcalls.errors.")} == set()
