# SPDX-License-Identifier: Apache-2.0
"""Kinds for classes of the user's: dataclasses, msgspec Structs, named tuples, typed dicts, enums.

Both sides, each with classes of its own import. A value is of exactly the annotated class: a
subclass has fields that the other side would silently lose.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import msgspec

from hotcalls.wire.kinds import Kind, Mismatch, brief, got


class Member(NamedTuple):
    """A field of a class."""

    name: str
    #: What it is called in messages.
    wire_name: str
    kind: Kind
    required: bool


class Class(Kind):
    """A class of the user's: of fields, or an enum. Found by its own annotation, never by name.

    Attributes
    ----------
    family : str
        ``dataclass``, ``struct``, ``namedtuple``, ``typeddict`` or ``enum``.
    members : tuple of Member
        Filled in after construction: a class may contain itself.
    """

    is_class = True
    constrained = True

    def __init__(self, cls: Any, family: str, details: dict[str, Any]) -> None:
        super().__init__(cls, cls.__qualname__)
        self.cls = cls
        self.family = family
        self.details = details
        self.members: tuple[Member, ...] = ()
        self.hashable = family != "typeddict" and cls.__hash__ is not None
        # What a constructor refuses, only decoding finds; an enum has no such thing.
        self.constrained = family in ("dataclass", "struct")
        if family == "enum":
            self.exact = frozenset([cls])
            self.check = lambda value: type(value) is cls
        elif family == "typeddict":
            self.check = self._check_typed_dict

    def _check(self, value: Any) -> bool:
        if type(value) is not self.cls:
            return False
        for member in self.members:
            if not member.kind.check(getattr(value, member.name, _ABSENT)):
                return False
        return True

    def _check_typed_dict(self, value: Any) -> bool:
        if type(value) is not dict:
            return False
        known = 0
        for member in self.members:
            if member.name in value:
                known += 1
                if not member.kind.check(value[member.name]):
                    return False
            elif member.required:
                return False
        return known == len(value)

    def coerce(self, value: Any, path: str) -> Any:
        """Convert each field."""
        if self.family == "typeddict":
            return self._coerce_typed_dict(value, path)
        if type(value) is not self.cls:
            raise Mismatch(path, self.text, got(value))
        changed = {}
        for member in self.members:
            old = getattr(value, member.name, _ABSENT)
            if old is _ABSENT:
                raise Mismatch(f"{path}.{member.name}", member.kind.text, "nothing")
            new = member.kind.coerce(old, f"{path}.{member.name}")
            if new is not old:
                changed[member.name] = new
        if not changed:
            return value
        if self.family == "namedtuple":
            return value._replace(**changed)
        value = copy.copy(value)
        for name, new in changed.items():
            if self.family == "struct":
                msgspec.structs.force_setattr(value, name, new)
            else:
                object.__setattr__(value, name, new)
        return value

    def _coerce_typed_dict(self, value: Any, path: str) -> Any:
        if type(value) is not dict:
            raise Mismatch(path, self.text, got(value))
        known = {member.name: member for member in self.members}
        for key in value:
            if key not in known:
                raise Mismatch(path, self.text, f"a dict with the key {brief(key)} too")
        for name, member in known.items():
            if member.required and name not in value:
                raise Mismatch(path, self.text, f"a dict without {name!r}")
        return {
            key: known[key].kind.coerce(item, f"{path}[{brief(key)}]")
            for key, item in value.items()
        }

    def describe(self, inside: tuple[Kind, ...] = ()) -> Any:
        """Return ``["class", family, name, details, fields]``, and only the name within itself."""
        if self in inside:
            return ["again", self.text]
        inside = (*inside, self)
        fields = [
            [member.name, member.wire_name, member.kind.describe(inside), member.required]
            for member in self.members
        ]
        return ["class", self.family, self.text, self.details, fields]

    def parts(self) -> tuple[Kind, ...]:
        """Kinds of the fields."""
        return tuple(member.kind for member in self.members)


_ABSENT = object()
