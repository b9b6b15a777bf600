# SPDX-License-Identifier: Apache-2.0
"""The interface of an enclave as every target sees it.

Built only by :mod:`hotcalls.edl.check`, so whatever is in a model has passed the rules of the
language; emitters and the marshalling code read it and trust it.  All classes are immutable.
"""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass, field
from typing import Any

from hotcalls.edl.diagnostics import Diagnostic, Span


class Direction(enum.Enum):
    """How a parameter crosses the boundary."""

    VALUE = "value"
    IN = "in"
    OUT = "out"
    INOUT = "inout"
    USER_CHECK = "user_check"

    @property
    def goes_in(self) -> bool:
        """Whether bytes travel from the caller to the callee."""
        return self in (Direction.IN, Direction.INOUT)

    @property
    def comes_out(self) -> bool:
        """Whether bytes travel from the callee back to the caller."""
        return self in (Direction.OUT, Direction.INOUT)


@dataclass(frozen=True, slots=True)
class ScalarType:
    """A number, a character or a truth value of known width.

    Attributes
    ----------
    name
        Its C spelling.
    kind
        ``int``, ``float``, ``bool`` or ``char`` (plain char, whose sign depends on the machine).
    size
        Bytes on 64-bit Linux (LP64).
    signed
        False for ``float`` and ``bool``; for ``char`` as on x86-64.
    """

    name: str
    kind: str
    size: int
    signed: bool


@dataclass(frozen=True, slots=True)
class VoidType:
    """``void``."""


@dataclass(frozen=True, slots=True)
class NamedType:
    """A type with a definition elsewhere: `tag` is ``struct``, ``union``, ``enum``, ``foreign``."""

    tag: str
    name: str

    @property
    def spelling(self) -> str:
        """The type in C."""
        return self.name if self.tag == "foreign" else f"{self.tag} {self.name}"


@dataclass(frozen=True, slots=True)
class PointerType:
    """A pointer."""

    to: Type


Type = ScalarType | VoidType | NamedType | PointerType


def c_spelling(type_: Type) -> str:
    """The type as C writes it in front of a name, such as ``uint8_t *``."""
    if isinstance(type_, VoidType):
        return "void"
    if isinstance(type_, ScalarType):
        return type_.name
    if isinstance(type_, NamedType):
        return type_.spelling
    inner = c_spelling(type_.to)
    return f"{inner}*" if inner.endswith("*") else f"{inner} *"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a function.

    Attributes
    ----------
    name, type, dims
        As declared; `dims` are the fixed dimensions of an array.
    direction
        How it crosses.
    size, count
        ``size=`` and ``count=``: a number, the name of a parameter, or None.
    string
        Element type of a terminated string: ``"string"``, ``"wstring"`` or None.
    const
        Whether the callee gets a pointer to const.
    isptr, isary
        The foreign type is itself a pointer, or an array.
    nrz
        No redundant zeroing: the callee is certain to overwrite the ``out`` buffer.
    """

    name: str
    type: Type
    dims: tuple[int, ...] = ()
    direction: Direction = Direction.VALUE
    size: int | str | None = None
    count: int | str | None = None
    string: str | None = None
    const: bool = False
    isptr: bool = False
    isary: bool = False
    nrz: bool = False
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def is_value(self) -> bool:
        """Whether it is passed by value."""
        return self.direction is Direction.VALUE

    @property
    def element(self) -> Type:
        """What a pointer or array is made of; the type itself for a value."""
        if isinstance(self.type, PointerType) and not self.dims:
            return self.type.to
        return self.type


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a struct or union; one with size or count is copied deeply."""

    name: str
    type: Type
    dims: tuple[int, ...] = ()
    size: int | str | None = None
    count: int | str | None = None
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def deep(self) -> bool:
        """Whether what it points to travels with the struct."""
        return self.size is not None or self.count is not None


@dataclass(frozen=True, slots=True)
class Composite:
    """A struct or union."""

    tag: str
    name: str
    members: tuple[Member, ...]
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def deep(self) -> bool:
        """Whether any member is copied deeply."""
        return any(member.deep for member in self.members)

    @property
    def deep_members(self) -> tuple[Member, ...]:
        """The members that are copied deeply, in their order."""
        return tuple(member for member in self.members if member.deep)

    @property
    def has_pointers(self) -> bool:
        """Whether a member is a pointer."""
        return any(isinstance(member.type, PointerType) for member in self.members)


@dataclass(frozen=True, slots=True)
class Enum:
    """An enum; values are numbers, names from elsewhere, or None (one more than before)."""

    name: str | None
    enumerators: tuple[tuple[str, int | str | None], ...]
    span: Span | None = field(default=None, compare=False, repr=False)

    def values(self) -> dict[str, int | None]:
        """The value of each enumerator, None where only the C compiler knows it."""
        known: dict[str, int | None] = {}
        following: int | None = 0
        for name, written in self.enumerators:
            if isinstance(written, int):
                value: int | None = written
            elif isinstance(written, str):
                value = known.get(written)
            else:
                value = following
            known[name] = value
            following = None if value is None else value + 1
        return known


@dataclass(frozen=True, slots=True)
class Function:
    """An ecall (`trusted`) or an ocall.

    Attributes
    ----------
    id
        Its number among the functions of its side, in the order of the text.
    public
        Ecalls: may be called by the host without an ocall in progress.
    hot
        Marked ``transition_using_threads``.
    allow
        Ocalls: names of the ecalls that may be made while it runs.
    """

    id: int
    name: str
    trusted: bool
    returns: Type
    parameters: tuple[Parameter, ...]
    public: bool = False
    hot: bool = False
    allow: tuple[str, ...] = ()
    propagate_errno: bool = False
    convention: str | None = None
    dllimport: bool = False
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def is_void(self) -> bool:
        """Whether it returns nothing."""
        return isinstance(self.returns, VoidType)


@dataclass(frozen=True)
class Interface:
    """Everything an EDL file and its imports declare.

    Attributes
    ----------
    name
        Stem of the file as a C identifier.
    includes, trusted_includes, untrusted_includes
        Headers for both sides and for one.
    types
        Structs, unions and enums in the order of their definition.
    ecalls, ocalls
        Functions by id.
    unresolved
        Dimensions of arrays that only a header knows: such an interface can be checked only.
    warnings
        What is legal but unsafe.
    """

    name: str
    file: str
    includes: tuple[str, ...]
    trusted_includes: tuple[str, ...]
    untrusted_includes: tuple[str, ...]
    types: tuple[Composite | Enum, ...]
    ecalls: tuple[Function, ...]
    ocalls: tuple[Function, ...]
    unresolved: tuple[str, ...] = ()
    warnings: tuple[Diagnostic, ...] = field(default=(), compare=False, repr=False)

    @functools.cached_property
    def composites(self) -> dict[tuple[str, str], Composite]:
        """Structs and unions by tag and name."""
        return {(t.tag, t.name): t for t in self.types if isinstance(t, Composite)}

    @functools.cached_property
    def enums(self) -> dict[str, Enum]:
        """Enums that have a name, by it."""
        return {t.name: t for t in self.types if isinstance(t, Enum) and t.name}

    @functools.cached_property
    def functions(self) -> tuple[Function, ...]:
        """Ecalls, then ocalls."""
        return self.ecalls + self.ocalls

    def resolve(self, type_: Type) -> Type:
        """`type_` with a foreign name replaced by what this file defines under it, if anything."""
        if isinstance(type_, NamedType) and type_.tag == "foreign":
            for tag in ("struct", "union"):
                if (tag, type_.name) in self.composites:
                    return NamedType(tag, type_.name)
            if type_.name in self.enums:
                return NamedType("enum", type_.name)
            return FOREIGN_SCALARS.get(type_.name, type_)
        return type_

    def copied_deep(self, parameter: Parameter) -> Composite | None:
        """The struct that `parameter` points to, when what *its* pointers point to travels too.

        One level only, as in Intel's compiler: a struct inside of it, or behind its pointers, is
        copied as it is.
        """
        if parameter.direction in (Direction.VALUE, Direction.USER_CHECK):
            return None
        if parameter.isptr or parameter.isary:
            return None
        element = self.resolve(parameter.element)
        if not isinstance(element, NamedType) or element.tag != "struct":
            return None
        composite = self.composites.get(("struct", element.name))
        return composite if composite is not None and composite.deep else None

    def to_json(self) -> str:
        """The interface as canonical JSON: what both sides must agree on, and Python marshals by.

        Equal interfaces give equal text; see :mod:`hotcalls.edl.description` for its form.
        """
        return self._json

    def description(self) -> dict[str, Any]:
        """The same as :meth:`to_json`, as plain Python data."""
        from hotcalls.edl.description import describe

        return describe(self)

    @functools.cached_property
    def _json(self) -> str:
        from hotcalls.edl.description import canonical, describe

        return canonical(describe(self))

    @functools.cached_property
    def digest(self) -> bytes:
        """SHA-256 of :meth:`to_json`."""
        import hashlib

        return hashlib.sha256(self.to_json().encode()).digest()


def _integers() -> dict[tuple[str, ...], ScalarType]:
    table: dict[tuple[str, ...], ScalarType] = {}
    for words, size in (
        (("short",), 2),
        (("short", "int"), 2),
        (("int",), 4),
        (("long",), 8),
        (("long", "int"), 8),
        (("long", "long"), 8),
    ):
        table[words] = ScalarType(" ".join(words), "int", size, True)
        unsigned = ("unsigned", *words)
        table[unsigned] = ScalarType(" ".join(unsigned), "int", size, False)
    table[("unsigned",)] = ScalarType("unsigned", "int", 4, False)
    for bits in (8, 16, 32, 64):
        for prefix in ("", "u"):
            name = f"{prefix}int{bits}_t"
            table[(name,)] = ScalarType(name, "int", bits // 8, not prefix)
    return table


BUILTIN_TYPES: dict[tuple[str, ...], ScalarType] = {
    **_integers(),
    ("char",): ScalarType("char", "char", 1, True),
    ("unsigned", "char"): ScalarType("unsigned char", "int", 1, False),
    ("float",): ScalarType("float", "float", 4, False),
    ("double",): ScalarType("double", "float", 8, False),
    ("long", "double"): ScalarType("long double", "float", 16, False),
    ("size_t",): ScalarType("size_t", "int", 8, False),
    ("wchar_t",): ScalarType("wchar_t", "int", 4, True),
}
"""Types that are words of the language, by these words."""

FOREIGN_SCALARS: dict[str, ScalarType] = {
    "bool": ScalarType("bool", "bool", 1, False),
    "_Bool": ScalarType("_Bool", "bool", 1, False),
    **{
        name: ScalarType(name, "int", size, signed)
        for name, size, signed in (
            ("ssize_t", 8, True),
            ("intptr_t", 8, True),
            ("uintptr_t", 8, False),
            ("ptrdiff_t", 8, True),
            ("intmax_t", 8, True),
            ("uintmax_t", 8, False),
            ("off_t", 8, True),
            ("time_t", 8, True),
            ("mode_t", 4, False),
            ("pid_t", 4, True),
            ("uid_t", 4, False),
            ("gid_t", 4, False),
            ("socklen_t", 4, False),
            ("clockid_t", 4, True),
            ("nfds_t", 8, False),
            ("dev_t", 8, False),
            ("ino_t", 8, False),
        )
    },
}
"""Types of C's and Linux's headers whose width is the same on x86-64 and aarch64; generated code
asserts it again."""
