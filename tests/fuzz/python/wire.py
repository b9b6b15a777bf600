# SPDX-License-Identifier: Apache-2.0
"""Any bytes as a message: a value of the declared types that makes one again, or MessageError."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec

from hotcalls.failure import MessageError
from hotcalls.wire.failures import decode_exception
from hotcalls.wire.signature import Signature


class Colour(enum.Enum):
    """An enumeration."""

    RED = 1
    BLUE = 2


@dataclass
class Point:
    """Fields with and without a default."""

    x: int
    y: float = 0.5
    name: str | None = None


class Row(NamedTuple):
    """A tuple with names."""

    key: bytes
    points: list[Point]


class Options(TypedDict, total=False):
    """A dict with names."""

    depth: int
    colour: Colour


class Tree(msgspec.Struct):
    """A struct."""

    name: str
    size: Annotated[int, msgspec.Meta(ge=0, le=100)]


Plain = dict[str, str | list[int]]
Access = Literal["r", "w", 3]
Short = Annotated[str, msgspec.Meta(max_length=5)]

# ruff: noqa: E704
# mypy: disable-error-code="empty-body,type-arg"


def _plain(a: int, b: str = "x", *, c: bytes = b"") -> bytes: ...
def _nested(a: list[dict[str, tuple[int, float]]], b: set[int] | None) -> Plain: ...
def _classes(a: Point, b: Row, c: Options, d: Tree, e: Colour) -> list[Tree]: ...
def _choices(a: Access, b: int | str | None, c: Short) -> Point | None: ...
def _any(a: dict, b: datetime, c: frozenset[str], d: bool) -> list: ...
def _raw(a: bytes) -> bytes: ...
def _big(a: int, b: tuple[int, ...], c: dict[int, bytes]) -> int: ...


def _codecs() -> list[tuple[Callable[[Any], Any], Callable[[Any], bytes]]]:
    found: list[tuple[Callable[[Any], Any], Callable[[Any], bytes]]] = []
    for function in (_plain, _nested, _classes, _choices, _any, _raw, _big):
        signature = Signature.from_function(function)

        def arguments(value: Any, signature: Signature = signature) -> bytes:
            return signature.encode_arguments(tuple(value), {})

        if function is not _plain:
            found.append((signature.decode_arguments, arguments))
        else:
            found.append((signature.decode_arguments, lambda _: b""))
        found.append((signature.decode_result, signature.encode_result))
    return found


_CODECS = _codecs()


def run(data: bytes) -> None:
    """Decode it; what came out is encoded and decoded once more."""
    which, message = (data[0] if data else 0), data[1:]
    if which == 255:
        try:
            error = decode_exception(message)
        except MessageError:
            return
        assert str(error).replace("\n", "").replace("\t", "").isprintable()
        return
    decode, encode = _CODECS[which % len(_CODECS)]
    try:
        value = decode(message)
    except MessageError as error:
        assert str(error), "an error without a word"
        return
    again = encode(value)
    if again:
        # Not compared as values, nan is not nan; nor as bytes, sets have no order.
        assert len(encode(decode(again))) == len(again)
