# SPDX-License-Identifier: Apache-2.0
"""No byte of a host leaves it that is no part of an argument: its stack, its heap and what is
behind its arguments are filled with one value, for which the channel is searched."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import hotcalls
import native
from hotcalls.build import build
from hotcalls.edl import parse_file
from hotcalls.edl.process import emit
from hotcalls.launching import loader_path

from .poison import POISON, addresses, poisoned

ENCLAVES = Path(__file__).resolve().parent / "enclaves"
ROUNDS = 200 if native.LONG else 3


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The enclave."""
    path = tmp_path_factory.mktemp("told") / "told.enclave.so"
    build(ENCLAVES / "told.edl", [ENCLAVES / "told.c"], path)
    return path


@pytest.fixture(scope="module")
def library(told: Path) -> ctypes.CDLL:
    """The host in C, in this process: the channel is searched from here."""
    folder = told.parent
    for name, text in emit(parse_file(ENCLAVES / "told.edl")).items():
        (folder / name).write_text(text)
    package = Path(hotcalls.__file__).resolve().parent
    path = folder / "told_host.so"
    flags = ["-Wno-missing-prototypes", "-O1", "-fPIC", "-shared", "-Wl,-Bsymbolic"]
    flags += [f"-I{folder}", f"-I{package}/include"]
    files = [ENCLAVES / "told_host.c", folder / "told_u.c", package / "lib/libhotcalls_host.a"]
    command = [native.CC, *native.WARNINGS, *flags, "-o", path, *files, "-pthread"]
    subprocess.run([str(word) for word in command], check=True)
    library = ctypes.CDLL(str(path))
    library.told_launch.restype = ctypes.c_bool
    return library


@pytest.fixture
def call(library: ctypes.CDLL, told: Path) -> Iterator[Callable[[str], int]]:
    """Makes a call of the host in C; says its status."""
    assert library.told_launch(str(told).encode(), str(loader_path()).encode())
    yield lambda name: int(library.told_call(name.encode()))
    library.told_close()


FINE = (
    "a struct by value",
    "an array shorter than its room",
    "an array in both directions",
    "buffers for an answer",
    "a string shorter than its buffer",
    "a string in both directions",
    "structs that are copied deep",
    "a struct that is copied deep both ways",
    "nothing for each pointer",
    "nothing for some pointers",
    "answers of ocalls that are written in part",
    "answers of ocalls that are not written",
)
FAILING = ("a size that is too large", "a size that is negative, deep inside")


@pytest.mark.claim("E-LEAK")
def test_no_stale_byte_and_no_address_of_a_host_is_in_the_channel(
    call: Callable[[str], int], record_property: pytest.RecordProperty
) -> None:
    searches = 0
    for _ in range(ROUNDS):
        for name in FINE:
            assert (name, call(name)) == (name, 0)
            assert (name, poisoned()) == (name, 0)
            searches += 1
    assert addresses() == []
    record_property("count:channels searched for bytes of a host", searches)


@pytest.mark.claim("E-LEAK")
def test_no_stale_byte_is_in_the_channel_after_arguments_that_are_refused_in_the_middle(
    call: Callable[[str], int], record_property: pytest.RecordProperty
) -> None:
    searches = 0
    for _ in range(ROUNDS):
        for name in FAILING:
            assert call(name) > 0
            assert (name, poisoned(), addresses()) == (name, 0, [])
            searches += 1
    record_property("count:channels searched for bytes of a host", searches)


@pytest.mark.parametrize(
    "name", ["leak: an argument that is not written", "leak: an answer that is not written"]
)
def test_search_finds_what_a_host_leaks(call: Callable[[str], int], name: str) -> None:
    """The check can fail: here the whole buffer is the argument, and nobody wrote it."""
    assert call(name) == 0
    assert poisoned() > 20


PADDED = (1, 2, 3)
DEEP = (1, bytes(33), [PADDED] * 3)
#: A view, as whoever passes the part of a buffer that is filled.
PART = memoryview(bytearray(b"some" + POISON * 100))[:4]

ANSWERS: dict[str, Any] = {
    "answers": lambda text, one, how: (PADDED, bytes(1000), [PADDED] * 2, "short", PADDED),
    "trades": lambda one: (1, (1, bytes(3), [PADDED])),
    "spoil": lambda data: None,
    "promises": lambda: (1, bytes(1000)),
}
CALLS: list[tuple[str, tuple[Any, ...]]] = [
    ("by_value", (PADDED, 1)),
    ("members", ([PADDED] * 5,)),
    ("both", ([PADDED] * 2,)),
    ("receives", (3000,)),
    ("reads", ("short",)),
    ("edits", ("short", "wide")),
    ("deeply", ([DEEP, (1, None, None), DEEP],)),
    ("deeply_both", (DEEP,)),
    ("maybe", (None, None, None, None)),
    ("maybe", (None, PADDED, PART, None)),
    ("asks", (0,)),
]
WRONG: list[tuple[str, tuple[Any, ...]]] = [
    ("members", ([PADDED] * 5 + ["no struct"],)),
    ("by_value", ((1, 2, 1 << 40), 1)),
    ("deeply", ([DEEP, (1, bytes(3), [PADDED, 7])],)),
    ("edits", ("short", 5)),
    ("maybe", ("text", PADDED, bytes(1 << 22), None)),
]


def poison_python(library: ctypes.CDLL) -> None:
    """The same for what Python gives its objects: blocks of all small sizes, and malloc's."""
    blocks = [POISON * size for size in range(1, 400) for _ in range(20)]
    del blocks
    library.poison()


@pytest.mark.claim("E-LEAK")
def test_no_stale_byte_and_no_address_of_a_python_host_is_in_the_channel(
    library: ctypes.CDLL, told: Path, record_property: pytest.RecordProperty
) -> None:
    searches = 0
    with hotcalls.launch(told, ocalls=ANSWERS) as enclave:
        for _ in range(ROUNDS):
            for name, arguments in CALLS:
                poison_python(library)
                getattr(enclave, name)(*arguments)
                assert (name, poisoned()) == (name, 0)
            for name, arguments in WRONG:
                poison_python(library)
                with pytest.raises((TypeError, ValueError, OverflowError, hotcalls.HotcallsError)):
                    getattr(enclave, name)(*arguments)
                assert (name, poisoned()) == (name, 0)
            searches += len(CALLS) + len(WRONG)
        assert addresses() == []
        # The check can fail: all of this is the argument.
        address = ctypes.cast(library.told_call, ctypes.c_void_p).value
        assert address is not None
        enclave.maybe(None, None, POISON * 30 + bytes(6) + address.to_bytes(8, "little"), None)
        assert poisoned() > 20
        assert addresses() == [address]
    record_property("count:channels searched for bytes of a host", searches)
