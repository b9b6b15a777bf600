# SPDX-License-Identifier: Apache-2.0
"""What another process of the same unprivileged user tries on a Python enclave.

The plain attempts to look in are in looks.py; here is what takes more than one step.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hotcalls

from . import attacks, conftest

DENIED = (errno.EACCES, errno.EPERM)


def can_run(python: str) -> bool:
    """Whether the unprivileged user can start it, and it is of the version of this one."""
    code = "import sys, json; print(sys.implementation.cache_tag)"
    done = subprocess.run(
        [python, "-I", "-c", code], capture_output=True, text=True, check=False, cwd="/",
        preexec_fn=conftest.become_user,
    )  # fmt: skip
    return done.stdout.strip() == sys.implementation.cache_tag


@pytest.fixture(scope="module")
def python() -> str:
    """An interpreter that the unprivileged user reaches: not one in the home of root."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/{name}", f"/usr/local/bin/{name}"):
        try:
            if can_run(candidate):
                return candidate
        except (OSError, subprocess.SubprocessError):
            continue
    pytest.skip(f"no {name} that an unprivileged user can start")


class LaunchingPython(conftest.Launching):
    """Launches keeper.py, in the process that becomes the host."""

    def __call__(self) -> Any:
        return hotcalls.launch(self.folder / "keeper.py", **self.options)


@pytest.fixture(scope="module")
def folder(public: Path) -> Path:
    """A directory of the user, with the module in it."""
    path = public / "keeper.py"
    shutil.copy(conftest.HERE / "enclaves/keeper.py", path)
    path.chmod(0o644)
    # Loads what a host needs, before hosts are forked that may not be able to read it.
    with hotcalls.launch(path) as enclave:
        assert enclave.work(4, 20) == 4
    if os.geteuid() == 0:
        os.chown(path, conftest.NOBODY, conftest.NOBODY)
    return public


@pytest.fixture(scope="module")
def host(folder: Path, python: str) -> Iterator[conftest.Process]:
    process = conftest.Process(LaunchingPython(folder, python=python))
    yield process
    process.close()


@pytest.fixture(scope="module")
def target(host: conftest.Process) -> dict[str, int]:
    return {
        "pid": host.do(conftest.call, "pid"),
        "hidden": host.do(conftest.call, "secret_address"),
        "plain": host.do(conftest.call, "plain_address"),
    }


def test_host_is_refused_like_anybody(host: Any, target: dict[str, int]) -> None:
    assert host.do(attacks.open_file, f"/proc/{target['pid']}/mem", os.O_RDONLY) in DENIED
    assert host.do(attacks.read_memory, target["pid"], target["plain"]) in DENIED
    assert host.do(attacks.attach, target["pid"]) in DENIED


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees the mappings of an enclave")
@pytest.mark.claim("L-FILES")
def test_no_mapping_is_of_a_file_that_the_user_can_change(target: dict[str, int]) -> None:
    assert conftest.files_that_the_user_can_change(target["pid"]) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root's view of the memory")
@pytest.mark.claim("L-ROOT")
def test_secret_bytes_are_hidden_even_from_root(target: dict[str, int]) -> None:
    with open(f"/proc/{target['pid']}/mem", "rb", buffering=0) as memory:
        assert os.pread(memory.fileno(), 21, target["plain"]) == conftest.SECRET
        try:
            seen = os.pread(memory.fileno(), 21, target["hidden"])
        except OSError:
            return
    assert seen != conftest.SECRET, "memfd_secret memory was read through /proc/PID/mem"


@pytest.mark.claim("L-MEMORY")
def test_memory_file_opened_right_after_exec_never_reads_the_secret(
    folder: Path, python: str
) -> None:
    """The attacker tries every new process id as fast as it can, from before the launch."""
    for _ in range(5):
        attacker = conftest.Process()
        try:
            attacker.start(attacks.race, 0.4)
            time.sleep(0.03)
            process = conftest.Process(LaunchingPython(folder, python=python))
            try:
                addresses = [
                    process.do(conftest.call, "plain_address"),
                    process.do(conftest.call, "secret_address"),
                ]
                descriptors = attacker.finish()
                for data in attacker.do(attacks.read_opened, descriptors, addresses):
                    assert conftest.SECRET not in data
            finally:
                process.close()
        finally:
            attacker.close()


@pytest.mark.parametrize("attack", ["overwrite", "truncate"])
@pytest.mark.claim("L-FILES")
def test_module_that_is_changed_after_the_launch_goes_on_as_it_was(
    folder: Path, host: Any, attacker: Any, attack: str
) -> None:
    path = folder / "keeper.py"
    original = path.read_bytes()
    try:
        if attack == "overwrite":
            assert attacker.do(attacks.overwrite, str(path), b"#" * len(original)) == 0
        else:
            assert attacker.do(attacks.cut, str(path)) == 0
        assert host.do(conftest.call, "work", 4, 20) == 4
        assert host.do(conftest.call, "code_sum") > 0
    finally:
        path.write_bytes(original)


@pytest.mark.parametrize(
    "variables",
    [
        {"LD_PRELOAD": "/no/such/library.so"},
        {"LD_LIBRARY_PATH": "/tmp", "LD_DEBUG": "all"},
        {"GLIBC_TUNABLES": "glibc.malloc.check=3"},
        {"PYTHONPATH": "/no/such", "PYTHONHOME": "/no/such", "PYTHONSTARTUP": "/no/such"},
    ],
)
def test_environment_of_the_host_does_not_reach_the_enclave(
    folder: Path, python: str, variables: dict[str, str]
) -> None:
    class WithEnvironment(LaunchingPython):
        def __call__(self) -> Any:
            os.environ.update(variables)
            return super().__call__()

    process = conftest.Process(WithEnvironment(folder, python=python))
    try:
        assert process.do(conftest.call, "work", 4, 20) == 4
    finally:
        process.close()
