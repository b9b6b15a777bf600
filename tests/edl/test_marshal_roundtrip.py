# SPDX-License-Identifier: Apache-2.0
"""Python's codecs and the generated C agree about every shape of parameter, byte for byte."""

from __future__ import annotations

import array
import ctypes
import struct
from typing import Any

import pytest

OVERFLOW = 3
ARGUMENT = 1
MESSAGE = 6


def test_in_buffer_and_out_buffer_of_fixed_size_round_trip(sides: Any) -> None:
    result, signature = sides.call("sign", b"\x01\x02\x03")
    assert result == 3
    assert signature == b"\x01\x02\x03" + bytes(61)


def test_null_in_buffer_stays_null(sides: Any) -> None:
    assert sides.call("sign", None)[0] == -1


def test_empty_in_buffer_is_not_null(sides: Any) -> None:
    assert sides.call("sign", b"")[0] == 0


def test_function_without_anything_returns_none(sides: Any) -> None:
    assert sides.call("ping") is None


@pytest.mark.parametrize(
    "values",
    [[1, 2, 3], (1, 2, 3), array.array("i", [1, 2, 3]), struct.pack("<3i", 1, 2, 3), range(1, 4)],
)
def test_count_of_scalars_takes_sequences_and_buffers(sides: Any, values: Any) -> None:
    assert sides.call("total", values) == 6


def test_every_scalar_arrives_as_it_was_sent(sides: Any) -> None:
    sent = (-1, 200, -300, 4000000000, -5, 6, 0.5, 0.25, True, 0x1F600, 5, 7)
    assert sides.call("mix", *sent) == sum(map(float, sent))


def test_scalars_in_another_order_than_in_the_message_arrive(sides: Any) -> None:
    assert sides.call("add", -3, 100000) == 99997
    assert sides.call("add", b=1, a=2) == 3


def test_strings_round_trip(sides: Any) -> None:
    assert sides.call("greet", "añb", "hello", "äöü€") == (404, "#ello")


def test_null_strings_stay_null(sides: Any) -> None:
    assert sides.call("greet", None, None, None) == (1000, None)


def test_empty_string_round_trips(sides: Any) -> None:
    assert sides.call("greet", "", "", None) == (0, "")


def test_bytes_that_are_no_utf8_survive_in_strings(sides: Any) -> None:
    text = b"?\xff\xfe".decode("utf-8", "surrogateescape")
    assert sides.call("greet", "", text, None)[1].encode("utf-8", "surrogateescape") == (
        b"#\xff\xfe"
    )


def test_struct_by_value_and_by_pointer_round_trip(sides: Any) -> None:
    moved, back = sides.call("move", (1, 2, [3.0, 4.0]), {"x": 1, "y": 1, "z": [0.5, 0.5]})
    assert moved == (2, 3, [3.5, 4.5])
    assert back == (1, 2, [3.0, 4.0])
    assert moved.y == 3


def test_nrz_buffer_is_not_zeroed_and_others_are(sides: Any) -> None:
    capacity, data, doubled = sides.call("fill", 4, [1, 2, 3])
    assert (capacity, doubled) == (4, [2, 4, 6])
    assert data == b"\x07\xaa\xaa\xaa"


def test_fixed_arrays_round_trip(sides: Any) -> None:
    result = sides.call("matrix", [[1, 2, 3], [4, 5, 6]], bytes(range(16)))
    assert result == (6, [0.5, 1.0, 2.0, 2.5], bytes(range(15)) + b"c")


def test_user_check_pointer_is_an_offset_into_shared_memory(sides: Any) -> None:
    view = sides.memory.view(64 + 100, 8)
    view[0] = 5
    assert sides.call("share", view, sides.memory.view(64 + 200, 3)) == 3
    assert view[0] == 6
    assert bytes(sides.memory.view(64 + 200, 4)) == b"\x11\x11\x11\0"
    assert sides.call("share", None, None) == 0


def test_bool_and_enum_pointers_round_trip(sides: Any) -> None:
    assert sides.call("flip", True) == (6, False, 5)
    assert sides.call("flip", None) == (6, None, 5)


def test_arrays_of_structs_round_trip(sides: Any) -> None:
    box = (((1, 2, (3, 4)), (5, 6, (7, 8))), True, b"name")
    packed, out = sides.call("pack", [box, box], 2)
    assert packed.name == b"2".ljust(13, b"\0")
    assert packed.open is True
    assert out == [packed, packed]
    assert packed.corners[0] == (1, 2, [3.0, 4.0])


def test_size_shared_by_in_and_out_buffers_comes_from_the_in_buffer(sides: Any) -> None:
    assert sides.call("copy", b"payload") == (7, b"payload")


def test_buffers_that_share_a_count_must_agree(sides: Any) -> None:
    assert sides.call("same", [1, 2], [1, 2]) is True
    with pytest.raises(ValueError, match=r"same\(b=…\): expected 2 elements like `a`"):
        sides.call("same", [1, 2], [1])


def test_size_and_count_by_name_stay_in_the_signature(sides: Any) -> None:
    assert sides.call("table", b"\1\1\1\1\1\1", 2, 3) == 6
    with pytest.raises(ValueError, match=r"table\(cells=…\): expected 8 bytes, got 6"):
        sides.call("table", b"\1\1\1\1\1\1", 2, 4)


@pytest.mark.claim("H-LEAK")
def test_padding_of_structs_never_leaves_the_enclave(sides: Any) -> None:
    codec = sides.ecalls["move"]
    message = codec.encode(((1, 2, [3, 4]), (0, 0, [0, 0])))
    _, ms, area = sides.enclave.serve(codec.id, message.ms, message.buffers)
    assert ms[1:4] == bytes(3)
    position = message.outs[0][0]
    assert area[position + 1 : position + 4] == bytes(3)


@pytest.mark.claim("H-LEAK")
def test_padding_of_structs_in_ocalls_never_leaves_the_enclave(sides: Any) -> None:
    sides.call("call_out", 3)
    _, ms, area = sides.seen[-1]
    assert b"\x5a" not in ms
    assert b"\x5a" not in area
    assert b"\xaa" not in area[:48]


@pytest.mark.claim("H-LEAK")
def test_no_byte_of_a_message_is_stale(sides: Any) -> None:
    for codec, args in (
        (sides.ecalls["sign"], (b"abc",)),
        (sides.ecalls["fill"], (10, [1, 2, 3])),
        (sides.ecalls["matrix"], ([[1, 2, 3], [4, 5, 6]], bytes(16))),
    ):
        message = codec.encode(args)
        status, ms, area = sides.enclave.serve(codec.id, message.ms, message.buffers)
        assert status == 0
        assert len(ms) == codec.ms_size
        assert len(area) == message.size
        assert message.size % 16 == 0


def c_call(sides: Any, name: str, *args: Any) -> int:
    return int(getattr(sides.host.library, name)(None, *args))


def test_host_proxy_in_c_sends_the_bytes_that_python_sends(sides: Any) -> None:
    result = ctypes.c_int(77)
    signature = ctypes.create_string_buffer(64)
    assert (
        c_call(sides, "sign", ctypes.byref(result), b"\x01\x02", ctypes.c_size_t(2), signature) == 0
    )
    assert (result.value, signature.raw[:2]) == (2, b"\x01\x02")
    message = sides.ecalls["sign"].encode((b"\x01\x02",))
    _, ms, area = sides.seen[-1]
    assert ms == message.ms
    assert len(area) == message.size
    assert area[:2] == message.buffers[:2]


@pytest.mark.parametrize(
    "c_arguments, python_arguments, name",
    [
        ((None, ctypes.c_short(-2), ctypes.c_int(9)), (-2, 9), "add"),
        ((None, (ctypes.c_int32 * 3)(1, 2, 3), ctypes.c_int(3)), ([1, 2, 3],), "total"),
        (
            (
                None,
                b"name",
                ctypes.create_string_buffer(b"in out"),
                ctypes.create_unicode_buffer("wide"),
            ),
            ("name", "in out", "wide"),
            "greet",
        ),
        (
            (
                None,
                (ctypes.c_int32 * 6)(1, 2, 3, 4, 5, 6),
                (ctypes.c_double * 4)(),
                (ctypes.c_uint8 * 16)(*range(16)),
            ),
            ([[1, 2, 3], [4, 5, 6]], bytes(range(16))),
            "matrix",
        ),
        ((None, None, ctypes.byref(ctypes.c_int())), (None,), "flip"),
    ],
)
def test_messages_of_c_and_python_are_the_same(
    sides: Any, c_arguments: tuple[Any, ...], python_arguments: tuple[Any, ...], name: str
) -> None:
    assert c_call(sides, name, *c_arguments) == 0
    message = sides.ecalls[name].encode(python_arguments)
    id_, ms, area = sides.seen[-1]
    assert (id_, ms, len(area)) == (
        sides.ecalls[name].id,
        message.ms,
        message.size,
    )
    for position, data in message.segments:
        assert area[position : position + len(data)] == bytes(data)


def test_pipelined_proxy_gives_its_results_when_collected(sides: Any) -> None:
    pending = ctypes.create_string_buffer(4096)
    result = ctypes.c_int(77)
    assert (
        c_call(
            sides, "add_submit", pending, ctypes.byref(result), ctypes.c_short(1), ctypes.c_int(2)
        )
        == 0
    )
    assert result.value == 77
    assert sides.host.library.add_collect(pending) == 0
    assert result.value == 3


def test_oneway_proxy_exists_only_where_nothing_comes_back(sides: Any) -> None:
    assert c_call(sides, "note_oneway", ctypes.c_int(12)) == 0
    assert ctypes.c_int.in_dll(sides.enclave.library, "g_noted").value == 12
    assert hasattr(sides.host.library, "ping_oneway")
    assert not hasattr(sides.host.library, "sign_oneway")
    assert not hasattr(sides.host.library, "share_oneway")


def test_host_proxy_refuses_a_negative_count(sides: Any) -> None:
    assert c_call(sides, "total", None, (ctypes.c_int32 * 1)(), ctypes.c_int(-1)) == ARGUMENT


def test_host_proxy_refuses_memory_that_is_not_shared(sides: Any) -> None:
    own = ctypes.create_string_buffer(8)
    assert c_call(sides, "share", None, own, None, ctypes.c_size_t(0)) == ARGUMENT


def test_failed_call_leaves_results_alone(sides: Any) -> None:
    result = ctypes.c_int(77)
    sides.host.connect(
        lambda id_, ms, area: (MESSAGE, b"\xff" * len(ms), b"\xff" * len(area)), sides.memory.bytes
    )
    signature = ctypes.create_string_buffer(64)
    assert (
        c_call(sides, "sign", ctypes.byref(result), b"x", ctypes.c_size_t(1), signature) == MESSAGE
    )
    assert (result.value, signature.raw) == (77, bytes(64))


def test_ocalls_reach_a_host_in_c(sides: Any) -> None:
    assert sides.call("call_out", 0) == 5
    assert sides.call("call_out", 1) == 0
    assert sides.call("call_out", 2) == 10 * 1000 + 3 + ord("!")
    assert sides.call("call_out", 3) == 0
    assert sides.call("call_out", 4) == 43
    assert sides.call("call_out", 5) == 1 + 2 + 10


def python_host(sides: Any, **functions: Any) -> list[tuple[Any, ...]]:
    """Let Python callables answer the enclave; gives the arguments that they got."""
    got: list[tuple[Any, ...]] = []

    def answer(id_: int, ms: bytes, area: bytes) -> tuple[int, bytes, bytes]:
        codec = sides.codecs.ocalls[id_]
        arguments = codec.decode_arguments(ms, area)
        got.append(arguments)
        result = functions[codec.name](*arguments)
        new_ms, writes = codec.encode_result(result, ms, len(area), errno=9)
        new_area = bytearray(area)
        for position, data in writes:
            new_area[position : position + len(data)] = data
        return 0, new_ms, bytes(new_area)

    sides.answer = answer
    return got


def test_ocalls_reach_a_host_in_python(sides: Any) -> None:
    got = python_host(
        sides,
        log_line=lambda text: len(text) * 2,
        tick=lambda: None,
        load=lambda size, note: (size - 1, b"\x04", "!" + note[1:]),
        report=lambda points, box, last: None,
        where=lambda cookie, view: ((1, 2, (0, 0)), cookie + 2),
        ask=lambda question: (True, False, [0, 20.0]),
    )
    assert sides.call("call_out", 0) == 10
    assert sides.call("call_out", 1) == 0
    assert sides.call("call_out", 2) == 9 * 1000 + 4 + ord("!")
    assert sides.call("call_out", 3) == 0
    assert sides.call("call_out", 4) == 44
    assert sides.call("call_out", 5) == 1 + 20
    first, second = (0, 0, [0.5, 1.5]), (1, -1, [0.5, 1.5])
    assert got == [
        ("hello",),
        (),
        (10, "ask"),
        ([first, second], ([first, second], True, b"b".ljust(13, b"\0")), second),
        (40, None),
        ("ok?",),
    ]


def test_null_string_reaches_python_as_none(sides: Any) -> None:
    got = python_host(sides, log_line=lambda text: 0)
    assert sides.call("call_out", 6) == 0
    assert got == [(None,)]


def test_bool_from_the_other_side_is_zero_or_one(sides: Any) -> None:
    codec = sides.ecalls["flip"]
    message = codec.encode((True,))
    _, _, area = sides.enclave.serve(codec.id, message.ms, b"\x02" + message.buffers[1:])
    assert area[0] in (0, 1)


def test_string_from_the_host_always_ends_in_the_enclave(sides: Any) -> None:
    def answer(id_: int, ms: bytes, area: bytes) -> tuple[int, bytes, bytes]:
        return 0, ms, b"\xff" * len(area)

    sides.answer = answer
    assert sides.call("call_out", 2) == 255 + 255


def test_enclave_refuses_every_cut_of_a_message(sides: Any) -> None:
    for name, args in (
        ("sign", (bytes(40),)),
        ("total", ([1] * 9,)),
        ("greet", ("name", "text", "wide")),
        ("matrix", ([[1, 2, 3], [4, 5, 6]], bytes(16))),
    ):
        codec = sides.ecalls[name]
        message = codec.encode(args)
        for size in range(0, message.size - 16, 16):
            status, _, _ = sides.enclave.serve(codec.id, message.ms, message.buffers[:size])
            assert status == MESSAGE, (name, size)


def test_enclave_refuses_a_negative_count(sides: Any) -> None:
    codec = sides.ecalls["total"]
    message = codec.encode(([1],))
    ms = bytearray(message.ms)
    offset = message.ms.index(b"\x01\0\0\0")
    ms[offset : offset + 4] = struct.pack("<i", -1)
    status, _, _ = sides.enclave.serve(codec.id, bytes(ms), message.buffers)
    assert status == MESSAGE


def test_enclave_refuses_a_size_that_overflows(sides: Any) -> None:
    codec = sides.ecalls["pack"]
    message = codec.encode(([], 3))
    ms = message.ms.replace(struct.pack("<Q", 3), struct.pack("<Q", 1 << 60), 1)
    assert ms != message.ms
    assert sides.enclave.serve(codec.id, ms, message.buffers)[0] == OVERFLOW


@pytest.mark.parametrize("length", [0, 2, 3, 5, 1 << 63])
def test_enclave_refuses_a_string_without_its_only_terminator_at_the_end(
    sides: Any, length: int
) -> None:
    codec = sides.ecalls["greet"]
    message = codec.encode(("abc", None, None))
    ms = message.ms.replace(struct.pack("<Q", 4), struct.pack("<Q", length))
    assert ms != message.ms
    assert sides.enclave.serve(codec.id, ms, message.buffers[:16])[0] == MESSAGE


def test_enclave_refuses_an_offset_outside_of_shared_memory(sides: Any) -> None:
    codec = sides.ecalls["share"]
    message = codec.encode((sides.memory.view(64, 1), None))
    for offset in (1, 63, 64 + 4096, 1 << 63):
        ms = struct.pack("<Q", offset) + message.ms[8:]
        assert sides.enclave.serve(codec.id, ms, b"")[0] == MESSAGE


def test_enclave_survives_every_mutation_of_the_sizes_in_a_message(sides: Any) -> None:
    calls: list[tuple[str, tuple[Any, ...]]] = [
        ("sign", (bytes(20),)),
        ("total", ([1, 2, 3],)),
        ("greet", ("name", "text", "wide")),
        ("fill", (20, [1, 2, 3])),
        ("copy", (bytes(33),)),
        ("same", ([1, 2, 3], [1, 2, 3])),
    ]
    for name, args in calls:
        codec = sides.ecalls[name]
        message = codec.encode(args)
        # The last field is the mask of pointers: NULL with a size is for the function to check.
        for at in range(len(message.ms) // 8 * 8):
            for value in (0x00, 0x01, 0x7F, 0x80, 0xFF):
                ms = message.ms[:at] + bytes([value]) + message.ms[at + 1 :]
                if ms[-8:] != message.ms[-8:]:
                    continue
                status, _, _ = sides.enclave.serve(codec.id, ms, message.buffers)
                assert status in (0, OVERFLOW, MESSAGE), (name, at, value)
