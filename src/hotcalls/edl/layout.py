# SPDX-License-Identifier: Apache-2.0
"""Sizes and offsets of C types, and the layout of messages.

Used by the emitter of the ``process`` target and by the description that Python marshals by, so
that both sides follow one computation; the generated C asserts its results.  They hold for 64-bit
Linux (LP64) on x86-64 and aarch64, whose rules agree for every type that may cross.

A message begins with a *marshalling struct* of fixed-width fields, one per value that crosses,
ordered by falling alignment so that no padding lies between them:

==========  =====================================================================================
``retval``  what the function returns
``value``   a parameter passed by value
``length``  of a string: its bytes including the terminator, 64 bits
``offset``  of a ``user_check`` pointer: its place in the channel's shared memory, 0 for NULL
``present`` one bit per other pointer in the order of the parameters: 0 for NULL
``error``   ``errno`` of the callee, with ``propagate_errno``
==========  =====================================================================================

The buffers follow it in the order of the parameters, each on a multiple of 16 bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hotcalls.edl.model import (
    Composite,
    Direction,
    Function,
    Interface,
    NamedType,
    Parameter,
    PointerType,
    ScalarType,
    Type,
    VoidType,
)

INLINE_SIZE = 40
"""Largest marshalling struct that travels in the cell itself (``HC_INLINE_SIZE``)."""

BUFFER_ALIGNMENT = 16
MAX_POINTERS = 64
MAX_PLACES = 256
"""Runs of padding, or truth values, that one struct may have and still cross."""

_ENUM = ScalarType("enum", "int", 4, True)


@dataclass(frozen=True, slots=True)
class Layout:
    """Size and alignment of a type in bytes."""

    size: int
    align: int


@dataclass(frozen=True, slots=True)
class MemberLayout:
    """Place of a member in its struct; `size` covers all elements of an array."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a marshalling struct.

    Attributes
    ----------
    role
        See the module's documentation; ``padding`` fills the end.
    parameter
        Name of the parameter it stands for, if any.
    type
        Its type as the EDL has it.
    """

    role: str
    name: str
    parameter: str | None
    type: Type
    offset: int
    size: int
    align: int


@dataclass(frozen=True, slots=True)
class Marshalling:
    """Layout of the marshalling struct of a function; `size` 0 means that there is none."""

    fields: tuple[Field, ...]
    size: int
    align: int

    def by_role(self, role: str, parameter: str | None = None) -> Field | None:
        """The field of a role, and of a parameter if given."""
        for field in self.fields:
            if field.role == role and field.parameter == parameter:
                return field
        return None


class Layouts:
    """Computes and remembers layouts for one interface."""

    def __init__(self, interface: Interface) -> None:
        self._interface = interface
        self._composites: dict[str, tuple[Layout, tuple[MemberLayout, ...]] | None] = {}
        self._marshalling: dict[tuple[bool, int], Marshalling | None] = {}
        self._holes: dict[str, tuple[tuple[int, int], ...] | None] = {}
        self._bools: dict[str, tuple[tuple[int, int], ...] | None] = {}

    def of(self, type_: Type) -> Layout | None:
        """The layout of a type, None when only the C compiler knows it."""
        type_ = self._interface.resolve(type_)
        if isinstance(type_, PointerType):
            return Layout(8, 8)
        if isinstance(type_, ScalarType):
            return Layout(type_.size, type_.size)
        if isinstance(type_, NamedType):
            if type_.tag == "enum":
                return Layout(4, 4)
            found = self.composite(type_.tag, type_.name)
            return found[0] if found else None
        return None

    def composite(self, tag: str, name: str) -> tuple[Layout, tuple[MemberLayout, ...]] | None:
        """The layout of a struct or union and of its members."""
        if name not in self._composites:
            self._composites[name] = None  # Ends the recursion of a type that contains itself.
            definition = self._interface.composites.get((tag, name))
            if definition is not None:
                self._composites[name] = self._compute(definition)
        return self._composites[name]

    def _compute(self, definition: Composite) -> tuple[Layout, tuple[MemberLayout, ...]] | None:
        members: list[MemberLayout] = []
        end = 0
        align = 1
        for member in definition.members:
            layout = self.of(member.type)
            if layout is None:
                return None
            size = layout.size
            for dimension in member.dims:
                size *= dimension
            offset = _aligned(end, layout.align) if definition.tag == "struct" else 0
            members.append(MemberLayout(member.name, offset, size))
            end = max(end, offset + size)
            align = max(align, layout.align)
        return Layout(_aligned(end, align), align), tuple(members)

    def holes(self, type_: Type) -> tuple[tuple[int, int], ...] | None:
        """Offset and size of each run of padding in a type; None when there are too many."""
        return self._places(type_, self._holes, self._own_holes)

    def bools(self, type_: Type) -> tuple[int, ...] | None:
        """Offsets of all truth values in a type; None when there are too many."""
        places = self._places(type_, self._bools, lambda _: [])
        return None if places is None else tuple(offset for offset, _ in places)

    def _own_holes(self, name: str) -> list[tuple[int, int]]:
        found = self._composites[name]
        assert found is not None
        layout, members = found
        ends = [0, *(member.offset + member.size for member in members)]
        starts = [*(member.offset for member in members), layout.size]
        return [(end, start - end) for end, start in zip(ends, starts, strict=True) if start > end]

    def _places(
        self,
        type_: Type,
        known: dict[str, tuple[tuple[int, int], ...] | None],
        own: Callable[[str], list[tuple[int, int]]],
    ) -> tuple[tuple[int, int], ...] | None:
        type_ = self._interface.resolve(type_)
        if isinstance(type_, ScalarType):
            return ((0, 1),) if type_.kind == "bool" and known is self._bools else ()
        if not isinstance(type_, NamedType) or type_.tag != "struct":
            return ()
        if type_.name not in known:
            known[type_.name] = self._collect(type_.name, known, own)
        return known[type_.name]

    def _collect(
        self,
        name: str,
        known: dict[str, tuple[tuple[int, int], ...] | None],
        own: Callable[[str], list[tuple[int, int]]],
    ) -> tuple[tuple[int, int], ...] | None:
        found = self.composite("struct", name)
        definition = self._interface.composites.get(("struct", name))
        if found is None or definition is None:
            return ()
        places = own(name)
        for member, place in zip(definition.members, found[1], strict=True):
            inner = self._places(member.type, known, own)
            element = self.of(member.type)
            if inner is None or element is None:
                return None
            if not inner:
                continue
            count = place.size // element.size
            if count * len(inner) + len(places) > MAX_PLACES:
                return None
            for index in range(count):
                base = place.offset + index * element.size
                places += [(base + offset, size) for offset, size in inner]
        return tuple(sorted(places))

    def element_size(self, parameter: Parameter) -> int | None:
        """Bytes of one element of a pointer or array parameter; `void` counts as one byte."""
        layout = self.of(parameter.element)
        if layout is None:
            return 1 if isinstance(parameter.element, VoidType) else None
        return layout.size

    def marshalling(self, function: Function) -> Marshalling | None:
        """The marshalling struct of a function; None when a type's size is unknown."""
        key = (function.trusted, function.id)
        if key not in self._marshalling:
            self._marshalling[key] = self._marshal(function)
        return self._marshalling[key]

    def _marshal(self, function: Function) -> Marshalling | None:
        wanted: list[tuple[str, str, str | None, Type]] = []
        if not function.is_void:
            wanted.append(("retval", "retval", None, function.returns))
        pointers = pointer_parameters(function)
        for parameter in function.parameters:
            if parameter.is_value:
                wanted.append(("value", f"arg_{parameter.name}", parameter.name, parameter.type))
            elif parameter.direction is Direction.USER_CHECK:
                wanted.append(("offset", f"offset_{parameter.name}", parameter.name, _U64))
            elif parameter.string:
                wanted.append(("length", f"length_{parameter.name}", parameter.name, _U64))
        if len(pointers) > MAX_POINTERS:
            return None
        if pointers:
            bits = next(b for b in (8, 16, 32, 64) if len(pointers) <= b)
            wanted.append(
                ("present", "present", None, ScalarType(f"uint{bits}_t", "int", bits // 8, False))
            )
        if function.propagate_errno:
            wanted.append(("error", "error", None, ScalarType("int32_t", "int", 4, True)))
        placed: list[tuple[Layout, tuple[str, str, str | None, Type]]] = []
        for item in wanted:
            layout = self.of(item[3])
            if layout is None:
                return None
            placed.append((layout, item))
        placed.sort(key=lambda entry: -entry[0].align)
        fields: list[Field] = []
        offset = 0
        for layout, (role, name, owner, type_) in placed:
            fields.append(Field(role, name, owner, type_, offset, layout.size, layout.align))
            offset += layout.size
        if not fields:
            return Marshalling((), 0, 1)
        align = fields[0].align
        padding = _aligned(offset, align) - offset
        if padding:
            u8 = ScalarType("uint8_t", "int", 1, False)
            fields.append(Field("padding", "reserved", None, u8, offset, padding, 1))
        return Marshalling(tuple(fields), offset + padding, align)


_U64 = ScalarType("uint64_t", "int", 8, False)


def pointer_parameters(function: Function) -> list[Parameter]:
    """The parameters that have a bit in ``present``, in its order."""
    return [
        parameter
        for parameter in function.parameters
        if not parameter.is_value and parameter.direction is not Direction.USER_CHECK
    ]


def _aligned(value: int, align: int) -> int:
    return (value + align - 1) // align * align
