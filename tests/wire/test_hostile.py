# SPDX-License-Identifier: Apache-2.0
"""Bytes that nobody's encoder wrote: a value of the annotated type or MessageError, never else."""

from __future__ import annotations

import datetime as dt
import decimal
import subprocess
import sys
import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vault_types import Cat, Colour, Dog, Even, Key, Movie, Pair, Point, Right, Tree

from hotcalls.wire import MessageError, Signature


def everything(
    number: int,
    text: str,
    data: bytes,
    numbers: list[float],
    by_name: dict[str, tuple[int, ...]],
    point: Point | None,
    tree: Tree,
    even: Even,
    keys: set[Key],
    colour: Colour,
    right: Right,
    when: dt.datetime,
    how_long: dt.timedelta,
    price: decimal.Decimal,
    id: uuid.UUID,
    pair: Pair,
    movie: Movie,
    pet: Cat | Dog,
    anything: dict,  # type: ignore[type-arg]
) -> list: ...  # type: ignore[type-arg]


MADE = Signature.from_function(everything)
VALUES: tuple[Any, ...] = (
    2**70,
    "text",
    b"data",
    [1.5, 2.5],
    {"a": (1, 2, 3)},
    Point(1, 2.0),
    Tree(1, [Tree(2), Tree(3, [Tree(4)])]),
    Even(2),
    {Key("a"), Key("b", b"s")},
    Colour.RED,
    Right.READ | Right.ADMIN,
    dt.datetime(2026, 1, 2, tzinfo=dt.timezone.utc),
    dt.timedelta(days=3, microseconds=5),
    decimal.Decimal("1.10"),
    uuid.UUID(int=5),
    Pair(1, "r"),
    {"title": "t", "year": 1},
    Dog("rex"),
    {"a": [None, True, 1, 2.5, "s", b"b"]},
)
WIDE = MADE.encode_arguments(VALUES, {})
NARROW = MADE.encode_arguments((5, *VALUES[1:]), {})


def decodes_or_refuses(made: Signature, data: bytes) -> bool:
    try:
        values = made.decode_arguments(data)
    except MessageError as error:
        text = str(error)
    else:
        # What it gives is of the annotated types: it can be sent on as it is.
        made.encode_arguments(values, {})
        return True
    assert len(text) < 1000
    assert text.isprintable()
    return False


@pytest.mark.parametrize("message", [NARROW, WIDE], ids=["narrow", "wide"])
def test_message_cut_short_is_refused(message: bytes) -> None:
    assert decodes_or_refuses(MADE, message)
    for size in range(len(message)):
        assert not decodes_or_refuses(MADE, message[:size])


@pytest.mark.parametrize("message", [NARROW, WIDE], ids=["narrow", "wide"])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_changed_message_is_refused_or_valid(message: bytes, data: st.DataObject) -> None:
    changed = bytearray(message)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(changed) - 1))
        changed[position : position + data.draw(st.integers(0, 2))] = data.draw(
            st.binary(max_size=3)
        )
    decodes_or_refuses(MADE, bytes(changed))


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=64))
def test_random_bytes_are_refused(data: bytes) -> None:
    assert not decodes_or_refuses(MADE, data)
    assert not decodes_or_refuses(MADE, b"\xc1" + data)


def plain(value: list) -> None: ...  # type: ignore[type-arg]


@pytest.mark.parametrize(
    "data",
    [
        b"\x91" * 100_000,
        b"\x91" + b"\x81\xa1a" * 100_000,
        b"\xc1" + b"\x91" * 100_000,
        b"\x91\xdd\xff\xff\xff\xff",
        b"\x91\x91\xdf\xff\xff\xff\xff",
        b"\x91\x91\xc6\xff\xff\xff\xff",
        b"\x91\x91\xdb\xff\xff\xff\xff",
        b"\x91\x91\xc9\xff\xff\xff\xff\x01",
        b"\xc1\x91\x91\xc9\xff\xff\xff\xff\x01",
    ],
)
def test_depth_and_declared_lengths_are_bounded(data: bytes) -> None:
    assert not decodes_or_refuses(Signature.from_function(plain), data)


def test_huge_declared_lengths_allocate_nothing() -> None:
    # In a process of its own that may not have more than 1 GiB.
    script = (
        "import resource\n"
        "from hotcalls.wire import Signature, MessageError\n"
        "def f(a: list[int], b: bytes, c: dict[str, int], d: set[int]) -> None: ...\n"
        "made = Signature.from_function(f)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "for head in (b'\\xdd', b'\\xdf', b'\\xc6', b'\\xdb'):\n"
        "    for at in range(4):\n"
        "        parts = [b'\\x90', b'\\xc4\\x00', b'\\x80', b'\\x90']\n"
        "        parts[at] = head + b'\\xff\\xff\\xff\\xff'\n"
        "        for lead in (b'', b'\\xc1'):\n"
        "            try:\n"
        "                made.decode_arguments(lead + b'\\x94' + b''.join(parts))\n"
        "            except MessageError:\n"
        "                continue\n"
        "            raise SystemExit('accepted')\n"
        # Not ru_maxrss, which a process inherits from the one that started it.
        "peak = next(line for line in open('/proc/self/status') if line[:6] == 'VmHWM:')\n"
        "print(peak.split()[1])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 300_000


@pytest.mark.parametrize(
    "extension",
    [
        msgspec.msgpack.Ext(1, b"\x01" * 9),
        msgspec.msgpack.Ext(5, b"code"),
        msgspec.msgpack.Ext(-1, b"\xff" * 12),
        msgspec.msgpack.Ext(-1, b"bad"),
    ],
)
def test_extensions_of_others_are_refused(extension: msgspec.msgpack.Ext) -> None:
    for message in ([extension], [[extension]], [{"a": extension}]):
        encoded = msgspec.msgpack.encode(message)
        assert not decodes_or_refuses(Signature.from_function(plain), encoded)


@pytest.mark.claim("H-TYPES", "E-TYPES")
@pytest.mark.parametrize("lead", [b"", b"\xc1"], ids=["narrow", "wide"])
@pytest.mark.parametrize(
    ("value", "kind"),
    [(dt.datetime(2026, 1, 2, tzinfo=dt.timezone.utc), "datetime"), ({(1, 2): 3}, "tuple")],
    ids=["date", "key"],
)
def test_what_is_no_plain_data_is_refused(value: object, kind: str, lead: bytes) -> None:
    with pytest.raises(MessageError, match=f"value.*: expected .*plain.*, got {kind}"):
        Signature.from_function(plain).decode_arguments(lead + msgspec.msgpack.encode([[value]]))


def test_plain_data_is_received_as_deep_as_it_is_sent() -> None:
    made = Signature.from_function(plain)
    value: list[Any] = []
    for _ in range(100):
        value = [value]
    assert made.decode_arguments(made.encode_arguments((value,), {})) == (value,)
    with pytest.raises(MessageError, match="at most 100 levels"):
        made.decode_arguments(msgspec.msgpack.encode([[value]]))


def count(number: int) -> None: ...


@pytest.mark.parametrize(
    "data", [b"\x00" * 9, b"\x01" * 7, (5).to_bytes(9, "big"), b"\x01" * 8193, b""]
)
def test_big_int_that_is_small_or_huge_is_refused(data: bytes) -> None:
    message = b"\xc1" + msgspec.msgpack.encode([msgspec.msgpack.Ext(1, data)])
    assert not decodes_or_refuses(Signature.from_function(count), message)


def test_constructor_of_a_class_refuses_a_message() -> None:
    def f(even):  # type: ignore[no-untyped-def]
        pass

    f.__annotations__ = {"even": Even, "return": None}
    made = Signature.from_function(f)
    with pytest.raises(MessageError, match=r"f\(even=…\): odd"):
        made.decode_arguments(msgspec.msgpack.encode([{"number": 3}]))


def test_error_names_the_place_in_the_message() -> None:
    def f(points):  # type: ignore[no-untyped-def]
        pass

    f.__annotations__ = {"points": list[Point], "return": None}
    made = Signature.from_function(f)
    with pytest.raises(MessageError, match=r"^f\(points=…\)\[1\]\.x: expected int, got str$"):
        made.decode_arguments(msgspec.msgpack.encode([[{"x": 1}, {"x": "a"}]]))
    with pytest.raises(MessageError, match=r"^f\(\): result: expected no bytes, got 1$"):
        made.decode_result(b"\xc0")
