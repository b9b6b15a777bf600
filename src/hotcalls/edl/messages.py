# SPDX-License-Identifier: Apache-2.0
"""What the messages of ecalls and ocalls have in common: their layout, from the description.

Used by :mod:`hotcalls.edl.ecalls` and :mod:`hotcalls.edl.ocalls`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from hotcalls.edl.buffers import Buffer
from hotcalls.edl.deep import DeepBuffer, DeepCodec, Held
from hotcalls.edl.layout import BUFFER_ALIGNMENT, INLINE_SIZE
from hotcalls.edl.names import python_name
from hotcalls.edl.signature import Description, element_of, is_value, signature_of
from hotcalls.edl.values import MessageError, Types, ValueCodec

MAX_MESSAGE = 1 << 40
"""No message may be larger, whatever its sizes say; the runtime's limit is far below."""


class SharedMemory(Protocol):
    """What ``user_check`` parameters need of the runtime."""

    def offset_of(self, view: memoryview) -> int:
        """Where a view into the channel's shared memory begins; ValueError if it is none."""

    def view(self, offset: int, size: int) -> memoryview:
        """The shared memory from an offset; ValueError when it is not all inside."""


class Message(NamedTuple):
    """A packed call.

    Attributes
    ----------
    ms
        The marshalling struct.
    size
        Bytes of the buffer area, a multiple of 16.
    segments
        Position and content of the buffers that go in; what lies between is not read by the callee.
    outs
        Position and size of the buffers that come back, in the order of the results; -1 for NULL.
    held
        Of structs that are copied deep and come back: where what they point to lies, by parameter.
    """

    ms: bytes
    size: int
    segments: tuple[tuple[int, bytes | memoryview], ...]
    outs: tuple[tuple[int, int], ...]
    held: Mapping[str, Held] = {}

    @property
    def inline(self) -> bool:
        """Whether the marshalling struct travels in the cell itself."""
        return len(self.ms) <= INLINE_SIZE

    @property
    def buffers(self) -> bytes:
        """The whole buffer area: segments in their places, zeros elsewhere."""
        if len(self.segments) == 1 and len(self.segments[0][1]) == self.size:
            return bytes(self.segments[0][1])
        area = bytearray(self.size)
        for position, data in self.segments:
            area[position : position + len(data)] = data
        return bytes(area)


def aligned(size: int) -> int:
    """What a buffer of `size` bytes takes of the buffer area."""
    return (size + BUFFER_ALIGNMENT - 1) & -BUFFER_ALIGNMENT


class FunctionCodec:
    """What ecalls and ocalls have in common: the layout of their message."""

    def __init__(
        self,
        function: Description,
        types: Types,
        structs: Mapping[str, int],
        deep: Mapping[str, DeepCodec],
    ) -> None:
        self.name: str = function["name"]
        self.id: int = function["id"]
        self.hot: bool = function["hot"]
        self.public: bool = function.get("public", False)
        self.signature = signature_of(function, structs)
        ms = function["ms"]
        if ms is None:
            raise ValueError(f"{self.name}: the description has no layout for its message")
        fields = sorted(ms["fields"], key=lambda field: field["offset"])
        text = "<"
        end = 0
        self._codecs: list[ValueCodec] = []
        self._slot: dict[tuple[str, str | None], int] = {}
        for index, field in enumerate(fields):
            codec = types.scalar(field["type"])
            assert codec is not None
            text += f"{field['offset'] - end}x{codec.format}"
            end = field["offset"] + field["size"]
            self._codecs.append(codec)
            self._slot[field["role"], field["parameter"]] = index
        self._struct = struct.Struct(f"{text}{ms['size'] - end}x")
        self._empty: list[Any] = [
            bytes(codec.size) if codec.format.endswith("s") else 0 for codec in self._codecs
        ]
        self._buffers: list[Buffer] = []
        self._values: dict[str, tuple[int, ValueCodec, str]] = {}
        self._bits: dict[str, int] = {}
        for parameter in function["parameters"]:
            name = parameter["name"]
            if is_value(parameter):
                slot = self._slot["value", name]
                where = f"{self.name}({python_name(name)}=…)"
                self._values[name] = (slot, self._codecs[slot], where)
                continue
            buffer = self._buffer(parameter, types, structs, deep)
            self._buffers.append(buffer)
            if not buffer.shared:
                self._bits[name] = 1 << len(self._bits)
        self._present_slot = self._slot.get(("present", None))
        self._retval_slot = self._slot.get(("retval", None))
        self._error_slot = self._slot.get(("error", None))
        self._size_names = {
            factor for b in self._buffers for factor in b.factors if isinstance(factor, str)
        }
        self._by_name = {buffer.name: buffer for buffer in self._buffers}

    def _buffer(
        self,
        parameter: Description,
        types: Types,
        structs: Mapping[str, int],
        deep: Mapping[str, DeepCodec],
    ) -> Buffer:
        element = element_of(parameter)
        copied = parameter["direction"] in ("in", "inout") and element["kind"] == "struct"
        if copied and element["name"] in deep:
            return DeepBuffer(self.name, parameter, types, structs, deep[element["name"]])
        return Buffer(self.name, parameter, types, structs)

    @property
    def ms_size(self) -> int:
        """Bytes of the marshalling struct."""
        return self._struct.size

    @property
    def flags(self) -> int:
        """``HC_FN_PUBLIC`` | ``HC_FN_HOT``."""
        return (1 if self.public else 0) | (2 if self.hot else 0)

    def _result(self, slots: Sequence[Any], outs: Sequence[Any]) -> Any:
        if self._retval_slot is None:
            if not outs:
                return None
            return outs[0] if len(outs) == 1 else tuple(outs)
        codec = self._codecs[self._retval_slot]
        retval = codec.unpack(slots[self._retval_slot])
        return (retval, *outs) if outs else retval

    def _unpack_ms(self, ms: bytes | bytearray | memoryview) -> tuple[Any, ...]:
        if len(ms) != self._struct.size:
            raise MessageError(
                f"{self.name}: a message of {len(ms)} bytes, expected {self._struct.size}"
            )
        return self._struct.unpack(ms)
