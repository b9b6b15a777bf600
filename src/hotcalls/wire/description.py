# SPDX-License-Identifier: Apache-2.0
"""Descriptions of functions that the other side sent: hostile until they are read.

Used where an interface is received. A description can only make types of this package's own list;
it names no class to import and holds no code. Everything in it is bounded, and what is no
description is a :class:`SignatureError`.
"""

from __future__ import annotations

import base64
import binascii
import keyword
from typing import Any, Literal

import msgspec

from hotcalls.errors import SignatureError
from hotcalls.failure import MessageError
from hotcalls.wire.annotations import CONTAINERS, DEPTH_MAX, LIMITS, SCALARS, limited, union
from hotcalls.wire.classes import Class, Member
from hotcalls.wire.codec import printable
from hotcalls.wire.kinds import (
    Choice,
    Either,
    Fixed,
    Kind,
    Mapping,
    NoneType,
    Plain,
    Sequence,
    tree,
)
from hotcalls.wire.pack import pack_json
from hotcalls.wire.signature import (
    DOC_MAX,
    KINDS,
    MISSING,
    PARAMETERS_MAX,
    Parameter,
    Signature,
    default_codec,
)

NAME_MAX = 255
#: Types that one function may be made of.
TYPES_MAX = 4096
FUNCTIONS_MAX = 1024
INTERFACE_BYTES_MAX = 4 << 20
DEFAULT_BYTES_MAX = 1 << 16
LITERALS_MAX = 256
FAMILIES = frozenset(["dataclass", "struct", "namedtuple", "typeddict", "enum"])

_SCALARS = {("None" if kind is NoneType else kind.__name__): kind for kind in SCALARS}
_CONTAINERS = {kind.__name__: kind for kind in CONTAINERS.values() if kind is not dict}


def signature_from(description: object) -> Signature:
    """Make a signature of a description; :class:`SignatureError` when it is none."""
    try:
        return _signature(description)
    except (SignatureError, MemoryError):
        raise
    except ImportError as error:
        raise SignatureError(f"the interface has numpy arrays, and {error}") from None
    except Exception as error:
        # Whatever a hostile description provokes further down is still only a bad description.
        raise SignatureError(f"not a description: {printable(str(error), NAME_MAX)}") from None


def encode_interface(ecalls: list[Signature], ocalls: list[Signature]) -> bytes:
    """Return the bytes that tell the other side every function, in the order of their ids."""
    return pack_json(
        {
            "ecalls": [each.describe() for each in ecalls],
            "ocalls": [each.describe() for each in ocalls],
        }
    )


def decode_interface(data: bytes) -> tuple[list[Signature], list[Signature]]:
    """Read :func:`encode_interface`'s bytes: ecalls and ocalls.

    Raises
    ------
    SignatureError
        They are not an interface.
    """
    if len(data) > INTERFACE_BYTES_MAX:
        raise SignatureError(
            f"an interface of {len(data)} bytes; at most {INTERFACE_BYTES_MAX} are read"
        )
    try:
        found = msgspec.json.decode(data, type=dict[str, list[Any]])
    except MemoryError:
        raise
    except Exception as error:
        raise SignatureError(f"not an interface: {printable(str(error), NAME_MAX)}") from None
    if found.keys() != {"ecalls", "ocalls"}:
        raise SignatureError("an interface lists ecalls and ocalls")
    both = []
    for kind in ("ecall", "ocall"):
        described = found[kind + "s"]
        if len(described) > FUNCTIONS_MAX:
            raise SignatureError(f"more than {FUNCTIONS_MAX} {kind}s")
        signatures = [signature_from(each) for each in described]
        names = {each.name for each in signatures}
        if len(names) != len(signatures) or any(each.kind != kind for each in signatures):
            raise SignatureError(f"each {kind} is listed once")
        both.append(signatures)
    return both[0], both[1]


def _signature(description: object) -> Signature:
    if type(description) is not dict or not (
        {"name", "kind", "async", "parameters", "result"}
        <= description.keys()
        <= {"name", "kind", "async", "parameters", "result", "doc"}
    ):
        raise SignatureError("a function is described by name, kind, async, parameters and result")
    name = _identifier(description["name"], "a function")
    if description["kind"] not in ("ecall", "ocall") or type(description["async"]) is not bool:
        raise SignatureError(f"{name}(): is an ecall or an ocall")
    doc = description.get("doc")
    if doc is not None:
        if type(doc) is not str or len(doc) > DOC_MAX:
            raise SignatureError(f"{name}(): its doc string has at most {DOC_MAX} characters")
        doc = printable(doc, DOC_MAX, keep="\n\t")
    listed = description["parameters"]
    if type(listed) is not list or len(listed) > PARAMETERS_MAX:
        raise SignatureError(f"{name}(): has at most {PARAMETERS_MAX} parameters")
    reader = _Reader(name)
    parameters: list[Parameter] = []
    last = 0
    for each in listed:
        if type(each) is not list or len(each) != 4 or each[1] not in list(KINDS):
            raise SignatureError(f"{name}(): a parameter is its name, how, type and default")
        order = ("positional", "any", "keyword").index(each[1])
        if order < last:
            raise SignatureError(f"{name}(): its parameters are out of order")
        last = order
        parameter = Parameter(
            _identifier(each[0], f"a parameter of {name}()"), each[1], reader.read(each[2], 0)
        )
        if any(other.name == parameter.name for other in parameters):
            raise SignatureError(f"{name}(): two parameters {parameter.name!r}")
        if each[3] is not None:
            parameter.default = reader.default(parameter, each[3])
        elif order < 2 and parameters and parameters[-1].default is not MISSING:
            raise SignatureError(f"{name}(): a parameter without default follows one with")
        parameters.append(parameter)
    return Signature(
        name,
        description["kind"],
        tuple(parameters),
        reader.read(description["result"], 0),
        doc=doc,
        is_async=description["async"],
        described=description,
    )


def _identifier(name: object, whose: str) -> str:
    if (
        type(name) is not str
        or not 0 < len(name) <= NAME_MAX
        or not name.isidentifier()
        or keyword.iskeyword(name)
        or (name.startswith("__") and name.endswith("__"))
    ):
        raise SignatureError(f"{printable(repr(name), 80)} is no name for {whose}")
    return name


class _Reader:
    """Reads the types of one function."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._left = TYPES_MAX
        self._classes: list[str] = []

    def read(self, described: object, depth: int) -> Kind:
        """Return the kind that is described."""
        self._left -= 1
        if depth > DEPTH_MAX or self._left < 0:
            raise SignatureError(f"{self._name}(): its types are too many or too deep")
        depth += 1
        if type(described) is str:
            if described == "Any" and depth > 1:
                return Plain()
            if described in _SCALARS:
                return SCALARS[_SCALARS[described]]()
            if described == "SharedArray":
                from hotcalls.wire.shared import Shared

                return Shared()
        elif type(described) is list and described and type(described[0]) is str:
            read = getattr(self, f"_{described[0]}", None) if described[0] in _FORMS else None
            if read is not None and len(described) == _FORMS[described[0]]:
                return read(described[1:], depth)  # type: ignore[no-any-return]
            if described[0] in _CONTAINERS and len(described) == 2:
                item = self.read(described[1], depth)
                container = _CONTAINERS[described[0]]
                if container in (set, frozenset) and not item.hashable:
                    raise SignatureError(f"{self._name}(): items of a set are hashable")
                return Sequence(container, item, bare=type(item) is Plain)
        raise SignatureError(f"{self._name}(): {printable(repr(described), 80)} is no type")

    def default(self, parameter: Parameter, text: object) -> Any:
        """Return the value of a default."""
        if type(text) is not str or len(text) > DEFAULT_BYTES_MAX:
            raise SignatureError(f"{self._name}(): the default of {parameter.name!r} is too large")
        try:
            data = base64.b64decode(text, validate=True)
        except binascii.Error:
            data = b""
        if self._classes:
            # Needs the classes to be decoded; whoever has them has the default too.
            return None
        try:
            return default_codec(self._name, parameter).decoder()(data)
        except MessageError as error:
            raise SignatureError(f"{self._name}(): a default: {error}") from None

    def _fixed(self, rest: list[Any], depth: int) -> Kind:
        return Fixed(tuple(self.read(each, depth) for each in self._list(rest[0])))

    def _union(self, rest: list[Any], depth: int) -> Kind:
        options = tuple(self.read(each, depth) for each in self._list(rest[0]))
        if len(options) < 2 or any(type(each) is Plain for each in options):
            raise SignatureError(f"{self._name}(): a union is of two types or more")
        if any(node.is_class for node in tree(*options)):
            # Only who has the classes can tell whether msgspec tells them apart.
            return Either(options, Any)
        return union(options)

    def _dict(self, rest: list[Any], depth: int) -> Kind:
        key, value = self.read(rest[0], depth), self.read(rest[1], depth)
        if not key.hashable:
            raise SignatureError(f"{self._name}(): keys of a dict are hashable")
        return Mapping(key, value, bare=type(key) is Plain and type(value) is Plain)

    def _literal(self, rest: list[Any], _: int) -> Kind:
        values = self._list(rest[0])
        if not 0 < len(values) <= LITERALS_MAX or any(
            type(each) not in (int, str, NoneType) or len(str(each)) > NAME_MAX for each in values
        ):
            raise SignatureError(f"{self._name}(): a Literal is of few str, int and None")
        return Choice(tuple(values), Literal[tuple(values)])

    def _limited(self, rest: list[Any], depth: int) -> Kind:
        base, limits = self.read(rest[0], depth), rest[1]
        if type(limits) is not dict or not limits.keys() <= set(LIMITS) or not limits:
            raise SignatureError(f"{self._name}(): no limits that are known")
        if base.is_class:
            raise SignatureError(f"{self._name}(): limits of a class")
        return limited(base, limits)

    def _ndarray(self, rest: list[Any], _: int) -> Kind:
        from hotcalls.wire.arrays import DTYPE, Array

        text = rest[0]
        if text is not None and (
            type(text) is not str or len(text) > 24 or not DTYPE.fullmatch(text)
        ):
            raise SignatureError(f"{self._name}(): no dtype that travels")
        return Array(text)

    def _class(self, rest: list[Any], depth: int) -> Kind:
        family, name, details, fields = rest
        if (
            family not in list(FAMILIES)
            or type(name) is not str
            or not 0 < len(name) <= NAME_MAX
            or type(details) is not dict
        ):
            raise SignatureError(f"{self._name}(): a class has a family and a name")
        # Stands for a class that this side does not have: never encoded, never decoded.
        kind = Class(type(printable(name, NAME_MAX), (), {}), family, {})
        self._classes.append(name)
        members = []
        for field in self._list(fields):
            if type(field) is not list or len(field) != 4:
                raise SignatureError(f"{self._name}(): a field is name, name, type, required")
            members.append(
                Member(str(field[0]), str(field[1]), self.read(field[2], depth), bool(field[3]))
            )
        kind.members = tuple(members)
        return kind

    def _again(self, rest: list[Any], _: int) -> Kind:
        if rest[0] not in self._classes:
            raise SignatureError(f"{self._name}(): a class within itself that is none")
        return Class(type(printable(str(rest[0]), NAME_MAX), (), {}), "dataclass", {})

    def _list(self, value: Any) -> list[Any]:
        if type(value) is not list or len(value) > TYPES_MAX:
            raise SignatureError(f"{self._name}(): a list of types is expected")
        return value


#: How many pieces each form has.
_FORMS = {
    "fixed": 2,
    "union": 2,
    "dict": 3,
    "literal": 2,
    "limited": 3,
    "ndarray": 2,
    "class": 5,
    "again": 2,
}
