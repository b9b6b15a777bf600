# SPDX-License-Identifier: Apache-2.0
"""Python values to the bytes that C has for them, and back.

Used by :mod:`hotcalls.edl.marshal` on the host side.  What the caller gives is checked here, and an
error names function, parameter and element; bytes from the enclave are untrusted: a codec reads
exactly its own size, and whatever it finds becomes a value of its type or a
:class:`MessageError`.
"""

from __future__ import annotations

import functools
import platform
import struct
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hotcalls.edl.names import field_name, python_name
from hotcalls.edl.signature import Description
from hotcalls.failure import MessageError as MessageError

_FORMATS = {(1, True): "b", (2, True): "h", (4, True): "i", (8, True): "q"}
_FORMATS |= {(size, False): code.upper() for (size, _), code in list(_FORMATS.items())}


def type_name(value: object) -> str:
    """How an error names what was given."""
    return type(value).__name__


def inside(where: str, part: str) -> str:
    """Where a part of a value is: ``f(p=…)`` and ``.x`` give ``f(p.x=…)``."""
    head, mark, tail = where.rpartition("=…")
    return f"{head}{part}{mark}{tail}" if mark else f"{where}{part}"


class ValueCodec:
    """A value of fixed size. `format` is its code for :mod:`struct`, little-endian."""

    size = 0
    format = ""

    def pack(self, value: Any, where: str) -> Any:
        """Check a value and turn it into what ``struct.pack`` takes for `format`."""
        raise NotImplementedError

    def unpack(self, raw: Any) -> Any:
        """Turn what ``struct.unpack`` gave for `format` into the value that the user sees."""
        return raw


class IntCodec(ValueCodec):
    """An integer, an enum or a character."""

    def __init__(self, size: int, signed: bool, name: str) -> None:
        self.size = size
        self.format = _FORMATS[size, signed]
        self._low = -(1 << (size * 8 - 1)) if signed else 0
        self._high = (1 << (size * 8 - (1 if signed else 0))) - 1
        self._name = name

    def pack(self, value: Any, where: str) -> int:
        """See :class:`ValueCodec`."""
        try:
            number = value.__index__()
        except AttributeError:
            raise TypeError(f"{where}: expected int, got {type_name(value)}") from None
        if not self._low <= number <= self._high:
            raise OverflowError(
                f"{where}: expected {self._name}, {self._low} to {self._high}, got {_short(number)}"
            )
        return int(number)


class FloatCodec(ValueCodec):
    """``float`` or ``double``."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.format = "f" if size == 4 else "d"

    def pack(self, value: Any, where: str) -> float:
        """See :class:`ValueCodec`."""
        if not hasattr(value, "__float__") and not hasattr(value, "__index__"):
            raise TypeError(f"{where}: expected float, got {type_name(value)}")
        try:
            number = float(value)
            struct.pack(f"<{self.format}", number)
        except OverflowError:
            raise OverflowError(
                f"{where}: the number is too large for {'float' if self.size == 4 else 'double'}"
            ) from None
        return number


class BoolCodec(ValueCodec):
    """``bool``."""

    size = 1
    format = "B"

    def pack(self, value: Any, where: str) -> int:
        """See :class:`ValueCodec`."""
        if isinstance(value, bool) or (isinstance(value, int) and value in (0, 1)):
            return int(value)
        raise TypeError(f"{where}: expected bool, got {type_name(value)}")

    def unpack(self, raw: Any) -> bool:
        """See :class:`ValueCodec`."""
        return bool(raw)


class ArrayCodec(ValueCodec):
    """An array of fixed dimensions: bytes when its elements are bytes, else (nested) lists."""

    def __init__(self, element: ValueCodec, dims: Sequence[int], *, text: bool) -> None:
        self._element = element
        self._dims = tuple(dims)
        self.count = 1
        for dimension in dims:
            self.count *= dimension
        self.size = self.count * element.size
        self.format = f"{self.size}s"
        self._is_bytes = element.size == 1 and isinstance(element, IntCodec)
        self._text = text
        self._struct = None if self._is_bytes else Repeated(element, self.count)

    def pack(self, value: Any, where: str) -> bytes:
        """See :class:`ValueCodec`."""
        data = view_of(value, self._element.size)
        if data is not None:
            # A char array holds a string of at most its size; others are exactly of their size.
            if len(data) == self.size or (self._text and len(data) < self.size):
                return bytes(data).ljust(self.size, b"\0")
            raise ValueError(f"{where}: expected {self.size} bytes, got {len(data)}")
        if self._is_bytes and len(self._dims) == 1 and isinstance(value, Sequence):
            items = self._flat(value, self._dims, where)
            return bytes(item & 0xFF for item in items)
        if isinstance(value, str) or not isinstance(value, Sequence):
            expected = "bytes-like" if self._is_bytes else f"a sequence of {self._dims[0]}"
            raise TypeError(f"{where}: expected {expected}, got {type_name(value)}")
        items = self._flat(value, self._dims, where)
        if self._struct is None:
            return bytes(item & 0xFF for item in items)
        return self._struct.pack(*items)

    def _flat(self, value: Any, dims: tuple[int, ...], where: str) -> list[Any]:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise TypeError(f"{where}: expected a sequence of {dims[0]}, got {type_name(value)}")
        if len(value) != dims[0]:
            raise ValueError(f"{where}: expected {dims[0]} elements, got {len(value)}")
        if len(dims) == 1:
            return [
                self._element.pack(item, inside(where, f"[{i}]")) for i, item in enumerate(value)
            ]
        flat: list[Any] = []
        for i, item in enumerate(value):
            flat += self._flat(item, dims[1:], inside(where, f"[{i}]"))
        return flat

    def unpack(self, raw: Any) -> Any:
        """See :class:`ValueCodec`."""
        if self._struct is None:
            return bytes(raw)
        items = [self._element.unpack(item) for item in self._struct.unpack(raw)]
        for dimension in reversed(self._dims[1:]):
            items = [items[i : i + dimension] for i in range(0, len(items), dimension)]
        return items


class StructCodec(ValueCodec):
    """A struct: a named tuple towards the user; takes tuples, mappings and objects."""

    def __init__(
        self,
        name: str,
        size: int,
        members: Sequence[tuple[str, int, ValueCodec]],
        factory: Callable[..., Any] | None = None,
    ) -> None:
        self.size = size
        self.format = f"{size}s"
        self.name = name
        self._fields = tuple(field_name(member) for member, _, _ in members)
        self._codecs = tuple(codec for _, _, codec in members)
        self._make = factory or self.tuple_type(name, self._fields)
        text = "<"
        end = 0
        for _, offset, codec in members:
            text += f"{offset - end}x{codec.format}"
            end = offset + codec.size
        self._struct = struct.Struct(f"{text}{size - end}x")

    @staticmethod
    def tuple_type(name: str, fields: Sequence[str]) -> Callable[..., Any]:
        """The named tuple of a struct."""
        return namedtuple(python_name(name), fields)  # noqa: PYI024 -- typing's takes constants

    @staticmethod
    def items(value: Any, fields: Sequence[str], name: str, where: str) -> Sequence[Any]:
        """The members that a tuple, a mapping or an object gives for a struct, in order."""
        if isinstance(value, Mapping):
            unknown = [key for key in value if key not in fields]
            missing = [field for field in fields if field not in value]
            if unknown or missing:
                raise ValueError(
                    f"{where}: expected the keys {', '.join(fields)}, got "
                    f"{', '.join(map(str, value))}"
                )
            return [value[field] for field in fields]
        if isinstance(value, (tuple, list)):
            if len(value) != len(fields):
                raise ValueError(f"{where}: expected {len(fields)} members, got {len(value)}")
            return value
        try:
            return [getattr(value, field) for field in fields]
        except AttributeError:
            raise TypeError(
                f"{where}: expected struct {name} ({', '.join(fields)}), got {type_name(value)}"
            ) from None

    def pack(self, value: Any, where: str) -> bytes:
        """See :class:`ValueCodec`."""
        if isinstance(value, (bytes, bytearray, memoryview)):
            if len(value) != self.size:
                raise ValueError(f"{where}: expected {self.size} bytes, got {len(value)}")
            return self._struct.pack(*self._struct.unpack(value))  # Without its padding.
        items = self.items(value, self._fields, self.name, where)
        return self._struct.pack(
            *(
                codec.pack(item, inside(where, f".{field}"))
                for codec, field, item in zip(self._codecs, self._fields, items, strict=True)
            )
        )

    def unpack(self, raw: Any) -> Any:
        """See :class:`ValueCodec`."""
        return self._make(
            *(
                codec.unpack(item)
                for codec, item in zip(self._codecs, self._struct.unpack(raw), strict=True)
            )
        )


def _short(number: int) -> str:
    # Printing an int of millions of digits would take minutes, and Python refuses it.
    return str(number) if number.bit_length() <= 128 else f"a number of {number.bit_length()} bits"


def view_of(value: Any, element_size: int) -> memoryview | None:
    """The bytes of a bytes-like object; None when it is none, or not of such elements."""
    if isinstance(value, (bytes, bytearray)):
        return memoryview(value)
    try:
        view = memoryview(value)
    except TypeError:
        return None
    if view.itemsize not in (1, element_size):
        return None
    if view.ndim != 1 or view.itemsize != 1 or view.format != "B":
        if not view.c_contiguous:
            return memoryview(view.tobytes())
        view = view.cast("B")
    elif not view.c_contiguous:
        return memoryview(view.tobytes())
    return view


class Repeated:
    """Packs and unpacks values of one type in a row."""

    def __init__(self, element: ValueCodec, count: int) -> None:
        self._size = element.size
        # Structs come as bytes already; a format of thousands of them would only cost memory.
        self._struct = None if element.format.endswith("s") else _format(element.format, count)

    def pack(self, *items: Any) -> bytes:
        """The bytes of checked values."""
        return b"".join(items) if self._struct is None else self._struct.pack(*items)

    def unpack(self, data: Any) -> Sequence[Any]:
        """The raw values in bytes of exactly their size."""
        if self._struct is not None:
            return self._struct.unpack(data)
        return [data[i : i + self._size] for i in range(0, len(data), self._size)]


@functools.lru_cache(maxsize=256)
def _format(code: str, count: int) -> struct.Struct:
    return struct.Struct(f"<{count}{code}")


class Types:
    """Makes the codecs for the types of one interface."""

    def __init__(
        self, interface: Description, factories: Mapping[str, Callable[..., Any]] | None = None
    ) -> None:
        self._structs: dict[str, StructCodec] = {}
        self._char_signed = platform.machine() not in ("aarch64", "arm64")
        for item in interface["structs"]:
            self._define(item, (factories or {}).get(item["name"]))

    def _define(self, item: Description, factory: Callable[..., Any] | None) -> None:
        if item["tag"] != "struct" or item["size"] is None:
            return
        members = []
        for member in item["members"]:
            codec = self.scalar(member["type"])
            if codec is None:
                return
            if member.get("dims"):
                text = member["type"]["kind"] == "char"
                codec = ArrayCodec(codec, member["dims"], text=text)
            members.append((member["name"], member["offset"], codec))
        self._structs[item["name"]] = StructCodec(item["name"], item["size"], members, factory)

    def scalar(self, type_: Description) -> ValueCodec | None:
        """The codec of a type, None for types that have no values in Python."""
        kind = type_["kind"]
        if kind in ("int", "enum"):
            return IntCodec(type_["size"], type_["signed"], type_["name"])
        if kind == "char":
            return IntCodec(1, self._char_signed, "char")
        if kind == "bool":
            return BoolCodec()
        if kind == "float" and type_["size"] in (4, 8):
            return FloatCodec(type_["size"])
        if kind == "struct":
            return self._structs.get(type_["name"])
        return None
