# SPDX-License-Identifier: Apache-2.0
"""No byte leaves an enclave that nobody wrote for the other side: its stack, its heap and the
memory that arguments are copied to are filled with one value, for which the channel is searched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hotcalls
from hotcalls.build import build

from .poison import poisoned

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def leaks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("leaks") / "leaks.enclave.so"
    build(HERE / "enclaves/leaks.edl", [HERE / "enclaves/leaks.c"], path)
    return path


@pytest.fixture
def enclave(leaks: Path) -> Iterator[Any]:
    def tell(values: Any, one: Any) -> tuple[int, bytes]:
        return 5, b"answer".ljust(64, b"\0")

    with hotcalls.launch(leaks, ocalls={"tell": tell}) as enclave:
        yield enclave


CALLS = {
    "a struct by value": ("by_value", (7,)),
    "an array of structs": ("members", ()),
    "an array in both directions": ("both", ([(1, 2, 3), (4, 5, 6)],)),
    "a buffer that is written in part": ("some", (1000, 10)),
    "a buffer that is not written": ("none", (1000,)),
    "the arguments of an ocall": ("asks", (7,)),
}


@pytest.mark.claim("H-LEAK")
@pytest.mark.parametrize("name", CALLS)
def test_no_stale_byte_is_in_the_channel(
    enclave: Any, name: str, record_property: pytest.RecordProperty
) -> None:
    function, arguments = CALLS[name]
    searches = 0
    for _ in range(20):
        enclave.spoil(bytes(4096))
        enclave.poison()
        getattr(enclave, function)(*arguments)
        assert poisoned() == 0
        searches += 1
    record_property("count:searches of a channel for stale bytes", searches)


@pytest.mark.claim("H-LEAK")
def test_no_stale_byte_is_in_the_channel_after_an_error(enclave: Any) -> None:
    for arguments in ((1000, "x"), (-1, 1), (1 << 62, 1)):
        enclave.spoil(bytes(4096))
        with pytest.raises((TypeError, ValueError, OverflowError, hotcalls.HotcallsError)):
            enclave.some(*arguments)
    assert poisoned() == 0


def test_search_finds_what_a_function_leaves_in_a_buffer_that_it_promised_to_fill(
    enclave: Any,
) -> None:
    """The check can fail: `nrz` is the declaration that there is nothing to be zeroed."""
    enclave.spoil(bytes(4096))
    enclave.carelessly(1000)
    assert poisoned() > 300


MODULE = """
import hotcalls

POISON = bytes([0xE7])
KEPT = []

@hotcalls.ecall
def poison(size: int) -> None:
    blocks = [POISON * (size + i) for i in range(64)]
    arrays = [bytearray(block) for block in blocks]
    del blocks, arrays

@hotcalls.ecall
def answer(size: int) -> bytes:
    return bytes(size)

@hotcalls.ecall
def fails(size: int) -> bytes:
    secret = POISON * size
    raise ValueError("in the middle")

@hotcalls.ecall
def asks(size: int) -> int:
    return len(tell(bytes(size)))

@hotcalls.ocall
def tell(data: bytes) -> bytes: ...
"""


@pytest.mark.claim("H-LEAK")
def test_python_answers_have_no_stale_byte(
    tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    path = tmp_path / "leaks.py"
    path.write_text(MODULE)
    searches = 0
    with hotcalls.launch(path, ocalls={"tell": lambda data: data[:3]}) as enclave:
        # In the cell, at its border, in the window, and held until more room is asked for.
        for size in (0, 1, 20, 31, 32, 33, 60, 500, 3000, 70_000, 20, 1):
            enclave.poison(size + 1)
            assert enclave.answer(size) == bytes(size)
            with pytest.raises(hotcalls.RemoteError):
                enclave.fails(size + 1)
            assert enclave.asks(size) == min(size, 3)
            assert poisoned() == 0
            searches += 1
    record_property("count:searches of a channel for stale bytes", searches)
