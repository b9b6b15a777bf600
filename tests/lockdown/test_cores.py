# SPDX-License-Identifier: Apache-2.0
"""No core of an enclave, nor of what ``hotcalls run`` starts, where the machine takes everybody's.

The pattern of core files is the whole machine's, so this is tried in the long form alone, as root,
for a moment; what it was is written back by a process of its own, even when the tests are killed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hotcalls.apps import launcher

from . import conftest
from .test_looks import Running, end, host_of, program_of
from .test_looks_launch import Prepared, no_limit_of_core
from .test_python_outside import LaunchingPython
from .test_python_outside import folder as folder
from .test_python_outside import python as python

PATTERN = Path("/proc/sys/kernel/core_pattern")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not os.access(PATTERN, os.W_OK), reason="the pattern of cores is root's"),
]


@contextlib.contextmanager
def pattern(text: str) -> Iterator[None]:
    """Where cores go meanwhile; `cat` ends with this process, whatever ends it."""
    keeper = subprocess.Popen(
        ["sh", "-c", f'old=$(cat {PATTERN}); echo; cat; printf "%s" "$old" >{PATTERN}'],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert keeper.stdout is not None
    with keeper:
        keeper.stdout.readline()
        PATTERN.write_text(text)
        yield


@pytest.fixture(params=["file", "pipe"])
def cores(request: pytest.FixtureRequest, public: Path) -> Path:
    """A directory, and in the file beside it the pattern by which every core appears in it."""
    place = public / f"cores-{request.param}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    place.chmod(0o777)
    # 127 characters are all that the kernel takes.
    text = f"{place}/%p"
    if request.param == "pipe":
        # Of a handler the limit of cores is none of the kernel's business.
        handler = public / "take"
        handler.write_text('#!/bin/sh\ncat >"$1/$2"\n')
        handler.chmod(0o755)
        text = f"|{handler} {place} %p"
    assert len(text) < 127
    (public / f"{place.name}.pattern").write_text(text)
    return place


def ordinary() -> int:
    """The id of a process that is dumped."""
    process = subprocess.Popen(["sleep", "60"], preexec_fn=unlimited)
    os.kill(process.pid, signal.SIGSEGV)
    process.wait()
    return process.pid


def taken() -> None:
    """As whoever starts programs at a terminal has it: in the background, SIGQUIT is ignored."""
    no_limit_of_core()
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


def unlimited() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@pytest.mark.claim("L-CORE")
def test_where_every_core_is_taken_there_is_none_of_an_enclave(
    cores: Path, public: Path, folder: Path, python: str, record_property: pytest.RecordProperty
) -> None:
    for part in ("bin", "lib"):
        if not (public / part).exists():
            shutil.copytree(launcher.host_path().parent.parent / part, public / part)
    launches: list[Any] = [conftest.Launching(public), LaunchingPython(folder, python=python)]
    processes = [conftest.Process(Prepared(taken, launch)) for launch in launches]
    runs = [conftest.Process(Prepared(taken, Running(public))) for _ in range(2)]
    try:
        hosts = [run.do(host_of) for run in runs]
        victims = [process.do(conftest.call, "pid") for process in processes]
        victims += [program_of(hosts[0]), hosts[1]]
        program_of(hosts[1])
        with pattern((public / f"{cores.name}.pattern").read_text()):
            for victim in victims:
                # Nobody handles this one; the host process of the last hands on what it can.
                os.kill(victim, signal.SIGQUIT if victim != hosts[1] else signal.SIGSEGV)
            # Dumped after them, and by the same way.
            told = ordinary()
            deadline = time.monotonic() + 60
            while not (cores / str(told)).exists() and time.monotonic() < deadline:
                time.sleep(0.01)
        for victim in victims:
            assert conftest.ended(victim), victims
        assert {path.name for path in cores.iterdir()} == {str(told)}
        record_property("count:kills that leave no core", len(victims))
    finally:
        for run in runs:
            run.do(end)
        for process in (*processes, *runs):
            process.close()
