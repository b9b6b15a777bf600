# SPDX-License-Identifier: Apache-2.0
"""What `hotcalls run` ends with when the program was not started: never what a program ends with.

125 hotcalls failed, 126 and 127 the program, 3 the policy or its hook was refused.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HOTCALLS = str(Path(sys.executable).parent / "hotcalls")


def run(*words: str, command: str = "run", **environment: str) -> tuple[int, str]:
    """Run it; return the exit status and what it said."""
    done = subprocess.run(
        [HOTCALLS, command, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize("command", ["run", "trace"])
class TestBeforeTheProgramStarts:
    def test_policy_that_cannot_be_read_is_125(self, command: str, tmp_path: Path) -> None:
        status, said = run("--policy", str(tmp_path), "--", "true", command=command)
        assert (status, said) == (125, f"hotcalls {command}: {tmp_path}: Is a directory\n")

    def test_policy_that_says_nonsense_is_3(self, command: str, tmp_path: Path) -> None:
        (tmp_path / "p.toml").write_text("nonsense = 1\n")
        status, said = run("--policy", str(tmp_path / "p.toml"), "--", "true", command=command)
        assert status == 3
        assert "p.toml" in said

    def test_policy_that_is_not_there_is_3(self, command: str) -> None:
        status, said = run("--policy", "unheard-of", "--", "true", command=command)
        assert status == 3
        assert "the policies that are shipped are" in said

    def test_program_that_is_not_there_is_127(self, command: str) -> None:
        status, said = run("--", "no-such-program", command=command)
        assert (status, said) == (127, f"hotcalls {command}: no-such-program: not found in PATH\n")

    def test_program_that_cannot_run_is_126(self, command: str, tmp_path: Path) -> None:
        (tmp_path / "text").write_text("no program\n")
        status, said = run("--", str(tmp_path / "text"), command=command)
        assert status == 126
        assert "chmod +x" in said


def test_log_that_cannot_be_written_is_125(tmp_path: Path) -> None:
    status, said = run("--log", str(tmp_path / "no" / "log"), "--", "true")
    assert (status, said) == (125, f"hotcalls run: {tmp_path}/no/log: No such file or directory\n")


def test_error_of_the_system_says_what_was_tried() -> None:
    """It was "[Errno 24] Too many open files"."""
    script = (
        "import errno, os, sys\n"
        "from hotcalls import cli\n"
        "from hotcalls.apps import launcher\n"
        "def refuse(*_): raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))\n"
        "launcher.replace = refuse\n"
        "cli.main(['run', '--', 'true'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 125
    assert done.stderr == "hotcalls run: starting true: Too many open files\n"
