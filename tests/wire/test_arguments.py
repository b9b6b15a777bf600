# SPDX-License-Identifier: Apache-2.0
"""Values of the wrong type are refused by who has them, with the path to what is wrong."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Callable
from typing import Any, Literal

import pytest
from vault_types import Cat, Colour, Even, Key, Level, Movie, Options, Pair, Point, Port, Tree

from hotcalls.wire import Signature

Echo = Callable[[Any], Signature]


class Other(Point):
    pass


@pytest.mark.parametrize(
    ("annotation", "value", "text"),
    [
        (bytes, "a", "echo(value=…): expected bytes, got str"),
        (bytes, bytearray(b"a"), "echo(value=…): expected bytes, got bytearray"),
        (str, b"a", "echo(value=…): expected str, got bytes"),
        (str, dt.date(2026, 1, 1), "echo(value=…): expected str, got date"),
        (str, uuid.UUID(int=1), "echo(value=…): expected str, got UUID"),
        (int, 1.0, "echo(value=…): expected int, got float"),
        (int, "1", "echo(value=…): expected int, got str"),
        (int, None, "echo(value=…): expected int, got None"),
        (bool, 1, "echo(value=…): expected bool, got int"),
        (float, "1", "echo(value=…): expected float, got str"),
        (float, 10**400, "echo(value=…): expected float, got int too large for a float"),
        (None, 0, "echo(value=…): expected None, got int"),
        (list[int], (1, 2), "echo(value=…): expected list[int], got tuple"),
        (list[int], [1, "a"], "echo(value=…)[1]: expected int, got str"),
        (set[int], {1, "a"}, "item of echo(value=…): expected int, got str"),
        (set[int], [1], "echo(value=…): expected set[int], got list"),
        (tuple[int, str], (1,), "echo(value=…): expected tuple of 2, got tuple of 1"),
        (tuple[int, str], (1, 2), "echo(value=…)[1]: expected str, got int"),
        (tuple[int, ...], (1, None), "echo(value=…)[1]: expected int, got None"),
        (dict[str, int], {"a": "b"}, "echo(value=…)['a']: expected int, got str"),
        (dict[str, int], {1: 1}, "key of echo(value=…): expected str, got int"),
        (dict[str, int], Point(1), "echo(value=…): expected dict[str, int], got Point"),
        (list[dict[str, Point]], [{"k": Point("x")}], "[0]['k'].x: expected int, got str"),
        (Point, Other(1), "echo(value=…): expected Point, got Other"),
        (Point, {"x": 1}, "echo(value=…): expected Point, got dict"),
        (Tree, Tree(1, [Tree("a")]), "echo(value=…).children[0].value: expected int, got str"),
        (Cat, Cat("nine"), "echo(value=…).lives: expected int, got str"),
        (Pair, (1, "a"), "echo(value=…): expected Pair, got tuple"),
        (Key, Key(1), "echo(value=…).name: expected str, got int"),
        (Colour, "red", "echo(value=…): expected Colour, got str"),
        (Level, 1, "echo(value=…): expected Level, got int"),
        (Movie, {"title": "a"}, "expected Movie, got a dict without 'year'"),
        (Movie, {"title": "a", "year": 1, "z": 1}, "got a dict with the key 'z' too"),
        (Options, {"depth": "a"}, "echo(value=…)['depth']: expected int, got str"),
        (int | None, "a", "echo(value=…): expected int | None, got str"),
        (list[int] | None, ["a"], "echo(value=…)[0]: expected int, got str"),
        (Literal["a", 1], "b", "echo(value=…): expected 'a' or 1, got 'b'"),
        (Literal["a", 1], True, "echo(value=…): expected 'a' or 1, got bool"),
        (dict, {"a": {1, 2}}, "echo(value=…)['a']: expected plain data (None, bool, int"),
        (list, [(1, 2)], "echo(value=…)[0]: expected plain data"),
        (decimal.Decimal, 1.5, "echo(value=…): expected Decimal, got float"),
        (dt.date, dt.datetime(2026, 1, 1), "echo(value=…): expected date, got datetime"),
        (memoryview, memoryview(b"abcd")[::2], "expected memoryview of contiguous bytes"),
        (memoryview, memoryview(b"abcd").cast("i"), "view.cast('B') makes bytes of it"),
    ],
)
def test_wrong_value_is_refused_by_its_path(
    echo: Echo, annotation: Any, value: Any, text: str
) -> None:
    made = echo(annotation)
    with pytest.raises(TypeError) as caught:
        made.encode_arguments((value,), {})
    assert text in str(caught.value)
    with pytest.raises(TypeError) as caught:
        made.encode_result(value)
    assert text.replace("echo(value=…)", "echo(): result") in str(caught.value)


@pytest.mark.parametrize(
    ("annotation", "value", "text"),
    [
        (Port, 0, "echo(value=…): expected int >= 1"),
        (list[Port], [1, 70000], "echo(value=…)[1]: expected int <= 65535"),
        (Even, None, "echo(value=…): odd"),
        (str, "\ud800", "echo(): text with a surrogate at 0 cannot be encoded"),
    ],
)
def test_value_that_is_not_allowed_is_refused_before_it_is_sent(
    echo: Echo, annotation: Any, value: Any, text: str
) -> None:
    if annotation is Even:
        value = Even(2)
        value.number = 3
    with pytest.raises(ValueError) as caught:
        echo(annotation).encode_arguments((value,), {})
    assert str(caught.value) == text


def test_value_within_itself_is_refused(echo: Echo) -> None:
    tree = Tree(1)
    tree.children.append(tree)
    knot: list[Any] = []
    knot.append(knot)
    for annotation, value in ((Tree, tree), (list, knot)):
        with pytest.raises((ValueError, TypeError), match=r"nested|levels"):
            echo(annotation).encode_arguments((value,), {})


def test_int_without_bounds_is_refused(echo: Echo) -> None:
    with pytest.raises(ValueError, match="an int of 70001 bits; at most 65536 are sent"):
        echo(int).encode_arguments((1 << 70000,), {})
