# SPDX-License-Identifier: Apache-2.0
"""The system calls of `hotcalls run`, as ocalls of an SGX enclave: both sides compile.

An enclave imports native/syscalls.edl and adds its ecalls. No daemon was run inside SGX, and here
none is: what a shim inside would need besides is not there.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import native
from hotcalls.edl import parse_file
from hotcalls.edl.sgx import emit_sgx
from hotcalls.sgx.project import ENCLAVE_FLAGS

SYSCALLS = native.NATIVE / "syscalls.edl"
HEADERS = native.ROOT / "src/hotcalls/sgx/stand_in/include"
pytestmark = pytest.mark.skipif(
    not SYSCALLS.exists(), reason="this tree has no native/syscalls.edl"
)

ENCLAVE = """\
enclave {
    include "types.h"
    from "syscalls.edl" import *;
    trusted { public int enclave_main(void); };
};
"""
TYPES = """\
#ifndef TYPES_H
#define TYPES_H
typedef int fd_t;
typedef int dirfd_t;
#ifndef HOST
typedef long ssize_t;
#endif
#endif
"""
#: What the generated code of the host includes, and then the ocalls under names of their own: those
#: of the C library are taken.
PRELUDE = """\
#define _GNU_SOURCE
#define HOST
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>
"""


@pytest.fixture(scope="module", params=[False, True], ids=["ordinary", "hot"])
def enclave(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("syscalls")
    (folder / "Enclave.edl").write_text(ENCLAVE)
    (folder / "types.h").write_text(TYPES)
    interface = parse_file(folder / "Enclave.edl", [str(SYSCALLS.parent)])
    assert len(interface.ocalls) > 100
    for name, text in emit_sgx(interface, hot_all=request.param).items():
        (folder / name).write_text(text)
    names = [ocall.name for ocall in interface.ocalls]
    defines = "".join(f"#define {name} ocall_{name}\n" for name in names)
    (folder / "prelude.h").write_text(PRELUDE + defines)
    return folder


def compile_side(folder: Path, source: str, *flags: str) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler: gcc not found")
    command = ["gcc", *native.WARNINGS, *flags, f"-I{HEADERS}", f"-I{native.INCLUDE}", "-O1"]
    done = subprocess.run(
        [*command, "-c", source, "-o", "made.o"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_trusted_side_of_the_system_calls_compiles(enclave: Path) -> None:
    compile_side(enclave, "Enclave_t.c", *ENCLAVE_FLAGS, f"-I{HEADERS / 'tlibc'}")


def test_untrusted_side_of_the_system_calls_compiles(enclave: Path) -> None:
    compile_side(enclave, "Enclave_u.c", "-include", "prelude.h", "-Wno-redundant-decls")
