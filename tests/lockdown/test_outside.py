# SPDX-License-Identifier: Apache-2.0
"""What another process of the same unprivileged user tries on a running enclave, it is refused.

The plain attempts to look in are in looks.py; here is what takes more than one step.
"""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hotcalls

from . import attacks, conftest

DENIED = (errno.EACCES, errno.EPERM)


def ptrace_scope() -> int:
    """What Yama allows; with more than 0 an attacker may not even look into ordinary processes."""
    try:
        return int(Path("/proc/sys/kernel/yama/ptrace_scope").read_text())
    except OSError:
        return 0


YAMA = ptrace_scope() > 0
#: So many launches are raced against.
ROUNDS = 12


def test_enclave_runs_as_the_user_of_its_host(target: dict[str, int]) -> None:
    status = Path(f"/proc/{target['pid']}/status").read_text()
    uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
    expected = conftest.NOBODY if os.geteuid() == 0 else os.geteuid()
    assert uids == [str(expected)] * 4


def test_host_itself_cannot_look_in(host: Any, target: dict[str, int]) -> None:
    assert host.do(attacks.open_file, f"/proc/{target['pid']}/mem", os.O_RDONLY) in DENIED
    assert host.do(attacks.read_memory, target["pid"], target["plain"]) in DENIED
    assert host.do(attacks.attach, target["pid"]) in DENIED
    for number in range(7):
        assert host.do(attacks.get_descriptor, target["pid"], number) in DENIED


@pytest.mark.claim("L-CHANNEL")
def test_channel_cannot_be_shrunk_or_grown(host: Any, target: dict[str, int]) -> None:
    # The host keeps its descriptor, for `hotcalls top`; the memory's size is sealed.
    tried = host.do(resize_channels)
    assert tried
    assert set(tried) == {errno.EPERM}


def resize_channels(_: Any) -> list[int]:
    errors = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if not os.readlink(f"/proc/self/fd/{name}").startswith("/memfd:hotcalls "):
                continue
        except OSError:
            continue
        size = os.fstat(int(name)).st_size
        for other in (size - 4096, size + 4096):
            try:
                os.ftruncate(int(name), other)
                errors.append(0)
            except OSError as error:
                errors.append(error.errno or 0)
    return errors


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees the descriptors of an enclave")
@pytest.mark.claim("L-CHANNEL")
def test_even_roots_view_of_the_channel_is_sealed(target: dict[str, int]) -> None:
    maps = Path(f"/proc/{target['pid']}/maps").read_text()
    line = next(line for line in maps.splitlines() if "memfd:hotcalls " in line)
    address = line.split()[0]
    fd = os.open(f"/proc/{target['pid']}/map_files/{address}", os.O_RDWR)
    try:
        for size in (0, 4096, 1 << 40):
            with pytest.raises(OSError, match=r"\[Errno 1\]"):
                os.ftruncate(fd, size)
    finally:
        os.close(fd)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees the mappings of an enclave")
@pytest.mark.claim("L-FILES")
def test_no_mapping_is_of_a_file_that_the_user_can_change(target: dict[str, int]) -> None:
    assert conftest.files_that_the_user_can_change(target["pid"]) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user's file")
def test_mapping_of_a_file_that_the_user_can_change_is_found(tmp_path: Path) -> None:
    file = tmp_path / "library"
    file.write_bytes(b"code")
    os.chown(file, conftest.NOBODY, conftest.NOBODY)
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ):
        found = conftest.files_that_the_user_can_change(os.getpid())
    assert any(line.endswith(str(file)) for line in found)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root's view of the memory")
@pytest.mark.claim("L-ROOT")
def test_secret_memory_is_hidden_even_from_root(target: dict[str, int]) -> None:
    with open(f"/proc/{target['pid']}/mem", "rb", buffering=0) as memory:
        assert os.pread(memory.fileno(), 21, target["plain"]) == conftest.SECRET
        try:
            seen = os.pread(memory.fileno(), 21, target["hidden"])
        except OSError:
            return
    if Path("/proc/sys/kernel/osrelease").exists() and seen == conftest.SECRET:
        pytest.fail("memfd_secret memory was read through /proc/PID/mem")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a third user")
@pytest.mark.claim("O-CONNECT")
def test_another_user_cannot_signal_it(target: dict[str, int]) -> None:
    other = conftest.Process(become_other, drop=False)
    try:
        for number in (0, signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP):
            assert other.do(attacks.kill, target["pid"], number) == errno.EPERM
        assert other.do(attacks.open_file, f"/proc/{target['pid']}/mem", os.O_RDONLY) in DENIED
    finally:
        other.close()


def become_other() -> None:
    os.setgroups([])
    os.setresgid(65533, 65533, 65533)
    os.setresuid(65533, 65533, 65533)


def test_same_user_may_stop_it_but_it_goes_on(
    host: Any, attacker: Any, target: dict[str, int]
) -> None:
    # Availability against the same user is not promised; integrity is.
    attacker.do(attacks.stop_and_go, target["pid"])
    assert host.do(conftest.call, "work", 1, 5) == 1


def test_crash_leaves_no_core(public: Path, tmp_path: Path) -> None:
    process = conftest.Process(conftest.Launching(public))
    try:
        pid = process.do(conftest.call, "pid")
        os.kill(pid, signal.SIGQUIT)
        assert conftest.ended(pid)
        assert isinstance(process.do(conftest.call, "environment"), hotcalls.EnclaveLost)
    finally:
        process.close()
    assert not list(Path("/").glob("core*"))
    assert not list(public.glob("core*"))


class TestFile:
    @pytest.fixture
    def copy(self, public: Path, tmp_path: Path) -> Iterator[Path]:
        path = public / "mine.enclave.so"
        shutil.copy(public / "inside.enclave.so", path)
        if os.geteuid() == 0:
            os.chown(path, conftest.NOBODY, conftest.NOBODY)
        path.chmod(0o755)
        yield path
        path.unlink(missing_ok=True)

    @pytest.mark.parametrize("attack", ["overwrite", "truncate"])
    def test_change_after_the_launch_does_not_reach_the_enclave(
        self, public: Path, copy: Path, attacker: Any, attack: str
    ) -> None:
        process = conftest.Process(conftest.Launching(public, copy.name))
        try:
            before = process.do(conftest.call, "code_sum")
            if attack == "overwrite":
                data = b"\xcc" * copy.stat().st_size
                assert attacker.do(attacks.overwrite, str(copy), data) == 0
            else:
                assert attacker.do(attacks.cut, str(copy)) == 0
            assert process.do(conftest.call, "code_sum") == before
            assert process.do(conftest.call, "attempt", "open") == (-1, errno.ESRMNT)
            assert process.do(conftest.call, "work", 4, 20) == 4
        finally:
            process.close()

    def test_change_before_the_launch_is_refused(
        self, public: Path, copy: Path, attacker: Any
    ) -> None:
        assert attacker.do(attacks.cut, str(copy)) == 0
        with pytest.raises(RuntimeError, match="not an ELF"):
            conftest.Process(conftest.Launching(public, copy.name)).close()

    def test_loader_that_is_overwritten_after_the_launch_does_not_reach_the_enclave(
        self, public: Path, attacker: Any
    ) -> None:
        loader = public / "hotcalls-enclave"
        original = loader.read_bytes()
        process = conftest.Process(conftest.Launching(public))
        try:
            assert attacker.do(attacks.overwrite, str(loader), b"\xcc" * len(original)) == 0
            assert process.do(conftest.call, "work", 4, 20) == 4
            assert process.do(conftest.call, "attempt", "execve") == (-1, errno.ESRMNT)
        finally:
            process.close()
            loader.write_bytes(original)


@pytest.mark.claim("L-MEMORY")
def test_memory_file_opened_right_after_exec_never_reads_the_secret(public: Path) -> None:
    """The attacker tries every new process id as fast as it can, over many launches."""
    opened = 0
    for done in range(4 * ROUNDS):
        # On a busy machine the attacker may not have got at anything yet, and is given longer.
        if done >= ROUNDS and opened > 0:
            break
        attacker = conftest.Process()
        try:
            attacker.start(attacks.race, 0.15 * max(1, done - ROUNDS + 2))
            time.sleep(0.03)
            process = conftest.Process(conftest.Launching(public))
            try:
                addresses = [
                    process.do(conftest.call, "plain_address"),
                    process.do(conftest.call, "secret_address"),
                ]
                descriptors = attacker.finish()
                opened += len(descriptors)
                # Before its exec the enclave's process lives in the host's memory, which the user
                # owns: a descriptor from then goes on to show that memory, and no other.
                for data in attacker.do(attacks.read_opened, descriptors, addresses):
                    assert conftest.SECRET not in data
            finally:
                process.close()
        finally:
            attacker.close()
    # It is quick enough for the memory of the hosts, at least.
    assert YAMA or opened > 0


@pytest.mark.parametrize(
    "variables",
    [
        {"LD_PRELOAD": "/no/such/library.so"},
        {"LD_AUDIT": "/no/such/library.so"},
        {"GLIBC_TUNABLES": "glibc.malloc.check=3", "MALLOC_CHECK_": "3"},
        {"LD_LIBRARY_PATH": "/tmp", "LD_DEBUG": "all"},
    ],
)
def test_environment_of_the_host_does_not_reach_the_enclave(
    public: Path, variables: dict[str, str]
) -> None:
    process = conftest.Process(WithEnvironment(public, variables))
    try:
        assert process.do(conftest.call, "environment") == 0
    finally:
        process.close()


class WithEnvironment:
    def __init__(self, public: Path, variables: dict[str, str]) -> None:
        self.public, self.variables = public, variables

    def __call__(self) -> Any:
        os.environ.update(self.variables)
        return conftest.Launching(self.public)()


class InNamespace:
    def __init__(self, public: Path) -> None:
        self.public = public

    def __call__(self) -> Any:
        if attacks.libc.unshare(0x10000000) != 0:
            raise RuntimeError("no user namespaces here")
        return conftest.Launching(self.public)()


def test_launch_in_a_user_namespace_of_the_user_is_refused(public: Path) -> None:
    with pytest.raises(RuntimeError) as caught:
        conftest.Process(InNamespace(public)).close()
    text = str(caught.value)
    if "no user namespaces" in text:
        pytest.skip("user namespaces are not available")
    assert "LockdownError" in text
    assert "user-namespace" in text
    assert "initial user namespace" in text


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.claim("L-TRACE")
def test_traced_launch_is_refused(public: Path) -> None:
    program = (
        "import hotcalls, sys\n"
        f"try: hotcalls.launch({str(public / 'inside.enclave.so')!r})\n"
        "except hotcalls.LockdownError as error: print(error); sys.exit(9)\n"
    )
    import sys

    done = subprocess.run(
        ["strace", "-f", "-qq", "-e", "trace=none", "-o", "/dev/null", sys.executable, "-W",
         "ignore", "-c", program],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 9, done.stderr
    assert "trace" in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
class TestUser:
    def test_enclave_runs_as_that_user_without_groups(self, public: Path) -> None:
        with hotcalls.launch(public / "inside.enclave.so", user=conftest.NOBODY - 1) as enclave:
            lines = Path(f"/proc/{enclave.pid}/status").read_text().splitlines()
            fields = {line.split(":")[0]: line.split(":")[1].split() for line in lines}
            assert fields["Uid"] == [str(conftest.NOBODY - 1)] * 4
            assert fields["Gid"] == [str(conftest.NOBODY - 1)] * 4
            assert fields["Groups"] == []
            for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                assert int(fields[name][0], 16) == 0
            assert fields["NoNewPrivs"] == ["1"]
            assert enclave.work(2, 5) == 2

    def test_enclave_of_root_has_no_capabilities(self, public: Path) -> None:
        with hotcalls.launch(public / "inside.enclave.so") as enclave:
            text = Path(f"/proc/{enclave.pid}/status").read_text()
            fields = {line.split(":")[0]: line.split(":")[1].split() for line in text.splitlines()}
            assert int(fields["CapEff"][0], 16) == 0
            assert int(fields["CapPrm"][0], 16) == 0

    def test_host_that_dropped_its_privileges_cannot_reach_it(self, public: Path) -> None:
        process = conftest.Process(LaunchedBefore(public), drop=False)
        try:
            pid = process.do(conftest.call, "pid")
            address = process.do(conftest.call, "plain_address")
            assert process.do(conftest.call, "work", 1, 3) == 1
            assert process.do(attacks.read_memory, pid, address) in DENIED
            assert process.do(attacks.kill, pid, signal.SIGTERM) == errno.EPERM
        finally:
            process.close()


class LaunchedBefore:
    def __init__(self, public: Path) -> None:
        self.public = public

    def __call__(self) -> Any:
        enclave = conftest.Launching(self.public, user=conftest.NOBODY - 1)()
        conftest.become_user()
        return enclave
