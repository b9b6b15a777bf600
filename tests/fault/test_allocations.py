# SPDX-License-Identifier: Apache-2.0
"""The n-th allocation of a Python interpreter fails: the host's, and that of an enclave.

For each n until a part of an enclave's life needs fewer: the right answer, MemoryError or a typed
error that can be read; afterwards the same calls are answered, and nothing is left behind. Of C
hosts it is malloc_faults.c that does so.
"""

from __future__ import annotations

import re
import shutil
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import nth
import pytest

import native

HERE = Path(__file__).resolve().parent
#: write(2): a line for each n tells nth.c that nothing hangs.
NUMBERS = "1"


@pytest.fixture(scope="module")
def larder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The enclave, beside the module that takes its memory away."""
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").is_file():
        pytest.skip(f"no headers of this Python in {headers} (Debian: python3-dev)")
    made = native.build(
        "nomemory.so",
        [HERE / "nomemory.c"],
        [*native.PLAIN, "-fPIC", "-shared", f"-isystem{headers}"],
    )
    folder = tmp_path_factory.mktemp("larder")
    shutil.copy(made, folder / "nomemory.so")
    shutil.copy(HERE / "larder.py", folder)
    return folder


def fail_each(
    tmp_path: Path, larder: Path, monkeypatch: pytest.MonkeyPatch, *words: str
) -> dict[str, int]:
    """Run allocating.py; return how many allocations failed, by what it was that needed them."""
    side, *rest = words
    if side == "host" and sys.version_info >= (3, 12):
        pytest.skip("CPython 3.12 and 3.13 end by SIGSEGV after a call of a function had no memory")
    monkeypatch.setenv("PYTHONPATH", str(larder))
    place = nth.Place(tmp_path)
    command = [sys.executable, str(HERE / "allocating.py"), side, str(larder / "larder.py"), *rest]
    done = place.run(command, numbers=NUMBERS, timeout=1400)
    print(done.output, done.errors)
    assert (done.status, done.signal) == (0, 0), done.errors[-2000:]
    assert (done.left, done.hung) == (0, False)
    assert place.files() == []
    found = re.findall(r"^failed=(\d+) of (\w+)", done.output, re.MULTILINE)
    return {name: int(count) for count, name in found}


@pytest.mark.claim("P-FAULTS")
@pytest.mark.parametrize("side", ["host", "enclave"])
def test_call_with_a_failing_allocation_is_an_error_and_the_next_one_is_answered(
    tmp_path: Path,
    larder: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
    side: str,
) -> None:
    failed = fail_each(tmp_path, larder, monkeypatch, side, "calls", "1")
    assert set(failed) >= {"plain", "greet", "large", "refused", "futures", "batch"}
    assert all(count > 0 for count in failed.values())
    record_property("count:allocations failed", sum(failed.values()))


@pytest.mark.claim("P-FAULTS")
@pytest.mark.parametrize(
    ("what", "first", "step"),
    [
        ("close", 1, 1),
        ("tables", 1, 1),
        *(("launch", *share) for share in nth.shares(short=600, of=4)),
    ],
)
def test_launch_and_close_with_a_failing_allocation_leave_nothing(
    tmp_path: Path,
    larder: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
    what: str,
    first: int,
    step: int,
) -> None:
    """Most of a launch's 6,000 are the interpreter's own, of frames, texts and paths."""
    failed = fail_each(tmp_path, larder, monkeypatch, "host", what, str(step), str(first))
    assert failed[what] >= 5
    record_property("count:allocations failed", failed[what])


@pytest.mark.claim("P-FAULTS")
@pytest.mark.parametrize(("first", "step"), nth.shares(short=450, of=4))
def test_start_of_an_enclave_with_a_failing_allocation_is_an_error_that_leaves_nothing(
    tmp_path: Path,
    larder: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
    first: int,
    step: int,
) -> None:
    """From the import of the user's module on, up to the first call."""
    failed = fail_each(tmp_path, larder, monkeypatch, "enclave", "start", str(step), str(first))
    assert failed["start"] >= 5
    record_property("count:allocations failed", failed["start"])


@pytest.mark.claim("P-FAULTS")
@pytest.mark.parametrize(("side", "step"), [("host", 1 if nth.TRUST else 13), ("enclave", 1)])
def test_first_call_of_a_thread_with_a_failing_allocation_ends_nothing(
    tmp_path: Path,
    larder: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
    side: str,
    step: int,
) -> None:
    """Which has to be made known to the interpreter; CPython ends a process where that fails."""
    failed = fail_each(tmp_path, larder, monkeypatch, side, "first", str(step))
    assert failed["first"] > 0
    record_property("count:allocations failed", failed["first"])


@pytest.mark.claim("P-FAULTS")
def test_c_enclave_with_a_failing_allocation_is_an_error_that_leaves_nothing(
    tmp_path: Path,
    enclaves: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    loader = native.build_loader(more=[HERE / "malloc_inside.c"])
    monkeypatch.setenv("HOTCALLS_LOADER", str(loader))
    monkeypatch.chdir(tmp_path)
    place = nth.Place(tmp_path)
    done = place.launching("inside", enclaves["c"], numbers=NUMBERS)
    print(done.output, done.errors)
    assert (done.status, done.left, done.hung) == (0, 0, False), done.errors[-2000:]
    assert place.files() == []
    failed = int(re.findall(r"^failed=(\d+)", done.output, re.MULTILINE)[0])
    assert failed >= 5
    record_property("count:allocations failed", failed)


def test_no_memory_is_no_memory_and_no_bad_description(
    larder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was "not a description: ", with nothing behind it."""
    from hotcalls.errors import SignatureError
    from hotcalls.wire import description

    def starve(_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(description, "_signature", starve)
    with pytest.raises(MemoryError):
        description.signature_from({})
    monkeypatch.undo()
    with pytest.raises(SignatureError):
        description.signature_from({})
