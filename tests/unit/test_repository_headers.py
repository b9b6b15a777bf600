# SPDX-License-Identifier: Apache-2.0
"""The freestanding headers compile alone: without a libc, as C11 and C++17, by both compilers,
and for aarch64."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
HEADERS = sorted(path.name for path in (ROOT / "include/hotcalls").glob("*.h"))
PUBLIC = sorted(path.name for path in (ROOT / "native").glob("hotcalls_*.h"))
WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Wundef", "-Werror"]
C_WARNINGS = ["-Wstrict-prototypes", "-Wmissing-prototypes"]
CLANG = next((name for name in ("clang", "clang-14") if shutil.which(name)), "clang")

COMPILERS = {
    "gcc-c11": ["gcc", "-x", "c", "-std=c11", *C_WARNINGS],
    "gcc-c++17": ["g++", "-x", "c++", "-std=c++17"],
    "clang-c11": [CLANG, "-x", "c", "-std=c11", *C_WARNINGS],
    "clang-c++17": [CLANG, "-x", "c++", "-std=c++17"],
    "aarch64-c11": ["aarch64-linux-gnu-gcc", "-x", "c", "-std=c11", *C_WARNINGS],
}


def compile_text(command: list[str], text: str, folder: Path) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    # From standard input: where a file named on the command line is a header, both compilers
    # would precompile it.
    result = subprocess.run(
        [*command, *WARNINGS, "-O2", "-c", "-", "-o", str(folder / "out.o")],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("header", HEADERS)
def test_header_alone_compiles_freestanding(header: str, compiler: str, tmp_path: Path) -> None:
    command = [
        *COMPILERS[compiler],
        "-ffreestanding",
        "-nostdlib",
        f"-I{ROOT / 'include'}",
    ]
    # Twice: the include guard works. A declaration: an empty translation unit is pedantic.
    text = f"#include <hotcalls/{header}>\n#include <hotcalls/{header}>\nextern int hc_test;\n"
    compile_text(command, text, tmp_path)


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("header", PUBLIC)
def test_public_header_alone_compiles_hosted(header: str, compiler: str, tmp_path: Path) -> None:
    command = [*COMPILERS[compiler], f"-I{ROOT / 'include'}", f"-I{ROOT / 'native'}"]
    compile_text(command, f'#include "{header}"\n#include "{header}"\nextern int x;\n', tmp_path)


@pytest.mark.parametrize("header", HEADERS)
def test_header_includes_nothing_of_libc(header: str) -> None:
    allowed = {"stdbool.h", "stddef.h", "stdint.h", "stdatomic.h", "limits.h", "stdalign.h"}
    text = (ROOT / "include/hotcalls" / header).read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("#include <"):
            name = line.partition("<")[2].partition(">")[0]
            assert name in allowed or name.startswith("hotcalls/"), line


#: `hotcalls bench`, and both sides of `hotcalls run`, are about one kind of processor.
X86_ONLY = ("bench_", "run_", "shim_")


@pytest.mark.parametrize(
    "source",
    sorted(p.name for p in (ROOT / "native").glob("*.c") if not p.name.startswith(X86_ONLY)),
)
def test_hosted_c_compiles_for_aarch64(source: str, tmp_path: Path) -> None:
    command = ["aarch64-linux-gnu-gcc", "-std=c11", "-D_GNU_SOURCE=", *C_WARNINGS, *WARNINGS]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    result = subprocess.run(
        [
            *command,
            f"-I{ROOT / 'include'}",
            f"-I{ROOT / 'native'}",
            f"-I{sysconfig.get_path('include')}",
            "-O1",
            "-fsyntax-only",
            str(ROOT / "native" / source),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
