# SPDX-License-Identifier: Apache-2.0
"""Test enclaves, built once per run, and what one needs to see that nothing is left over."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import hotcalls
from hotcalls.build import build

HERE = Path(__file__).resolve().parent
ENCLAVES = HERE / "enclaves"
#: What has not happened by then never does.
PATIENCE_SECONDS = 60.0

Builder = Callable[..., Path]
Script = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def build_enclave(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """Build a test enclave with some macros defined; the same one is built once."""
    made: dict[tuple[str, ...], Path] = {}

    def make(name: str, *macros: str) -> Path:
        key = (name, *macros)
        if key not in made:
            folder = tmp_path_factory.mktemp(name)
            flags = [f"-D{macro}" for macro in macros]
            source = ENCLAVES / f"{name}.c"
            result = build(
                ENCLAVES / f"{name}.edl", [source], folder / f"{name}.enclave.so", cflags=flags
            )
            made[key] = result.enclave
        return made[key]

    return make


@pytest.fixture(scope="session")
def calls_path(build_enclave: Builder) -> Path:
    """The enclave with every kind of parameter."""
    return build_enclave("calls")


@pytest.fixture(scope="session")
def nest_path(build_enclave: Builder) -> Path:
    """The enclave that nests calls."""
    return build_enclave("nest")


@pytest.fixture(scope="session")
def faults_path(build_enclave: Builder) -> Path:
    """The enclave that fails."""
    return build_enclave("faults")


@pytest.fixture
def faults(faults_path: Path) -> Iterator[hotcalls.Enclave]:
    """A fresh enclave that fails when asked to."""
    with hotcalls.launch(faults_path) as enclave:
        yield enclave


class Footprint:
    """Processes, descriptors, threads and mappings that this process has brought into being."""

    def __init__(self) -> None:
        self.threads = self._threads()
        self.descriptors = set(os.listdir("/proc/self/fd"))
        self.memfds = self._memfds()

    @staticmethod
    def _threads() -> int:
        return len(os.listdir("/proc/self/task"))

    @staticmethod
    def _memfds() -> int:
        return sum("/memfd:" in line for line in Path("/proc/self/maps").read_text().splitlines())

    def left_over(self) -> list[str]:
        found = []
        if self._threads() > self.threads:
            found.append(f"{self._threads() - self.threads} threads")
        extra = set(os.listdir("/proc/self/fd")) - self.descriptors
        found += [f"descriptor {fd}" for fd in extra if os.path.exists(f"/proc/self/fd/{fd}")]
        if self._memfds() > self.memfds:
            found.append(f"{self._memfds() - self.memfds} mappings of memfds")
        return found


@pytest.fixture
def footprint() -> Iterator[Footprint]:
    """Fail when the test leaves threads, descriptors or mappings behind."""
    before = Footprint()
    yield before
    deadline = time.monotonic() + PATIENCE_SECONDS
    while before.left_over() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert before.left_over() == []


@pytest.fixture
def run_script(tmp_path: Path) -> Script:
    """Run a Python program in a process of its own; `{name}` are given as variables."""

    def run(text: str, *, prefix: list[str] | None = None, **given: Any) -> Any:
        head = "import hotcalls, os, sys, time, threading, signal, subprocess\n"
        head += "".join(f"{name} = {value!r}\n" for name, value in given.items())
        program = tmp_path / "program.py"
        program.write_text(head + textwrap.dedent(text))
        return subprocess.run(
            [*(prefix or []), sys.executable, "-W", "ignore::RuntimeWarning", str(program)],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return run


def wait_gone(pid: int) -> bool:
    """Whether a process ends, though a loaded machine may take its time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.005)
    return False


@pytest.fixture
def gone() -> Callable[..., bool]:
    """Whether a process ends."""
    return wait_gone
