# SPDX-License-Identifier: Apache-2.0
"""A program under ``hotcalls run`` stays closed to its user, and what it was when it started: when
it opens itself, when its files are overwritten, when its host process is killed."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import native
from hotcalls.apps import launcher

from . import conftest, looks
from .test_looks import address_of, end, host_of, program_of

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="hotcalls run needs x86-64")
PROGRAMS = native.TESTS / "apps/programs"
LIBRARY = """
__attribute__((aligned(8192))) int value(void) { return VALUE; }
__attribute__((aligned(8192))) int after(void) { return 0; }
"""
#: What is not there yet when its file changes is read of the file, unless it was copied.
PROGRAM = """
#include <stdio.h>
int value(void);
__attribute__((aligned(8192))) int own(void) { return VALUE; }
__attribute__((aligned(8192))) int main(void)
{
    puts("tried");
    (void)fflush(stdout);
    (void)getchar();
    printf("%d %d\\n", value(), own());
    return 0;
}
"""


class Program:
    """Starts a program in a process of the user, and waits until it says that it is there."""

    def __init__(self, *line: str) -> None:
        self.line = line

    def __call__(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            self.line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdout is not None
        for line in process.stdout:
            if line == b"tried\n":
                break
        return process


def go(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Let the program go on to its end: its status and what it said."""
    said, _ = process.communicate(b"\n", 20)
    return process.returncode, said.decode()


@pytest.fixture(scope="module")
def host(public: Path) -> str:
    """The program of the host process, where the user may read it."""
    for part in ("bin", "lib"):
        if not (public / part).exists():
            shutil.copytree(launcher.host_path().parent.parent / part, public / part)
    return str(public / "bin/hotcalls-run")


@pytest.fixture
def opened(host: str, public: Path) -> Iterator[conftest.Process]:
    """A program that has tried by every prctl, from the shim's instruction, to be open."""
    name = shutil.copy(
        native.build("reach", [PROGRAMS / "reach.c"], ("-O1", "-w"), compiler=(native.CC,)), public
    )
    process = conftest.Process(
        Program(host, "--mode", "switch", "--", name, "reach", "gate", str(os.getpid()), "60")
    )
    yield process
    process.do(end)
    process.close()


@pytest.mark.claim("L-TRACE", "L-MEMORY", "L-DESCRIPTORS", "D-BOUNDARY")
def test_program_that_opens_itself_stays_closed(
    opened: conftest.Process, attacker: conftest.Process, record_property: pytest.RecordProperty
) -> None:
    pid = program_of(opened.do(host_of))
    found = attacker.do(looks.try_all, pid, opened.do(address_of))
    record_property("count:attempts to look in", len(found))
    wrong = {look.name: found[look.name] for look in looks.LOOKS
             if found[look.name] not in look.allowed}  # fmt: skip
    assert wrong == {}


@pytest.mark.claim("D-END")
def test_program_that_wants_to_outlive_its_host_process_does_not(
    opened: conftest.Process,
) -> None:
    host = opened.do(host_of)
    pid = program_of(host)
    os.kill(host, signal.SIGKILL)
    assert conftest.ended(pid)


def make_own(place: Path, run_path: str) -> None:
    """A program of the user's and its library, and the library as it is to become."""
    for value in (1, 2):
        flags = [f"-DVALUE={value}", "-O1", "-w"]
        for name, text, more in (
            ("libown.so", LIBRARY, ["-shared", "-fPIC"]),
            ("program", PROGRAM, [f"-L{place}", "-lown", f"-Wl,-rpath,{run_path}"]),
        ):
            source = place / f"{name}.c"
            source.write_text(text)
            target = place / (name if value == 1 else f"{name}.other")
            subprocess.run([native.CC, *flags, "-o", str(target), str(source), *more], check=True)


@pytest.fixture(params=["in /tmp", "in a folder of root's"])
def own(request: pytest.FixtureRequest, public: Path) -> Iterator[tuple[Path, Path]]:
    """A program of the user's and its library, both ready to be overwritten."""
    roots = request.param != "in /tmp"
    if roots and os.geteuid() != 0:
        pytest.skip("needs root to own a folder")
    place = Path(tempfile.mkdtemp(dir="/var/lib" if roots else public, prefix="hotcalls-test-"))
    place.chmod(0o755)
    make_own(place, str(place))
    conftest.give_to_user(place.iterdir())
    yield place / "program", place / "libown.so"
    shutil.rmtree(place)


def overwrite(_: Any, path: str, text: bytes) -> None:
    """In place, as a process of the same user."""
    with open(path, "r+b", buffering=0) as file:
        file.write(text)


def cut(_: Any, path: str, text: bytes) -> None:
    """Every page of it."""
    os.truncate(path, 0)


@pytest.mark.claim("L-FILES")
@pytest.mark.parametrize("attack", [overwrite, cut])
def test_running_program_is_not_changed_through_its_files(
    attack: Callable[..., None],
    host: str,
    own: tuple[Path, Path],
    attacker: conftest.Process,
    record_property: pytest.RecordProperty,
) -> None:
    program, library = own
    other = Path(f"{library}.other").read_bytes()
    process = conftest.Process(Program(host, "--mode", "switch", "--", str(program), "program"))
    ordinary = conftest.Process(Program(str(program)))
    try:
        pid = program_of(process.do(host_of))
        attacker.do(attack, str(library), other)
        record_property("count:attempts to change a running program", 1)
        # It works on an ordinary process: other code, or none at all.
        assert ordinary.do(go) != (0, "1 1\n")
        changeable = conftest.files_that_the_user_can_change(pid)
        assert [line for line in changeable if "/memfd:hotcalls-run" not in line] == []
        assert process.do(go) == (0, "1 1\n")
    finally:
        for each in (process, ordinary):
            each.do(end)
            each.close()


#: A root of the user's own, with what is needed of the machine's, in a user namespace of theirs.
CONTAINER = """
for folder in usr lib lib64 proc; do mount --rbind /$folder $0/$folder || exit 99; done
exec chroot $0 /own/bin/hotcalls-run --mode switch -- /program program
"""


@pytest.mark.claim("L-FILES")
def test_root_of_a_user_namespace_is_not_trusted_with_files(
    host: str, public: Path, attacker: conftest.Process
) -> None:
    """Files of uid 0 in there are those of the user that is kept out."""
    root = Path(tempfile.mkdtemp(dir=public))
    for folder in ("usr", "lib", "lib64", "proc"):
        (root / folder).mkdir()
    for folder in ("bin", "lib"):
        shutil.copytree(Path(host).parent.parent / folder, root / "own" / folder)
    make_own(root, "/")
    conftest.give_to_user([root, *root.rglob("*")])
    process = conftest.Process(
        Program("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", CONTAINER, str(root))
    )
    try:
        attacker.do(overwrite, str(root / "libown.so"), (root / "libown.so.other").read_bytes())
        assert process.do(go) == (0, "1 1\n")
    finally:
        process.do(end)
        process.close()
        shutil.rmtree(root)
