# SPDX-License-Identifier: Apache-2.0
"""Classes as users write them, for the tests of what travels."""

from __future__ import annotations

import dataclasses
import enum
from typing import Annotated, NamedTuple, TypedDict

import msgspec


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    name: str
    _secret: bytes = b""


@dataclasses.dataclass
class Tree:
    value: int
    children: list[Tree] = dataclasses.field(default_factory=list)
    parent: Tree | None = None


@dataclasses.dataclass
class Even:
    number: int

    def __post_init__(self) -> None:
        if self.number % 2:
            raise ValueError("odd")


class Record(msgspec.Struct, frozen=True):
    id: int
    tags: frozenset[str] = frozenset()


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    name: str = msgspec.field(name="n")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Right(enum.Flag):
    READ = 1
    WRITE = 2
    ADMIN = 4


class Pair(NamedTuple):
    left: int
    right: str = ""


class Movie(TypedDict):
    title: str
    year: int


class Options(TypedDict, total=False):
    depth: int
    names: list[str]


Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
