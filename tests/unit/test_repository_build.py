# SPDX-License-Identifier: Apache-2.0
"""The installed programs are built as they should be: hardened, and showing only what they must."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import hotcalls

PACKAGE = Path(hotcalls.__file__).parent
LOADER = PACKAGE / "bin/hotcalls-enclave"
PROGRAMS = [LOADER, PACKAGE / "bin/hotcalls-bench-worker"]


def readelf(path: Path, *options: str) -> str:
    if shutil.which("readelf") is None:
        pytest.skip("readelf is not installed")
    result = subprocess.run(
        ["readelf", "-W", *options, str(path)], capture_output=True, text=True, check=True
    )
    return result.stdout


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_program_is_position_independent_and_relro(program: Path) -> None:
    assert "Type:" in (header := readelf(program, "-h"))
    assert re.search(r"Type:\s+DYN", header)
    assert "GNU_RELRO" in readelf(program, "-l")
    dynamic = readelf(program, "-d")
    assert "BIND_NOW" in dynamic or re.search(r"FLAGS_1.*NOW", dynamic)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_program_has_no_executable_stack_and_no_search_path(program: Path) -> None:
    stack = re.search(r"GNU_STACK\s+.*", readelf(program, "-l"))
    assert stack is not None
    assert "RWE" not in stack.group()
    dynamic = readelf(program, "-d")
    assert "RPATH" not in dynamic
    assert "RUNPATH" not in dynamic


def test_loader_is_linked_to_libc_only() -> None:
    # Each further library is one more file in the trusted computing base.
    needed = re.findall(r"\(NEEDED\).*\[(.*?)\]", readelf(LOADER, "-d"))
    assert set(needed) <= {
        "libc.so.6", "libpthread.so.0", "libdl.so.2", "ld-linux-x86-64.so.2",
        "ld-linux-aarch64.so.1",
    }  # fmt: skip


def test_loader_shows_only_the_runtime_to_enclaves() -> None:
    symbols = readelf(LOADER, "--dyn-syms")
    exported = {
        line.split()[7].partition("@")[0]
        for line in symbols.splitlines()
        if re.match(r"\s+\d+:", line)
        and line.split()[4] in ("GLOBAL", "WEAK")
        and line.split()[6] != "UND"
    }
    libc = {"environ", "__environ", "_environ", "stdin", "stdout", "stderr"}
    assert {name for name in exported - libc if not name.startswith("hc_")} == set()
    assert "hc_enclave_port" in exported


def test_programs_are_executable() -> None:
    for program in PROGRAMS:
        assert os.access(program, os.X_OK)
