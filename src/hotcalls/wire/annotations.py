# SPDX-License-Identifier: Apache-2.0
"""From annotations to kinds: what a parameter or result may be.

Both sides, when a module is imported. Every refusal is a TypeError that says what to write instead.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime as dt
import decimal
import enum
import types
import typing
import uuid
from collections.abc import Callable
from typing import Any, get_args, get_origin

import msgspec

from hotcalls.wire.classes import Class, Member
from hotcalls.wire.kinds import (
    Choice,
    Contiguous,
    Either,
    Fixed,
    Kind,
    Limited,
    Mapping,
    NoneType,
    Number,
    Plain,
    Scalar,
    Sequence,
    plain_bytes,
)

SCALARS: dict[type, Callable[[], Kind]] = {
    NoneType: lambda: Scalar(NoneType, "None"),
    bool: lambda: Scalar(bool),
    int: lambda: Number(int, int.__int__),
    float: lambda: Number(float, float.__float__),
    str: lambda: Number(str, str.__str__),
    bytes: lambda: Number(bytes, plain_bytes),
    bytearray: lambda: Scalar(bytearray),
    memoryview: Contiguous,
    **{
        kind: (lambda kind=kind: Scalar(kind))  # type: ignore[misc]
        for kind in (
            dt.datetime,
            dt.date,
            dt.time,
            dt.timedelta,
            decimal.Decimal,
            uuid.UUID,
        )
    },
}

#: Abstract containers travel as what implements them.
CONTAINERS: dict[Any, type] = {
    list: list,
    set: set,
    frozenset: frozenset,
    tuple: tuple,
    dict: dict,
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Collection: list,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
    collections.abc.Mapping: dict,
    collections.abc.MutableMapping: dict,
}
LIMITS = ("gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "tz")
DEPTH_MAX = 32

_HINTS = {
    Any: "Any says nothing that could be checked: name the types, e.g. int | str | None, "
    "or write a bare dict or list for plain data",
    object: "object says nothing that could be checked: name the types, e.g. int | str | None",
    complex: "complex does not travel; write tuple[float, float]",
    range: "range does not travel; write tuple[int, int, int]",
    collections.abc.Callable: "functions cannot cross to another process; declare an ocall",
    collections.abc.Iterable: "an iterable cannot cross to another process; write list",
    collections.abc.Iterator: "an iterator cannot cross to another process; write list",
    collections.abc.Generator: "a generator cannot cross to another process; return a list",
    typing.NoReturn: "a function that never returns has no answer; write None",
}


def kind_of(annotation: Any) -> Kind:
    """Return what an evaluated annotation allows.

    Raises
    ------
    TypeError
        It does not travel; the text says what does.
    NameError
        A class names another that is not defined yet.
    """
    kind = _Reader().read(annotation, 0)
    if isinstance(kind, Plain):
        raise TypeError(_HINTS[Any])
    return kind


class _Reader:
    """Reads one annotation; knows the classes around what it reads."""

    def __init__(self) -> None:
        self._classes: dict[Any, Class] = {}

    def read(self, annotation: Any, depth: int, *, inside: bool = False) -> Kind:
        """Return the kind; `inside` a container ``Any`` means plain data."""
        if depth > DEPTH_MAX:
            raise TypeError(f"more than {DEPTH_MAX} types within each other")
        depth += 1
        if annotation is None:
            annotation = NoneType
        make = SCALARS.get(annotation) if isinstance(annotation, type) else None
        if make is not None:
            return make()
        if annotation is Any and inside:
            return Plain()
        alias = getattr(annotation, "__value__", None)
        if type(annotation).__name__ == "TypeAliasType":
            return self.read(alias, depth, inside=inside)
        if hasattr(annotation, "__supertype__"):  # typing.NewType
            return self.read(annotation.__supertype__, depth)
        origin = get_origin(annotation)
        if origin is typing.Annotated:
            return self._annotated(annotation, depth)
        if origin is typing.Union or origin is types.UnionType:
            return self._union(annotation, depth)
        if origin is typing.Literal:
            return self._literal(annotation)
        if (origin or annotation) in CONTAINERS:
            return self._container(CONTAINERS[origin or annotation], get_args(annotation), depth)
        return self._class(annotation, origin, depth)

    def _annotated(self, annotation: Any, depth: int) -> Kind:
        base = self.read(annotation.__origin__, depth)
        limits: dict[str, Any] = {}
        for extra in annotation.__metadata__:
            if not isinstance(extra, msgspec.Meta):
                continue
            if extra.pattern is not None:
                raise TypeError(
                    "pattern= is not checked at the boundary (a pattern can be made to take for "
                    "ever); check the text in the function"
                )
            for name in LIMITS:
                if getattr(extra, name) is not None:
                    limits[name] = getattr(extra, name)
        if not limits:
            return base
        return limited(base, limits)

    def _union(self, annotation: Any, depth: int) -> Kind:
        options = tuple(self.read(each, depth) for each in get_args(annotation))
        return union(options)

    def _literal(self, annotation: Any) -> Kind:
        values = get_args(annotation)
        for value in values:
            if type(value) not in (int, str, NoneType):
                raise TypeError(f"Literal[{value!r}] does not travel; Literal takes str, int, None")
        return Choice(values, annotation)

    def _container(self, container: type, arguments: tuple[Any, ...], depth: int) -> Kind:
        if container is dict:
            key, value = arguments or (Any, Any)
            kind = Mapping(
                self.read(key, depth, inside=True),
                self.read(value, depth, inside=True),
                bare=not arguments,
            )
            _need_hash(kind.key, "the key of a dict")
            return kind
        if container is tuple and arguments and arguments[-1] is not Ellipsis:
            items = () if arguments == ((),) else arguments
            return Fixed(tuple(self.read(item, depth, inside=True) for item in items))
        if container is tuple and get_origin(tuple[()]) is None and not arguments:
            arguments = ()
        item = self.read(arguments[0] if arguments else Any, depth, inside=True)
        if container in (set, frozenset):
            _need_hash(item, f"an item of a {container.__name__}")
        return Sequence(container, item, bare=not arguments)

    def _class(self, annotation: Any, origin: Any, depth: int) -> Kind:
        from hotcalls.wire.arrays import is_array_type

        if is_array_type(annotation):
            from hotcalls.wire.arrays import Array, dtype_of

            return Array(dtype_of(annotation), annotation)
        if annotation in self._classes:
            return self._classes[annotation]
        if getattr(annotation, "__hotcalls_shared__", False):
            from hotcalls.wire.shared import Shared

            return Shared(annotation)
        if isinstance(annotation, type) and origin is None:
            family = _family(annotation)
            if family is not None:
                return self._members(annotation, family, depth)
        hint = _HINTS.get(origin or annotation) if _hashable(origin or annotation) else None
        if hint is None:
            hint = (
                f"{type_text(annotation)} does not travel; write a dataclass, or one of None, "
                "bool, int, float, str, bytes, list, dict, tuple, set, Union, Literal, enums, "
                "datetime, Decimal, UUID, msgspec.Struct, numpy.ndarray"
            )
        raise TypeError(hint)

    def _members(self, cls: Any, family: str, depth: int) -> Kind:
        kind = self._classes[cls] = Class(cls, family, _details(cls, family))
        if family == "enum":
            _check_enum(cls)
            return kind
        hints = typing.get_type_hints(cls, include_extras=True)
        members = []
        for name, wire_name, required in _fields(cls, family):
            if name not in hints:
                raise TypeError(f"field {name!r} of {cls.__qualname__} has no annotation")
            annotation = hints[name]
            while get_origin(annotation) in _REQUIRED:
                annotation = get_args(annotation)[0]
            try:
                member = self.read(annotation, depth)
            except TypeError as error:
                raise TypeError(f"field {name!r} of {cls.__qualname__}: {error}") from None
            members.append(Member(name, wire_name, member, required))
        kind.members = tuple(members)
        return kind


_REQUIRED: tuple[Any, ...] = tuple(
    getattr(typing, name)
    for name in ("Required", "NotRequired", "ReadOnly")
    if hasattr(typing, name)
)


def union(options: tuple[Kind, ...]) -> Kind:
    """Return the kind of either; TypeError when a message does not tell them apart."""
    either: Any = typing.Union
    annotation = either[tuple(option.annotation for option in options)]
    kind = Either(options, annotation)
    try:
        msgspec.msgpack.Decoder(annotation)
    except TypeError as error:
        raise TypeError(
            f"{kind.text} cannot be told apart in a message "
            f"({str(error).partition(' - type')[0]}); put one of them into a dataclass"
        ) from None
    return kind


def limited(base: Kind, limits: dict[str, Any]) -> Kind:
    """Return a kind with msgspec's limits on its values."""
    annotated: Any = typing.Annotated
    annotation = annotated[base.annotation, msgspec.Meta(**limits)]
    try:
        msgspec.msgpack.Decoder(annotation)
    except TypeError as error:
        raise TypeError(str(error)) from None
    return Limited(base, limits, annotation)


def type_text(annotation: Any) -> str:
    """An annotation as a person writes it."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation.__qualname__
    return str(annotation).replace("typing.", "")


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _need_hash(kind: Kind, role: str) -> None:
    if not kind.hashable:
        raise TypeError(f"{kind.text} cannot be {role}: it is not hashable")


def _family(cls: Any) -> str | None:
    if issubclass(cls, enum.Enum):
        return "enum"
    if issubclass(cls, msgspec.Struct):
        return "struct"
    if dataclasses.is_dataclass(cls):
        return "dataclass"
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return "namedtuple"
    if issubclass(cls, dict) and hasattr(cls, "__total__"):
        return "typeddict"
    return None


def _fields(cls: Any, family: str) -> list[tuple[str, str, bool]]:
    """Names of the fields of a class, in Python and in messages, and whether they are required."""
    if family == "dataclass":
        found = []
        for name, field in cls.__dataclass_fields__.items():
            if field._field_type is dataclasses._FIELD_CLASSVAR:  # type: ignore[attr-defined]
                continue
            if not field.init or field._field_type is dataclasses._FIELD_INITVAR:  # type: ignore[attr-defined]
                raise TypeError(
                    f"field {name!r} of {cls.__qualname__} is not both stored and given to "
                    "__init__ (InitVar, init=False): the other side could not rebuild it"
                )
            missing = dataclasses.MISSING
            found.append(
                (name, name, field.default is missing and field.default_factory is missing)
            )
        return found
    if family == "struct":
        return [
            (each.name, each.encode_name, each.required) for each in msgspec.structs.fields(cls)
        ]
    if family == "namedtuple":
        return [(name, name, name not in cls._field_defaults) for name in cls._fields]
    return [
        (name, name, name in cls.__required_keys__)
        for name in sorted(cls.__required_keys__ | cls.__optional_keys__)
    ]


def _details(cls: Any, family: str) -> dict[str, Any]:
    """What else both sides have to agree on."""
    if family == "enum":
        return {"values": [[name, member.value] for name, member in cls.__members__.items()]}
    if family == "struct":
        config = cls.__struct_config__
        return {"tag": config.tag, "tag_field": config.tag_field, "array": config.array_like}
    return {}


def _check_enum(cls: Any) -> None:
    kinds = {type(member.value) for member in cls}
    if not kinds <= {int} and not kinds <= {str}:
        raise TypeError(
            f"the values of {cls.__qualname__} are not all of type int or all of type str; "
            "only such enums travel"
        )
    if kinds == {int} and any(not -(2**63) <= member.value < 2**63 for member in cls):
        raise TypeError(f"a value of {cls.__qualname__} does not fit into 64 bits")
