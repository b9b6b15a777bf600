# SPDX-License-Identifier: Apache-2.0
"""The order in which types are defined: each after what it contains.

Called by :mod:`hotcalls.edl.check`.  EDL does not ask for an order, C does.
"""

from __future__ import annotations

from collections.abc import Sequence

from hotcalls.edl.model import Composite, Enum, NamedType


def definition_order(types: Sequence[Composite | Enum]) -> tuple[Composite | Enum, ...]:
    """`types` with each behind those that it contains by value, otherwise as they were.

    What contains itself is left where it is; the check that follows reports it.
    """
    by_name = {type_.name: type_ for type_ in types if type_.name}
    done: dict[int, Composite | Enum] = {}
    for first in types:
        # A stack of its own: structs may lie in each other deeper than Python recurses.
        stack: list[tuple[Composite | Enum, bool]] = [(first, False)]
        entered: set[int] = set()
        while stack:
            type_, finished = stack.pop()
            if id(type_) in done:
                continue
            if finished:
                done[id(type_)] = type_
                continue
            if id(type_) in entered:
                continue
            entered.add(id(type_))
            stack.append((type_, True))
            if isinstance(type_, Composite):
                for member in reversed(type_.members):
                    inner = member.type
                    if isinstance(inner, NamedType) and inner.name in by_name:
                        stack.append((by_name[inner.name], False))
    return tuple(done.values())
