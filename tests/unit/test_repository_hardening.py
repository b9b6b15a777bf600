# SPDX-License-Identifier: Apache-2.0
"""Every ELF file that is installed is hardened, as the files themselves say."""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import hardening
import native

MACHINE = platform.machine()

spec = importlib.util.find_spec("hotcalls")
assert spec is not None
assert spec.origin is not None
PACKAGE = Path(spec.origin).parent
INSTALLED = sorted(
    path.relative_to(PACKAGE).as_posix()
    for path in PACKAGE.rglob("*")
    if path.is_file() and hardening.is_elf(path)
)
ARCHIVES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.a"))

#: What a file may lack, and why. Beginnings of names.
EXCEPTIONS: dict[str, dict[str, str]] = {
    # Nothing of the C library that has a checked form but plain copies: tested below.
    "_hot.": {"no fortified call": "works on Python objects"},
    "bench.enclave": {"no fortified call": "sizes are checked by what EDL generates"},
    "libhotcalls_shim": {"no fortified call": "makes its own system calls, and copies by structs"},
}
#: Flags that build a program in which nothing is left to be found.
HARD = [
    "-O2", "-fPIE", "-pie", "-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2",
    "-Wl,-z,relro,-z,now,-z,noexecstack",
]  # fmt: skip
PROGRAM = """
#include <stdio.h>
#include <string.h>
#ifdef BOTH
__asm__(".section .both, \\"awx\\", %progbits\\n.long 0\\n.text\\n");
#endif
int main(int count, char **words)
{
    char text[32];
    strcpy(text, words[count - 1]);
    return puts(text);
}
"""
#: What one flag takes away again.
SOFT = {
    "at a fixed address": ["-fno-pie", "-no-pie"],
    "no RELRO": ["-Wl,-z,norelro"],
    "binds late": ["-Wl,-z,lazy"],
    "executable stack": ["-Wl,-z,execstack"],
    "memory that is writable and executable": ["-DBOTH"],
    "a search path of its own": ["-Wl,-rpath,/opt/lib"],
    "no stack protector": ["-fno-stack-protector"],
    "no fortified call": ["-D_FORTIFY_SOURCE=0"],
    "functions without a landing": ["-fcf-protection=none", "-mbranch-protection=none"],
    "relocations of code": ["-shared", "-Wl,-z,notext"],
}


def allowed(name: str) -> set[str]:
    return {
        lack
        for start, lacks in EXCEPTIONS.items()
        if Path(name).name.startswith(start)
        for lack in lacks
    }


@pytest.mark.claim("B-HARDENED")
@pytest.mark.parametrize("name", INSTALLED)
def test_installed_file_is_hardened(
    name: str, record_property: Callable[[str, object], None]
) -> None:
    record_property("count:hardened ELF files", 1)
    assert hardening.findings(PACKAGE / name) - allowed(name) == set()


def test_every_kind_of_file_is_among_those() -> None:
    names = {Path(name).name.partition(".")[0] for name in INSTALLED}
    assert names >= {"_native", "_inside", "_hot", "hotcalls-enclave", "hotcalls-load", "bench"}
    if MACHINE == "x86_64":
        assert names >= {"libhotcalls_shim", "hotcalls-run"}


@pytest.mark.parametrize("start", EXCEPTIONS)
def test_exception_is_still_needed(start: str) -> None:
    files = [name for name in INSTALLED if Path(name).name.startswith(start)]
    if not files:
        pytest.skip(f"{start} is not built on this machine")
    for name in files:
        assert set(EXCEPTIONS[start]) <= hardening.findings(PACKAGE / name)


#: The compiler takes the checked form where it knows the size of the target and cannot prove that
#: it is enough; what is left of these are copies whose target it does not know, or has proved.
PLAIN_COPIES = {"memcpy", "memmove", "memset"}


def c_library() -> Path:
    """The file of the C library that runs here."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return next(Path(line.split()[-1]) for line in lines if re.search(r"/libc[.-].*so", line))


@pytest.mark.claim("B-HARDENED")
@pytest.mark.parametrize("start", EXCEPTIONS)
def test_file_without_a_checked_call_calls_nothing_that_has_one(start: str) -> None:
    for name in INSTALLED:
        if Path(name).name.startswith(start):
            assert hardening.unchecked_calls(PACKAGE / name, c_library()) <= PLAIN_COPIES


def test_unchecked_call_is_found_out(tmp_path: Path) -> None:
    program = compile_program(tmp_path, "-D_FORTIFY_SOURCE=0")
    assert "strcpy" in hardening.unchecked_calls(program, c_library())


@pytest.mark.claim("B-HARDENED")
@pytest.mark.parametrize("name", ARCHIVES)
def test_library_that_others_link_is_hardened(name: str, tmp_path: Path) -> None:
    subprocess.run(["ar", "x", PACKAGE / name], cwd=tmp_path, check=True)
    objects = list(tmp_path.iterdir())
    assert objects
    lacks = {path.name: hardening.object_findings(path) for path in objects}
    assert {name: lack for name, lack in lacks.items() if lack} == {}


def compile_program(folder: Path, *flags: str) -> Path:
    source, program = folder / "program.c", folder / "program"
    source.write_text(PROGRAM)
    branch = ["-fcf-protection=full"] if MACHINE == "x86_64" else []
    branch += ["-mbranch-protection=standard"] if MACHINE == "aarch64" else []
    command = [native.CC, "-w", *HARD, *branch, *flags, str(source), "-o", str(program)]
    subprocess.run(command, check=True)
    return program


def test_hardened_program_passes(tmp_path: Path) -> None:
    assert hardening.findings(compile_program(tmp_path)) == set()


@pytest.mark.claim("B-HARDENED")
@pytest.mark.parametrize("lack", SOFT)
def test_file_that_lacks_something_is_reported(lack: str, tmp_path: Path) -> None:
    if shutil.which(native.CC) is None:
        pytest.skip("no C compiler")
    branch = "-fcf" if MACHINE == "x86_64" else "-mbranch"
    flags = [
        flag
        for flag in SOFT[lack]
        if not flag.startswith(("-fcf", "-mbranch")) or flag.startswith(branch)
    ]
    if lack == "relocations of code":
        flags += ["-fno-pie", "-mcmodel=large"] if MACHINE == "x86_64" else ["-fno-pie"]
    assert lack in hardening.findings(compile_program(tmp_path, *flags))
