# SPDX-License-Identifier: Apache-2.0
"""What Python refuses to send, and what it refuses to take from an enclave."""

from __future__ import annotations

import array
import contextlib
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotcalls.edl import parse_file
from hotcalls.edl.marshal import EcallCodec, MessageError, OcallCodec, codecs

INTERFACE = parse_file(Path(__file__).parent / "data" / "shapes.edl").description()


class NoMemory:
    def offset_of(self, view: memoryview) -> int:
        raise ValueError("the memory is not shared")

    def view(self, offset: int, size: int) -> memoryview:
        raise ValueError("outside of shared memory")


TABLES = codecs(INTERFACE, NoMemory())
ECALLS: dict[str, EcallCodec] = {codec.name: codec for codec in TABLES.ecalls}
OCALLS: dict[str, OcallCodec] = {codec.name: codec for codec in TABLES.ocalls}

POINT = (1, 2, [3.0, 4.0])
BOX = ((POINT, POINT), True, b"n")

WRONG: list[tuple[str, tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    ("sign", (1,), {}, TypeError, "sign(digest=…): expected bytes-like, got int"),
    ("sign", ("text",), {}, TypeError, "sign(digest=…): expected bytes-like, got str"),
    ("sign", (array.array("i", [1]),), {}, TypeError, "expected bytes-like, got array"),
    ("sign", (), {}, TypeError, "sign(digest=…): missing"),
    ("sign", (b"", 3), {}, TypeError, "sign(): expected at most 1 arguments (digest), got 2"),
    ("sign", (), {"size": 3}, TypeError, "sign(): there is no parameter 'size'; it has digest"),
    ("sign", (b"",), {"digest": b""}, TypeError, "sign(digest=…): given twice"),
    ("ping", (1,), {}, TypeError, "ping(): expected at most 0 arguments (none), got 1"),
    ("add", ("1", 2), {}, TypeError, "add(a=…): expected int, got str"),
    ("add", (1.5, 2), {}, TypeError, "add(a=…): expected int, got float"),
    ("add", (None, 2), {}, TypeError, "add(a=…): expected int, got NoneType"),
    ("add", (40000, 2), {}, OverflowError,
     "add(a=…): expected short, -32768 to 32767, got 40000"),
    ("add", (1, 1 << 100_000), {}, OverflowError, "got a number of 100001 bits"),
    ("total", ([1, "2"],), {}, TypeError, "total(values[1]=…): expected int, got str"),
    ("total", ([1, 1 << 31],), {}, OverflowError, "total(values[1]=…): expected int32_t"),
    ("total", ("12",), {}, TypeError, "expected a sequence or bytes-like, got str"),
    ("total", (b"12345",), {}, ValueError,
     "total(values=…): expected a multiple of 4 bytes, got 5"),
    ("mix", (0,) * 6 + ("x",) + (0.0, True, 0, 0, 0), {}, TypeError,
     "mix(f=…): expected float, got str"),
    ("mix", (0,) * 6 + (1e300, 0.0, True, 0, 0, 0), {}, OverflowError,
     "mix(f=…): the number is too large for float"),
    ("mix", (0,) * 6 + (0.0, 0.0, "yes", 0, 0, 0), {}, TypeError,
     "mix(b=…): expected bool, got str"),
    ("mix", (0, 256, 0, 0, 0, 0, 0.0, 0.0, True, 0, 0, 0), {}, OverflowError,
     "mix(uc=…): expected unsigned char, 0 to 255, got 256"),
    ("greet", (b"bytes", 5, None), {}, TypeError, "greet(buffer=…): expected str, got int"),
    ("greet", ("a\0b", None, None), {}, ValueError,
     "greet(name=…): a string cannot hold a zero character"),
    ("greet", (None, None, b"wide"), {}, TypeError, "greet(wide=…): expected str, got bytes"),
    ("move", ((1, 2), None), {}, ValueError, "move(p=…): expected 3 members, got 2"),
    ("move", ((1, 2, [3]), None), {}, ValueError, "move(p.z=…): expected 2 elements, got 1"),
    ("move", ((1, "2", [3, 4]), None), {}, TypeError, "move(p.y=…): expected int, got str"),
    ("move", ({"x": 1, "y": 2}, None), {}, ValueError,
     "move(p=…): expected the keys x, y, z, got x, y"),
    ("move", (5, None), {}, TypeError, "move(p=…): expected struct point (x, y, z), got int"),
    ("move", (None, None), {}, TypeError, "expected struct point (x, y, z), got NoneType"),
    ("move", (POINT, b"short"), {}, ValueError, "move(by=…): expected 24 bytes, got 5"),
    ("fill", (-1, [1]), {}, OverflowError, "fill(capacity=…): expected size_t"),
    ("fill", (1 << 62, [1]), {}, OverflowError, "more than any message holds"),
    ("fill", (1, [1] * 256), {}, OverflowError,
     "fill(acc=…): 256 elements are more than `n` can say"),
    ("matrix", ([[1, 2, 3]], bytes(16)), {}, ValueError,
     "matrix(m=…): expected 2 elements, got 1"),
    ("matrix", ([[1, 2, 3], [4, 5]], bytes(16)), {}, ValueError,
     "matrix(m[1]=…): expected 3 elements, got 2"),
    ("matrix", ([[1, 2, 3], [4, 5, 6]], bytes(15)), {}, ValueError,
     "matrix(k=…): expected 16 bytes, got 15"),
    ("matrix", (7, bytes(16)), {}, TypeError, "matrix(m=…): expected a sequence of 2, got int"),
    ("share", (b"bytes", None), {}, TypeError,
     "share(p=…): expected a memoryview of shared memory, got bytes"),
    ("share", (memoryview(bytearray(4)), None), {}, ValueError,
     "share(p=…): the memory is not shared"),
    ("share", (memoryview(bytearray(0)), None), {}, ValueError,
     "share(p=…): expected at least 1 bytes, got 0"),
    ("flip", (2,), {}, TypeError, "flip(flag=…): expected bool, got int"),
    ("pack", ([BOX, (1, 2)], 0), {}, ValueError, "pack(items[1]=…): expected 3 members, got 2"),
    ("pack", ([((POINT, POINT), True, bytes(14))], 0), {}, ValueError, "expected 13 bytes, got 14"),
]  # fmt: skip


@pytest.mark.parametrize("name, args, kwargs, kind, text", WRONG)
def test_wrong_argument_is_refused_with_function_and_parameter(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind) as caught:
        ECALLS[name].encode(args, kwargs)
    assert text in str(caught.value)


def test_negative_size_that_stays_in_the_signature_is_refused() -> None:
    from hotcalls.edl import parse_text

    interface = parse_text("enclave { trusted { public void f([out, size=n] void *p, int n); }; };")
    codec = codecs(interface.description()).ecalls[0]
    with pytest.raises(ValueError, match=r"f\(n=…\): a size cannot be negative, got -1"):
        codec.encode((-1,))


def test_structs_given_as_bytes_lose_their_padding() -> None:
    raw = b"\x01\xff\xff\xff" + struct.pack("<idd", 2, 3.0, 4.0)
    message = ECALLS["move"].encode((raw, raw))
    assert b"\xff" not in message.ms
    assert b"\xff" not in message.buffers


def test_answer_of_another_size_is_refused() -> None:
    codec = ECALLS["sign"]
    message = codec.encode((b"x",))
    for ms in (b"", message.ms[:-1], message.ms + b"\0"):
        with pytest.raises(MessageError, match="sign: a message of"):
            codec.decode(message, ms, message.buffers)
    with pytest.raises(MessageError, match="ends before this buffer"):
        codec.decode(message, message.ms, message.buffers[:-1])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_answer_is_decoded_or_refused(data: st.DataObject) -> None:
    calls: list[tuple[str, tuple[Any, ...]]] = [
        ("sign", (b"abc",)),
        ("greet", ("a", "bcd", "e")),
        ("move", (POINT, POINT)),
        ("fill", (5, [1, 2])),
        ("matrix", ([[1, 2, 3], [4, 5, 6]], bytes(16))),
        ("flip", (True,)),
        ("pack", ([BOX], 2)),
    ]
    name, args = data.draw(st.sampled_from(calls))
    codec = ECALLS[name]
    message = codec.encode(args)
    ms = data.draw(st.binary(min_size=len(message.ms), max_size=len(message.ms)))
    area = data.draw(st.binary(max_size=message.size + 16))
    with contextlib.suppress(MessageError):
        codec.decode(message, ms, area)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(OCALLS)), st.data())
def test_any_ocall_is_decoded_or_refused(name: str, data: st.DataObject) -> None:
    codec = OCALLS[name]
    if data.draw(st.booleans()):
        ms = data.draw(st.binary(max_size=64))
    else:
        # Small and extreme sizes, in the places where sizes are.
        words = st.sampled_from([0, 1, 2, 4, 8, 16, 17, 1 << 31, 1 << 40, (1 << 64) - 1])
        ms = b"".join(struct.pack("<Q", data.draw(words)) for _ in range(codec.ms_size // 8 + 1))
        ms = ms[: codec.ms_size]
    area = data.draw(st.binary(max_size=96))
    try:
        arguments = codec.decode_arguments(ms, area)
    except MessageError:
        return
    assert len(arguments) == len(codec.signature.inputs)
    try:
        new_ms, writes = codec.encode_result(codec.failure, ms, len(area), errno=5)
    except MessageError:
        return
    assert len(new_ms) == codec.ms_size
    for position, content in writes:
        assert position >= 0
        assert position + len(content) <= len(area)


def ocall_ms(name: str, **values: int) -> bytes:
    function = next(f for f in INTERFACE["ocalls"] if f["name"] == name)
    ms = bytearray(function["ms"]["size"])
    for field in function["ms"]["fields"]:
        key = field["parameter"] or field["role"]
        if key in values:
            offset, size = field["offset"], field["size"]
            ms[offset : offset + size] = values[key].to_bytes(
                size, "little", signed=values[key] < 0
            )
    return bytes(ms)


@pytest.mark.parametrize(
    "name, values, area, text",
    [
        ("log_line", {"text": 5, "present": 1}, b"abcd", "5 bytes, and the message has 4 left"),
        ("log_line", {"text": 4, "present": 1}, b"abcd", "a string without its terminator"),
        ("log_line", {"text": 0, "present": 1}, b"", "a string of 0 bytes"),
        ("load", {"n": 1 << 63, "present": 1}, bytes(64), "bytes, and the message has 64 left"),
        ("report", {"n": 1 << 62, "present": 1}, bytes(64), "and the message has 64 left"),
        ("ask", {"question": 6, "present": 1}, bytes(64), "a string of 6 bytes"),
        (
            "ask",
            {"question": 8, "present": 1},
            b"\xff\xff\xff\xff" + bytes(4),
            "is not a character",
        ),
        ("where", {"p": 7, "present": 0}, b"", "outside of shared memory"),
    ],
)
def test_hostile_ocall_is_refused(
    name: str, values: dict[str, int], area: bytes, text: str
) -> None:
    with pytest.raises(MessageError, match=text):
        OCALLS[name].decode_arguments(ocall_ms(name, **values), area)


@pytest.mark.parametrize(
    "name, result, text",
    [
        ("tick", 1, r"tick\(\) returned int, expected None"),
        ("log_line", None, r"log_line\(\) returned: expected int, got NoneType"),
        ("load", 3, r"load\(\) returned int, expected a tuple of 3"),
        ("load", (3, b"x"), r"load\(\) returned a tuple of 2, expected a tuple of 3"),
        ("load", (3, bytes(11), "n"), r"load\(buffer=…\): returned 11 bytes"),
        ("load", (3, b"", "longer"), r"load\(note=…\): returned 7 bytes"),
        ("load", (3, 4, "n"), r"load\(buffer=…\): expected bytes-like, got int"),
    ],
)
def test_wrong_result_of_an_ocall_is_refused(name: str, result: Any, text: str) -> None:
    ms = ocall_ms(name, n=10, note=4, text=0, present=3 if name == "load" else 0)
    area = bytes(16) + b"not\0" + bytes(12)
    with pytest.raises((TypeError, ValueError), match=text):
        OCALLS[name].encode_result(result, ms, len(area))


def test_failed_ocall_carries_errno_and_zeroes_what_it_left() -> None:
    ms = ocall_ms("load", n=10, note=4, present=3)
    codec = OCALLS["load"]
    new_ms, writes = codec.encode_result(codec.failure, ms, 32, errno=2)
    assert struct.unpack_from("<q", new_ms)[0] == -1
    assert (2).to_bytes(4, "little") in new_ms
    assert writes == [(0, bytes(10))]


def test_signature_leaves_out_sizes_that_buffers_give() -> None:
    assert ECALLS["sign"].signature.inputs == ("digest",)
    assert ECALLS["fill"].signature.inputs == ("capacity", "acc")
    assert ECALLS["table"].signature.inputs == ("cells", "width", "height")
    assert OCALLS["load"].signature.inputs == ("n", "note")
    assert OCALLS["load"].signature.outputs == ("buffer", "note")


def test_message_says_whether_it_is_inline() -> None:
    assert ECALLS["sign"].encode((b"x",)).inline
    assert not ECALLS["mix"].encode((0,) * 6 + (0.0, 0.0, True, 0, 0, 0)).inline
    assert ECALLS["ping"].encode(()).ms == b""


def test_marshalling_needs_neither_parser_nor_templates() -> None:
    code = (
        "import sys, hotcalls.edl.marshal, hotcalls.edl.elf\n"
        "assert not {'lark', 'jinja2', 'click'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
