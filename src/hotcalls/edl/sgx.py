# SPDX-License-Identifier: Apache-2.0
"""Target ``sgx-sdk``: NAME_t.{c,h} and NAME_u.{c,h} for a project of Intel's SGX SDK.

Called by ``hotcalls edl`` and ``hotcalls-edger8r``.  Functions have the names and signatures that
the SDK's own tool gives them, ordinary calls go through ``sgx_ecall`` and ``sgx_ocall``, and
functions marked ``transition_using_threads`` go over the channel of ``hotcalls/sgx_channel.h``
first.  What travels there is the address of the same marshalling struct, which the same bridge
checks, so a call has one set of checks whichever way it comes.

The files are put together by the templates in ``templates/sgx``; the bodies of functions are in
:mod:`hotcalls.edl.sgx_trusted` and here.
"""

from __future__ import annotations

import functools

import jinja2

from hotcalls.edl import ctext
from hotcalls.edl.model import Composite, Enum, Function, Interface, Type, c_spelling
from hotcalls.edl.sgx_deep import deep_data
from hotcalls.edl.sgx_parameters import (
    Argument,
    arguments,
    declaration,
    is_hot,
    ms_struct,
    needs_ms,
)
from hotcalls.edl.sgx_rules import check_sgx
from hotcalls.edl.sgx_trusted import ecall_bridge, ocall_prototype, ocall_proxy

__all__ = ["check_sgx", "emit_sgx"]

_RUNTIME_ECALLS = ("hc_attach", "hc_serve")
_RUNTIME_STRUCTS = (
    "typedef struct ms_hc_attach_t {\n    void *ms_region;\n    uint64_t ms_size;\n"
    "} ms_hc_attach_t;\n",
    "typedef struct ms_hc_serve_t {\n    uint64_t ms_idle;\n    uint64_t ms_stop;\n"
    "    uint64_t ms_entered;\n} ms_hc_serve_t;\n",
)


def emit_sgx(
    interface: Interface,
    *,
    trusted: bool = True,
    untrusted: bool = True,
    header_only: bool = False,
    use_prefix: bool = False,
    hot_all: bool = False,
) -> dict[str, str]:
    """Generate the files of this target.

    Parameters
    ----------
    interface
        A checked interface.
    trusted, untrusted
        Which sides to generate.
    header_only
        Whether to leave out the C files.
    use_prefix
        Whether the host's proxies are called ``NAME_function``.
    hot_all
        Whether every function that can go hot does, marked or not.

    Returns
    -------
    dict
        Text by file name.

    Raises
    ------
    EdlError
        The interface needs what this target cannot do.
    """
    check_sgx(interface, hot_all=hot_all)
    emitter = _Emitter(interface, use_prefix, hot_all)
    files = {}
    for wanted, suffix in ((trusted, "t"), (untrusted, "u")):
        if wanted:
            files[f"{interface.name}_{suffix}.h"] = emitter.header(suffix)
            if not header_only:
                source = emitter.trusted() if suffix == "t" else emitter.untrusted()
                files[f"{interface.name}_{suffix}.c"] = source
    return files


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("hotcalls.edl", "templates/sgx"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 -- C, not HTML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


class _Emitter:
    def __init__(self, interface: Interface, use_prefix: bool, hot_all: bool) -> None:
        self._interface = interface
        self._prefix = f"{interface.name}_" if use_prefix else ""
        self._hot = {f.name for f in interface.functions if is_hot(f, hot_all)}

    def _common(self) -> dict[str, object]:
        return {
            "name": self._interface.name,
            "file": self._interface.file,
            "hot": bool(self._hot),
            "hot_start": ctext.invoke(
                f"sgx_status_t {self._interface.name}_hot_start",
                [
                    "sgx_enclave_id_t eid",
                    "const struct hc_sgx_options *options",
                    "const char **why",
                ],
                "",
                indent=0,
            ),
        }

    def header(self, suffix: str) -> str:
        """The header of a side."""
        interface = self._interface
        own = interface.trusted_includes if suffix == "t" else interface.untrusted_includes
        data = {
            **self._common(),
            "suffix": suffix,
            "side": "trusted" if suffix == "t" else "untrusted",
            "guard": f"{interface.name}_{suffix}_H".upper(),
            "includes": list(dict.fromkeys(interface.includes + own)),
            "truth": _uses_bool(interface),
            "types": [_definition(type_) for type_ in interface.types],
            "prototypes": self._prototypes(suffix),
        }
        return _environment().get_template("header.h.j2").render(data)

    def _prototypes(self, suffix: str) -> list[str]:
        interface = self._interface
        if suffix == "t":
            return [_prototype(ecall) + ";" for ecall in interface.ecalls] + [
                ocall_prototype(interface, ocall) + ";" for ocall in interface.ocalls
            ]
        lines = []
        for ocall in interface.ocalls:
            guard = f"{ocall.name.upper()}_DEFINED__"
            convention = (ocall.convention or "nocconv").upper()
            declared = ", ".join(declaration(p) for p in ocall.parameters) or "void"
            linkage = "SGX_DLLIMPORT " if ocall.dllimport else ""
            lines.append(
                f"#ifndef {guard}\n#define {guard}\n{linkage}{c_spelling(ocall.returns)} "
                f"SGX_UBRIDGE(SGX_{convention}, {ocall.name}, ({declared}));\n#endif"
            )
        return lines + [self._ecall_prototype(ecall) + ";" for ecall in interface.ecalls]

    def _ecall_prototype(self, ecall: Function) -> str:
        parameters = ["sgx_enclave_id_t eid"]
        if not ecall.is_void:
            parameters.append(_pointer(c_spelling(ecall.returns)) + "retval")
        parameters += [declaration(p) for p in ecall.parameters]
        return ctext.invoke(f"sgx_status_t {self._prefix}{ecall.name}", parameters, "", indent=0)

    def _structs(self) -> list[str]:
        texts = [
            ms_struct(self._interface, function)
            for function in self._interface.functions
            if needs_ms(function)
        ]
        return [*texts, *_RUNTIME_STRUCTS] if self._hot else texts

    def trusted(self) -> str:
        """NAME_t.c."""
        interface = self._interface
        ecalls, ocalls = interface.ecalls, interface.ocalls
        runtime = _RUNTIME_ECALLS if self._hot else ()
        table = [f"{{(void *)(uintptr_t)sgx_{f.name}, {int(not f.public)}, 0}}" for f in ecalls] + [
            f"{{(void *)(uintptr_t)sgx_{name}, 0, 0}}" for name in runtime
        ]
        names = [f.name for f in ecalls] + list(runtime)
        entries = [
            "{" + ", ".join("1" if name in f.allow else "0" for name in names) + "}" for f in ocalls
        ]
        data = {
            **self._common(),
            **deep_data(interface),
            "zeroes": any(
                a.parameter.direction.comes_out and not a.parameter.direction.goes_in
                for f in ocalls
                for a in arguments(interface, f)
                if not a.parameter.nrz
            ),
            "structs": self._structs(),
            "bridges": [ecall_bridge(interface, f) for f in ecalls],
            "proxies": [ocall_proxy(interface, f, hot=f.name in self._hot) for f in ocalls],
            "hot_ocalls": any(f.name in self._hot for f in ocalls),
            "ecall_count": len(ecalls),
            "hot_ecalls": [f"[{f.id}] = sgx_{f.name}" for f in ecalls if f.name in self._hot]
            or ["NULL"],
            "table": table,
            "entries": entries,
        }
        return _environment().get_template("trusted.c.j2").render(data)

    def untrusted(self) -> str:
        """NAME_u.c."""
        interface = self._interface
        name = interface.name
        hot = self._hot
        table = [
            f"{name}_{f.name}_ordinary" if f.name in hot else f"{name}_{f.name}"
            for f in interface.ocalls
        ]
        data = {
            **self._common(),
            "structs": self._structs(),
            "bridges": [self._ocall_bridge(f) for f in interface.ocalls],
            "wrappers": [
                f"static sgx_status_t SGX_CDECL {name}_{f.name}_ordinary(void *pms)\n{{\n"
                f"    hc_sgx_arrived();\n    return {name}_{f.name}(pms);\n}}\n"
                for f in interface.ocalls
                if f.name in hot
            ],
            "table": table,
            "hot_ocall_entries": [
                f"[{f.id}] = {name}_{f.name}" for f in interface.ocalls if f.name in hot
            ],
            "hot_ecall_count": sum(f.name in hot for f in interface.ecalls),
            "attach_id": len(interface.ecalls),
            "serve_id": len(interface.ecalls) + 1,
            "proxies": [self._ecall_proxy(f) for f in interface.ecalls],
        }
        return _environment().get_template("untrusted.c.j2").render(data)

    def _ocall_bridge(self, ocall: Function) -> str:
        name = f"{self._interface.name}_{ocall.name}"
        lines = [f"static sgx_status_t SGX_CDECL {name}(void *pms)", "{"]
        passed = [a.untrusted_argument for a in arguments(self._interface, ocall)]
        if needs_ms(ocall):
            struct = f"ms_{ocall.name}_t"
            lines.append(f"    {struct} *ms = SGX_CAST({struct} *, pms);")
        else:
            lines += ["    if (pms != NULL)", "        return SGX_ERROR_INVALID_PARAMETER;"]
        head = ocall.name if ocall.is_void else f"ms->ms_retval = {ocall.name}"
        lines.append(ctext.invoke(head, passed))
        if ocall.propagate_errno:
            lines.append("    ms->ocall_errno = errno;")
        return "\n".join([*lines, "    return SGX_SUCCESS;", "}", ""])

    def _ecall_proxy(self, ecall: Function) -> str:
        lines = [self._ecall_prototype(ecall), "{", "    sgx_status_t hc_status;"]
        ms = "NULL"
        if needs_ms(ecall):
            ms = "&ms"
            lines.append(f"    ms_{ecall.name}_t ms;")
            for argument in arguments(self._interface, ecall):
                lines += _fill(argument)
        head = "hc_status = sgx_ecall"
        passed = ["eid", str(ecall.id), f"&ocall_table_{self._interface.name}", ms]
        if ecall.name in self._hot:
            head = "hc_status = hot_ecall"
            del passed[2]
        lines.append(ctext.invoke(head, passed))
        if not ecall.is_void:
            lines += [
                "    if (hc_status == SGX_SUCCESS && retval)",
                "        *retval = ms.ms_retval;",
            ]
        return "\n".join([*lines, "    return hc_status;", "}", ""])


def _uses_bool(interface: Interface) -> bool:
    """Whether a type is `bool`, which is none in C without its header."""
    used: list[Type] = []
    for function in interface.functions:
        used += [function.returns, *(parameter.element for parameter in function.parameters)]
    for definition in interface.types:
        if isinstance(definition, Composite):
            used += [member.type for member in definition.members]
    return any(c_spelling(type_).rstrip("* ") == "bool" for type_ in used)


def _fill(argument: Argument) -> list[str]:
    parameter = argument.parameter
    name = parameter.name
    field = f"ms.ms_{name}"
    if parameter.isary:
        return [f"    {field} = ({c_spelling(parameter.type)} *)&{name}[0];"]
    if parameter.dims:
        return [f"    {field} = ({argument.pointer}){name};"]
    lines = [f"    {field} = {name};"]
    if parameter.string == "string":
        length = f"strlen({argument.chars(name)}) + 1"
        lines.append(f"    {field}_len = {name} ? {length} : 0;")
    elif parameter.string == "wstring":
        lines.append(f"    {field}_len = {name} ? (wcslen({name}) + 1) * sizeof(wchar_t) : 0;")
    return lines


def _pointer(type_: str) -> str:
    return f"{type_}*" if type_.endswith("*") else f"{type_} *"


def _prototype(function: Function) -> str:
    declared = [declaration(p) for p in function.parameters] or ["void"]
    returns = c_spelling(function.returns)
    head = f"{returns}{function.name}" if returns.endswith("*") else f"{returns} {function.name}"
    return ctext.invoke(head, declared, "", indent=0)


def _definition(type_: Composite | Enum) -> str:
    if isinstance(type_, Enum):
        values = "\n".join(
            f"    {name}," if value is None else f"    {name} = {value},"
            for name, value in type_.enumerators
        )
        if type_.name is None:
            return f"enum {{\n{values}\n}};"
        return f"typedef enum {type_.name} {{\n{values}\n}} {type_.name};"
    members = []
    for member in type_.members:
        dims = "".join(f"[{size}]" for size in member.dims)
        spelled = c_spelling(member.type)
        gap = "" if spelled.endswith("*") else " "
        members.append(f"    {spelled}{gap}{member.name}{dims};")
    body = "\n".join(members)
    # Another EDL of the same program may define it too: the guard is that of the SDK's tool.
    guard = f"_{type_.tag}_{type_.name}"
    return (
        f"#ifndef {guard}\n#define {guard}\ntypedef {type_.tag} {type_.name} {{\n{body}\n}} "
        f"{type_.name};\n#endif"
    )
