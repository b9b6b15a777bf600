# SPDX-License-Identifier: Apache-2.0
"""Structs that are copied deep, in the ``process`` target: the tables that its code works by.

Used by :mod:`hotcalls.edl.process`.  The code itself is in ``templates/process/deep.j2``.

In a message the structs come first, with 1 or 0 where a pointer is or NULL; behind them, struct by
struct and pointer by pointer, lies what they point to.  Each side finds the sizes by the members of
its own private copy, so no position travels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from hotcalls.edl.model import (
    Composite,
    Function,
    Interface,
    Member,
    NamedType,
    Parameter,
    PointerType,
    Type,
)

Size = tuple[str, str, str]


def deep_side(
    interface: Interface,
    called: Iterable[Function],
    served: Iterable[Function],
    *,
    size_of: Callable[[Parameter, Callable[[str], str]], Size],
    signed: Callable[[Type], bool],
    places_of: Callable[[Type], str | None],
) -> dict[str, Any]:
    """What the template needs for one side.

    Parameters
    ----------
    called, served
        The functions that this side has proxies and bridges for.
    size_of
        The size of a buffer as C, given how the value of a name is written.
    signed
        Whether values of a type may be negative.
    places_of
        The name of the table of padding and truth values of a type, None for none.
    """
    proxies = _uses(interface, called)
    bridges = _uses(interface, served)
    structs = {struct.name: struct for _, struct in (*proxies, *bridges)}
    described = [_struct(struct, size_of, signed, places_of) for struct in structs.values()]
    return {
        "deep": described,
        "deep_max": max((len(item["members"]) for item in described), default=0),
        "deep_proxies": bool(proxies),
        "deep_takes": any(parameter.direction.comes_out for parameter, _ in proxies),
        "deep_bridges": bool(bridges),
        "deep_replies": any(parameter.direction.comes_out for parameter, _ in bridges),
    }


def _uses(interface: Interface, functions: Iterable[Function]) -> list[tuple[Parameter, Composite]]:
    return [
        (parameter, struct)
        for function in functions
        for parameter in function.parameters
        if (struct := interface.copied_deep(parameter)) is not None
    ]


def _struct(
    struct: Composite,
    size_of: Callable[[Parameter, Callable[[str], str]], Size],
    signed: Callable[[Type], bool],
    places_of: Callable[[Type], str | None],
) -> dict[str, Any]:
    types = {member.name: member.type for member in struct.members}
    amounts = {
        amount
        for member in struct.deep_members
        for amount in (member.size, member.count)
        if isinstance(amount, str)
    }

    def value(name: str) -> str:
        return f"(uint64_t)s->{name}" if signed(types[name]) else f"s->{name}"

    return {
        "name": struct.name,
        "places": places_of(NamedType("struct", struct.name)),
        "signed": [m.name for m in struct.members if m.name in amounts and signed(m.type)],
        "uses_copy": bool(amounts),
        "members": [
            {
                "name": member.name,
                "size": size_of(as_parameter(member), value),
                "places": places_of(as_parameter(member).element),
            }
            for member in struct.deep_members
        ],
    }


def as_parameter(member: Member) -> Parameter:
    """A pointer of a struct as if it were a parameter of its own."""
    assert isinstance(member.type, PointerType)
    return Parameter(
        member.name, member.type, size=member.size, count=member.count, span=member.span
    )
