# SPDX-License-Identifier: Apache-2.0
"""Calls into the enclave as bytes, and their answers as Python values.

Used by the host's Python runtime through :mod:`hotcalls.edl.marshal`.  What the caller gives is
refused with an error that names function and parameter; answers are untrusted.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from hotcalls.edl.buffers import Buffer
from hotcalls.edl.deep import Data, DeepBuffer, DeepCodec, Held
from hotcalls.edl.messages import MAX_MESSAGE, FunctionCodec, Message, SharedMemory, aligned
from hotcalls.edl.names import python_name
from hotcalls.edl.signature import Description
from hotcalls.edl.values import FloatCodec, IntCodec, MessageError, Types, type_name


class _Step(NamedTuple):
    """How one buffer is packed: from which argument, and where its size comes from or goes."""

    argument: int  # its index; -1 for buffers that only come out
    buffer: Buffer
    bit: int
    slot: int  # of the size in the marshalling struct; -1 for a fixed size
    unit: int
    derive: bool


class EcallCodec(FunctionCodec):
    """Packs calls into the enclave and unpacks their answers.

    Attributes
    ----------
    name, id, hot, public, flags
        Of the function.
    signature
        Which parameters Python gives and which results it gets.
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
        self._shared = shared
        self._names = tuple(python_name(name) for name in self.signature.inputs)
        self._no_call = Message(b"", 0, (), ())
        self._plain = self._plain_call(function)
        self._out_buffers = [buffer for buffer in self._buffers if buffer.comes_out]
        self._steps = self._plan()
        self._fast_values = [
            (
                self.signature.inputs.index(name),
                slot,
                None if isinstance(codec, (IntCodec, FloatCodec)) else codec,
                where,
            )
            for name, (slot, codec, where) in self._values.items()
            if name in self.signature.inputs
        ]

    def _plain_call(
        self, function: Description
    ) -> tuple[int, Callable[..., bytes], Callable[[Sequence[Any]], Sequence[Any]]] | None:
        """How to pack a call of nothing but numbers: a single ``struct.pack``."""
        if self._buffers or not all(
            isinstance(codec, (IntCodec, FloatCodec)) for _, codec, _ in self._values.values()
        ):
            return None
        places = sorted(
            (field["offset"], field["parameter"])
            for field in function["ms"]["fields"]
            if field["role"] == "value"
        )
        text = "<"
        end = 0
        for offset, name in places:
            codec = self._values[name][1]
            text += f"{offset - end}x{codec.format}"
            end = offset + codec.size
        order = [self.signature.inputs.index(name) for _, name in places]
        pack = struct.Struct(f"{text}{function['ms']['size'] - end}x").pack
        if order == list(range(len(order))):
            return len(order), pack, lambda args: args
        return len(order), pack, operator.itemgetter(*order)

    def _plan(self) -> list[_Step] | None:
        """The steps of packing buffers in their order; None when the order does not allow it."""
        inputs = self.signature.inputs
        derived: dict[str, int] = {}
        steps: list[_Step] = []
        for buffer in self._buffers:
            names = [factor for factor in buffer.factors if isinstance(factor, str)]
            if buffer.shared or len(names) > 1 or isinstance(buffer, DeepBuffer):
                return None
            unit = 1
            for factor in buffer.factors:
                unit *= 1 if isinstance(factor, str) else factor
            slot = -1
            derive = False
            if buffer.string:
                slot = self._slot["length", buffer.name]
            elif names:
                slot = self._values[names[0]][0]
                if names[0] in self.signature.derived:
                    # The first buffer of a size that goes in gives it; others must come later.
                    if names[0] not in derived and not buffer.goes_in:
                        return None
                    derive = names[0] not in derived
                    if buffer.goes_in and not derive:
                        return None
                    derived[names[0]] = slot
                elif self._values[names[0]][1].format not in "bhiqBHIQ":
                    return None
            if unit == 0:
                return None
            index = inputs.index(buffer.name) if buffer.goes_in else -1
            steps.append(_Step(index, buffer, self._bits[buffer.name], slot, unit, derive))
        return steps

    def _encode_fast(self, args: Sequence[Any], steps: Sequence[_Step]) -> Message | None:
        """Pack a call in one pass; None when an argument needs a closer look."""
        slots = self._empty.copy()
        for index, slot, codec, where in self._fast_values:
            slots[slot] = args[index] if codec is None else codec.pack(args[index], where)
        position = present = 0
        segments: list[tuple[int, bytes | memoryview]] = []
        outs: list[tuple[int, int]] = []
        for index, buffer, bit, slot, unit, derive in steps:
            if index >= 0:
                value = args[index]
                if value is None:
                    if buffer.comes_out:
                        outs.append((-1, 0))
                    continue
                plain = buffer.takes_bytes and type(value) is bytes
                data = value if plain else buffer.to_bytes(value)
                size = len(data)
                if buffer.string:
                    slots[slot] = size
                elif derive:
                    slots[slot], rest = divmod(size, unit)
                    if rest:
                        return None
                elif size != (unit if slot < 0 else slots[slot] * unit):
                    return None
                segments.append((position, data))
            elif slot < 0:
                size = unit
            else:
                count = slots[slot]
                if type(count) is not int or not 0 <= count < MAX_MESSAGE:
                    return None
                size = count * unit
            present |= bit
            if buffer.comes_out:
                outs.append((position, size))
            position += (size + 15) & -16
        if position > MAX_MESSAGE:
            return None
        if self._present_slot is not None:
            slots[self._present_slot] = present
        try:
            ms = self._struct.pack(*slots)
        except (struct.error, OverflowError, TypeError):
            return None
        return Message(ms, position, tuple(segments), tuple(outs))

    def encode(self, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> Message:
        """Pack a call.

        Raises
        ------
        TypeError, ValueError, OverflowError
            An argument does not fit its parameter; the text names both.
        """
        plain = self._plain
        if plain is not None and not kwargs and len(args) == plain[0]:
            if self._struct.size == 0:
                return self._no_call
            try:
                return Message(plain[1](*plain[2](args)), 0, (), ())
            except (struct.error, OverflowError, TypeError):
                pass  # Again, slower, to say which argument it is.
        elif self._steps is not None and not kwargs and len(args) == len(self._names):
            message = self._encode_fast(args, self._steps)
            if message is not None:
                return message
        return self._encode(self._bind(args, kwargs or {}))

    def _bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        names = self._names
        if len(args) > len(names):
            raise TypeError(
                f"{self.name}(): expected at most {len(names)} arguments "
                f"({', '.join(names) or 'none'}), got {len(args)}"
            )
        bound = dict(zip(self.signature.inputs, args, strict=False))
        for key, value in kwargs.items():
            if key not in names:
                raise TypeError(
                    f"{self.name}(): there is no parameter {key!r}; it has "
                    f"{', '.join(names) or 'none'}"
                )
            name = self.signature.inputs[names.index(key)]
            if name in bound:
                raise TypeError(f"{self.name}({key}=…): given twice")
            bound[name] = value
        if len(bound) < len(names):
            missing = [
                python
                for python, name in zip(names, self.signature.inputs, strict=True)
                if name not in bound
            ]
            raise TypeError(f"{self.name}({missing[0]}=…): missing")
        return bound

    def _encode(self, bound: Mapping[str, Any]) -> Message:
        slots = list(self._empty)
        sizes: dict[str, int] = {}
        for name, (slot, codec, where) in self._values.items():
            if name in bound:
                packed = codec.pack(bound[name], where)
                slots[slot] = packed
                if name in self._size_names:
                    if packed < 0:
                        raise ValueError(f"{where}: a size cannot be negative, got {packed}")
                    sizes[name] = packed
        data: dict[str, Data] = {}
        targets: dict[str, tuple[Data | None, ...]] = {}
        for buffer in self._buffers:
            if buffer.goes_in or buffer.shared:
                value = bound[buffer.name]
                if isinstance(buffer, DeepBuffer):
                    if value is not None:
                        data[buffer.name], targets[buffer.name] = buffer.pack(value)
                elif value is not None:
                    data[buffer.name] = (
                        self._shared_view(buffer, value)
                        if buffer.shared
                        else buffer.to_bytes(value)
                    )
        self._derive(sizes, slots, data)
        return self._assemble(slots, sizes, data, targets)

    def _shared_view(self, buffer: Buffer, value: Any) -> memoryview:
        view = value if isinstance(value, memoryview) else None
        if view is not None and view.c_contiguous:
            return view.cast("B")
        if view is None:
            raise TypeError(
                f"{buffer.where}: expected a memoryview of shared memory, got {type_name(value)}"
            )
        raise ValueError(f"{buffer.where}: expected a contiguous memoryview")

    def _derive(
        self, sizes: dict[str, int], slots: list[Any], data: Mapping[str, bytes | memoryview]
    ) -> None:
        """Compute the parameters that only say how large the given buffers are."""
        for name, places in self.signature.derived.items():
            slot, codec, _ = self._values[name]
            found: tuple[int, str] | None = None
            for place in places:
                if place.buffer not in data:
                    continue
                where = self._by_name[place.buffer].where
                count, rest = divmod(len(data[place.buffer]), place.unit)
                if rest:
                    raise ValueError(
                        f"{where}: expected a multiple of {place.unit} bytes, got "
                        f"{len(data[place.buffer])}"
                    )
                if found is not None and found[0] != count:
                    raise ValueError(
                        f"{where}: expected {found[0]} elements like `{found[1]}`, with which it "
                        f"shares `{name}`, got {count}"
                    )
                found = (count, place.buffer)
            value = found[0] if found else 0
            where = self._by_name[places[0].buffer].where
            try:
                slots[slot] = codec.pack(value, where)
            except OverflowError:
                raise OverflowError(
                    f"{where}: {value} elements are more than `{name}` can say"
                ) from None
            sizes[name] = value

    def _assemble(
        self,
        slots: list[Any],
        sizes: Mapping[str, int],
        data: Mapping[str, Data],
        targets: Mapping[str, tuple[Data | None, ...]],
    ) -> Message:
        position = 0
        present = 0
        segments: list[tuple[int, Data]] = []
        outs: list[tuple[int, int]] = []
        held: dict[str, Held] = {}
        for buffer in self._buffers:
            content = data.get(buffer.name)
            if buffer.shared:
                if content is not None:
                    self._place_shared(buffer, content, sizes, slots)
                continue
            if content is None and buffer.goes_in:
                if buffer.comes_out:
                    outs.append((-1, 0))
                continue
            if buffer.string:
                assert content is not None
                size = len(content)
                slots[self._slot["length", buffer.name]] = size
            else:
                size = buffer.size(sizes)
                if content is not None and len(content) != size:
                    raise ValueError(f"{buffer.where}: expected {size} bytes, got {len(content)}")
            present |= self._bits[buffer.name]
            if content is not None:
                segments.append((position, content))
            if buffer.comes_out:
                outs.append((position, size))
            start = position
            position += aligned(size)
            if buffer.name in targets:
                places: list[tuple[int, int] | None] = []
                for target in targets[buffer.name]:
                    places.append(None if target is None else (position, len(target)))
                    if target is not None:
                        segments.append((position, target))
                        position += aligned(len(target))
                held[buffer.name] = Held(start, size, tuple(places))
            if position > MAX_MESSAGE:
                raise OverflowError(f"{buffer.where}: {size} bytes are more than any message holds")
        if self._present_slot is not None:
            slots[self._present_slot] = present
        return Message(self._struct.pack(*slots), position, tuple(segments), tuple(outs), held)

    def _place_shared(
        self,
        buffer: Buffer,
        view: bytes | memoryview,
        sizes: Mapping[str, int],
        slots: list[Any],
    ) -> None:
        if self._shared is None:
            raise ValueError(f"{buffer.where}: this enclave has no shared memory")
        if len(view) < buffer.size(sizes):
            raise ValueError(
                f"{buffer.where}: expected at least {buffer.size(sizes)} bytes, got {len(view)}"
            )
        assert isinstance(view, memoryview)
        try:
            offset = self._shared.offset_of(view)
        except ValueError as error:
            raise ValueError(f"{buffer.where}: {error}") from None
        slots[self._slot["offset", buffer.name]] = offset

    def decode(
        self,
        message: Message,
        ms: bytes | bytearray | memoryview,
        buffers: bytes | bytearray | memoryview,
    ) -> Any:
        """Unpack the answer to `message`.

        Parameters
        ----------
        message
            What was sent: sizes and places are taken from it, not from what came back.
        ms
            A private copy of the marshalling struct of the answer.
        buffers
            The buffer area of the answer; each part is copied once, so it may be shared memory.

        Returns
        -------
        object
            The return value; a tuple of it and the outs when there are outs; None without either.

        Raises
        ------
        MessageError
            The answer does not follow the interface.
        """
        slots = self._unpack_ms(ms)
        if not message.outs:
            return self._result(slots, ())
        results: list[Any] = []
        for buffer, (position, size) in zip(self._out_buffers, message.outs, strict=True):
            if position < 0:
                results.append(None)
                continue
            data = bytes(buffers[position : position + size])
            if len(data) != size:
                raise MessageError(f"{buffer.where}: the answer ends before this buffer does")
            if isinstance(buffer, DeepBuffer):
                results.append(self._decode_deep(buffer, data, message.held[buffer.name], buffers))
                continue
            results.append(buffer.from_bytes(data))
        return self._result(slots, results)

    @staticmethod
    def _decode_deep(
        buffer: DeepBuffer,
        structs: bytes,
        held: Held,
        buffers: bytes | bytearray | memoryview,
    ) -> Any:
        """Structs of an answer: what they point to, as much as their members say now."""
        targets: list[bytes | None] = []
        for place, size in zip(held.targets, buffer.deep.sizes(structs, buffer.where), strict=True):
            if place is None:
                targets.append(None)
                continue
            # The enclave cannot make a pointer NULL; what it has to say it says by the size.
            position, sent = place
            if size is None or size > sent:
                raise MessageError(f"{buffer.where}: more comes back than was sent")
            data = bytes(buffers[position : position + size])
            if len(data) != size:
                raise MessageError(f"{buffer.where}: the answer ends before this buffer does")
            targets.append(data)
        return buffer.unpack(structs, targets)
