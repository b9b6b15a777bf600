# SPDX-License-Identifier: Apache-2.0
"""Compiling C test programs, once per content, and running the tests inside them.

A program is named by its sources and flags; what it is built from (its sources, the headers of the
project and those beside the sources) is hashed, so that nothing is compiled twice and nothing stale
is run. Tests inside a program are functions ``TEST(test_…)`` of check.h: `tests_in` finds them in
the source without compiling, so that each is a test of pytest's too.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
INCLUDE = ROOT / "include"
NATIVE = ROOT / "native"
BUILD = ROOT / "build" / "tests"
CC = os.environ.get("CC", "gcc")
#: Whether everything is tried that there is, as in `make trust`.
LONG = os.environ.get("HOTCALLS_TRUST", "") not in ("", "0")

WARNINGS = [
    "-std=c11", "-D_GNU_SOURCE=", "-g", "-Wall", "-Wextra", "-Wshadow", "-Wconversion",
    "-Wstrict-prototypes", "-Wmissing-prototypes", "-Werror",
]  # fmt: skip
PLAIN = ["-O2"]
ADDRESS = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
#: For aarch64, run by `emulator()`.
CROSS = ("aarch64-linux-gnu-gcc", "-std=c11", "-D_GNU_SOURCE=", "-O2", "-static")
#: The fence in responder_sleep orders counters, no data: that TSan ignores fences hides nothing.
THREAD = ["-O1", "-fsanitize=thread", "-Wno-error=tsan"]

SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "abort_on_error=0:exitcode=99:detect_leaks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:exitcode=99",
    "TSAN_OPTIONS": "halt_on_error=1:exitcode=99:second_deadlock_stack=1",
}


def sources(*patterns: str) -> list[Path]:
    """Return the files of native/ that match one of `patterns`."""
    return sorted({path for pattern in patterns for path in NATIVE.glob(pattern)})


ENDPOINT = ("endpoint*.c",)
HOST = ("endpoint*.c", "host_*.c", "sandbox_image.c", "sandbox_error.c")
LOADER = ("endpoint*.c", "enclave_*.c", "sandbox_*.c")


def _fingerprint(files: Sequence[Path], command: Sequence[str]) -> str:
    digest = hashlib.sha256("\0".join(command).encode())
    headers = [*INCLUDE.rglob("*.h"), *NATIVE.glob("*.h")]
    for folder in sorted({path.parent for path in files} - {NATIVE} | {TESTS / "c"}):
        headers += folder.glob("*.h")
    for path in files:
        # A test of what a file keeps to itself includes that file.
        headers += (NATIVE / name for name in re.findall(r"/native/(\w+\.c)\"", path.read_text()))
    for path in sorted({*files, *headers}):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def build(
    name: str,
    files: Sequence[Path],
    flags: Sequence[str] = (),
    *,
    link: str = "",
    compiler: Sequence[str] = (CC, *WARNINGS),
) -> Path:
    """Compile `files` into one program (or shared object) and return where it is.

    The file name is `name` in a folder of its own: programs look at their own names.
    """
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"no compiler: {compiler[0]} not found")
    command = [*compiler, *flags, f"-I{INCLUDE}", f"-I{NATIVE}", f"-I{TESTS / 'c'}"]
    libraries = ["-pthread", *link.split()]
    target = BUILD / f"{name}-{_fingerprint(files, [*command, *libraries])}" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            return target
        made = target.with_suffix(".new")
        done = subprocess.run(
            [*command, "-o", str(made), *map(str, files), *libraries],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            pytest.fail(f"{name} does not compile:\n{done.stderr}", pytrace=False)
        made.rename(target)
    return target


def emulator() -> str:
    """Return the program that runs aarch64 programs here.

    They show that the instructions are right: exchanges, fences, waiting, layout. They do not show
    that the orders are enough, as it keeps the stronger order of an x86-64 host: that is what
    tests/model/test_ordering.py is for.
    """
    found = shutil.which("qemu-aarch64")
    if found is None:
        pytest.skip("qemu-aarch64 is not installed (apt-get install qemu-user)")
    return found


def build_loader(flags: Sequence[str] = PLAIN, more: Sequence[Path] = ()) -> Path:
    """Compile the program that a process enclave is, with `more` of a test's own in it."""
    exports = NATIVE / "enclave_exports.list"
    return build(
        "hotcalls-enclave",
        [*sources(*LOADER), *more],
        [*flags],
        link=f"-Wl,--dynamic-list={exports} -ldl -lseccomp",
    )


def build_enclave(path: Path) -> Path:
    """Compile an enclave that is written by hand, without EDL."""
    return build(path.stem + ".so", [path], [*PLAIN, "-fPIC", "-shared"])


def some(cases: Iterable[str], *, every: int = 3) -> list[Any]:
    """Return parameters of a test that tries one case of `every` few, and all of them if LONG."""
    return [
        pytest.param(case, marks=[pytest.mark.long] if number % every else [])
        for number, case in enumerate(cases)
    ]


def examples(count: int) -> int:
    """Return how many inputs hypothesis makes up: a third, and all of them if LONG.

    For tests of what is fuzzed at length as well (`make fuzz`).
    """
    return count if LONG else count // 3


def syscall_headers() -> Path:
    """Generate what both sides of `hotcalls run` are compiled with; the folder it is in."""
    script = ROOT / "scripts" / "generate_syscalls.py"
    inputs = [NATIVE / "syscalls.edl", NATIVE / "syscall_local.h"]
    digest = hashlib.sha256()
    for path in [script, *inputs, *sorted((ROOT / "src/hotcalls/edl").rglob("*.py"))]:
        digest.update(path.read_bytes())
    folder = BUILD / f"syscalls-{digest.hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "syscalls.json").exists():
            command = [sys.executable, str(script), *map(str, inputs), str(folder)]
            subprocess.run(command, check=True)
    return folder


def tests_in(path: Path) -> list[str]:
    """Return the names of the tests that a C file defines."""
    return re.findall(r"^TEST\((test_\w+)\)", path.read_text(), re.MULTILINE)


def run(
    command: Sequence[str | Path],
    *,
    timeout: float = 240,
    environment: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program; it has to succeed. Its output is in the failure, and in the result."""
    variables = {**os.environ, **SANITIZER_OPTIONS, **(environment or {})}
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=variables,
    )
    if done.returncode != 0:
        pytest.fail(
            f"{Path(command[0]).name} {' '.join(map(str, command[1:]))}: "
            f"status {done.returncode}\n{done.stdout}{done.stderr}",
            pytrace=False,
        )
    return done
