# SPDX-License-Identifier: Apache-2.0
"""What cannot run in an enclave is refused in one line that says why, and what to do."""

from __future__ import annotations

import struct
from pathlib import Path

import enclosed
import pytest

from hotcalls.apps.program import ProgramError, resolve


def elf(path: Path, *, machine: int = 62, bits: int = 2, interpreter: bool = True) -> Path:
    """Write the head of a program: as much as is looked at."""
    head = b"\x7fELF" + bytes([bits, 1, 1]) + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    path.write_bytes(head + struct.pack("<I", 3 if interpreter else 1) + bytes(52))
    path.chmod(0o755)
    return path


def script(path: Path, first: str) -> Path:
    path.write_text(f"{first}\necho ran\n")
    path.chmod(0o755)
    return path


def test_a_statically_linked_program_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "static.c"
    source.write_text("int main(void) { return 0; }\n")
    built = tmp_path / "static"
    assert enclosed.run(["gcc", "-static", "-o", str(built), str(source)]).returncode == 0
    done = enclosed.run(enclosed.inside("hot", str(built)))
    assert done.returncode == 126
    assert done.stderr == (
        f"hotcalls run: {built}: is statically linked: the shim cannot be loaded into it; "
        "use a dynamic build\n"
    )


def test_a_program_that_is_missing_ends_as_in_a_shell(tmp_path: Path) -> None:
    for name, words in ((str(tmp_path / "none"), "no such file"), ("none-such", "not found in")):
        done = enclosed.run(enclosed.inside("hot", name))
        assert done.returncode == 127
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("machine", "bits", "words"),
    [
        (183, 2, "is for aarch64, this machine is x86-64"),
        (243, 2, "is for RISC-V"),
        (999, 2, "is for machine 999"),
        (3, 1, "is not a 64-bit program"),
    ],
)
def test_another_architecture_is_named(machine: int, bits: int, words: str, tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=words) as refused:
        resolve([str(elf(tmp_path / "other", machine=machine, bits=bits))])
    assert refused.value.exit_status == 126


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6755])
def test_a_setuid_or_setgid_program_is_refused(mode: int, tmp_path: Path) -> None:
    path = elf(tmp_path / "program")
    path.chmod(mode)
    with pytest.raises(ProgramError, match=r"setuid or setgid.*run a copy"):
        resolve([str(path)])


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ("#!", "does not name an interpreter"),
        ("#!   ", "does not name an interpreter"),
        ("#!bin/sh", "is not an absolute path"),
        ("#!/none/such", "its interpreter /none/such does not exist"),
        ("#!/usr/bin/env -i sh", "uses env in a way that is not supported"),
        ("#!/usr/bin/env A=1 sh", "uses env in a way that is not supported"),
        ("#!/usr/bin/env none-such-interpreter", "not found in PATH"),
        ("no line at all", "neither an ELF program nor a script"),
        ("#!/" + "x" * 300, "does not name an interpreter"),
    ],
)
def test_a_script_without_a_usable_first_line_is_refused(
    first: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ProgramError, match=words):
        resolve([str(script(tmp_path / "script", first))])


def test_the_first_line_of_a_script_is_followed_once(tmp_path: Path) -> None:
    fine = script(tmp_path / "fine", "#!/bin/sh")
    assert enclosed.run(enclosed.inside("hot", str(fine))).stdout == "ran\n"
    with pytest.raises(ProgramError, match="is a script itself"):
        resolve([str(script(tmp_path / "nested", f"#!{fine}"))])


def test_what_is_no_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match="is not a file that can be executed"):
        resolve([str(tmp_path)])
    path = elf(tmp_path / "program")
    path.chmod(0o644)
    with pytest.raises(ProgramError, match=r"denied: chmod \+x"):
        resolve([str(path)])
    (tmp_path / "empty").touch(0o755)
    with pytest.raises(ProgramError, match="neither an ELF program nor a script"):
        resolve([str(tmp_path / "empty")])


def test_a_program_that_starts_others_is_told_once_and_goes_on() -> None:
    words = "(/bin/true); echo $?; (/bin/true); exec /bin/true"
    done = enclosed.run(enclosed.inside("hot", "/bin/bash", "-c", words))
    lines = done.stderr.splitlines()
    assert sum("tried to start a process" in line for line in lines) == 1
    done = enclosed.run(enclosed.inside("hot", "/bin/bash", "-c", "exec /bin/ls"))
    assert sum("tried to become another one" in line for line in done.stderr.splitlines()) == 1
    assert done.returncode != 0
