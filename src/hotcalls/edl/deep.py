# SPDX-License-Identifier: Apache-2.0
"""Structs whose pointers have sizes: Python values to structs and what they point to, and back.

Used by :mod:`hotcalls.edl.ecalls` and :mod:`hotcalls.edl.ocalls`.  In a message a pointer is 1, or
0 for NULL; what the structs point to lies behind them, struct by struct and pointer by pointer.
Sizes are computed by the members of a private copy of the struct, so what the enclave sends is
copied in once and can ask for no more than there is.
"""

from __future__ import annotations

import copy
import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from hotcalls.edl.buffers import Buffer
from hotcalls.edl.names import field_name
from hotcalls.edl.signature import Derivation, Description, Signature, members_signature
from hotcalls.edl.values import (
    ArrayCodec,
    MessageError,
    StructCodec,
    Types,
    inside,
    type_name,
)

Data = bytes | memoryview


class Packed(NamedTuple):
    """Structs as bytes, and what each of their pointers points to; None for NULL."""

    structs: bytes
    targets: tuple[Data | None, ...]


class Held(NamedTuple):
    """Where structs lie in a message: position and size, and those of what they point to."""

    position: int
    size: int
    targets: tuple[tuple[int, int] | None, ...]


class DeepCodec:
    """One struct that is copied deep.

    Parameters
    ----------
    item
        Its description.
    types, structs
        Codecs and sizes of the other types of the interface.
    factory
        What values are made of; a named tuple when None.
    """

    def __init__(
        self,
        item: Description,
        types: Types,
        structs: Mapping[str, int],
        factory: Callable[..., Any] | None = None,
    ) -> None:
        self.name: str = item["name"]
        self.size: int = item["size"]
        self.signature: Signature = members_signature(item, structs)
        self._fields = tuple(field_name(name) for name in self.signature.inputs)
        self._slots: list[tuple[str, Any]] = []  # name, and its codec or its buffer
        self._index: dict[str, int] = {}
        text = "<"
        end = 0
        for index, member in enumerate(item["members"]):
            part: Any
            if member["type"]["kind"] == "pointer":
                part = Buffer(self.name, {**member, "direction": "inout"}, types, structs)
                code, size = "Q", 8
            else:
                part = types.scalar(member["type"])
                assert part is not None
                if member.get("dims"):
                    text_array = member["type"]["kind"] == "char"
                    part = ArrayCodec(part, member["dims"], text=text_array)
                code, size = part.format, part.size
            text += f"{member['offset'] - end}x{code}"
            end = member["offset"] + size
            self._slots.append((member["name"], part))
            self._index[member["name"]] = index
        self._struct = struct.Struct(f"{text}{self.size - end}x")
        self._pointers = [
            (index, part) for index, (_, part) in enumerate(self._slots) if isinstance(part, Buffer)
        ]
        self._make: Callable[..., Any] = factory or StructCodec.tuple_type(self.name, self._fields)

    # ---- towards the enclave --------------------------------------------------------------------

    def pack(self, values: Sequence[Any], where: str, *, single: bool) -> Packed:
        """Pack structs, one behind the other."""
        structs: list[bytes] = []
        targets: list[Data | None] = []
        for index, value in enumerate(values):
            place = where if single else inside(where, f"[{index}]")
            structs.append(self._pack_one(value, place, targets))
        return Packed(b"".join(structs), tuple(targets))

    def _pack_one(self, value: Any, where: str, targets: list[Data | None]) -> bytes:
        items = StructCodec.items(value, self._fields, self.name, where)
        given = dict(zip(self.signature.inputs, items, strict=True))
        slots: list[Any] = [0] * len(self._slots)
        data: dict[str, Data] = {}
        for index, (name, part) in enumerate(self._slots):
            if isinstance(part, Buffer):
                if given[name] is not None:
                    data[name] = self._target(part, given[name], where)
                    slots[index] = 1
            elif name in given:
                slots[index] = part.pack(given[name], inside(where, f".{field_name(name)}"))
        for name, places in self.signature.derived.items():
            self._derive(name, places, data, slots, where)
        for index, buffer in self._pointers:
            content = data.get(buffer.name)
            targets.append(content)
            if content is not None:
                size = self._size(slots, buffer)
                if len(content) != size:
                    place = inside(where, f".{field_name(buffer.name)}")
                    raise ValueError(f"{place}: expected {size} bytes, got {len(content)}")
            assert slots[index] == (content is not None)
        return self._struct.pack(*slots)

    def _target(self, buffer: Buffer, value: Any, where: str) -> Data:
        try:
            return buffer.to_bytes(value)
        except (TypeError, ValueError, OverflowError):
            # Again, for an error that names the struct.
            located = copy.copy(buffer)
            located.where = inside(where, f".{field_name(buffer.name)}")
            return located.to_bytes(value)

    def _derive(
        self,
        name: str,
        places: Sequence[Derivation],
        data: Mapping[str, Data],
        slots: list[Any],
        where: str,
    ) -> None:
        """Compute a member that only says how much the pointers point to."""
        found: tuple[int, str] | None = None
        for place in places:
            if place.buffer not in data:
                continue
            at = inside(where, f".{field_name(place.buffer)}")
            count, rest = divmod(len(data[place.buffer]), place.unit)
            if rest:
                raise ValueError(
                    f"{at}: expected a multiple of {place.unit} bytes, got "
                    f"{len(data[place.buffer])}"
                )
            if found is not None and found[0] != count:
                raise ValueError(
                    f"{at}: expected {found[0]} elements like `{found[1]}`, with which it shares "
                    f"`{name}`, got {count}"
                )
            found = (count, place.buffer)
        index = self._index[name]
        at = inside(where, f".{field_name(places[0].buffer)}")
        count = found[0] if found else 0
        try:
            slots[index] = self._slots[index][1].pack(count, at)
        except OverflowError:
            raise OverflowError(f"{at}: {count} elements are more than `{name}` can say") from None

    def _size(self, slots: Sequence[Any], buffer: Buffer) -> int:
        """Bytes behind a pointer by the members of its struct; negative for a wrong one."""
        total = 1
        for factor in buffer.factors:
            number = slots[self._index[factor]] if isinstance(factor, str) else factor
            if number < 0:
                return -1
            total *= number
        return total

    # ---- from the enclave -----------------------------------------------------------------------

    def sizes(self, structs: bytes, where: str) -> Iterator[int | None]:
        """Bytes behind each pointer of structs that came in; None for NULL.

        Raises
        ------
        MessageError
            A size is negative, or the structs are not whole.
        """
        if len(structs) % self.size:
            raise MessageError(f"{where}: {len(structs)} bytes are no whole structs")
        for slots in self._struct.iter_unpack(structs):
            for index, buffer in self._pointers:
                size = self._size(slots, buffer)
                if size < 0:
                    raise MessageError(f"{where}: a size of `{buffer.name}` is negative")
                yield size if slots[index] else None

    def unpack(self, structs: bytes, targets: Sequence[bytes | None]) -> list[Any]:
        """The values that structs and what they point to mean."""
        values = []
        each = iter(targets)
        for slots in self._struct.iter_unpack(structs):
            parts: dict[str, Any] = {}
            for (name, part), slot in zip(self._slots, slots, strict=True):
                if isinstance(part, Buffer):
                    data = next(each)
                    parts[name] = None if data is None else part.from_bytes(data)
                else:
                    parts[name] = part.unpack(slot)
            values.append(self._make(*(parts[name] for name in self.signature.inputs)))
        return values

    def marked(self, structs: bytes, held: Held) -> bytes:
        """Structs whose pointers say NULL where those of the message did."""
        marked = []
        present = iter(held.targets)
        for slots in self._struct.iter_unpack(structs):
            changed = list(slots)
            for index, _ in self._pointers:
                changed[index] = int(next(present) is not None)
            marked.append(self._struct.pack(*changed))
        return b"".join(marked)


class DeepBuffer(Buffer):
    """A parameter that points to structs that are copied deep.

    Attributes
    ----------
    deep
        The struct.
    one
        Whether it is a single struct, which Python gives as it is.
    length
        How many, when the EDL says it; else None.
    """

    def __init__(
        self,
        function: str,
        parameter: Description,
        types: Types,
        structs: Mapping[str, int],
        codec: DeepCodec,
    ) -> None:
        self.length: int | None = None
        if parameter.get("dims"):
            self.length = math.prod(parameter["dims"])
            pointer = {"kind": "pointer", "to": parameter["type"]}
            parameter = {**parameter, "type": pointer, "dims": [], "count": self.length}
        super().__init__(function, parameter, types, structs)
        self.deep: DeepCodec = codec
        self.one = parameter.get("size") is None and parameter.get("count") is None

    def pack(self, value: Any, where: str | None = None) -> Packed:
        """The bytes of what the caller gave."""
        where = where or self.where
        if self.one:
            return self.deep.pack((value,), where, single=True)
        if isinstance(value, (str, bytes, bytearray)) or not isinstance(value, Sequence):
            raise TypeError(f"{where}: expected a sequence of structs, got {type_name(value)}")
        if self.length is not None and len(value) != self.length:
            raise ValueError(f"{where}: expected {self.length} elements, got {len(value)}")
        return self.deep.pack(value, where, single=False)

    def unpack(self, structs: bytes, targets: Sequence[bytes | None]) -> Any:
        """The value of private copies."""
        values = self.deep.unpack(structs, targets)
        return values[0] if self.one else values


def deep_structs(
    interface: Description,
    types: Types,
    structs: Mapping[str, int],
    factories: Mapping[str, Callable[..., Any]] | None = None,
) -> dict[str, DeepCodec]:
    """The codecs of all structs of an interface that are copied deep, by their names."""
    codecs = {}
    for item in interface["structs"]:
        if item["tag"] != "struct" or item["size"] is None or not is_deep(item):
            continue
        plain = [member for member in item["members"] if member["type"]["kind"] != "pointer"]
        loose = len(item["members"]) - len(plain) > sum(map(_sized, item["members"]))
        if loose or any(types.scalar(member["type"]) is None for member in plain):
            continue  # Only user_check parameters can point to it.
        factory = (factories or {}).get(item["name"])
        codecs[item["name"]] = DeepCodec(item, types, structs, factory)
    return codecs


def _sized(member: Description) -> bool:
    return member.get("size") is not None or member.get("count") is not None


def is_deep(item: Description) -> bool:
    """Whether a struct has pointers with sizes."""
    return any(map(_sized, item["members"]))
