# SPDX-License-Identifier: Apache-2.0
"""Each example builds with the command that a user would type, without a warning, and runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import hotcalls

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = Path(hotcalls.__file__).parent
EXAMPLES = sorted(path.parent.name for path in ROOT.glob("examples/*/*.edl"))
ENVIRONMENT = {
    **os.environ,
    "HOTCALLS_LOADER": str(PACKAGE / "bin/hotcalls-enclave"),
    "PYTHONWARNINGS": "ignore:this program runs as root",
}


def run(command: list[str], folder: Path) -> str:
    result = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / request.param
    shutil.copytree(ROOT / "examples" / request.param, folder)
    (edl,) = folder.glob("*.edl")
    sources = sorted(path.name for path in folder.glob("*.c") if path.stem != "host")
    command = [sys.executable, "-m", "hotcalls.cli", "build", edl.name, *sources]
    run([*command, "--cflags", "-Wextra -Werror"], folder)
    return folder


def test_example_launches_and_ends(example: Path) -> None:
    (enclave,) = example.glob("*.enclave.so")
    run(
        [
            sys.executable,
            "-c",
            f"import hotcalls\nwith hotcalls.launch({enclave.name!r}) as e:\n    e.check()\n",
        ],
        example,
    )


def test_example_host_programs_run(example: Path) -> None:
    if (example / "host.py").exists():
        run([sys.executable, "host.py"], example)
    if (example / "host.c").exists():
        (untrusted,) = example.glob("*_u.c")
        flags = ["-I.", f"-I{PACKAGE / 'include'}", "-Wall", "-Wextra", "-Werror"]
        library = str(PACKAGE / "lib/libhotcalls_host.a")
        run(["cc", *flags, "host.c", untrusted.name, library, "-pthread", "-o", "host"], example)
        run(["./host"], example)
