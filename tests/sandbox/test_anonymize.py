# SPDX-License-Identifier: Apache-2.0
"""No code or data of an enclave changes with a file that the same user may write."""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Probes, Target

Copy = Callable[[str], str]
BEFORE = "call code=11 constant=11 data=11"
OTHER = "call code=22 constant=22 data=22"


def overwrite(probes: Probes, library: str) -> None:
    found = probes.attack("replace", probes.path("victim22.so"), library)
    assert found["replace"] == "0"


def start(probes: Probes, *words: str) -> Target:
    target = probes.start(probes.path("target"), "harden", *words)
    target.line("waiting")
    return target


def test_overwritten_library_changes_running_code(probes: Probes, own_copy: Copy) -> None:
    """The control: this is what the same user can do to any program."""
    library = own_copy("victim11.so")
    target = start(probes, "load", library, "wait", "call")
    overwrite(probes, library)
    target.go()
    assert target.line("call") == OTHER


@pytest.mark.claim("L-FILES")
def test_overwritten_library_changes_nothing(probes: Probes, own_copy: Copy) -> None:
    library = own_copy("victim11.so")
    target = start(probes, "load", library, "anonymize", "wait", "call", "lock", "call")
    overwrite(probes, library)
    target.go()
    assert target.line("call") == BEFORE
    assert target.line("call") == BEFORE


def test_truncated_library_changes_even_written_data(probes: Probes, own_copy: Copy) -> None:
    """The control for touching pages: truncation drops copied pages as well."""
    library = own_copy("victim11.so")
    target = start(probes, "load", library, "dirty", "call", "wait", "call")
    assert target.lines[-2] == "call code=11 constant=11 data=77"
    assert probes.attack("truncate", library)["truncate"] == "0"
    overwrite(probes, library)
    target.go()
    assert target.line("call") == OTHER


@pytest.mark.claim("L-FILES")
def test_truncated_library_changes_nothing(probes: Probes, own_copy: Copy) -> None:
    library = own_copy("victim11.so")
    target = start(probes, "load", library, "dirty", "anonymize", "wait", "call")
    assert probes.attack("truncate", library)["truncate"] == "0"
    target.go()
    assert target.line("call") == "call code=11 constant=11 data=77"


def test_library_truncated_before_is_an_error(probes: Probes, own_copy: Copy) -> None:
    library = own_copy("victim11.so")
    target = start(probes, "load", library, "wait", "anonymize")
    assert probes.attack("truncate", library)["truncate"] == "0"
    target.go()
    line = target.line("anonymize")
    # Before Linux 5.14 nothing tells but the SIGBUS, which ends the launch as well.
    assert line.startswith("anonymize failed mapping ")
    assert Path(library).name in line


def maps(target: Target) -> list[str]:
    target.line("maps")
    return [line[4:] for line in target.lines if line.startswith("map ")]


@pytest.mark.claim("L-FILES")
def test_no_untrusted_file_stays_mapped(probes: Probes, own_copy: Copy, own_folder: Path) -> None:
    """The running program itself included."""
    program, library = own_copy("target"), own_copy("victim11.so")
    target = probes.start(program, "harden", "load", library, "anonymize", "maps", "lock", "call")
    mapped = maps(target)
    assert not [line for line in mapped if str(own_folder) in line]
    for line in mapped:
        found = re.search(r" (/.*)$", line)
        if found:
            status = Path(found[1]).stat()
            assert status.st_uid == 0
            assert status.st_mode & 0o022 == 0
        assert "wx" not in line.split()[1]
    assert target.line("lock") == "lock ok"
    assert target.line("call") == BEFORE


def test_root_files_stay_mapped_unless_told_otherwise(probes: Probes) -> None:
    target = probes.start(probes.path("target"), "harden", "anonymize", "maps")
    assert any("/libc.so" in line for line in maps(target))
    target = probes.start(probes.path("target"), "harden", "anonymize-all", "maps", "lock")
    assert not any(" /" in line for line in maps(target))
    assert target.line("lock") == "lock ok"


def test_protection_stays_what_it_was(probes: Probes) -> None:
    """RELRO is read-only and gaps are closed in the copies as well."""
    before = maps(probes.start(probes.path("target"), "harden", "maps"))
    after = maps(probes.start(probes.path("target"), "harden", "anonymize-all", "maps"))

    def shape(lines: list[str]) -> list[tuple[str, int]]:
        """Sizes per protection of what is mapped, the new list of mappings aside."""
        sizes: dict[str, int] = {}
        for line in lines:
            span, bits = line.split()[:2]
            low, high = (int(part, 16) for part in span.split("-"))
            if bits[2] == "x" or bits[1] == "-":
                sizes[bits] = sizes.get(bits, 0) + high - low
        return sorted(sizes.items())

    assert shape(before) == shape(after)


def test_threads_lose_no_write(probes: Probes, own_copy: Copy) -> None:
    library = own_copy("victim11.so")
    for _ in range(10):
        lines = probes.run(probes.path("target"), "harden", "load", library, "race")
        counts = [re.findall(r"=(\d+)", line) for line in lines if line.startswith("race ")]
        assert len(counts) == 4
        for _, counted, stored in counts:
            assert counted == stored
        assert all(int(counted) > 1 for _, counted, _ in counts)


def test_thread_that_is_told_late_goes_on(probes: Probes, own_copy: Copy) -> None:
    """The kernel may hold a thread up between its fault and its handler until all is over."""
    library = own_copy("victim11.so")
    for _ in range(300):  # until one was met while the library's data was read-only
        held = int(probes.run(probes.path("late"), library)[-1].removeprefix("held "))
        if held:
            return
    pytest.fail("no thread ever wrote while the mapping was replaced")


@pytest.mark.parametrize("where", ["fault", "fault-in-thread"])
@pytest.mark.parametrize("how", ["nowhere", "read-only", "raise"])
@pytest.mark.parametrize("passes", [["anonymize"], ["anonymize", "anonymize-all", "lock"]])
def test_fault_of_its_own_goes_where_it_went_before(
    probes: Probes, own_copy: Copy, passes: list[str], how: str, where: str
) -> None:
    words = ["load", own_copy("victim11.so"), *passes, where, how]
    handled = probes.run(probes.path("target"), "harden", "handle", *words, check=False)
    assert handled[-1] == "handler 11"
    unhandled = probes.start(probes.path("target"), "harden", *words)
    assert unhandled.process.wait(30) == -signal.SIGSEGV


def test_writable_shared_file_is_refused(probes: Probes, own_copy: Copy) -> None:
    path = own_copy("victim11.so")
    lines = probes.run(
        probes.path("target"), "harden", "map-shared", path, "anonymize", check=False
    )
    assert "map-shared ok" in lines
    assert lines[-1].startswith("anonymize failed shared-mapping 0 ")
    assert Path(path).name in lines[-1]


def test_writable_code_is_refused(probes: Probes) -> None:
    lines = probes.run(
        probes.path("target"), "harden", "map-writable-code", "anonymize", check=False
    )
    assert "map-writable-code ok" in lines
    assert lines[-1].startswith("anonymize failed writable-code 0 ")


@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_file_below_a_writable_folder_is_replaced(
    probes: Probes, own_copy: Copy, own_folder: Path, mode: int
) -> None:
    """Root's file, but others can put another in its place."""
    if not probes.as_root:
        pytest.skip("needs root to own a file")
    library = Path(own_copy("victim11.so"))
    for path in (library, own_folder):
        path.chmod(0o755)
        os.chown(path, 0, 0)
    words = ("harden", "load", str(library), "anonymize", "maps")
    # Below /var/tmp, which everybody may write: replaced in any case.
    assert not [s for s in maps(probes.start(probes.path("target"), *words)) if "victim" in s]
    own_folder.chmod(mode)
    assert not [s for s in maps(probes.start(probes.path("target"), *words)) if "victim" in s]


@pytest.mark.claim("L-FILES")
@pytest.mark.parametrize("whose", ["file", "folder", "nobody's"])
def test_file_of_the_user_is_replaced_wherever_it_lies(probes: Probes, whose: str) -> None:
    """By its owner, who may write again: others may not write there, as they may below /tmp."""
    if not probes.as_root:
        pytest.skip("needs root to own a folder")
    folder = Path(tempfile.mkdtemp(dir="/var/lib", prefix="hotcalls-test-"))
    try:
        library = folder / "victim11.so"
        shutil.copy(probes.path("victim11.so"), library)
        folder.chmod(0o755)
        library.chmod(0o644)
        if whose != "nobody's":
            os.chown(library if whose == "file" else folder, probes.uid, probes.uid)
        words = ("harden", "load", str(library), "anonymize", "maps")
        found = [s for s in maps(probes.start(probes.path("target"), *words)) if "victim" in s]
        # Root's stays mapped: so it is the owner that decides here.
        assert bool(found) == (whose == "nobody's")
    finally:
        shutil.rmtree(folder)
