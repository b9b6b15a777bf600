# SPDX-License-Identifier: Apache-2.0
"""Calls that the enclave makes as Python values, and what the host's callable returns as bytes.

Used by the host's Python runtime through :mod:`hotcalls.edl.marshal`.  The calls are untrusted:
every size is computed again from a private copy and checked against what there is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hotcalls.edl.buffers import Buffer
from hotcalls.edl.deep import DeepBuffer, DeepCodec, Held
from hotcalls.edl.messages import FunctionCodec, SharedMemory, aligned
from hotcalls.edl.signature import Description
from hotcalls.edl.values import MessageError, Types, type_name


class _Untouched:
    """Stands for a buffer that a failed ocall did not fill."""

    def __repr__(self) -> str:
        return "<untouched>"


_UNTOUCHED = _Untouched()


class Arguments(tuple[Any, ...]):
    """The arguments of a call with structs that are copied deep, and where everything lies.

    The structs say where the next buffer is, and they are read once: so this is kept for the
    answer.
    """

    places: Mapping[str, tuple[int, int] | None]
    held: Mapping[str, Held]


class OcallCodec(FunctionCodec):
    """Unpacks calls that the enclave makes and packs what the callable returns.

    Attributes
    ----------
    allow
        Names of the ecalls that may be made meanwhile.
    propagate_errno
        Whether ``errno`` travels back.
    """

    def __init__(
        self,
        function: Description,
        types: Types,
        structs: Mapping[str, int],
        shared: SharedMemory | None,
        deep: Mapping[str, DeepCodec],
    ) -> None:
        super().__init__(function, types, structs, deep)
        self._deep = any(isinstance(buffer, DeepBuffer) for buffer in self._buffers)
        self._shared = shared
        self.allow: tuple[str, ...] = tuple(function["allow"])
        self.propagate_errno: bool = function["propagate_errno"]
        outs: tuple[Any, ...] = (_UNTOUCHED,) * len(self.signature.outputs)
        returns = function["returns"]
        if self.signature.has_result:
            # As a C function fails: -1 where there is one, else zero.
            outs = (-1 if returns.get("signed") else self._zero(types, returns), *outs)
        self.failure: Any = outs if len(outs) > 1 else outs[0] if outs else None
        """What :meth:`encode_result` takes for a call that failed: -1 or zero, nothing filled."""

    @staticmethod
    def _zero(types: Types, type_: Description) -> Any:
        codec = types.scalar(type_)
        assert codec is not None
        return codec.unpack(bytes(codec.size)) if codec.format.endswith("s") else 0

    def _places(
        self,
        slots: Sequence[Any],
        limit: int,
        step: Callable[[DeepBuffer, int, int], int] | None = None,
    ) -> dict[str, tuple[int, int] | None]:
        """Position and size of each buffer, None for NULL; all are inside of `limit`.

        `step` finds where the next buffer is behind structs that are copied deep.
        """
        sizes: dict[str, int] = {}
        for name in self._size_names:
            value = slots[self._values[name][0]]
            if value < 0:
                raise MessageError(f"{self._values[name][2]}: a size of {value}")
            sizes[name] = value
        present = slots[self._present_slot] if self._present_slot is not None else 0
        places: dict[str, tuple[int, int] | None] = {}
        position = 0
        for buffer in self._buffers:
            if buffer.shared:
                offset = slots[self._slot["offset", buffer.name]]
                places[buffer.name] = (offset, buffer.size(sizes)) if offset else None
                continue
            if not present & self._bits[buffer.name]:
                places[buffer.name] = None
                continue
            if buffer.string:
                size = slots[self._slot["length", buffer.name]]
                unit = 4 if buffer.string == "wstring" else 1
                if size < unit or size % unit:
                    raise MessageError(f"{buffer.where}: a string of {size} bytes")
            else:
                size = buffer.size(sizes)
            if size > limit - position:
                raise MessageError(
                    f"{buffer.where}: {size} bytes, and the message has {limit - position} left"
                )
            places[buffer.name] = (position, size)
            # The last buffer may end without its alignment.
            start, position = position, min(limit, position + aligned(size))
            if step is not None and isinstance(buffer, DeepBuffer):
                position = step(buffer, start, size)
        return places

    def _decode_deep(
        self, slots: Sequence[Any], buffers: bytes | bytearray | memoryview
    ) -> tuple[dict[str, tuple[int, int] | None], dict[str, Held], dict[str, Any]]:
        """The same with structs that are copied deep, and their values."""
        limit = len(buffers)
        held: dict[str, Held] = {}
        values: dict[str, Any] = {}

        def step(buffer: DeepBuffer, start: int, size: int) -> int:
            structs = bytes(buffers[start : start + size])
            position = min(limit, start + aligned(size))
            places: list[tuple[int, int] | None] = []
            targets: list[bytes | None] = []
            for wanted in buffer.deep.sizes(structs, buffer.where):
                if wanted is None:
                    places.append(None)
                    targets.append(None)
                    continue
                if wanted > limit - position:
                    raise MessageError(
                        f"{buffer.where}: {wanted} bytes behind a pointer, and the message has "
                        f"{limit - position} left"
                    )
                places.append((position, wanted))
                targets.append(bytes(buffers[position : position + wanted]))
                position = min(limit, position + aligned(wanted))
            held[buffer.name] = Held(start, size, tuple(places))
            values[buffer.name] = buffer.unpack(structs, targets)
            return position

        return self._places(slots, limit, step), held, values

    def decode_arguments(
        self,
        ms: bytes | bytearray | memoryview,
        buffers: bytes | bytearray | memoryview,
    ) -> tuple[Any, ...]:
        """Unpack the arguments for the Python callable, in the order of its parameters.

        Parameters
        ----------
        ms
            A private copy of the marshalling struct.
        buffers
            The buffer area; each part is copied once, so it may be shared memory.

        Raises
        ------
        MessageError
            The call does not follow the interface.
        """
        slots = self._unpack_ms(ms)
        held: dict[str, Held] = {}
        deep: dict[str, Any] = {}
        if self._deep:
            places, held, deep = self._decode_deep(slots, buffers)
        else:
            places = self._places(slots, len(buffers))
        arguments: list[Any] = []
        for name in self.signature.inputs:
            if name in self._values:
                slot, codec, _ = self._values[name]
                arguments.append(codec.unpack(slots[slot]))
                continue
            buffer = self._by_name[name]
            place = places[name]
            if place is None:
                arguments.append(None)
            elif name in deep:
                arguments.append(deep[name])
            elif buffer.shared:
                arguments.append(self._view(buffer, *place))
            else:
                data = bytes(buffers[place[0] : place[0] + place[1]])
                if buffer.string:
                    self._check_terminated(buffer, data)
                arguments.append(buffer.from_bytes(data))
        if not self._deep:
            return tuple(arguments)
        kept = Arguments(arguments)
        kept.places, kept.held = places, held
        return kept

    def _view(self, buffer: Buffer, offset: int, size: int) -> memoryview:
        if self._shared is None:
            raise MessageError(f"{buffer.where}: there is no shared memory")
        try:
            return self._shared.view(offset, size)
        except ValueError as error:
            raise MessageError(f"{buffer.where}: {error}") from None

    @staticmethod
    def _check_terminated(buffer: Buffer, data: bytes) -> None:
        unit = 4 if buffer.string == "wstring" else 1
        if data[-unit:] != bytes(unit):
            raise MessageError(f"{buffer.where}: a string without its terminator")

    def encode_result(
        self,
        result: Any,
        ms: bytes | bytearray | memoryview,
        buffers_size: int,
        errno: int = 0,
        arguments: tuple[Any, ...] = (),
    ) -> tuple[bytes, list[tuple[int, bytes | memoryview]]]:
        """Pack what the callable returned.

        Parameters
        ----------
        result
            The return value, a tuple of it and the outs, or None.
        ms
            The same private copy that :meth:`decode_arguments` got.
        buffers_size
            Size of the buffer area of the call.
        errno
            What the enclave's ``errno`` becomes, with ``propagate_errno``; 0 for no error.
        arguments
            What :meth:`decode_arguments` gave: needed when a struct is copied deep.

        Returns
        -------
        tuple
            The new marshalling struct, and position and bytes of each buffer to write back.

        Raises
        ------
        TypeError, ValueError, OverflowError
            The callable returned something else than the interface says.
        """
        slots = list(self._unpack_ms(ms))
        held: Mapping[str, Held] = {}
        if isinstance(arguments, Arguments):
            places, held = arguments.places, arguments.held
        else:
            assert not self._deep, "structs that are copied deep need the arguments"
            places = self._places(slots, buffers_size)
        retval, outs = self._split(result)
        if self._retval_slot is not None:
            slots[self._retval_slot] = self._codecs[self._retval_slot].pack(
                retval, f"{self.name}() returned"
            )
        if self._error_slot is not None:
            slots[self._error_slot] = errno if 0 <= errno < 4096 else 0
        writes: list[tuple[int, bytes | memoryview]] = []
        for name, value in zip(self.signature.outputs, outs, strict=True):
            place = places[name]
            if place is None or place[1] == 0:
                continue
            if isinstance(value, _Untouched):
                if not self._by_name[name].goes_in:
                    writes.append((place[0], bytes(place[1])))
                continue
            buffer = self._by_name[name]
            if isinstance(buffer, DeepBuffer):
                writes += self._deep_writes(buffer, value, held[name])
                continue
            writes.append((place[0], self._out(buffer, value, place[1])))
        return self._struct.pack(*slots), writes

    @staticmethod
    def _deep_writes(
        buffer: DeepBuffer, value: Any, held: Held
    ) -> list[tuple[int, bytes | memoryview]]:
        """Structs of an answer, with what they point to: never more than came."""
        structs, targets = buffer.pack(value)
        if len(structs) != held.size:
            count = held.size // buffer.deep.size
            raise ValueError(
                f"{buffer.where}: returned {len(structs) // buffer.deep.size} structs, expected "
                f"{count}"
            )
        writes: list[tuple[int, bytes | memoryview]] = [
            (held.position, buffer.deep.marked(structs, held))
        ]
        for place, target in zip(held.targets, targets, strict=True):
            if target is None:
                continue
            if place is None:
                raise ValueError(f"{buffer.where}: returned a buffer where the pointer is NULL")
            position, size = place
            if len(target) > size:
                raise ValueError(
                    f"{buffer.where}: returned {len(target)} bytes behind a pointer, there is room "
                    f"for {size}"
                )
            if len(target) != 0:
                writes.append((position, target))
        return writes

    def _split(self, result: Any) -> tuple[Any, Sequence[Any]]:
        count = len(self.signature.outputs)
        wanted = count + (1 if self.signature.has_result else 0)
        if wanted == 0:
            if result is not None:
                raise TypeError(f"{self.name}() returned {type_name(result)}, expected None")
            return None, ()
        if wanted == 1:
            return (None, (result,)) if count else (result, ())
        if not isinstance(result, tuple) or len(result) != wanted:
            got = f"a tuple of {len(result)}" if isinstance(result, tuple) else type_name(result)
            raise TypeError(f"{self.name}() returned {got}, expected a tuple of {wanted}")
        return (result[0], result[1:]) if self.signature.has_result else (None, result)

    def _out(self, buffer: Buffer, value: Any, size: int) -> bytes | memoryview:
        data = buffer.to_bytes(value)
        if len(data) > size:
            raise ValueError(
                f"{buffer.where}: returned {len(data)} bytes, there is room for {size}"
            )
        if len(data) < size:
            # What the callable leaves is zero, as a C function would find it.
            return bytes(data).ljust(size, b"\0")
        return data
