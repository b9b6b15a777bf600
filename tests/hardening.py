# SPDX-License-Identifier: Apache-2.0
"""What of a built ELF file is not hardened: read from the file itself, by pyelftools.

What the compiler was told is no proof: a flag can be lost on the way, and a linker has defaults.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elftools.elf.constants import P_FLAGS, SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

#: Where an indirect branch may arrive, of processors that check that: endbr64, and bti c.
LANDING = {"x64": bytes.fromhex("f30f1efa"), "AArch64": bytes.fromhex("5f2403d5")}
DF_1_PIE = 0x08000000
DF_BIND_NOW, DF_1_NOW, DF_TEXTREL = 8, 1, 4


def is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _dynamic(elf: ELFFile) -> dict[str, int]:
    section = elf.get_section_by_name(".dynamic")
    return (
        {} if section is None else {tag.entry.d_tag: tag.entry.d_val for tag in section.iter_tags()}
    )


def _symbols(elf: ELFFile) -> list[Any]:
    tables = [each for each in elf.iter_sections() if isinstance(each, SymbolTableSection)]
    return [symbol for table in tables for symbol in table.iter_symbols()]


def _names_wanted(elf: ELFFile) -> set[str]:
    """What the file takes from others."""
    return {
        symbol.name.partition("@")[0]
        for symbol in _symbols(elf)
        if symbol.entry.st_shndx == "SHN_UNDEF" and symbol.name
    }


def _functions_without_landing(elf: ELFFile) -> list[str]:
    """Exported functions, and main, at which no indirect branch may arrive.

    Not all global ones: some are of the C library and of other archives that were linked in.
    """
    exported = elf.get_section_by_name(".dynsym")
    own = [symbol for symbol in _symbols(elf) if symbol.name == "main"]
    own += [] if exported is None else list(exported.iter_symbols())
    return [
        symbol.name
        for symbol in own
        if symbol.entry.st_info.type == "STT_FUNC" and isinstance(symbol.entry.st_shndx, int)
        if not _lands(elf, symbol)
    ]


def _lands(elf: ELFFile, symbol: Any) -> bool:
    section = elf.get_section(symbol.entry.st_shndx)
    start = symbol.entry.st_value - section.header.sh_addr
    return bool(section.data()[start : start + 4] == LANDING[elf.get_machine_arch()])


def findings(path: Path) -> set[str]:
    """Return what is not hardened about a program or shared object, in a few words each."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        dynamic = _dynamic(elf)
        segments = {segment.header.p_type: segment.header for segment in elf.iter_segments()}
        flags, more = dynamic.get("DT_FLAGS", 0), dynamic.get("DT_FLAGS_1", 0)
        wanted = _names_wanted(elf)
        program = "PT_INTERP" in segments
        checks = {
            "at a fixed address": elf.header.e_type != "ET_DYN"
            or (program and not more & DF_1_PIE),
            "no RELRO": "PT_GNU_RELRO" not in segments,
            "binds late": not (flags & DF_BIND_NOW or more & DF_1_NOW or "DT_BIND_NOW" in dynamic),
            "executable stack": "PT_GNU_STACK" not in segments
            or bool(segments["PT_GNU_STACK"].p_flags & P_FLAGS.PF_X),
            "memory that is writable and executable": any(
                segment.header.p_flags & P_FLAGS.PF_W and segment.header.p_flags & P_FLAGS.PF_X
                for segment in elf.iter_segments()
                if segment.header.p_type == "PT_LOAD"
            ),
            "relocations of code": "DT_TEXTREL" in dynamic or bool(flags & DF_TEXTREL),
            "a search path of its own": "DT_RPATH" in dynamic or "DT_RUNPATH" in dynamic,
            "no stack protector": "__stack_chk_fail" not in wanted,
            "no fortified call": not any(name.endswith("_chk") for name in wanted),
            "functions without a landing": bool(_functions_without_landing(elf)),
        }
    return {name for name, found in checks.items() if found}


def unchecked_calls(path: Path, c_library: Path) -> set[str]:
    """Return what a file calls although `c_library` has a form of it that checks sizes."""
    with c_library.open("rb") as file:
        forms = {symbol.name.partition("@")[0] for symbol in _symbols(ELFFile(file))}
    checked = {name[2:-4] for name in forms if name.startswith("__") and name.endswith("_chk")}
    with path.open("rb") as file:
        return checked & _names_wanted(ELFFile(file))


def object_findings(path: Path) -> set[str]:
    """Return what is not hardened about an object file that others link."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        stack = elf.get_section_by_name(".note.GNU-stack")
        notes = elf.get_section_by_name(".note.gnu.property")
        text = b"".join(
            section.data()
            for section in elf.iter_sections()
            if section.header.sh_flags & SH_FLAGS.SHF_EXECINSTR
        )
        checks = {
            "executable stack": stack is None
            or bool(stack.header.sh_flags & SH_FLAGS.SHF_EXECINSTR),
            "no branch protection": bool(text)
            and (notes is None or LANDING[elf.get_machine_arch()] not in text),
        }
    return {name for name, found in checks.items() if found}
