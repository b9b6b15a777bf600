# SPDX-License-Identifier: Apache-2.0
"""The buffers of a message: what a pointer parameter means in Python, as bytes.

Used by :mod:`hotcalls.edl.messages`.  What the caller gives is checked here; bytes from the enclave
come as private copies of the size that the interface says.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from hotcalls.edl.names import python_name
from hotcalls.edl.signature import Description, element_of, is_fixed_array, type_size
from hotcalls.edl.values import (
    ArrayCodec,
    BoolCodec,
    FloatCodec,
    IntCodec,
    MessageError,
    Repeated,
    StructCodec,
    Types,
    inside,
    type_name,
    view_of,
)


class Buffer:
    """A pointer parameter: how its bytes are made, counted and read."""

    def __init__(
        self, function: str, parameter: Description, types: Types, structs: Mapping[str, int]
    ) -> None:
        self.name: str = parameter["name"]
        self.where = f"{function}({python_name(self.name)}=…)"
        direction = parameter["direction"]
        self.goes_in = direction in ("in", "inout")
        self.comes_out = direction in ("out", "inout")
        self.shared = direction == "user_check"
        self.string: str | None = parameter.get("string")
        element = element_of(parameter)
        self.element_size = type_size(element, structs)
        codec = types.scalar(element)
        self._array: ArrayCodec | None = None
        self.single = False
        size, count = parameter.get("size"), parameter.get("count")
        self.factors: tuple[int | str, ...]
        if is_fixed_array(parameter):
            assert codec is not None
            self._array = ArrayCodec(codec, parameter["dims"], text=False)
            self.factors = (self._array.size,)
        elif size is None and count is None:
            self.single = not self.shared and codec is not None
            self.factors = (self.element_size,)
        elif count is None:
            self.factors = (size if size is not None else 1,)
        else:
            self.factors = (count, self.element_size if size is None else size)
        self.codec = codec
        self._bytes = codec is None or (self.element_size == 1 and isinstance(codec, IntCodec))
        self.takes_bytes = (
            self._bytes and not self.string and self._array is None and not self.single
        )
        """Whether bytes go in as they are."""
        if self.single:
            assert codec is not None
            self._single = struct.Struct(f"<{codec.format}")

    def to_bytes(self, value: Any) -> bytes | memoryview:
        """The bytes that go in for a value of the caller."""
        if self.string:
            return self._string_to_bytes(value)
        if self._array is not None:
            return self._array.pack(value, self.where)
        if self.single:
            assert self.codec is not None
            return self._single.pack(self.codec.pack(value, self.where))
        data = view_of(value, self.element_size)
        if data is not None:
            if isinstance(self.codec, (StructCodec, BoolCodec)):
                return self._clean(data)
            return data
        if self._bytes:
            raise TypeError(f"{self.where}: expected bytes-like, got {type_name(value)}")
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise TypeError(
                f"{self.where}: expected a sequence or bytes-like, got {type_name(value)}"
            )
        return self._items_to_bytes(value)

    def _items_to_bytes(self, value: Sequence[Any]) -> bytes:
        codec = self.codec
        assert codec is not None
        packer = Repeated(codec, len(value))
        if isinstance(codec, (IntCodec, FloatCodec)):
            try:
                return packer.pack(*value)
            except (struct.error, OverflowError, TypeError):
                pass  # Again, slower, to say which element it is.
        return packer.pack(
            *(codec.pack(item, inside(self.where, f"[{i}]")) for i, item in enumerate(value))
        )

    def _clean(self, data: memoryview) -> bytes:
        """Structs that were given as bytes, without what lies in their padding."""
        codec = self.codec
        assert codec is not None
        whole, rest = divmod(len(data), self.element_size)
        if rest:
            raise ValueError(
                f"{self.where}: expected a multiple of {self.element_size} bytes, got {len(data)}"
            )
        packer = Repeated(codec, whole)
        return packer.pack(
            *(codec.pack(codec.unpack(item), self.where) for item in packer.unpack(data))
        )

    def _string_to_bytes(self, value: Any) -> bytes:
        if isinstance(value, str):
            if self.string == "wstring":
                data = value.encode("utf-32-le", "surrogatepass")
            else:
                data = value.encode("utf-8", "surrogateescape")
        elif isinstance(value, (bytes, bytearray)) and self.string == "string":
            data = bytes(value)
        else:
            raise TypeError(f"{self.where}: expected str, got {type_name(value)}")
        zero = bytes(4 if self.string == "wstring" else 1)
        if "\0" in value if isinstance(value, str) else b"\0" in data:
            raise ValueError(f"{self.where}: a string cannot hold a zero character")
        return data + zero

    def from_bytes(self, data: bytes) -> Any:
        """The value that a private copy of the bytes means."""
        if self.string:
            return self._string_from_bytes(data)
        if self._array is not None:
            return self._array.unpack(data)
        if self.single:
            assert self.codec is not None
            return self.codec.unpack(self._single.unpack(data)[0])
        if self._bytes:
            return data
        codec = self.codec
        assert codec is not None
        count, rest = divmod(len(data), self.element_size)
        if rest:
            return data
        items = Repeated(codec, count).unpack(data)
        if isinstance(codec, (IntCodec, FloatCodec)):
            return list(items)
        return [codec.unpack(item) for item in items]

    def _string_from_bytes(self, data: bytes) -> str:
        if self.string == "string":
            end = data.find(b"\0")
            return data[: end if end >= 0 else len(data)].decode("utf-8", "surrogateescape")
        units = struct.unpack(f"<{len(data) // 4}I", data[: len(data) // 4 * 4])
        text = []
        for unit in units:
            if unit == 0:
                break
            if unit > 0x10FFFF:
                raise MessageError(f"{self.where}: 0x{unit:x} is not a character")
            text.append(chr(unit))
        return "".join(text)

    def size(self, values: Mapping[str, int]) -> int:
        """Bytes of the buffer by the values of the size parameters."""
        total = 1
        for factor in self.factors:
            total *= values[factor] if isinstance(factor, str) else factor
        return total
