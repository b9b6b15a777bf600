# SPDX-License-Identifier: Apache-2.0
"""Parameters of the ``sgx-sdk`` target: their C, their sizes, and the marshalling struct.

Used by :mod:`hotcalls.edl.sgx` and :mod:`hotcalls.edl.sgx_trusted`.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from hotcalls.edl.model import (
    Composite,
    Direction,
    Function,
    Interface,
    NamedType,
    Parameter,
    PointerType,
    VoidType,
    c_spelling,
)
from hotcalls.edl.sgx_deep import counted


def is_hot(function: Function, hot_all: bool) -> bool:
    """Whether a function goes over the channel.

    Private ecalls and ocalls that allow ecalls do not: only an ordinary call comes back in through
    the same thread context, whose allow list the SDK then checks.
    """
    if function.trusted and not function.public:
        return False
    return (function.hot or hot_all) and not function.allow


def needs_ms(function: Function) -> bool:
    """Whether a call carries anything."""
    return bool(function.parameters) or not function.is_void or function.propagate_errno


def declaration(parameter: Parameter) -> str:
    """A parameter as the prototype declares it."""
    spelled = c_spelling(parameter.type)
    foreign_pointer = isinstance(parameter.type, NamedType) and not parameter.dims
    const = "const " if parameter.const and not foreign_pointer else ""
    gap = "" if spelled.endswith("*") else " "
    dims = "".join(f"[{size}]" for size in parameter.dims)
    return f"{const}{spelled}{gap}{parameter.name}{dims}"


@dataclass(frozen=True)
class Argument:
    """One parameter as generated code handles it."""

    interface: Interface
    parameter: Parameter

    @property
    def name(self) -> str:
        """Its name."""
        return self.parameter.name

    @functools.cached_property
    def pointer(self) -> str:
        """The type of a pointer to its data."""
        parameter = self.parameter
        spelled = c_spelling(parameter.type)
        if parameter.dims or parameter.isary:
            return f"{spelled} *" if not spelled.endswith("*") else f"{spelled}*"
        return spelled

    @property
    def copied(self) -> bool:
        """Whether what it points to is copied."""
        return self.parameter.direction not in (Direction.VALUE, Direction.USER_CHECK)

    @property
    def element(self) -> str | None:
        """Size of an element as a C expression, of what `name` points to; None for void."""
        parameter = self.parameter
        if parameter.isptr:
            return None
        if parameter.dims or parameter.isary:
            return f"sizeof({c_spelling(parameter.type)})"
        assert isinstance(parameter.type, PointerType)
        if isinstance(parameter.type.to, VoidType):
            return "1"
        return f"sizeof({c_spelling(parameter.type.to)})"

    @property
    def const_pointers(self) -> bool:
        """Whether it points to pointers to const, which C does not make of others by itself."""
        type_ = self.parameter.type
        pointers = isinstance(type_, PointerType) and isinstance(type_.to, PointerType)
        return self.parameter.const and pointers

    @functools.cached_property
    def deep(self) -> Composite | None:
        """The struct that it points to, when that is copied deep."""
        return self.interface.copied_deep(self.parameter)

    @property
    def whole_elements(self) -> str | None:
        """What `size=` has to be a multiple of: the size of an element that is one, or None."""
        parameter = self.parameter
        if parameter.size is None or not isinstance(parameter.type, PointerType):
            return None
        if self.deep is not None or counted(self.interface, parameter.type.to):
            return self.element
        return None

    def size(self, pointer: str, value: str, length: str) -> tuple[str, str]:
        """Count and size of its data; the product is what it takes.

        Parameters
        ----------
        pointer
            The pointer, for the size of what a foreign pointer points to.
        value
            What stands before the name of a parameter that gives a size.
        length
            The size of a string.
        """
        parameter = self.parameter
        if parameter.string:
            return "1", length
        if parameter.dims:
            return str(math.prod(parameter.dims)), str(self.element)
        unit = self.element or f"sizeof(*{pointer})"
        if parameter.size is not None:
            unit = _amount(parameter.size, value)
        return ("1" if parameter.count is None else _amount(parameter.count, value)), unit

    def chars(self, expression: str) -> str:
        """A string of any kind of char as what strlen takes."""
        assert isinstance(self.parameter.type, PointerType)
        if c_spelling(self.parameter.type.to) == "char":
            return expression
        return f"(const char *){expression}"

    def as_passed(self, pointer: str) -> str:
        """A pointer to its data as the function takes it."""
        parameter = self.parameter
        if self.const_pointers:
            return f"(const {self.pointer}){pointer}"
        if len(parameter.dims) > 1:
            dims = "".join(f"[{size}]" for size in parameter.dims[1:])
            return f"({c_spelling(parameter.type)} (*){dims}){pointer}"
        if parameter.isary:
            return f"*{pointer}"
        return pointer

    @property
    def untrusted_argument(self) -> str:
        """What the bridge of an ocall passes on."""
        field = f"ms->ms_{self.name}"
        if self.parameter.isary:
            return f"({field} != NULL) ? (*{field}) : NULL"
        return self.as_passed(field) if self.parameter.dims else field


def arguments(interface: Interface, function: Function) -> list[Argument]:
    """The parameters of a function."""
    return [Argument(interface, parameter) for parameter in function.parameters]


def _amount(amount: int | str, value: str) -> str:
    # A negative number becomes one that no buffer has.
    return f"(size_t){amount}u" if isinstance(amount, int) else f"(size_t){value}{amount}"


def ms_struct(interface: Interface, function: Function) -> str:
    """The marshalling struct, field by field as the SDK's own tool lays it out."""
    lines = []
    if not function.is_void:
        lines.append(_field(c_spelling(function.returns), "ms_retval"))
    if function.propagate_errno:
        lines.append("    int ocall_errno;")
    for argument in arguments(interface, function):
        parameter = argument.parameter
        const = "const " if parameter.const and not isinstance(parameter.type, NamedType) else ""
        if parameter.isary or parameter.dims:
            type_ = argument.pointer
        else:
            type_ = c_spelling(parameter.type)
        lines.append(_field(const + type_, f"ms_{parameter.name}"))
        if parameter.string and function.trusted:
            lines.append(f"    size_t ms_{parameter.name}_len;")
    body = "\n".join(lines)
    return f"typedef struct ms_{function.name}_t {{\n{body}\n}} ms_{function.name}_t;\n"


def _field(type_: str, name: str) -> str:
    return f"    {type_}{'' if type_.endswith('*') else ' '}{name};"
