# SPDX-License-Identifier: Apache-2.0
"""Signatures made of annotations: calls as messages, and what is refused when a module loads."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from hotcalls.wire import MessageError, Signature


def signature(function: Any) -> Signature:
    return Signature.from_function(function)


class Plain:
    pass


class Weird(enum.Enum):
    A = 1.5


@dataclasses.dataclass
class NoInit:
    x: int
    y: int = dataclasses.field(default=0, init=False)


@dataclasses.dataclass
class WithPlain:
    inner: Plain


def sign(digest: bytes) -> bytes: ...


def store(number: int, text: str, data: bytes) -> dict: ...  # type: ignore[type-arg]


def test_bytes_function_is_raw_and_sends_the_very_object() -> None:
    made = signature(sign)
    data = b"x" * 100
    assert made.raw
    assert made.encode_arguments((data,), {}) is data
    assert made.decode_arguments(data) == (data,)
    assert made.encode_result(data) is data
    assert made.decode_result(data) is data


def test_typed_call_arrives_as_it_was_made() -> None:
    made = signature(store)
    message = made.encode_arguments((1, "a"), {"data": b"b"})
    assert made.decode_arguments(message) == (1, "a", b"b")
    assert made.decode_result(made.encode_result({"a": [1, {"b": None}]})) == {
        "a": [1, {"b": None}]
    }


def test_wrong_argument_is_refused_by_function_and_parameter() -> None:
    with pytest.raises(TypeError, match=r"^sign\(digest=…\): expected bytes, got int$"):
        signature(sign).encode_arguments((1,), {})


def test_trailing_bytes_are_no_message() -> None:
    made = signature(store)
    with pytest.raises(MessageError):
        made.decode_arguments(made.encode_arguments((1, "a", b""), {}) + b"\0")


def refused(annotation: Any) -> str:
    def call(value):  # type: ignore[no-untyped-def]
        pass

    call.__annotations__ = {"value": annotation, "return": None}
    with pytest.raises(TypeError) as caught:
        signature(call)
    text = str(caught.value)
    assert text.startswith("call(): parameter 'value': ")
    return text


@pytest.mark.parametrize(
    ("annotation", "part"),
    [
        (Any, "name the types, e.g. int | str | None"),
        (object, "name the types"),
        (complex, "write tuple[float, float]"),
        (Callable[[int], int], "declare an ocall"),
        (Callable, "declare an ocall"),
        (Iterator[int], "write list"),
        (Plain, "Plain does not travel; write a dataclass"),
        (list[Plain], "Plain does not travel"),
        (dict[str, complex], "write tuple[float, float]"),
        (set[list[int]], "list[int] cannot be an item of a set: it is not hashable"),
        (dict[bytearray, int], "bytearray cannot be the key of a dict"),
        (int | Any, "name the types"),
        (str | bytes, "str | bytes cannot be told apart in a message"),
        (list[int] | set[int], "list[int] | set[int] cannot be told apart in a message"),
        (dict[str, dt.date | str], "date | str cannot be told apart"),
        (Literal[True], "Literal[True] does not travel"),
        (Annotated[str, msgspec.Meta(pattern="(a+)+b")], "check the text in the function"),
        (Annotated[str, msgspec.Meta(ge=1)], "only set `ge`"),
        (Weird, "are not all of type int or all of type str"),
        (NoInit, "field 'y' of NoInit is not both stored and given to __init__"),
        (WithPlain, "field 'inner' of WithPlain: Plain does not travel"),
        (TypeVar("T"), "does not travel"),
        (npt.NDArray[np.object_], "arrays of dtype object_ cannot be sent"),
        (npt.NDArray[np.longdouble], "cannot be sent"),
        (npt.NDArray[np.floating], "arrays of dtype floating cannot be sent"),
    ],
)
def test_annotation_that_does_not_travel_is_refused_and_says_what_to_write(
    annotation: Any, part: str
) -> None:
    assert part in refused(annotation)


def test_type_that_goes_too_deep_is_refused() -> None:
    annotation: Any = int
    for _ in range(40):
        annotation = list[annotation]
    assert "more than 32 types within each other" in refused(annotation)


def define(source: str) -> Any:
    names: dict[str, Any] = {}
    exec(compile(source, "vault.py", "exec", dont_inherit=True), names)
    return names["f"]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            "def f(digest) -> None: ...",
            "f(): parameter 'digest' has no annotation; write its type, e.g. digest: bytes",
        ),
        (
            "def f(a: int): ...",
            "f(): the result has no annotation; write '-> None', or the type of what it returns",
        ),
        (
            "def f(*items: int) -> None: ...",
            "f(): parameter *items stands for any number of arguments; name each, or write one "
            "parameter, e.g. items: list[int]",
        ),
        (
            "def f(**more: int) -> None: ...",
            "f(): parameter **more stands for any number of arguments; name each, or write one "
            "parameter, e.g. options: dict[str, int]",
        ),
        (
            "def f(a: int = 'x') -> None: ...",
            "f(a=…): expected int, got str: this default of parameter 'a' cannot be sent",
        ),
        ("def f(a: 3) -> None: ...", "f(): parameter 'a': 3 does not travel"),
        ("def f() -> object: ...", "f(): result: object says nothing that could be checked"),
    ],
)
def test_function_that_cannot_be_called_across_is_refused(source: str, text: str) -> None:
    with pytest.raises(TypeError) as caught:
        signature(define(source))
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ((), {}, "f() missing 2 required arguments: 'a', 'd'"),
        ((1, 2, 3, 4), {}, "f() takes 3 positional arguments but 4 were given"),
        ((1,), {"d": 1, "e": 2}, "f() got an unexpected keyword argument 'e'"),
        ((), {"a": 1, "d": 1}, "f() got an unexpected keyword argument 'a'"),
        ((1, 2), {"b": 1, "d": 1}, "f() got multiple values for argument 'b'"),
        ((1, 2, 3), {}, "f() missing 1 required argument: 'd'"),
        ((1, 2, "x"), {"d": 1}, "f(c=…): expected int, got str"),
        (
            (1,),
            {"timeout": 1},
            "f() got an unexpected keyword argument 'timeout': options of a call are given as "
            "f.options(timeout=…)(…)",
        ),
    ],
)
def test_wrong_arguments_are_refused_as_python_does(
    args: tuple[Any, ...], kwargs: dict[str, Any], text: str
) -> None:
    made = signature(define("def f(a: int, /, b: int = 2, c: int = 3, *, d: int) -> None: ..."))
    with pytest.raises(TypeError) as caught:
        made.encode_arguments(args, kwargs)
    assert str(caught.value) == text


def test_defaults_and_keywords_are_filled_in_by_the_caller() -> None:
    made = signature(
        define("def f(a: int, /, b: int = 2, c: list = [None], *, d: int = 4) -> None: ...")
    )
    for caller in (made, Signature.from_description(made.describe())):
        message = caller.encode_arguments((1,), {"d": 5})
        assert made.decode_arguments(message) == (1, 2, [None], 5)
    assert str(made) == "f(a: int, /, b: int = 2, c: list = [None], *, d: int = 4) -> None"


def test_call_without_arguments_and_result_sends_no_bytes() -> None:
    made = signature(define("def f() -> None: ..."))
    assert made.encode_arguments((), {}) == b""
    assert made.decode_arguments(b"") == ()
    assert made.encode_result(None) == b""
    assert made.decode_result(b"") is None
    with pytest.raises(TypeError, match=r"^f\(\) takes 0 positional arguments but 1 was given$"):
        made.encode_arguments((1,), {})
    with pytest.raises(TypeError, match=r"^f\(\): result: expected None, got int$"):
        made.encode_result(1)


def test_inspect_shows_the_function_as_it_is_written() -> None:
    source = "def f(a: int, *, b: list[str] = ['x']) -> dict[str, int]:\n 'Say what.'"
    function = define(source)
    made = Signature.from_description(signature(function).describe())
    assert made.inspect() == inspect.signature(function)
    assert made.annotations == function.__annotations__
    assert made.doc == "Say what."


def test_digest_differs_when_a_call_would_and_not_with_the_doc_string() -> None:
    first = signature(define("def f(a: int) -> None:\n 'One.'")).digest()
    assert len(first) == 32
    assert signature(define("def f(a: int) -> None:\n 'Two.'")).digest() == first
    for source in (
        "def f(b: int) -> None: ...",
        "def f(a: int | None) -> None: ...",
        "def f(a: int = 1) -> None: ...",
        "def f(a: int) -> int: ...",
        "async def f(a: int) -> None: ...",
    ):
        assert signature(define(source)).digest() != first


def test_classes_of_equal_names_have_different_digests() -> None:
    one = define("import enum\nclass E(enum.Enum): A = 1\ndef f(a: E) -> None: ...")
    two = define("import enum\nclass E(enum.Enum): A = 2\ndef f(a: E) -> None: ...")
    assert signature(one).digest() != signature(two).digest()
