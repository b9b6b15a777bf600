# SPDX-License-Identifier: Apache-2.0
"""Generate the table of system calls of `hotcalls run` while hotcalls itself is being built.

    generate_syscalls.py syscalls.edl syscall_local.h DIRECTORY

Writes ``syscall_rows.h`` and ``syscall_table.h``, which both sides of `hotcalls run` are compiled
with, and ``syscalls.json``, which ``hotcalls syscalls`` prints.  The rules for messages are those
of the EDL compiler, which reads the file; here they become one row of plain numbers per call.
"""

from __future__ import annotations

import json
import re
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotcalls.edl.model import Function, Interface, Parameter

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "hotcalls"
LOCAL = re.compile(r'^SHIM_(NATIVE|GATED|EMULATED|REFUSED)\((\w+), (?:(E\w+), )?"(.*)"\)$')
SCALARS_MAX = 6


def spelling(type_: object) -> str:
    """The name of a type as it is written in the EDL."""
    return str(getattr(type_, "name", "void"))


def kind_of(parameter: Parameter) -> str:
    """What the marshalling code has to do with a parameter."""
    if parameter.string:
        return "ROW_STRING"
    if parameter.is_value:
        name = spelling(parameter.type)
        return {"fd_t": "ROW_FD", "dirfd_t": "ROW_DIRFD"}.get(name, "ROW_SCALAR")
    return f"ROW_{parameter.direction.name}"


def row_of(function: Function) -> str:
    """One row as a C initializer."""
    names = [parameter.name for parameter in function.parameters]
    cells = []
    scalars = 0
    for parameter in function.parameters:
        kind = kind_of(parameter)
        scalars += kind in ("ROW_FD", "ROW_DIRFD", "ROW_SCALAR")
        size, by = 0, -1
        if isinstance(parameter.size, int):
            size = parameter.size
        elif isinstance(parameter.size, str):
            by = names.index(parameter.size)
        narrow = kind == "ROW_SCALAR" and getattr(parameter.type, "size", 8) == 4
        signed = bool(getattr(parameter.type, "signed", False))
        cells.append(f"{{{kind}, {by}, {int(narrow)}, {int(signed)}, {size}}}")
    if scalars > SCALARS_MAX:
        raise SystemExit(f"{function.name}: more than {SCALARS_MAX} scalars")
    returns = {"fd_t": "ROW_RETURNS_FD", "ssize_t": "ROW_RETURNS_SIZE"}.get(
        spelling(function.returns), "ROW_RETURNS_INT"
    )
    return (
        f'    [ROW_{function.name}] = {{"{function.name}", SYS_{function.name}, {returns}, '
        f"{len(cells)}, {scalars}, {{{', '.join(cells)}}}}},"
    )


def header(interface: Interface) -> str:
    """The text of syscall_rows.h."""
    lines = [
        "/* Generated from syscalls.edl by scripts/generate_syscalls.py. */",
        "#ifndef HOTCALLS_SYSCALL_ROWS_H",
        "#define HOTCALLS_SYSCALL_ROWS_H",
        "enum row_id {",
        *(f"    ROW_{function.name}," for function in interface.ocalls),
        "    ROW_COUNT,",
        "};",
        "#define ROW_DIGEST {" + ", ".join(f"0x{byte:02x}" for byte in interface.digest) + "}",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def table(interface: Interface) -> str:
    """The text of syscall_table.h."""
    lines = [
        "/* Generated from syscalls.edl by scripts/generate_syscalls.py. */",
        "static const struct row g_rows[ROW_COUNT] = {",
        *(row_of(function) for function in interface.ocalls),
        "};",
    ]
    return "\n".join(lines) + "\n"


def listing(interface: Interface, local: str) -> str:
    """The text of syscalls.json."""
    words = {"NATIVE": "native", "GATED": "native", "EMULATED": "emulated", "REFUSED": "refused"}
    passed = {function.name for function in interface.ocalls}
    calls: list[dict[str, object]] = [
        {
            "name": function.name,
            "how": "passed",
            "why": "",
            "parameters": [
                {"name": parameter.name, "kind": kind_of(parameter).removeprefix("ROW_").lower()}
                for parameter in function.parameters
            ],
        }
        for function in interface.ocalls
    ]
    for line in local.splitlines():
        match = LOCAL.match(line)
        if match is None:
            continue
        kind, name, error, why = match.groups()
        if name in passed:
            continue
        calls.append({"name": name, "how": words[kind], "why": why})
        if error:
            calls[-1]["errno"] = error
    return json.dumps(sorted(calls, key=lambda call: str(call["name"])), indent=1) + "\n"


def main() -> int:
    """Write the files."""
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(PACKAGE.parent))
    package = types.ModuleType("hotcalls")
    package.__path__ = [str(PACKAGE)]
    sys.modules["hotcalls"] = package
    from hotcalls.edl.check import parse_file

    edl, local, directory = (Path(argument) for argument in sys.argv[1:4])
    interface = parse_file(edl, header_only=True)
    (directory / "syscall_rows.h").write_text(header(interface), encoding="utf-8")
    (directory / "syscall_table.h").write_text(table(interface), encoding="utf-8")
    (directory / "syscalls.json").write_text(
        listing(interface, local.read_text("utf-8")), encoding="utf-8"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
