# SPDX-License-Identifier: Apache-2.0
"""numpy arrays by copy, and arrays in shared memory by their place."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hotcalls import SharedArray
from hotcalls.wire import MessageError, Signature

Echo = Callable[[Any], Signature]


def any_array(value: np.ndarray) -> np.ndarray: ...  # type: ignore[type-arg]


ANY = Signature.from_function(any_array)
DTYPES = ["?", "i1", "u2", ">i4", "<u8", "f2", "f4", ">f8", "c8", "c16", "M8[ns]", "m8[D]"]


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_array_arrives_by_copy(data: st.DataObject) -> None:
    array = data.draw(
        arrays.arrays(
            np.dtype(data.draw(st.sampled_from(DTYPES))),
            arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
        )
    )
    if data.draw(st.booleans()) and array.ndim:
        array = array.T[::-1]
    (arrived,) = ANY.decode_arguments(ANY.encode_arguments((array,), {}))
    assert arrived.dtype == array.dtype
    assert arrived.dtype.str == array.dtype.str
    assert arrived.shape == array.shape
    assert arrived.tobytes() == array.tobytes()
    assert arrived.flags.writeable
    assert arrived.flags.owndata


def test_array_within_containers_arrives(echo: Echo) -> None:
    made = echo(dict[str, list[npt.NDArray[np.float32]]])
    (arrived,) = made.decode_arguments(
        made.encode_arguments(({"a": [np.ones(3, np.float32)]},), {})
    )
    assert arrived["a"][0].tolist() == [1, 1, 1]
    other = Signature.from_description(made.describe())
    assert other.decode_arguments(other.encode_arguments((arrived,), {}))[0]["a"][0].sum() == 3
    # Beside an int that takes the slow path.
    made = echo(tuple[int, npt.NDArray[np.float32]])
    ((number, array),) = made.decode_arguments(
        made.encode_arguments(((2**80, np.ones(2, np.float32)),), {})
    )
    assert (number, array.tolist()) == (2**80, [1, 1])


@dataclasses.dataclass
class Frame:
    pixels: npt.NDArray[np.uint8] | None
    shared: SharedArray | None = None


def test_array_in_a_field_arrives(echo: Echo) -> None:
    memory = Memory(64)
    made = echo(list[Frame]).with_access(memory)
    shared = SharedArray(memory.whole, "u1", 8)
    frames = [Frame(np.arange(6, dtype=np.uint8).reshape(2, 3), shared), Frame(None)]
    (arrived,) = made.decode_arguments(made.encode_arguments((frames,), {}))
    assert arrived[0].pixels.tolist() == [[0, 1, 2], [3, 4, 5]]
    shared[7] = 9
    assert arrived[0].shared[7] == 9
    assert arrived[1] == Frame(None)
    with pytest.raises(TypeError, match=r"\[0\]\.pixels: expected ndarray of uint8 \| None, got"):
        made.encode_arguments(([Frame(np.zeros(2))],), {})


@pytest.mark.parametrize(
    ("annotation", "value", "text"),
    [
        (np.ndarray, [1.0], "echo(value=…): expected ndarray, got list"),
        (
            np.ndarray,
            np.array([object()]),
            "echo(value=…): expected ndarray, got ndarray of object",
        ),
        (np.ndarray, np.array(["a"]), "got ndarray of str"),
        (np.ndarray, np.zeros(2, np.longdouble), "got ndarray of "),
        (
            np.ndarray,
            np.ma.masked_array([1]),
            "got MaskedArray (numpy.asarray(x) makes an ndarray)",
        ),
        (
            npt.NDArray[np.float64],
            np.zeros(2, np.float32),
            "echo(value=…): expected ndarray of float64, got ndarray of float32",
        ),
    ],
)
def test_array_that_does_not_fit_is_refused(
    echo: Echo, annotation: Any, value: Any, text: str
) -> None:
    with pytest.raises(TypeError) as caught:
        echo(annotation).encode_arguments((value,), {})
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "wire",
    [
        ["<f8", [1], b"\0" * 7],
        ["<f8", [1], b"\0" * 9],
        ["<f8", [2**61], b""],
        ["<f8", [2**40, 2**40], b""],
        ["<f8", [2**32, 2**32, 0], b""],
        ["<f8", [-1], b""],
        ["<f8", [True], b"\0" * 8],
        ["<f8", [1.0], b"\0" * 8],
        ["<f8", [1] * 33, b"\0" * 8],
        ["<f8", 1, b"\0" * 8],
        ["|O", [1], b"\0" * 8],
        ["<U1", [1], b"\xff" * 4],
        ["<f16", [1], b"\0" * 16],
        ["|V8", [1], b"\0" * 8],
        ["<f8,<f8", [1], b"\0" * 16],
        ["<M8[bad]", [1], b"\0" * 8],
        ["float64", [1], b"\0" * 8],
        [b"<f8", [1], b"\0" * 8],
        ["|b1", [1], b"\2"],
        ["<f8", [1], "x" * 8],
        ["<f8", [1]],
        "array",
        None,
    ],
    ids=range(23),
)
def test_bytes_that_are_no_array_are_refused(wire: Any) -> None:
    with pytest.raises(MessageError):
        ANY.decode_arguments(msgspec.msgpack.encode([wire]))


def test_array_of_another_dtype_than_annotated_is_refused_on_arrival(echo: Echo) -> None:
    message = ANY.encode_arguments((np.zeros(2, np.int64),), {})
    with pytest.raises(MessageError, match="expected ndarray of float64, got ndarray of int64"):
        echo(npt.NDArray[np.float64]).decode_arguments(message)


def test_numpy_is_imported_only_for_annotations_that_name_it() -> None:
    script = (
        "import sys, hotcalls\n"
        "from hotcalls.wire import Signature, SharedArray\n"
        "def f(a: int, b: list[bytes]) -> dict: ...\n"
        "made = Signature.from_function(f)\n"
        "Signature.from_description(made.describe()).encode_arguments((1, [b'']), {})\n"
        "assert 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


class Memory:
    """Shared memory as a channel gives it."""

    def __init__(self, size: int) -> None:
        self.buffer = bytearray(size)
        self.whole = memoryview(self.buffer)

    def offset_of(self, view: memoryview) -> int:
        start = np.frombuffer(self.whole, "u1").__array_interface__["data"][0]
        offset = int(np.frombuffer(view, "u1").__array_interface__["data"][0]) - int(start)
        if not 0 <= offset <= len(self.buffer) - view.nbytes:
            raise ValueError("not in the shared memory")
        return offset

    def view(self, offset: int, size: int) -> memoryview:
        if offset + size > len(self.buffer):
            raise ValueError("out of bounds")
        return self.whole[offset : offset + size]


def blur(image: SharedArray) -> None: ...


def test_shared_array_is_passed_without_a_copy() -> None:
    memory = Memory(1024)
    made = Signature.from_function(blur).with_access(memory)
    image = SharedArray(memory.whole[64:], "float32", (4, 8))
    image[:] = 2.5
    message = made.encode_arguments((image,), {})
    assert len(message) < 32
    (arrived,) = made.decode_arguments(message)
    assert (arrived.shape, arrived.dtype) == ((4, 8), np.dtype("float32"))
    assert arrived[3, 7] == 2.5
    private = arrived.copy()
    arrived[0, 0] = 7
    assert image[0, 0] == 7
    assert private[0, 0] == 2.5
    assert np.asarray(arrived).base is not None
    assert repr(arrived) == "<SharedArray of float32, shape (4, 8)>"


def test_shared_array_elsewhere_is_refused() -> None:
    made = Signature.from_function(blur).with_access(Memory(1024))
    elsewhere = SharedArray(memoryview(bytearray(64)), "u1", 64)
    with pytest.raises(ValueError, match="not in the shared memory"):
        made.encode_arguments((elsewhere,), {})
    with pytest.raises(TypeError, match=r"blur\(image=…\): expected SharedArray, got ndarray"):
        made.encode_arguments((np.zeros(3),), {})


def test_shared_array_without_an_enclave_is_refused() -> None:
    image = SharedArray(memoryview(bytearray(64)), "u1", 64)
    with pytest.raises(TypeError, match="can only be given to a running enclave"):
        Signature.from_function(blur).encode_arguments((image,), {})


@pytest.mark.parametrize(
    "wire",
    [
        [1000, "<f4", [7]],
        [-1, "|u1", [1]],
        [2**63, "|u1", [1]],
        [2**64 - 1, "|u1", [1]],
        [0, "|u1", [2**47]],
        [0, "<f4", [2**62]],
        [0, "|O", [1]],
        [True, "|u1", [1]],
        [0.0, "|u1", [1]],
        [0, "|u1"],
        None,
    ],
    ids=range(11),
)
def test_place_out_of_bounds_is_refused(wire: Any) -> None:
    made = Signature.from_function(blur).with_access(Memory(1024))
    with pytest.raises(MessageError):
        made.decode_arguments(msgspec.msgpack.encode([wire]))


@pytest.mark.parametrize(
    ("dtype", "shape", "error"),
    [("f8", 9, ValueError), ("f8", (-1,), ValueError), ("O", 1, TypeError), ("U4", 1, TypeError)],
)
def test_shared_array_that_cannot_be_is_refused(
    dtype: str, shape: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        SharedArray(memoryview(bytearray(64)), dtype, shape)


@pytest.mark.parametrize("view", [5, "memory", None])
def test_shared_array_of_what_is_no_memory_says_what_it_is_made_of(view: Any) -> None:
    with pytest.raises(TypeError, match=r"made of enclave\.shared\(size\)\.view, not of"):
        SharedArray(view, "u1", 1)
