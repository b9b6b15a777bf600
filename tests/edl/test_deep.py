# SPDX-License-Identifier: Apache-2.0
"""Structs that are copied deep by the process target: C, Python, both ways, a peer that lies.

test_deep_mutants.py runs this file again with sides that lack a check, and with AddressSanitizer.
"""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path
from typing import Any

import pytest

from hotcalls.edl import Interface, parse_file
from hotcalls.edl.marshal import codecs

ARGUMENT = 1
TOO_LARGE = 2
OVERFLOW = 3
MESSAGE = 6
INTERFACE = parse_file(Path(__file__).parent / "data" / "deep.edl")
TABLES = codecs(INTERFACE.description())
ECALLS = {codec.name: codec for codec in TABLES.ecalls}
OCALLS = {codec.name: codec for codec in TABLES.ocalls}

SPOTS = [(1, True, 10), (2, False, 20)]
LINE = {"tag": 5, "open": True, "spots": SPOTS, "raw": b"\1\2\3",
        "cells": b"\1" * 6, "width": 2, "height": 3}  # fmt: skip
SUM = 5 + 31 + 6 + 6


def line(**changes: Any) -> dict[str, Any]:
    return {**LINE, **changes}


# ---- Python calls the enclave --------------------------------------------------------------------


def test_struct_goes_in_with_what_it_points_to(deep: Any) -> None:
    assert deep.call("sum", LINE) == SUM
    assert deep.call("sum", tuple(LINE.values())) == SUM
    assert deep.call("sum", line(spots=None)) == SUM - 31 + 1000
    assert deep.call("sum", line(raw=None, cells=None)) == SUM - 12 + 2000
    assert deep.call("sum", None) == -1


def test_buffer_of_nothing_is_not_null(deep: Any) -> None:
    assert deep.call("sum", line(spots=[], raw=b"", cells=b"", width=0)) == 5


def test_sequence_of_structs_goes_in_and_comes_out(deep: Any) -> None:
    other = line(tag=6, spots=[], raw=None, open=False)
    count, back, seen = deep.call("change", [LINE, other], 0)
    assert (count, seen) == (2, 2)
    assert [value.tag for value in back] == [-5, -6]
    assert back[0].spots == [(0, True, 100), (1, True, 101)]
    assert (back[0].raw, back[0].cells, back[0].open) == (b"R\2\3", b"\1" * 6, True)
    assert (back[1].spots, back[1].raw, back[1].cells) == ([], None, b"\1" * 6)
    assert back[0]._fields == ("tag", "open", "spots", "raw", "cells", "width", "height")
    assert deep.call("change", [], 0) == (0, [], 0)
    assert deep.call("change", None, 0) == (0, None, 0)


def test_enclave_gives_back_less_or_from_elsewhere(deep: Any) -> None:
    assert deep.call("change", [LINE], 1)[1][0].spots == [(0, True, 100)]
    assert deep.call("change", [LINE], 3)[1][0].spots == [(7, False, 77)]


@pytest.mark.parametrize("how, status", [(2, ARGUMENT), (5, ARGUMENT), (6, OVERFLOW)])
def test_enclave_that_gives_back_more_than_came_is_an_error(
    deep: Any, how: int, status: int
) -> None:
    codec = deep.ecalls["change"]
    message = codec.encode(([LINE], how))
    assert deep.enclave.serve(codec.id, message.ms, message.buffers)[0] == status


def test_pointer_that_the_function_drops_leaves_its_buffer(deep: Any) -> None:
    assert deep.call("change", [LINE], 4)[1][0].spots == SPOTS


def test_array_and_sized_structs_go_in(deep: Any) -> None:
    pair = {"a": [1, 2], "b": [0.5, 0.25], "key": b"1234567" + bytes([9])}
    other = {"a": [4], "b": None, "key": None}
    assert deep.call("both", [pair, other], [pair]) == 3.75 + 4 + 9
    assert deep.call("both", None, None) == 0


def test_members_that_share_a_count_must_agree(deep: Any) -> None:
    with pytest.raises(ValueError, match=r"both\(p\[1\]\.b=…\): expected 1 elements like `a`"):
        deep.call("both", [([1], None, None), ([1], [1.0, 2.0], None)], None)


WRONG: list[tuple[Any, type[Exception], str]] = [
    (5, TypeError, r"sum\(l=…\): expected struct line \(tag, open, spots, raw, cells, width"),
    ({"tag": 1}, ValueError, r"sum\(l=…\): expected the keys tag, open, spots"),
    ((1, 2), ValueError, r"sum\(l=…\): expected 7 members, got 2"),
    (line(tag="x"), TypeError, r"sum\(l\.tag=…\): expected int, got str"),
    (line(spots=5), TypeError, r"sum\(l\.spots=…\): expected a sequence or bytes-like, got int"),
    (line(spots=[(1, True)]), ValueError, r"sum\(l\.spots\[0\]=…\): expected 3 members, got 2"),
    (line(spots=[(1, True, 2)] * 256), OverflowError, r"256 elements are more than `n` can say"),
    (line(spots=b"123"), ValueError, r"sum\(l\.spots=…\): expected a multiple of 8 bytes"),
    (line(raw="text"), TypeError, r"sum\(l\.raw=…\): expected bytes-like, got str"),
    (line(cells=b"12345"), ValueError, r"sum\(l\.cells=…\): expected 6 bytes, got 5"),
    (line(width=-1), OverflowError, r"sum\(l\.width=…\): expected size_t"),
]


@pytest.mark.parametrize("value, kind, text", WRONG)
def test_wrong_value_is_refused_with_its_place(
    value: Any, kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        ECALLS["sum"].encode((value,))


@pytest.mark.parametrize(
    "name, args, kind, text",
    [
        ("change", (LINE, 0), TypeError, r"change\(lines=…\): expected a sequence of structs"),
        ("change", ([LINE, 5], 0), TypeError, r"change\(lines\[1\]=…\): expected struct line"),
        ("change", ([line(tag=1 << 40)], 0), OverflowError, r"change\(lines\[0\]\.tag=…\)"),
        ("both", ([([], None, None)], None), ValueError,
         r"both\(p=…\): expected 2 elements, got 1"),
        ("both", ([([], None, b"short")] * 2, None), ValueError,
         r"both\(p\[0\]\.key=…\): expected 8 bytes, got 5"),
    ],
)  # fmt: skip
def test_wrong_sequence_is_refused_with_its_place(
    name: str, args: tuple[Any, ...], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        ECALLS[name].encode(args)


@pytest.mark.claim("H-LEAK")
def test_message_carries_no_padding_and_no_address(deep: Any) -> None:
    raw = struct.pack("<b?2xi", 1, True, 10).replace(b"\0\0\x0a", b"\xee\xee\x0a")
    message = deep.ecalls["sum"].encode((line(spots=raw),))
    assert b"\xee" not in message.buffers
    deep.answer = lambda id_, ms, area: (MESSAGE, ms, area)
    assert deep.call("call_out", 0) == 1000 + MESSAGE
    _, ms, area = deep.seen[-1]
    assert b"\x5a" not in ms + area
    assert b"\xaa" not in ms + area[:128]
    assert all(area[at : at + 8] in (bytes(8), b"\1" + bytes(7)) for at in (8, 16, 32, 64, 72, 88))


@pytest.mark.claim("H-LEAK")
def test_answer_carries_no_padding_and_no_address(deep: Any) -> None:
    codec = deep.ecalls["change"]
    message = codec.encode(([LINE], 3))
    _, ms, area = deep.enclave.serve(codec.id, message.ms, message.buffers)
    assert b"\x5a" not in ms + area
    assert all(area[at : at + 8] == b"\1" + bytes(7) for at in (8, 16, 32))


# ---- the host calls in C -------------------------------------------------------------------------


class Spot(ctypes.Structure):
    _fields_ = [("tag", ctypes.c_int8), ("on", ctypes.c_bool), ("x", ctypes.c_int32)]


class Line(ctypes.Structure):
    _fields_ = [
        ("tag", ctypes.c_int32),
        ("n", ctypes.c_uint8),
        ("open", ctypes.c_bool),
        ("spots", ctypes.POINTER(Spot)),
        ("raw", ctypes.c_void_p),
        ("bytes", ctypes.c_int),
        ("cells", ctypes.c_void_p),
        ("width", ctypes.c_size_t),
        ("height", ctypes.c_size_t),
    ]


class Given:
    """A struct of the host's, with what it points to."""

    def __init__(self) -> None:
        self.spots = (Spot * 2)(Spot(1, True, 10), Spot(2, False, 20))
        self.raw = (ctypes.c_uint8 * 3)(1, 2, 3)
        self.cells = (ctypes.c_uint8 * 6)(*b"\1" * 6)
        self.lines = (Line * 1)(
            Line(5, 2, True, self.spots, ctypes.addressof(self.raw), 3,
                 ctypes.addressof(self.cells), 2, 3)
        )  # fmt: skip
        self.addresses = self._addresses()

    def _addresses(self) -> tuple[int, ...]:
        one = self.lines[0]
        return ctypes.addressof(one.spots.contents), one.raw, one.cells

    def unchanged(self) -> bool:
        one = self.lines[0]
        kept = (one.tag, one.n, self.spots[0].x, bytes(self.raw)) == (5, 2, 10, b"\1\2\3")
        return kept and self._addresses() == self.addresses


def change(deep: Any, given: Given, how: int) -> tuple[int, int, int]:
    result, seen = ctypes.c_int(-5), ctypes.c_int(-5)
    status = deep.host.library.change(
        None, ctypes.byref(result), given.lines, ctypes.c_size_t(1), how, ctypes.byref(seen)
    )
    return int(status), result.value, seen.value


def test_c_host_gets_back_what_its_structs_point_to(deep: Any) -> None:
    given = Given()
    assert change(deep, given, 0) == (0, 2, 1)
    assert (given.lines[0].tag, given.lines[0].open) == (-5, True)
    assert [(spot.tag, spot.on, spot.x) for spot in given.spots] == [(0, True, 100), (1, True, 101)]
    assert bytes(given.raw) == b"R\2\3"
    assert given._addresses() == given.addresses


def test_c_host_and_python_send_the_same_message(deep: Any) -> None:
    assert change(deep, Given(), 0)[0] == 0
    id_, ms, area = deep.seen[-1]
    message = deep.ecalls["change"].encode(([LINE], 0))
    assert (id_, ms, len(area)) == (deep.ecalls["change"].id, message.ms, message.size)
    for position, data in message.segments:
        assert area[position : position + len(data)] == bytes(data)


def test_c_host_gets_back_less(deep: Any) -> None:
    given = Given()
    assert change(deep, given, 1)[0] == 0
    assert (given.lines[0].n, given.spots[0].x, given.spots[1].x) == (1, 100, 20)


def test_c_host_collects_what_it_submitted(deep: Any) -> None:
    given = Given()
    pending = ctypes.create_string_buffer(4096)
    result, seen = ctypes.c_int(-5), ctypes.c_int(-5)
    library = deep.host.library
    arguments = (given.lines, ctypes.c_size_t(1), 0, ctypes.byref(seen))
    assert library.change_submit(None, pending, ctypes.byref(result), *arguments) == 0
    assert given.unchanged()
    assert library.change_collect(pending) == 0
    assert (result.value, seen.value, given.lines[0].tag, given.spots[0].x) == (2, 1, -5, 100)


def test_c_host_refuses_what_has_no_size(deep: Any) -> None:
    for name, value, status in (("bytes", -1, ARGUMENT), ("width", 1 << 63, OVERFLOW)):
        given = Given()
        setattr(given.lines[0], name, value)
        assert change(deep, given, 0)[0] == status
    given = Given()
    # So many that structs and records together would take a few bytes, modulo 2 to the 64.
    many = ctypes.c_size_t(-(-(1 << 64) // (64 + 3 * 24)))
    assert deep.host.library.change(None, None, given.lines, many, 0, None) == TOO_LARGE
    assert deep.host.library.both(None, None, None, given.lines, 57) == ARGUMENT


OFFSETS = {member["name"]: member["offset"]
           for item in INTERFACE.description()["structs"] if item["name"] == "line"
           for member in item["members"]}  # fmt: skip


def lying(deep: Any, name: str, data: bytes) -> None:
    """Let the enclave's answers to the host say something else in the first struct."""

    def answer(id_: int, ms: bytes, area: bytes) -> tuple[int, bytes, bytes]:
        status, ms, area = deep.enclave.serve(id_, ms, area)
        at = OFFSETS[name]
        return status, ms, area[:at] + data + area[at + len(data) :]

    deep.host.connect(answer, deep.memory.bytes)


@pytest.mark.parametrize(
    "name, data, status",
    [
        ("n", b"\3", MESSAGE),
        ("n", b"\xff", MESSAGE),
        ("bytes", struct.pack("<i", 4), MESSAGE),
        ("bytes", struct.pack("<i", -1), MESSAGE),
        ("bytes", struct.pack("<i", 1 << 30), MESSAGE),
        ("width", struct.pack("<Q", 1 << 40), MESSAGE),
        ("width", struct.pack("<Q", (1 << 63) + 1) + struct.pack("<Q", 2), OVERFLOW),
        ("spots", struct.pack("<Q", 0), 0),
        ("spots", struct.pack("<Q", 0x4141414141414141), 0),
    ],
)
def test_c_host_takes_no_more_back_than_it_sent(
    deep: Any, name: str, data: bytes, status: int
) -> None:
    given = Given()
    lying(deep, name, data)
    assert change(deep, given, 0)[0] == status
    if status != 0:
        assert given.unchanged()
    assert given._addresses() == given.addresses


# ---- a host that lies ----------------------------------------------------------------------------


def test_enclave_refuses_every_cut_of_a_message(deep: Any) -> None:
    for name, args in (("sum", (LINE,)), ("change", ([LINE, LINE], 0))):
        codec = deep.ecalls[name]
        message = codec.encode(args)
        for size in range(0, message.size - 16, 8):
            assert deep.enclave.serve(codec.id, message.ms, message.buffers[:size])[0] == MESSAGE


@pytest.mark.parametrize(
    "name, data, status",
    [
        ("n", b"\xff", MESSAGE),
        ("bytes", struct.pack("<i", -1), MESSAGE),
        ("bytes", struct.pack("<i", 1 << 30), MESSAGE),
        ("width", struct.pack("<Q", (1 << 63) + 1) + struct.pack("<Q", 2), OVERFLOW),
        ("width", struct.pack("<Q", 1 << 60), MESSAGE),
    ],
)
def test_enclave_refuses_sizes_that_the_message_does_not_have(
    deep: Any, name: str, data: bytes, status: int
) -> None:
    codec = deep.ecalls["sum"]
    message = codec.encode((LINE,))
    at = OFFSETS[name]
    area = message.buffers[:at] + data + message.buffers[at + len(data) :]
    assert deep.enclave.serve(codec.id, message.ms, area)[0] == status


def test_enclave_refuses_a_part_of_a_struct(deep: Any) -> None:
    codec = deep.ecalls["both"]
    message = codec.encode((None, [([], None, None)]))
    ms = message.ms.replace(struct.pack("<i", 32), struct.pack("<i", 31))
    assert ms != message.ms
    assert deep.enclave.serve(codec.id, ms, message.buffers)[0] == MESSAGE


def test_pointer_of_a_message_only_says_whether_there_is_one(deep: Any) -> None:
    codec = deep.ecalls["sum"]
    message = codec.encode((LINE,))
    at = OFFSETS["spots"]
    wild = message.buffers[:at] + struct.pack("<Q", 0x4141) + message.buffers[at + 8 :]
    status, ms, _ = deep.enclave.serve(codec.id, message.ms, wild)
    assert (status, codec.decode(message, ms, wild)) == (0, SUM)


def test_bool_from_the_other_side_is_zero_or_one(deep: Any) -> None:
    codec = deep.ecalls["sum"]
    message = codec.encode((LINE,))
    first = message.segments[1][0]
    area = bytearray(message.buffers)
    area[first + 1] = 0xFF
    _, ms, _ = deep.enclave.serve(codec.id, message.ms, bytes(area))
    assert codec.decode(message, ms, area) == SUM


def test_enclave_survives_any_change_of_the_structs(deep: Any) -> None:
    codec = deep.ecalls["change"]
    for seed in range(400):
        message = codec.encode(([LINE, LINE], seed % 5))
        area = bytearray(message.buffers)
        area[(seed * 7919) % 128] ^= 1 << (seed % 8)
        area[(seed * 104729) % 128] = (0, 1, 0x7F, 0x80, 0xFF)[seed % 5]
        status = deep.enclave.serve(codec.id, message.ms, bytes(area))[0]
        assert status in (0, ARGUMENT, OVERFLOW, MESSAGE), seed


# ---- the enclave calls the host ------------------------------------------------------------------


def test_ocalls_reach_a_host_in_c(deep: Any) -> None:
    assert deep.call("call_out", 100) == 0
    assert deep.call("call_out", 0) == 0
    assert deep.call("call_out", 1) == 0
    assert deep.call("call_out", 2) == 1000 + ARGUMENT


def answer_in_python(deep: Any, **functions: Any) -> list[tuple[Any, ...]]:
    got: list[tuple[Any, ...]] = []

    def answer(id_: int, ms: bytes, area: bytes) -> tuple[int, bytes, bytes]:
        codec = deep.codecs.ocalls[id_]
        arguments = codec.decode_arguments(ms, area)
        got.append(tuple(arguments))
        result = functions[codec.name](*arguments)
        new_ms, writes = codec.encode_result(result, ms, len(area), 9, arguments)
        new_area = bytearray(area)
        for position, data in writes:
            new_area[position : position + len(data)] = data
        return 0, new_ms, bytes(new_area)

    deep.answer = answer
    return got


def trade(lines: Any, pair: Any, how: int) -> Any:
    if lines is None or pair is None:
        return 0, lines, pair
    back = [
        value._replace(
            tag=-value.tag,
            spots=[(1, True, 11), *value.spots[1:]],
            raw=value.raw and b"R" + value.raw[1:],
            cells=value.cells and b"R" + value.cells[1:],
        )
        for value in lines
    ]
    a = [10 * number for number in pair.a]
    return 12, back, pair._replace(a=a, b=pair.b) if how == 0 else pair._replace(a=a[:1], b=None)


def test_ocalls_reach_a_host_in_python(deep: Any) -> None:
    def show(value: Any, name: str) -> int:
        if value is None:
            return -1
        raw = sum(value.raw or b"") + sum(value.cells or b"")
        return value.tag + len(name) + sum(s.x + s.on for s in value.spots) + raw  # type: ignore[no-any-return]

    got = answer_in_python(deep, show=show, trade=trade)
    assert deep.call("call_out", 100) == 0
    assert got[0][0]._fields == ("tag", "open", "spots", "raw", "cells", "width", "height")
    assert got[0] == ((3, True, SPOTS, b"\1\2\3", b"\1\2\3", 1, 3), "name")
    assert deep.call("call_out", 0) == 0
    assert deep.call("call_out", 1) == 0


@pytest.mark.parametrize(
    "change, text",
    [
        (lambda lines, pair: (12, lines[:1], pair), "returned 1 structs, expected 2"),
        (lambda lines, pair: (12, [lines[0]] * 2, pair), "where the pointer is NULL"),
        (lambda lines, pair: (12, [lines[0]._replace(spots=SPOTS * 2), lines[1]], pair),
         "returned 32 bytes behind a pointer, there is room for 16"),
        (lambda lines, pair: (12, lines, None), "expected struct pair"),
    ],
)  # fmt: skip
def test_wrong_result_of_an_ocall_is_refused(deep: Any, change: Any, text: str) -> None:
    seen: list[BaseException] = []

    def answer(id_: int, ms: bytes, area: bytes) -> tuple[int, bytes, bytes]:
        codec = deep.codecs.ocalls[id_]
        arguments = codec.decode_arguments(ms, area)
        try:
            codec.encode_result(change(*arguments[:2]), ms, len(area), 0, arguments)
        except (TypeError, ValueError) as error:
            seen.append(error)
        return 19, ms, area

    deep.answer = answer
    assert deep.call("call_out", 0) == 1019
    assert text in str(seen[0])


def test_failed_ocall_leaves_structs_alone(deep: Any) -> None:
    answer_in_python(deep, trade=lambda *arguments: OCALLS["trade"].failure)
    before = deep.call("call_out", 0)
    assert before > 0  # The function did nothing, which it noticed; nothing else was changed.
    _, ms, area = deep.seen[-1]
    arguments = OCALLS["trade"].decode_arguments(ms, area)
    assert (
        OCALLS["trade"].encode_result(OCALLS["trade"].failure, ms, len(area), 0, arguments)[1] == []
    )


ENCLAVE_LIES: list[tuple[str, bytes, int]] = [
    ("n", b"\3", MESSAGE),
    ("bytes", struct.pack("<i", 4), MESSAGE),
    ("bytes", struct.pack("<i", -1), MESSAGE),
    ("width", struct.pack("<Q", 1 << 40), MESSAGE),
    ("width", struct.pack("<Q", (1 << 63) + 1) + struct.pack("<Q", 2), OVERFLOW),
]


@pytest.mark.parametrize("name, data, status", ENCLAVE_LIES)
def test_enclave_takes_no_more_back_than_it_sent(
    deep: Any, name: str, data: bytes, status: int
) -> None:
    def answer(id_: int, ms: bytes, area: bytes) -> tuple[int, bytes, bytes]:
        result, ms, area = deep.host.serve(id_, ms, area)
        at = OFFSETS[name]
        return result, ms, area[:at] + data + area[at + len(data) :]

    deep.answer = answer
    assert deep.call("call_out", 0) == 1000 + status


def test_interface_says_what_is_copied_deep() -> None:
    interface: Interface = INTERFACE
    described = {item["name"]: item for item in interface.description()["structs"]}
    members = {member["name"]: member for member in described["line"]["members"]}
    assert (members["cells"]["size"], members["cells"]["count"]) == ("width", "height")
    assert "size" not in members["width"]
