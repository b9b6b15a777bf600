# SPDX-License-Identifier: Apache-2.0
"""Numbers of descriptors mean what they mean natively while several threads use them at once."""

from __future__ import annotations

import os
from pathlib import Path

import enclosed
import pytest

ROUNDS = "20000" if os.environ.get("HOTCALLS_TRUST") else "5000"
PROGRAM = "numbers"


def said(command: list[str], folder: Path) -> list[str]:
    folder.mkdir()
    done = enclosed.run(command, cwd=folder)
    assert done.returncode == 0, done.stderr
    return str(done.stdout).splitlines()


@pytest.mark.parametrize("mode", enclosed.MODES)
def test_no_use_of_a_number_fails_that_another_thread_replaces(mode: str, tmp_path: Path) -> None:
    lines = said(
        enclosed.inside(mode, enclosed.program(PROGRAM), "replace", ROUNDS), tmp_path / "in"
    )
    rounds = int(lines.pop().removeprefix("rounds: "))
    assert rounds >= int(ROUNDS)
    assert lines == []


@pytest.mark.parametrize("mode", enclosed.MODES)
def test_a_record_lock_lasts_as_long_as_it_does_natively(mode: str, tmp_path: Path) -> None:
    natively = said([enclosed.program(PROGRAM), "lock"], tmp_path / "out")
    assert natively[0] == "F_SETLK: locked"
    assert natively[-1] == "close of another number: free"
    assert (
        said(enclosed.inside(mode, enclosed.program(PROGRAM), "lock"), tmp_path / "in") == natively
    )


@pytest.mark.parametrize("mode", enclosed.MODES)
def test_what_is_closed_while_it_waits_to_be_sent_arrives(mode: str, tmp_path: Path) -> None:
    lines = said(enclosed.inside(mode, enclosed.program(PROGRAM), "send"), tmp_path / "in")
    # Of the tries before the last one the thread that sends was slow.
    last = lines[-lines[::-1].index("not sent yet") :] if "not sent yet" in lines else lines
    assert last == [
        "close again: Bad file descriptor",
        "use of what is closed: Bad file descriptor",
        "the number is free",
        "received: the file",
    ]
