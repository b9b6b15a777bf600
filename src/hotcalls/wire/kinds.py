# SPDX-License-Identifier: Apache-2.0
"""What an annotation allows, as objects that check, convert and describe values.

Used on both sides, by the caller of a function and by who answers. The bytes are made and taken
apart by msgspec; a kind adds what msgspec does not do when it encodes: refuse a value of another
type. A check is one expression that says yes to what needs no conversion, which is nearly always;
only after a no does :meth:`Kind.coerce` walk through the value, to convert what Python's typing
allows (an ``int`` where ``float`` is written, a subclass of ``str``) or to find what is wrong.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from typing import Any

from hotcalls.wire import _hot

#: Checks whether a value can be encoded as it is.
Check = Callable[[Any], bool]

NoneType = type(None)


class Mismatch(Exception):
    """A value is not of its annotated type.

    Attributes
    ----------
    path : str
        Within the argument, e.g. ``[0].x``.
    expected, got : str
        As people write types.
    """

    def __init__(self, path: str, expected: str, got: str) -> None:
        super().__init__(f"{path}: expected {expected}, got {got}")
        self.path = path
        self.expected = expected
        self.got = got


def got(value: object) -> str:
    """How an error names what was given."""
    return "None" if value is None else type(value).__name__


class Kind:
    """An annotated type.

    Attributes
    ----------
    annotation : object
        What msgspec decodes it as.
    exact : frozenset of type or None
        When a value of one of these types is all that the check asks for.
    hashable : bool
        Values may be members of a set and keys of a dict.
    check : callable
    """

    exact: frozenset[type] | None = None
    hashable = False
    #: Encoding or decoding it takes the caller's own classes.
    is_class = False
    #: Values are restricted further than by type; only decoding checks that.
    constrained = False

    def __init__(self, annotation: Any, text: str) -> None:
        self.annotation = annotation
        self.text = text
        self.check: Check = self._check

    def _check(self, value: Any) -> bool:
        exact = self.exact
        return exact is not None and type(value) in exact

    def coerce(self, value: Any, path: str) -> Any:
        """Return what is encoded for `value`, or raise :class:`Mismatch`."""
        if self.check(value):
            return value
        raise Mismatch(path, self.text, got(value))

    def describe(self, inside: tuple[Kind, ...] = ()) -> Any:
        """Return the JSON of it that the other side is told; `inside` are classes around it."""
        return self.text

    def parts(self) -> tuple[Kind, ...]:
        """Kinds that it is made of."""
        return ()


def tree(*roots: Kind) -> Iterator[Kind]:
    """Yield every kind below `roots` once, though a class may contain itself."""
    waiting, seen = list(roots), set[int]()
    while waiting:
        kind = waiting.pop()
        if id(kind) not in seen:
            seen.add(id(kind))
            yield kind
            waiting.extend(kind.parts())


def compiled(kind: Kind) -> _hot.Check:
    """Return the check of a kind for a check that contains it."""
    if isinstance(kind.check, _hot.Check):
        return kind.check
    # Looked up when it runs: a class that contains itself has no check yet.
    return _hot.Other(lambda value: kind.check(value))


class Scalar(Kind):
    """A type of one piece whose values are encoded as they are."""

    hashable = True

    def __init__(self, kind: type, text: str | None = None) -> None:
        super().__init__(kind, text or kind.__name__)
        self.exact = frozenset([kind])
        self.hashable = kind.__hash__ is not None
        self.check = _hot.Exact(self.exact)


class Number(Scalar):
    """``int``, ``float``, ``str`` and ``bytes``: subclasses arrive as the plain type.

    As Python's typing has it, a ``bool`` is an ``int``, and an ``int`` may stand for a ``float``.
    """

    def __init__(self, kind: type, plain: Callable[[Any], Any]) -> None:
        super().__init__(kind)
        self.kind = kind
        self._plain = plain
        if kind is float:
            # msgspec encodes the int, and decodes it as a float because that is annotated.
            self.exact = frozenset([float, int])
            self.check = _hot.Exact(self.exact)

    def coerce(self, value: Any, path: str) -> Any:
        """Return the value as the plain type."""
        if self.kind is float and isinstance(value, int):
            try:
                return int.__float__(value)
            except OverflowError:
                raise Mismatch(path, "float", "int too large for a float") from None
        if type(value) is self.kind:
            return value
        if isinstance(value, self.kind):
            return self._plain(value)
        return super().coerce(value, path)


class Contiguous(Scalar):
    """A ``memoryview`` of bytes; arrives as a view of the message's private copy."""

    def __init__(self) -> None:
        super().__init__(memoryview)
        self.exact = None
        self.hashable = False
        self.check = self._check_view

    @staticmethod
    def _check_view(value: Any) -> bool:
        return type(value) is memoryview and value.contiguous and value.format in {"B", "b", "c"}

    def coerce(self, value: Any, path: str) -> Any:
        """Say what the view lacks."""
        if type(value) is memoryview and not self._check_view(value):
            raise Mismatch(
                path,
                "memoryview of contiguous bytes",
                f"memoryview of format {value.format!r}, contiguous: {value.contiguous} "
                "(view.cast('B') makes bytes of it)",
            )
        return super().coerce(value, path)


PLAIN_SCALARS = frozenset([NoneType, bool, int, float, str, bytes])
#: So deep may plain data be nested; msgspec itself stops somewhat later.
PLAIN_DEPTH = 100


class Plain(Kind):
    """What a bare ``list`` or ``dict`` holds: values that mean the same on both sides."""

    hashable = True

    def __init__(self) -> None:
        super().__init__(Any, "Any")
        self.check = _hot.Plain(PLAIN_SCALARS, PLAIN_DEPTH)

    def coerce(self, value: Any, path: str, depth: int = PLAIN_DEPTH) -> Any:
        """Find what is not plain."""
        kind = type(value)
        if kind in PLAIN_SCALARS:
            return value
        conversions: tuple[tuple[type, Callable[[Any], Any]], ...] = (
            (int, int.__int__),
            (float, float.__float__),
            (str, str.__str__),
            (bytes, plain_bytes),
        )
        for base, plain in conversions:
            if isinstance(value, base) and not isinstance(value, enum.Enum):
                return plain(value)
        if not depth:
            raise Mismatch(path, f"at most {PLAIN_DEPTH} levels", "more")
        if kind is list:
            return [
                self.coerce(item, f"{path}[{index}]", depth - 1) for index, item in enumerate(value)
            ]
        if kind is dict:
            for key in value:
                if type(key) not in PLAIN_SCALARS:
                    raise Mismatch(f"key of {path}", "a plain value", got(key))
            return {
                key: self.coerce(item, f"{path}[{brief(key)}]", depth - 1)
                for key, item in value.items()
            }
        raise Mismatch(
            path, "plain data (None, bool, int, float, str, bytes, list, dict)", got(value)
        )


def plain_bytes(value: bytes) -> bytes:
    """Copy an instance of a subclass; its own ``__bytes__`` has no say."""
    return memoryview(value).tobytes()


def brief(key: object) -> str:
    """A key of a dict in a path: short, whatever it is."""
    text = repr(key) if type(key) in (str, int, bytes, bool, NoneType) else type(key).__name__
    return text if len(text) <= 40 else text[:37] + "..."


class Sequence(Kind):
    """``list``, ``set``, ``frozenset`` or ``tuple[T, ...]``."""

    def __init__(self, container: type, item: Kind, *, bare: bool = False) -> None:
        annotation: Any = container
        if not bare:
            parameters = (item.annotation, ...) if container is tuple else item.annotation
            annotation = container[parameters]  # type: ignore[index]
        inner = f"{item.text}, ..." if container is tuple else item.text
        name = container.__name__
        super().__init__(annotation, name if bare else f"{name}[{inner}]")
        self.container: Any = container
        self.item = item
        self.bare = bare
        self.hashable = container is frozenset or (container is tuple and item.hashable)
        self.check = _hot.Items(container, compiled(item))

    def coerce(self, value: Any, path: str) -> Any:
        """Convert each item."""
        if type(value) is not self.container:
            raise Mismatch(path, self.text, got(value))
        if self.container in (set, frozenset):
            return self.container(self.item.coerce(item, f"item of {path}") for item in value)
        return self.container(
            self.item.coerce(item, f"{path}[{index}]") for index, item in enumerate(value)
        )

    def describe(self, inside: tuple[Kind, ...] = ()) -> Any:
        """Return ``[container, item]``."""
        return [self.container.__name__, self.item.describe(inside)]

    def parts(self) -> tuple[Kind, ...]:
        """The item."""
        return (self.item,)


class Fixed(Kind):
    """``tuple[A, B]``."""

    def __init__(self, items: tuple[Kind, ...]) -> None:
        annotation = tuple.__class_getitem__(tuple(item.annotation for item in items))
        super().__init__(annotation, f"tuple[{', '.join(item.text for item in items) or '()'}]")
        self.items = items
        self.hashable = all(item.hashable for item in items)
        self.check = _hot.Each(map(compiled, items))

    def coerce(self, value: Any, path: str) -> Any:
        """Convert each item."""
        if type(value) is not tuple:
            raise Mismatch(path, self.text, got(value))
        if len(value) != len(self.items):
            raise Mismatch(path, f"tuple of {len(self.items)}", f"tuple of {len(value)}")
        return tuple(
            item.coerce(each, f"{path}[{index}]")
            for index, (item, each) in enumerate(zip(self.items, value, strict=True))
        )

    def describe(self, inside: tuple[Kind, ...] = ()) -> Any:
        """Return ``["fixed", [items]]``."""
        return ["fixed", [item.describe(inside) for item in self.items]]

    def parts(self) -> tuple[Kind, ...]:
        """The items."""
        return self.items


class Mapping(Kind):
    """``dict``."""

    def __init__(self, key: Kind, value: Kind, *, bare: bool = False) -> None:
        super().__init__(
            dict if bare else dict.__class_getitem__((key.annotation, value.annotation)),
            "dict" if bare else f"dict[{key.text}, {value.text}]",
        )
        self.key, self.value = key, value
        self.check = _hot.Pairs(compiled(key), compiled(value))

    def coerce(self, value: Any, path: str) -> Any:
        """Convert each key and value."""
        if type(value) is not dict:
            raise Mismatch(path, self.text, got(value))
        return {
            self.key.coerce(key, f"key of {path}"): self.value.coerce(item, f"{path}[{brief(key)}]")
            for key, item in value.items()
        }

    def describe(self, inside: tuple[Kind, ...] = ()) -> Any:
        """Return ``["dict", key, value]``."""
        return ["dict", self.key.describe(inside), self.value.describe(inside)]

    def parts(self) -> tuple[Kind, ...]:
        """Key and value."""
        return (self.key, self.value)


class Either(Kind):
    """``Union`` and ``Optional``: kinds that can be told apart in a message."""

    def __init__(self, options: tuple[Kind, ...], annotation: Any) -> None:
        super().__init__(annotation, " | ".join(option.text for option in options))
        self.options = options
        self.hashable = all(option.hashable for option in options)
        exacts = [option.exact for option in options]
        if None not in exacts:
            self.exact = frozenset().union(*(each for each in exacts if each is not None))
            self.check = _hot.Exact(self.exact)

    def _check(self, value: Any) -> bool:
        return any(option.check(value) for option in self.options)

    def coerce(self, value: Any, path: str) -> Any:
        """Convert to the first option that takes it."""
        for option in self.options:
            if option.check(value) and not (type(option) is Number and option.kind is float):
                return option.coerce(value, path)
        deeper: Mismatch | None = None
        for option in self.options:
            try:
                return option.coerce(value, path)
            except Mismatch as error:
                # Something inside is wrong, and no longer which option was meant.
                if error.path != path:
                    deeper = error
        raise deeper or Mismatch(path, self.text, got(value))

    def describe(self, inside: tuple[Kind, ...] = ()) -> Any:
        """Return ``["union", [options]]``."""
        return ["union", [option.describe(inside) for option in self.options]]

    def parts(self) -> tuple[Kind, ...]:
        """The options."""
        return self.options


class Choice(Kind):
    """``Literal``."""

    hashable = True

    def __init__(self, values: tuple[Any, ...], annotation: Any) -> None:
        super().__init__(annotation, " or ".join(map(repr, values)))
        self.values = values
        self._allowed = frozenset((type(value), value) for value in values)

    def _check(self, value: Any) -> bool:
        kind = type(value)
        return (kind is str or kind is int or value is None) and (kind, value) in self._allowed

    def coerce(self, value: Any, path: str) -> Any:
        """Show a value of the right type: which one is what matters."""
        if self._check(value):
            return value
        raise Mismatch(path, self.text, brief(value) if type(value) in (str, int) else got(value))

    def describe(self, inside: tuple[Kind, ...] = ()) -> Any:
        """Return ``["literal", [values]]``."""
        return ["literal", list(self.values)]


class Limited(Kind):
    """``Annotated[T, msgspec.Meta(ge=0, …)]``."""

    constrained = True

    def __init__(self, base: Kind, limits: dict[str, Any], annotation: Any) -> None:
        super().__init__(annotation, base.text)
        self.base = base
        self.limits = limits
        self.exact = base.exact
        self.hashable = base.hashable
        self.check = base.check

    def coerce(self, value: Any, path: str) -> Any:
        """As its base."""
        return self.base.coerce(value, path)

    def describe(self, inside: tuple[Kind, ...] = ()) -> Any:
        """Return ``["limited", base, limits]``."""
        return ["limited", self.base.describe(inside), self.limits]

    def parts(self) -> tuple[Kind, ...]:
        """The base."""
        return (self.base,)
