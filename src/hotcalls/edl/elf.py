# SPDX-License-Identifier: Apache-2.0
"""Reads what an enclave file says about itself, without loading it.

Used by ``launch`` and ``hotcalls build``.  The file is untrusted: nothing of it is mapped or run,
reads are bounded, and every offset is checked against the size of the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hotcalls.edl.description import ABI, canonical

SECTION = ".hotcalls.interface"

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_MAX_SECTIONS = 4096
_MAX_PART = 16 << 20


class NotAnEnclaveError(ValueError):
    """A file is not an enclave that this version can use; the text says what it is instead."""


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    type: int
    offset: int
    size: int
    link: int


class _Elf:
    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise NotAnEnclaveError(f"{path}: cannot be read: {error.strerror}") from None

    def close(self) -> None:
        self._file.close()

    def error(self, text: str) -> NotAnEnclaveError:
        return NotAnEnclaveError(f"{self.path}: {text}")

    def read(self, offset: int, size: int) -> bytes:
        if size > _MAX_PART:
            raise self.error("a part of the file is implausibly large")
        try:
            self._file.seek(offset)
            data = self._file.read(size)
        except (OSError, ValueError, OverflowError) as error:
            raise self.error(f"cannot be read: {error}") from None
        if len(data) != size:
            raise self.error("the file is truncated")
        return data

    def parts(self) -> list[_Part]:
        try:
            head = self._file.read(_HEADER.size)
        except OSError as error:
            raise self.error(f"cannot be read: {error.strerror}") from None
        if head[:4] != b"\x7fELF":
            raise self.error(f"not an ELF file{_guess(self.path)}")
        if len(head) < _HEADER.size:
            raise self.error("the file is truncated")
        ident, kind, machine, *_, offset = _HEADER.unpack(head)[:7]
        count, names = _HEADER.unpack(head)[12:14]
        entry_size = _HEADER.unpack(head)[11]
        if ident[4] != 2 or ident[5] != 1:
            raise self.error("not a 64-bit little-endian ELF file")
        if kind != 3:
            raise self.error("not a shared object; build it with `hotcalls build`")
        if machine != _machine():
            raise self.error(f"built for another processor (ELF machine {machine})")
        if count == 0 or count > _MAX_SECTIONS or entry_size != _SECTION.size or names >= count:
            raise self.error("it has no section table; was it stripped of it?")
        table = self.read(offset, count * entry_size)
        raw = [_SECTION.unpack_from(table, i * entry_size) for i in range(count)]
        strings = self.read(raw[names][4], raw[names][5])
        return [
            _Part(_string(strings, name), type_, at, size, link)
            for name, type_, _, _, at, size, link, *_ in raw
        ]


def _string(table: bytes, offset: int) -> str:
    end = table.find(b"\0", offset)
    return table[offset : end if end >= 0 else len(table)].decode("ascii", "replace")


def _machine() -> int:
    return {"x86_64": 62, "aarch64": 183}.get(os.uname().machine, 0)


def _guess(path: Path) -> str:
    if path.suffix in (".c", ".edl"):
        return f"; build it with `hotcalls build {path.stem}.edl {path.stem}.c`"
    return ": neither an enclave made by hotcalls build, nor a .py file"


def read_interface(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the description of the interface that an enclave file carries.

    Returns
    -------
    dict
        ``abi``, ``digest`` (hex) and ``interface``.

    Raises
    ------
    NotAnEnclaveError
        It is no enclave, is damaged, or was built for another version of hotcalls.
    """
    with contextlib.closing(_Elf(Path(path))) as elf:
        part = next((part for part in elf.parts() if part.name == SECTION), None)
        if part is None or part.type == 8:
            raise elf.error("not an enclave built by `hotcalls build`")
        text = elf.read(part.offset, part.size).split(b"\0", 1)[0]
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            raise elf.error(f"its section {SECTION} is damaged") from None
        if not isinstance(data, dict) or not isinstance(data.get("interface"), dict):
            raise elf.error(f"its section {SECTION} is damaged")
        if data.get("abi") != ABI:
            raise elf.error(
                f"built for version {data.get('abi')} of the interface, this is version {ABI}: "
                "build it again with `hotcalls build`"
            )
        interface = data["interface"]
        if hashlib.sha256(canonical(interface).encode()).hexdigest() != data.get("digest"):
            raise elf.error(f"its section {SECTION} is damaged: the digest does not match")
        return data


def undefined_symbols(path: str | os.PathLike[str]) -> set[str]:
    """Names that a shared object needs from elsewhere."""
    with contextlib.closing(_Elf(Path(path))) as elf:
        parts = elf.parts()
        names: set[str] = set()
        for part in parts:
            if part.type != 11 or part.link >= len(parts):
                continue
            strings = elf.read(parts[part.link].offset, parts[part.link].size)
            table = elf.read(part.offset, part.size // _SYMBOL.size * _SYMBOL.size)
            for name, _, _, section, _, _ in _SYMBOL.iter_unpack(table):
                if section == 0 and name:
                    names.add(_string(strings, name))
        return names
