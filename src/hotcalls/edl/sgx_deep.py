# SPDX-License-Identifier: Apache-2.0
"""Structs that are copied deep, in the ``sgx-sdk`` target: the tables that its code works by.

Used by :mod:`hotcalls.edl.sgx` and :mod:`hotcalls.edl.sgx_trusted`.  The code itself is in
``templates/sgx/trusted_deep.j2``; for each struct there is a table of its pointers, and a function
that gives the sizes of what they point to by the struct's own members.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hotcalls.edl.model import (
    Composite,
    Function,
    Interface,
    Member,
    NamedType,
    PointerType,
    ScalarType,
    Type,
    VoidType,
    c_spelling,
)


def deep_table(struct: Composite) -> str:
    """The name of a struct's table."""
    return f"hc_type_{struct.name}"


def deep_structs(interface: Interface, functions: Iterable[Function]) -> list[Composite]:
    """The structs that parameters of these functions copy deep, each once."""
    found: dict[str, Composite] = {}
    for function in functions:
        for parameter in function.parameters:
            struct = interface.copied_deep(parameter)
            if struct is not None:
                found[struct.name] = struct
    return list(found.values())


def deep_data(interface: Interface) -> dict[str, Any]:
    """What the template needs: the tables, and which of its functions somebody calls."""
    structs = deep_structs(interface, interface.functions)
    return {
        "deep": [
            {
                "name": struct.name,
                "table": deep_table(struct),
                "members": [_member(interface, member) for member in struct.deep_members],
            }
            for struct in structs
        ],
        "deep_max": max((len(struct.deep_members) for struct in structs), default=0),
        "deep_in": _any(interface, interface.ecalls, comes_out=False),
        "deep_out": _any(interface, interface.ecalls, comes_out=True),
        "deep_send": _any(interface, interface.ocalls, comes_out=False),
        "deep_receive": _any(interface, interface.ocalls, comes_out=True),
    }


def _any(interface: Interface, functions: Iterable[Function], *, comes_out: bool) -> bool:
    return any(
        interface.copied_deep(parameter) is not None
        and (parameter.direction.comes_out or not comes_out)
        for function in functions
        for parameter in function.parameters
    )


def _member(interface: Interface, member: Member) -> dict[str, str | None]:
    """How large the target of a pointer is: a count, and the size of what is counted."""
    assert isinstance(member.type, PointerType)
    target = member.type.to
    element = "1" if isinstance(target, VoidType) else f"sizeof({c_spelling(target)})"
    size = element if member.size is None else _amount(member.size)
    whole = member.size is not None and counted(interface, target)
    return {
        "name": member.name,
        "count": "1" if member.count is None else _amount(member.count),
        "size": size,
        "whole": element if whole else None,
    }


def _amount(amount: int | str) -> str:
    # A negative number becomes one that no buffer has.
    return f"(size_t){amount}u" if isinstance(amount, int) else f"(size_t)s->{amount}"


def counted(interface: Interface, target: Type) -> bool:
    """Whether ``size=`` has to be a whole number of such elements."""
    resolved = interface.resolve(target)
    if isinstance(resolved, ScalarType):
        return resolved.size > 1
    if isinstance(resolved, NamedType):
        return resolved.tag == "enum"
    return isinstance(resolved, PointerType)
