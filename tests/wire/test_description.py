# SPDX-License-Identifier: Apache-2.0
"""Descriptions of another side: signatures or SignatureError, whatever they hold."""

from __future__ import annotations

import copy
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vault_types import Colour, Point, Port, Tree

from hotcalls.errors import InterfaceMismatch, SignatureError
from hotcalls.wire import Signature, decode_interface, encode_interface


def rich(
    a: dict[str, list[int]],
    b: tuple[int, str] | None = None,
    c: Literal["x", 1] = "x",
    *,
    port: Port = 80,
    points: list[Point] | None = None,
    tree: Tree | None = None,
    array: npt.NDArray[np.float32] | None = None,
) -> set[Colour]:
    """Take and return nearly everything."""


MADE = Signature.from_function(rich)


def simple(a: int, b: dict[str, list[int]] = {}) -> bytes:  # noqa: B006
    """Be simple."""


SIMPLE = Signature.from_function(simple).describe()


def test_interface_arrives_as_it_was_described() -> None:
    data = encode_interface([MADE], [Signature.from_function(simple, "ocall")])
    ecalls, ocalls = decode_interface(data)
    assert [each.name for each in ecalls] == ["rich"]
    assert ecalls[0].digest() == MADE.digest()
    assert ecalls[0].needs_classes
    assert str(ocalls[0]) == "simple(a: int, b: dict[str, list[int]] = {}) -> bytes"


def test_signature_whose_classes_are_missing_says_so() -> None:
    other = Signature.from_description(MADE.describe())
    for call in (
        lambda: other.encode_arguments(({},), {}),
        lambda: other.decode_result(b""),
    ):
        with pytest.raises(TypeError, match="classes of its module, which has not been imported"):
            call()


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=8),
        st.sampled_from(
            ["int", "list", "dict", "union", "fixed", "literal", "limited", "ndarray", "class"]
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=12,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return every container and key within a description."""
    found = []
    items: Any = ()
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for key, inner in items:
        found.append((value, key))
        found.extend(places(inner))
    return found


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_changed_description_is_refused_or_valid(data: st.DataObject) -> None:
    description = copy.deepcopy(data.draw(st.sampled_from([MADE.describe(), SIMPLE])))
    container, key = data.draw(st.sampled_from(places(description)))
    container[key] = data.draw(JSON)
    try:
        made = Signature.from_description(description)
    except SignatureError as error:
        text = str(error)
    else:
        text = made.name
        assert made.digest()
        assert str(made.inspect())
    assert len(text) < 600
    assert text.isprintable()


@settings(max_examples=200, deadline=None)
@given(description=JSON)
def test_what_is_no_description_is_refused(description: Any) -> None:
    with pytest.raises(SignatureError):
        Signature.from_description(description)


def changed(**parts: Any) -> dict[str, Any]:
    return {**SIMPLE, **parts}


def nested(depth: int) -> Any:
    made: Any = "int"
    for _ in range(depth):
        made = ["list", made]
    return made


@pytest.mark.parametrize(
    "description",
    [
        changed(name="a b"),
        changed(name="class"),
        changed(name="__init__"),
        changed(name="a" * 256),
        changed(name="a\x1b[31m"),
        changed(kind="call"),
        changed(more=1),
        changed(doc="x" * 10_000),
        changed(result=nested(33)),
        changed(result=nested(100_000)),
        changed(result=["fixed", ["int"] * 5000]),
        changed(result=["limited", "str", {"pattern": "(a+)+$"}]),
        changed(result=["limited", "int", {"ge": "x"}]),
        changed(result=["set", ["list", "int"]]),
        changed(result=["union", ["str", "bytes"]]),
        changed(result=["ndarray", "|O"]),
        changed(result=["ndarray", "<f8" * 10]),
        changed(result=["os.system", "int"]),
        changed(result="Any"),
        changed(parameters=[["a", "any", "int", None]] * 2),
        changed(parameters=[["a", "any", "int", "wAA="], ["b", "any", "int", None]]),
        changed(parameters=[["a", "any", "int", "not base64"]]),
        changed(parameters=[["a", "any", "int", "oWE="]]),
        changed(parameters=[["a", "keyword", "int", None], ["b", "any", "int", None]]),
        changed(parameters=[[f"p{i}", "any", "int", None] for i in range(300)]),
    ],
    ids=range(25),
)
def test_description_that_breaks_a_rule_is_refused(description: Any) -> None:
    with pytest.raises(SignatureError):
        Signature.from_description(description)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"ecalls": 1, "ocalls": []}',
        b'{"ecalls": [], "ocalls": [], "more": []}',
        b"\xff\xfe",
        b"[" * 1_000_000,
        b" " * 5_000_000,
        msgspec.json.encode({"ecalls": [SIMPLE, SIMPLE], "ocalls": []}),
        msgspec.json.encode({"ecalls": [], "ocalls": [SIMPLE]}),
        msgspec.json.encode({"ecalls": [SIMPLE] * 1025, "ocalls": []}),
    ],
    ids=range(11),
)
def test_bytes_that_are_no_interface_are_refused(data: bytes) -> None:
    with pytest.raises(SignatureError):
        decode_interface(data)


def test_signature_error_is_an_interface_mismatch() -> None:
    assert issubclass(SignatureError, InterfaceMismatch)
