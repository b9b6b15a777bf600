# SPDX-License-Identifier: Apache-2.0
"""Every type that travels arrives equal and of the same type, as argument and as result."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import uuid
from collections.abc import Callable
from typing import Any, Literal, Optional, Union

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vault_types import (
    Cat,
    Colour,
    Dog,
    Even,
    Key,
    Level,
    Movie,
    Options,
    Pair,
    Point,
    Port,
    Record,
    Right,
    Tree,
)

from hotcalls.wire import Signature

Echo = Callable[[Any], Signature]

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
INTS = st.one_of(
    st.integers(),
    st.integers(min_value=2**63 - 2, max_value=2**64 + 2),
    st.integers(min_value=-(2**63) - 2, max_value=-(2**63) + 2),
    st.integers(min_value=-(2**4000), max_value=2**4000),
)
FLOATS = st.floats(allow_nan=False)
PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), INTS, FLOATS, TEXT, st.binary()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.one_of(TEXT, INTS), inner)),
    max_leaves=8,
)
POINTS = st.builds(Point, INTS, FLOATS)
TREES = st.recursive(
    st.builds(Tree, INTS), lambda inner: st.builds(Tree, INTS, st.lists(inner)), max_leaves=6
)
RECORDS = st.builds(Record, INTS, st.frozensets(TEXT))

TYPES: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "None": (None, st.none()),
    "bool": (bool, st.booleans()),
    "int": (int, INTS),
    "float": (float, FLOATS),
    "str": (str, TEXT),
    "bytes": (bytes, st.binary()),
    "bytearray": (bytearray, st.binary().map(bytearray)),
    "memoryview": (memoryview, st.binary().map(memoryview)),
    "list": (list[int], st.lists(INTS)),
    "list of lists": (list[list[str]], st.lists(st.lists(TEXT))),
    "bare list": (list, st.lists(PLAIN)),
    "bare dict": (dict, st.dictionaries(TEXT, PLAIN)),
    "dict of plain": (dict[str, Any], st.dictionaries(TEXT, PLAIN)),
    "dict": (dict[str, int], st.dictionaries(TEXT, INTS)),
    "dict by int": (dict[int, bytes], st.dictionaries(INTS, st.binary())),
    "dict by tuple": (
        dict[tuple[int, str], float],
        st.dictionaries(st.tuples(INTS, TEXT), FLOATS),
    ),
    "dict by bytes": (dict[bytes, None], st.dictionaries(st.binary(), st.none())),
    "tuple": (tuple[int, str, bytes], st.tuples(INTS, TEXT, st.binary())),
    "empty tuple": (tuple[()], st.just(())),
    "variadic tuple": (tuple[float, ...], st.lists(FLOATS).map(tuple)),
    "set": (set[int], st.sets(INTS)),
    "frozenset": (frozenset[str], st.frozensets(TEXT)),
    "optional": (Optional[bytes], st.one_of(st.none(), st.binary())),  # noqa: UP045
    "union": (Union[int, str, None], st.one_of(INTS, TEXT, st.none())),  # noqa: UP007
    "number": (int | float, st.one_of(INTS, FLOATS)),
    "literal": (Literal[1, "a"] | None, st.sampled_from([1, "a", None])),
    "datetime": (dt.datetime, st.datetimes(timezones=st.sampled_from([dt.timezone.utc, None]))),
    "date": (dt.date, st.dates()),
    "time": (dt.time, st.times()),
    "timedelta": (dt.timedelta, st.timedeltas()),
    "Decimal": (decimal.Decimal, st.decimals(allow_nan=False)),
    "UUID": (uuid.UUID, st.uuids()),
    "dataclass": (Point, POINTS),
    "frozen dataclass": (Key, st.builds(Key, TEXT, st.binary())),
    "recursive dataclass": (Tree, TREES),
    "dataclass with a constructor": (Even, INTS.map(lambda n: Even(n * 2))),
    "list of dataclasses": (list[Point], st.lists(POINTS)),
    "dict of lists of dataclasses": (
        dict[str, list[Key]],
        st.dictionaries(TEXT, st.lists(st.builds(Key, TEXT))),
    ),
    "set of dataclasses": (set[Key], st.sets(st.builds(Key, TEXT))),
    "struct": (Record, RECORDS),
    "tagged structs": (
        Cat | Dog,
        st.one_of(st.builds(Cat, INTS), st.builds(Dog, TEXT)),
    ),
    "enum": (Colour, st.sampled_from(Colour)),
    "int enum": (Level, st.sampled_from(Level)),
    "flag": (Right, st.integers(0, 7).map(Right)),
    "enums as keys": (dict[Colour, Level], st.just({Colour.RED: Level.HIGH})),
    "named tuple": (Pair, st.builds(Pair, INTS, TEXT)),
    "typed dict": (Movie, st.fixed_dictionaries({"title": TEXT, "year": INTS})),
    "open typed dict": (
        Options,
        st.fixed_dictionaries({}, optional={"depth": INTS, "names": st.lists(TEXT)}),
    ),
    "limited": (Port, st.integers(1, 65535)),
}


def alike(left: Any, right: Any) -> bool:
    """Equal, and of the same types all the way down."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left == right and all(alike(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(alike, left, right))
    return bool(left == right)


@pytest.mark.parametrize("name", TYPES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_value_arrives_as_argument_and_as_result(name: str, data: st.DataObject) -> None:
    _, strategy = TYPES[name]
    made = SIGNATURES[name]
    value = data.draw(strategy)
    (arrived,) = made.decode_arguments(bytes(made.encode_arguments((value,), {})))
    assert alike(arrived, value)
    assert alike(made.decode_result(bytes(made.encode_result(value))), value)


@pytest.mark.parametrize("name", TYPES)
def test_description_of_type_makes_the_same_signature(name: str) -> None:
    made = SIGNATURES[name]
    other = Signature.from_description(made.describe())
    assert other.digest() == made.digest()
    assert str(other) == str(made)
    assert other.needs_classes == made.needs_classes


def signature_of(annotation: Any) -> Signature:
    def echo(value):  # type: ignore[no-untyped-def]
        return value

    echo.__annotations__ = {"value": annotation, "return": annotation}
    return Signature.from_function(echo)


SIGNATURES = {name: signature_of(annotation) for name, (annotation, _) in TYPES.items()}


def test_nan_and_infinities_arrive(echo: Echo) -> None:
    made = echo(list[float])
    message = made.encode_arguments(([math.nan, math.inf, -math.inf, -0.0],), {})
    ((nan, most, least, zero),) = made.decode_arguments(message)
    assert math.isnan(nan)
    assert (most, least, math.copysign(1, zero)) == (math.inf, -math.inf, -1)


def test_aware_datetime_arrives_as_the_same_instant_in_utc(echo: Echo) -> None:
    made = echo(dt.datetime)
    east = dt.datetime(2026, 3, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    (arrived,) = made.decode_arguments(made.encode_arguments((east,), {}))
    assert arrived == east
    assert arrived.tzinfo == dt.timezone.utc


@pytest.mark.parametrize(
    ("annotation", "value", "arrives"),
    [
        (float, 3, 3.0),
        (float, 2**70, float(2**70)),
        (list[float], [1, 2.5], [1.0, 2.5]),
        (int, True, 1),
        (int, Level.HIGH, 2),
        (list[int], [True, 5], [1, 5]),
        (dict[str, float], {"a": 1}, {"a": 1.0}),
        (Point, Point(True, 2), Point(1, 2.0)),
        (float | None, 3, 3.0),
    ],
)
def test_what_typing_allows_arrives_as_the_annotated_type(
    echo: Echo, annotation: Any, value: Any, arrives: Any
) -> None:
    made = echo(annotation)
    (arrived,) = made.decode_arguments(made.encode_arguments((value,), {}))
    assert alike(arrived, arrives)


def test_instances_of_subclasses_arrive_as_the_plain_type(echo: Echo) -> None:
    class Loud(str):
        def __str__(self) -> str:
            return "never asked"

    class Blob(bytes):
        def __bytes__(self) -> bytes:
            return b"never asked"

    for annotation, value, plain in ((str, Loud("a"), "a"), (bytes, Blob(b"b"), b"b")):
        made = echo(annotation)
        (arrived,) = made.decode_arguments(made.encode_arguments((value,), {}))
        assert alike(arrived, plain)
    made = echo(list)
    assert alike(made.decode_result(made.encode_result([Loud("a")])), ["a"])


def test_caller_keeps_its_value_when_it_is_converted(echo: Echo) -> None:
    point = Point(True, 2)
    echo(Point).encode_arguments((point,), {})
    assert point.x is True
    assert type(point.y) is int
