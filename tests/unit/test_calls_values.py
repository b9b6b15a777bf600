# SPDX-License-Identifier: Apache-2.0
"""Every kind of parameter arrives as it was given, through a real enclave, hot and switched."""

from __future__ import annotations

import array
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hotcalls

INTEGERS = {
    "i8": (-(1 << 7), (1 << 7) - 1),
    "i16": (-(1 << 15), (1 << 15) - 1),
    "i32": (-(1 << 31), (1 << 31) - 1),
    "i64": (-(1 << 63), (1 << 63) - 1),
    "u8": (0, (1 << 8) - 1),
    "u16": (0, (1 << 16) - 1),
    "u32": (0, (1 << 32) - 1),
    "u64": (0, (1 << 64) - 1),
}


@pytest.fixture(scope="module", params=["hot", "switch"])
def calls(request: pytest.FixtureRequest, calls_path: Path) -> Iterator[Any]:
    with hotcalls.launch(calls_path, mode=request.param) as enclave:
        yield enclave


@pytest.mark.parametrize("name", INTEGERS)
def test_integer_at_the_ends_of_its_range_comes_back(calls: Any, name: str) -> None:
    function = calls.functions[name]
    low, high = INTEGERS[name]
    for value in (low, low + 1, 0, 1, high - 1, high):
        assert function(value) == value


@pytest.mark.parametrize("name", INTEGERS)
def test_integer_outside_its_range_is_refused_with_the_range(calls: Any, name: str) -> None:
    low, high = INTEGERS[name]
    for value in (low - 1, high + 1):
        with pytest.raises(OverflowError, match=rf"{name}\(v=…\)") as caught:
            calls.functions[name](value)
        assert str(high) in str(caught.value) or str(value) in str(caught.value)


@pytest.mark.parametrize("value", ["1", None, 1.5, b"1", [1]])
def test_integer_of_another_type_is_refused_with_its_name(calls: Any, value: Any) -> None:
    with pytest.raises(TypeError, match=r"i32\(v=…\): expected int") as caught:
        calls.i32(value)
    assert type(value).__name__ in str(caught.value)


def test_object_with_index_is_taken_as_integer(calls: Any) -> None:
    class Five:
        def __index__(self) -> int:
            return 5

    assert calls.i32(Five()) == 5


def test_floats_come_back_with_their_precision(calls: Any) -> None:
    assert calls.f64(0.1) == 0.1
    assert calls.f64(-math.inf) == -math.inf
    assert math.isnan(calls.f64(math.nan))
    assert calls.f32(0.5) == 0.5
    assert calls.f32(0.1) == pytest.approx(0.1, rel=1e-7)


def test_bool_and_character_and_enum_come_back(calls: Any) -> None:
    assert calls.flag(True) is False
    assert calls.flag(False) is True
    assert calls.letter(65) == 65
    assert [calls.next_color(v) for v in (0, 7, 8)] == [7, 8, 0]


def test_nine_arguments_of_all_widths_arrive_in_their_places(calls: Any) -> None:
    assert calls.many(-1, 20, -300, 4000, 0.5, 0.25, True, 7, -8) == pytest.approx(3719.75)


def test_keyword_arguments_are_the_names_of_the_edl(calls: Any) -> None:
    assert calls.i32(v=9) == 9
    assert calls.token(n=5, thread=0) == 5


def test_wrong_number_of_arguments_names_the_missing_one(calls: Any) -> None:
    with pytest.raises(TypeError, match="i32"):
        calls.i32()
    with pytest.raises(TypeError, match="i32"):
        calls.i32(1, 2)
    with pytest.raises(TypeError, match="w"):
        calls.i32(1, w=2)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 39, 40, 41, 2048, 65000])
def test_in_buffer_of_any_size_arrives_whole(calls: Any, size: int) -> None:
    data = bytes(i % 251 for i in range(size))
    assert calls.sum(data) == sum(data)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda b: array.array("B", b)])
def test_every_bytes_like_object_is_taken(calls: Any, kind: Any) -> None:
    assert calls.sum(kind(b"\x01\x02\x03")) == 6


def test_strided_memoryview_is_read_as_it_looks(calls: Any) -> None:
    assert calls.sum(memoryview(b"\x01\x64\x02\x64")[::2]) == 3


def test_counted_buffer_takes_sequences_and_arrays(calls: Any) -> None:
    assert calls.total([1, -2, 3]) == 2
    assert calls.total((10, 20)) == 30
    assert calls.total(array.array("i", [5, 6])) == 11
    assert calls.total([]) == 0


def test_element_out_of_range_is_named_by_its_index(calls: Any) -> None:
    with pytest.raises(OverflowError, match=r"total\(values=…\[2\]\)|values.*2"):
        calls.total([1, 2, 1 << 40])


def test_bytes_that_are_no_whole_elements_are_refused(calls: Any) -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        calls.total(b"12345")


@pytest.mark.parametrize("size", [0, 1, 16, 40, 4096, 65000])
def test_out_buffer_comes_back_filled(calls: Any, size: int) -> None:
    assert calls.pattern(size, 3) == bytes((3 + i) % 256 for i in range(size))


def test_out_buffer_is_zero_before_the_function_runs(calls: Any) -> None:
    calls.pattern(500, 9)
    assert calls.zeros(500) == (500, bytes(500))


def test_inout_buffer_goes_in_and_comes_back(calls: Any) -> None:
    assert calls.reverse(b"abcdef") == b"fedcba"
    assert calls.squares([1, -2, 3]) == [1, 4, 9]


def test_inout_argument_itself_is_not_changed(calls: Any) -> None:
    given = bytearray(b"abc")
    assert calls.reverse(given) == b"cba"
    assert given == b"abc"


def test_size_and_count_together_multiply(calls: Any) -> None:
    assert calls.records(bytes(12), 3, 4) == 3004


def test_buffer_shorter_than_size_times_count_is_refused(calls: Any) -> None:
    with pytest.raises(ValueError, match="expected 12 bytes, got 11"):
        calls.records(bytes(11), 3, 4)


def test_overflow_of_size_times_count_is_refused(calls: Any) -> None:
    with pytest.raises((ValueError, OverflowError), match="records"):
        calls.records(bytes(12), 1 << 33, 1 << 33)


def test_negative_size_is_refused(calls: Any) -> None:
    with pytest.raises(OverflowError, match=r"pattern\(n=…\)"):
        calls.pattern(-1, 0)
    with pytest.raises(OverflowError, match="records"):
        calls.records(b"", -3, -4)


@pytest.mark.parametrize("text", ["", "plain", "ünïcode ☕", "x" * 5000])
def test_string_arrives_as_utf8(calls: Any, text: str) -> None:
    assert calls.length(text) == len(text.encode())


def test_inout_string_comes_back_changed(calls: Any) -> None:
    assert calls.upper("shout ß") == "SHOUT ß"


def test_string_with_zero_character_is_refused(calls: Any) -> None:
    with pytest.raises(ValueError, match="zero character"):
        calls.length("a\0b")


@pytest.mark.parametrize("value", [1, ["a"], memoryview(b"x")])
def test_string_of_another_type_is_refused(calls: Any, value: Any) -> None:
    with pytest.raises(TypeError, match=r"length\(text=…\): expected str"):
        calls.length(value)


def test_fixed_arrays_keep_their_shape(calls: Any) -> None:
    total, sums, flat = calls.matrix([[1, 2, 3], [4, 5, 6]], b"\x01\x02\x03\x04")
    assert (total, sums, flat) == (21, [6.0, 15.0], b"\x02\x03\x04\x05")


@pytest.mark.parametrize("wrong", [[[1, 2, 3]], [[1, 2], [3, 4]], [1, 2, 3, 4, 5, 6], b"abc"])
def test_fixed_array_of_another_shape_is_refused(calls: Any, wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="matrix"):
        calls.matrix(wrong, bytes(4))


def test_struct_by_value_and_by_pointer_comes_back_as_named_tuple(calls: Any) -> None:
    moved = calls.move_by((1, 2, (3.0, 4.0)), {"x": 10, "y": 20, "z": [0.5, 0.25]})
    assert moved == (11, 22, [3.5, 4.25]) or tuple(moved) == (11, 22, (3.5, 4.25))
    assert moved.y == 22


def test_struct_with_arrays_of_structs_comes_back(calls: Any) -> None:
    crowd = calls.gather([(1, 2, (3, 4)), (5, 6, (7, 8)), (0, 0, (0, 0))])
    assert crowd.open is True
    assert crowd.corners[1].y == 6
    assert bytes(crowd.name).rstrip(b"\0") == b"crowd"


@pytest.mark.parametrize("wrong", [(1, 2), (1, 2, 3), {"x": 1}, (300, 0, (0, 0)), None, 7])
def test_struct_with_wrong_fields_is_refused(calls: Any, wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError, OverflowError), match="move_by"):
        calls.move_by(wrong, (0, 0, (0, 0)))


def test_none_is_null_with_size_zero(calls: Any) -> None:
    assert calls.is_null(None, None) == 1 + 2
    assert calls.is_null(b"", "") == 0
    assert calls.is_null(b"x", None) == 2 + 4
    assert calls.reverse(None) is None


def test_too_large_argument_names_the_limit(calls: Any) -> None:
    with pytest.raises(hotcalls.CallError, match=str(calls.window_size)) as caught:
        calls.sum(bytes(calls.window_size + 1))
    assert caught.value.status == "HC_ERR_TOO_LARGE"
    assert caught.value.function == "sum"
    assert "window=" in str(caught.value)
    assert calls.i32(1) == 1


def test_too_large_out_buffer_names_the_limit(calls: Any) -> None:
    with pytest.raises(hotcalls.CallError, match=str(calls.window_size)):
        calls.pattern(10 * calls.window_size, 0)


def test_size_that_no_memory_holds_is_refused(calls: Any) -> None:
    with pytest.raises((OverflowError, hotcalls.CallError), match="pattern"):
        calls.pattern((1 << 64) - 1, 0)


def test_larger_window_carries_larger_arguments(calls_path: Path) -> None:
    with hotcalls.launch(calls_path, window=8 << 20, callers=4, enclave_callers=1) as enclave:
        assert enclave.sum(b"\x01" * (8 << 20)) == 8 << 20
        assert enclave.pattern(5 << 20, 0)[-1] == ((5 << 20) - 1) % 256


def test_unknown_ecall_names_the_known_ones(calls: Any) -> None:
    with pytest.raises(AttributeError, match=r"no ecall 'sing'.*\bsum\b"):
        calls.sing()


class TestShared:
    def test_memory_is_seen_by_both_sides(self, calls: Any) -> None:
        with calls.shared(1000) as view:
            view[:4] = b"\x01\x02\x03\x04"
            assert calls.sum_shared(view) == 10
            calls.fill_shared(view, 7)
            assert bytes(view) == b"\x07" * 1000

    def test_slice_is_taken_where_it_lies(self, calls: Any) -> None:
        with calls.shared(300) as view:
            view[:] = bytes(300)
            calls.fill_shared(view[100:200], 1)
            assert sum(view) == 100
            assert view[99] == 0
            assert view[100] == 1

    def test_none_is_null(self, calls: Any) -> None:
        assert calls.sum_shared(None) == (1 << 64) - 1

    def test_other_memory_is_refused(self, calls: Any) -> None:
        with pytest.raises(ValueError, match=r"sum_shared\(p=…\): not memory of Enclave.shared"):
            calls.sum_shared(memoryview(bytearray(10)))
        with pytest.raises(TypeError, match="memoryview of shared memory"):
            calls.sum_shared("text")

    def test_memory_of_another_enclave_is_refused(self, calls: Any, calls_path: Path) -> None:
        with hotcalls.launch(calls_path) as other, other.shared(16) as view:
            with pytest.raises(ValueError, match="of this enclave"):
                calls.sum_shared(view)

    def test_more_than_there_is_is_refused_with_what_to_do(self, calls: Any) -> None:
        with pytest.raises(hotcalls.CallError, match="shared_size=") as caught:
            calls.shared(64 << 20)
        assert caught.value.status == "HC_ERR_MEMORY"
        for size in (0, -1):
            with pytest.raises(ValueError, match=str(size)):
                calls.shared(size)

    def test_memory_that_was_given_back_is_used_again(self, calls: Any) -> None:
        for _ in range(20):
            with calls.shared(3 << 20) as view:
                assert len(view) == 3 << 20

    def test_memory_that_nobody_refers_to_is_given_back(self, calls: Any) -> None:
        for _ in range(20):
            assert len(calls.shared(3 << 20).view) == 3 << 20

    def test_view_keeps_its_memory(self, calls: Any) -> None:
        view = calls.shared(64).view
        other = calls.shared(64).view
        other[:] = bytes(64)
        view[:] = b"\x01" * 64
        assert sum(other) == 0

    def test_bulk_data_larger_than_the_window_goes_through(self, calls: Any) -> None:
        with calls.shared(1 << 20) as view:
            view[:] = b"\x01" * (1 << 20)
            assert calls.sum_shared(view) == 1 << 20
