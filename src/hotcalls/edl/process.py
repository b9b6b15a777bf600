# SPDX-License-Identifier: Apache-2.0
"""Target ``process``: C for both sides of a process enclave, and the typed Python stub.

Called by ``hotcalls edl`` and ``hotcalls build``.  This module decides *what* is written (names,
sizes, which bit says that a pointer is not NULL) and hands plain data to the templates in
``templates/process``, which hold the C.  The layout of messages comes from
:mod:`hotcalls.edl.layout` alone.

What the target cannot carry across a process boundary is refused by :func:`check_process` with the
reason: pointers inside of structs, unions, types whose size only a C header knows, `long double`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import SimpleNamespace

import jinja2

from hotcalls.edl import ctext
from hotcalls.edl.description import ABI, section_text
from hotcalls.edl.layout import Field, Layouts, pointer_parameters
from hotcalls.edl.model import (
    Composite,
    Direction,
    Enum,
    Function,
    Interface,
    NamedType,
    Parameter,
    PointerType,
    ScalarType,
    Type,
    VoidType,
    c_spelling,
)
from hotcalls.edl.process_deep import deep_side
from hotcalls.edl.process_rules import GENERATED_SUFFIXES, check_process

__all__ = ["GENERATED_SUFFIXES", "check_process", "emit"]


def emit(
    interface: Interface,
    *,
    trusted: bool = True,
    untrusted: bool = True,
    stub: bool = True,
    use_prefix: bool = False,
    enclave_file: str | None = None,
) -> dict[str, str]:
    """Generate the files of this target.

    Parameters
    ----------
    interface
        A checked interface.
    trusted, untrusted
        Which sides to generate C for.
    stub
        Whether to generate the Python stub.
    use_prefix
        Whether the host's proxies are called ``NAME_function``.
    enclave_file
        Name of the shared object that the stub launches; ``NAME.enclave.so`` by default.

    Returns
    -------
    dict
        Text by file name.

    Raises
    ------
    EdlError
        The interface needs what this target cannot do.
    """
    check_process(interface)
    emitter = _Emitter(interface, use_prefix)
    files: dict[str, str] = {}
    name = interface.name
    if trusted:
        side = emitter.side(trusted=True)
        files[f"{name}_t.h"] = render("header.h.j2", side)
        files[f"{name}_t.c"] = render("source.c.j2", side)
    if untrusted:
        side = emitter.side(trusted=False)
        files[f"{name}_u.h"] = render("header.h.j2", side)
        files[f"{name}_u.c"] = render("source.c.j2", side)
    if stub:
        from hotcalls.edl.pystub import emit_stub

        files[f"{name}_u.py"] = emit_stub(interface, enclave_file or f"{name}.enclave.so")
    return files


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hotcalls.edl", "templates/process"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 -- C, not HTML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["invoke"] = ctext.invoke
    return environment


def render(template: str, data: dict[str, object]) -> str:
    """Fill a template of this target."""
    return _environment().get_template(template).render(data)


@dataclass(frozen=True)
class _Padding:
    """Tables about a type: where its padding and its truth values lie."""

    name: str
    stride: str
    holes: tuple[tuple[int, int], ...]
    bools: tuple[int, ...]


@dataclass(frozen=True)
class _Argument:
    """One parameter as the templates see it."""

    name: str
    local: str
    declaration: str
    kind: str  # value, shared, string, buffer
    field: str
    to_field: str
    from_field: str
    padding: str | None
    goes_in: bool
    comes_out: bool
    nrz: bool
    bit: str
    present_type: str
    proxy_size: tuple[str, str, str] | None
    bridge_size: tuple[str, str, str] | None
    size: str
    buffer: str
    position: str
    string_size: str
    character: str
    string: str | None
    deep: str | None
    held: str

    @property
    def key(self) -> str:
        """Its name behind ``size_``, where it must not become a type."""
        return "t_" if self.name == "t" else self.name


class _Emitter:
    def __init__(self, interface: Interface, use_prefix: bool) -> None:
        self._interface = interface
        self._layouts = Layouts(interface)
        self._prefix = f"{interface.name}_" if use_prefix else ""
        self._globals = {t.name for t in interface.types if t.name}
        for definition in interface.types:
            if isinstance(definition, Enum):
                self._globals.update(name for name, _ in definition.enumerators)

    def side(self, *, trusted: bool) -> dict[str, object]:
        interface = self._interface
        served = interface.ecalls if trusted else interface.ocalls
        called = interface.ocalls if trusted else interface.ecalls
        suffix = "t" if trusted else "u"
        own_includes = interface.trusted_includes if trusted else interface.untrusted_includes
        includes = list(dict.fromkeys(interface.includes + own_includes))
        paddings = self._paddings()
        used: dict[str, _Padding] = {}
        proxies = [self._function(f, paddings, used, trusted, proxy=True) for f in called]
        bridges = [self._function(f, paddings, used, trusted, proxy=False) for f in served]

        def places_of(type_: Type) -> str | None:
            table = self._padding(type_, paddings, used)
            return table.name if table else None

        deep = deep_side(
            interface,
            called,
            served,
            size_of=self._size,
            signed=self._signed,
            places_of=places_of,
        )
        return {
            **deep,
            "file": interface.file,
            "name": interface.name,
            "suffix": suffix,
            "trusted": trusted,
            "guard": f"{interface.name}_{suffix}_h".upper(),
            "abi": ABI,
            "includes": includes,
            "includes_sorted": includes == sorted(includes),
            "system_types": self._uses_system_types(),
            "types": [self._definition(t) for t in interface.types],
            "asserts": self._asserts(),
            "paddings": list(used.values()),
            "has_holes": lambda name: any(p.name == name and p.holes for p in used.values()),
            "has_bools": lambda name: any(p.name == name and p.bools for p in used.values()),
            "any_holes": any(p.holes for p in used.values()),
            "any_bools": any(p.bools for p in used.values()),
            "strings": _inout_strings(interface.functions),
            "bridge_strings": _inout_strings(served),
            "any_errno": any(f.propagate_errno for f in interface.ocalls),
            "proxies": proxies,
            "bridges": bridges,
            "ecalls": [self._entry(f, trusted) for f in interface.ecalls],
            "ocalls": [self._entry(f, not trusted) for f in interface.ocalls],
            "allows": self._allows() if trusted else [],
            "digest": ctext.columns([f"0x{b:02x}" for b in interface.digest], 11, 15),
            "section": ctext.literal(section_text(interface)) if trusted else "",
            "symbol": "hc_enclave_interface" if trusted else f"{interface.name}_interface",
        }

    def _definition(self, definition: Composite | Enum) -> dict[str, object]:
        if isinstance(definition, Enum):
            lines = [
                name if value is None else f"{name} = {value}"
                for name, value in definition.enumerators
            ]
            return {"tag": "enum", "name": definition.name, "lines": lines}
        lines = [
            f"{_declare(member.type, member.name, member.dims)};" for member in definition.members
        ]
        return {"tag": definition.tag, "name": definition.name, "lines": lines}

    def _asserts(self) -> list[str]:
        """What the layout of messages takes for granted about the compiler's types."""
        lines = []
        for definition in self._interface.types:
            if isinstance(definition, Composite):
                layout = self._layouts.of(NamedType(definition.tag, definition.name))
                # Of a type that only a header knows; what travels is made of none of these.
                if layout is not None:
                    lines.append((f"{definition.tag} {definition.name}", layout.size))
            elif definition.name:
                lines.append((f"enum {definition.name}", 4))
        scalars: dict[str, int] = {}
        for function in self._interface.functions:
            for type_ in (function.returns, *(p.element for p in function.parameters)):
                scalar = self._interface.resolve(type_)
                if isinstance(type_, NamedType) and isinstance(scalar, ScalarType):
                    scalars[type_.name] = scalar.size
                elif scalar == ScalarType("wchar_t", "int", 4, True):
                    scalars["wchar_t"] = 4
        lines += sorted(scalars.items())
        return [f'_Static_assert(sizeof({name}) == {size}, "{name}");' for name, size in lines]

    def _uses_system_types(self) -> bool:
        used: list[Type] = []
        for function in self._interface.functions:
            used += [function.returns, *(p.element for p in function.parameters)]
        for definition in self._interface.types:
            if isinstance(definition, Composite):
                used += [member.type for member in definition.members]
        return any(
            isinstance(t, NamedType)
            and isinstance(found := self._interface.resolve(t), ScalarType)
            and found.kind == "int"
            for t in used
        )

    def _paddings(self) -> dict[str, _Padding]:
        """The tables of every struct that needs them, and of plain bool."""
        tables = {"bool": _Padding("bool", "sizeof(bool)", (), (0,))}
        for definition in self._interface.types:
            if not isinstance(definition, Composite) or definition.tag != "struct":
                continue
            type_ = NamedType("struct", definition.name)
            holes = self._layouts.holes(type_) or ()
            bools = self._layouts.bools(type_) or ()
            if holes or bools:
                tables[f"struct {definition.name}"] = _Padding(
                    definition.name, f"sizeof(struct {definition.name})", holes, bools
                )
        return tables

    def _padding(
        self, type_: Type, tables: dict[str, _Padding], used: dict[str, _Padding]
    ) -> _Padding | None:
        resolved = self._interface.resolve(type_)
        if isinstance(resolved, NamedType) and resolved.tag == "struct":
            key = resolved.spelling
        elif isinstance(resolved, ScalarType) and resolved.kind == "bool":
            key = "bool"
        else:
            return None
        table = tables.get(key)
        if table is not None:
            used[key] = table
        return table

    def _entry(self, function: Function, served: bool) -> str:
        flags = []
        if function.public:
            flags.append("HC_FN_PUBLIC")
        if function.hot:
            flags.append("HC_FN_HOT")
        bridge = f"{function.name}_bridge" if served else "NULL"
        allow = f"g_allow_{function.name}" if function.allow and not served else "NULL"
        return f'{{"{function.name}", {bridge}, {" | ".join(flags) or "0"}, {allow}}}'

    def _allows(self) -> list[dict[str, object]]:
        ids = {ecall.name: ecall.id for ecall in self._interface.ecalls}
        allows: list[dict[str, object]] = []
        for ocall in self._interface.ocalls:
            if not ocall.allow:
                continue
            words = [0] * ((len(ids) + 63) // 64)
            for name in ocall.allow:
                words[ids[name] // 64] |= 1 << (ids[name] % 64)
            texts = [f"UINT64_C(0x{word:x})" for word in words]
            allows.append({"name": ocall.name, "words": texts})
        return allows

    def _function(
        self,
        function: Function,
        tables: dict[str, _Padding],
        used: dict[str, _Padding],
        trusted: bool,
        *,
        proxy: bool,
    ) -> SimpleNamespace:
        interface = self._interface
        layout = self._layouts.marshalling(function)
        assert layout is not None
        arguments = self._arguments(function, tables, used, proxy)
        taken = {argument.local for argument in arguments} if proxy else {function.name}
        unique = _Names(taken | self._globals)
        public = function.name if trusted or not proxy else f"{self._prefix}{function.name}"
        retval = None if function.is_void else _declare(PointerType(function.returns), "", ())
        error = layout.by_role("error")
        parameters = [argument.declaration for argument in arguments]
        outs = [argument for argument in arguments if argument.comes_out]
        returns = interface.resolve(function.returns)
        padding = None if function.is_void else self._padding(function.returns, tables, used)
        names = {
            base: unique(base)
            for base in (
                *("enclave", "port", "pending", "ms", "status", "total", "retval", "frame"),
                "failed",
            )
        }
        # Attributes, not keys: templates ask for them half a million times in a large interface.
        return SimpleNamespace(
            id=function.id,
            name=function.name,
            public=public,
            plain=_declare(function.returns, function.name, ()),
            parameters=parameters,
            names=SimpleNamespace(**names),
            ms=[_ms_line(interface, field) for field in layout.fields],
            ms_size=layout.size,
            retval=None if retval is None else retval.rstrip(),
            returns_padding=padding.name if padding and padding.holes else None,
            returns_bools=padding.name
            if padding and padding.bools and isinstance(returns, NamedType)
            else None,
            retval_to=_to_field(interface, function.returns),
            retval_from=_from_field(interface, function.returns),
            error=error is not None,
            arguments=arguments,
            deep=[a for a in arguments if a.deep],
            pointers=[argument for argument in arguments if argument.kind != "value"],
            buffers=[a for a in arguments if a.kind in ("string", "buffer")],
            outs=outs,
            shared=[a for a in arguments if a.kind == "shared"],
            signed=[
                next(a.local for a in arguments if a.name == name) if proxy else name
                for name in self._signed_sizes(function)
            ],
            oneway=function.is_void
            and not outs
            and not function.propagate_errno
            and all(a.kind != "shared" for a in arguments),
        )

    def _signed_sizes(self, function: Function) -> list[str]:
        """The signed parameters that sizes are made of: each must not be negative."""
        used = {
            amount
            for parameter in function.parameters
            for amount in (parameter.size, parameter.count)
            if isinstance(amount, str)
        }
        return [
            parameter.name
            for parameter in function.parameters
            if parameter.name in used and self._signed(parameter.type)
        ]

    def _signed(self, type_: Type) -> bool:
        resolved = self._interface.resolve(type_)
        if isinstance(resolved, ScalarType):
            return resolved.signed
        return isinstance(resolved, NamedType) and resolved.tag == "enum"

    def _arguments(
        self,
        function: Function,
        tables: dict[str, _Padding],
        used: dict[str, _Padding],
        proxy: bool,
    ) -> list[_Argument]:
        interface = self._interface
        pointers = pointer_parameters(function)
        bits = {parameter.name: index for index, parameter in enumerate(pointers)}
        width = next(w for w in (8, 16, 32, 64) if len(pointers) <= w)
        by_name = {p.name: p for p in function.parameters}
        # A parameter of a proxy must not hide a type or a constant of the interface.
        hidden = _Names(self._globals)
        local = {p.name: hidden(p.name) if proxy else p.name for p in function.parameters}
        # size_t is the type, not the size of a parameter `t`.
        unique = _Names({"size_t", *(local.values() if proxy else [function.name])})
        ms = _Names({function.name} | self._globals)("ms")

        def proxy_value(name: str) -> str:
            signed = self._signed(by_name[name].type)
            return f"(uint64_t){local[name]}" if signed else local[name]

        def bridge_value(name: str) -> str:
            signed = self._signed(by_name[name].type)
            return f"(uint64_t){ms}.arg_{name}" if signed else f"{ms}.arg_{name}"

        arguments = []
        for parameter in function.parameters:
            kind = "buffer"
            if parameter.is_value:
                kind = "value"
            elif parameter.direction is Direction.USER_CHECK:
                kind = "shared"
            elif parameter.string:
                kind = "string"
            padding = None
            deep = interface.copied_deep(parameter)
            if kind in ("value", "buffer") and deep is None:
                padding = self._padding(parameter.element, tables, used)
            if (
                kind == "value"
                and padding
                and isinstance(interface.resolve(parameter.type), ScalarType)
            ):
                padding = None
            element = c_spelling(parameter.element)
            field_name = {"value": "arg_", "shared": "offset_", "string": "length_"}.get(kind, "")
            bit = bits.get(parameter.name, 0)
            string_size = ""
            if parameter.string == "string":
                cast = "" if element == "char" else "(const char *)"
                string_size = f"strlen({cast}{local[parameter.name]}) + 1"
            elif parameter.string == "wstring":
                string_size = f"(wcslen({local[parameter.name]}) + 1) * sizeof(wchar_t)"
            arguments.append(
                _Argument(
                    parameter.name,
                    local[parameter.name],
                    self._declaration(parameter, local[parameter.name]),
                    kind,
                    f"{field_name}{parameter.name}",
                    _to_field(interface, parameter.type).format(local[parameter.name]),
                    _from_field(interface, parameter.type).format(f"{ms}.arg_{parameter.name}"),
                    padding.name if padding else None,
                    parameter.direction.goes_in,
                    parameter.direction.comes_out,
                    parameter.nrz,
                    f"UINT64_C(0x{1 << bit:x})" if width == 64 else f"0x{1 << bit:x}u",
                    f"uint{width}_t",
                    self._size(parameter, proxy_value) if kind in ("buffer", "shared") else None,
                    self._size(parameter, bridge_value) if kind in ("buffer", "shared") else None,
                    unique(f"size_{parameter.name}"),
                    unique(f"buffer_{parameter.name}"),
                    unique(f"at_{parameter.name}"),
                    string_size,
                    "wchar_t" if parameter.string == "wstring" else "char",
                    parameter.string,
                    deep.name if deep else None,
                    unique(f"held_{parameter.name}"),
                )
            )
        return arguments

    def _declaration(self, parameter: Parameter, name: str) -> str:
        const = "const " if parameter.const else ""
        return const + _declare(parameter.type, name, parameter.dims)

    def _size(self, parameter: Parameter, value: Callable[[str], str]) -> tuple[str, str, str]:
        """How many bytes: ``("", expression, "")`` or ``("mul", factor, factor)``."""
        if parameter.dims:
            dims = "".join(f"[{dimension}]" for dimension in parameter.dims)
            return ("", f"sizeof({c_spelling(parameter.type)}{dims})", "")
        if isinstance(parameter.element, VoidType) or not self._layouts.of(parameter.element):
            element = "1"
        else:
            element = f"sizeof({c_spelling(parameter.element)})"
        size, count = parameter.size, parameter.count
        if size is None and count is None:
            return ("", element, "")
        if isinstance(size, int) and isinstance(count, int):
            return ("", str(size * count), "")
        if count is None:
            return ("", str(size) if isinstance(size, int) else value(str(size)), "")
        left = str(count) if isinstance(count, int) else value(count)
        if size is None:
            right = element
            if isinstance(count, int):
                return ("", f"{left} * {right}", "")
        else:
            right = str(size) if isinstance(size, int) else value(size)
        if right in ("1", "sizeof(uint8_t)", "sizeof(char)"):
            return ("", left, "")
        return ("mul", left, right)


def _inout_strings(functions: Iterable[Function]) -> set[str]:
    return {
        parameter.string
        for function in functions
        for parameter in function.parameters
        if parameter.string and parameter.direction is Direction.INOUT
    }


class _Names:
    """Gives names that are not taken in a function."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)

    def __call__(self, base: str) -> str:
        name = base
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name


def _declare(type_: Type, name: str, dims: tuple[int, ...]) -> str:
    spelling = c_spelling(type_)
    space = "" if spelling.endswith("*") else " "
    return f"{spelling}{space}{name}{''.join(f'[{d}]' for d in dims)}"


def _ms_line(interface: Interface, field: Field) -> str:
    if field.role == "padding":
        return f"uint8_t {field.name}[{field.size}];"
    return f"{_ms_type(interface, field.type)} {field.name};"


def _ms_type(interface: Interface, type_: Type) -> str:
    resolved = interface.resolve(type_)
    if isinstance(resolved, ScalarType):
        if resolved.kind == "int":
            return f"{'' if resolved.signed else 'u'}int{resolved.size * 8}_t"
        # A byte from the other side may be neither 0 nor 1, which a bool must not hold.
        return "uint8_t" if resolved.kind == "bool" else resolved.name
    assert isinstance(resolved, NamedType)
    return "int32_t" if resolved.tag == "enum" else resolved.spelling


def _to_field(interface: Interface, type_: Type) -> str:
    resolved = interface.resolve(type_)
    if isinstance(resolved, NamedType) and resolved.tag == "enum":
        return "(int32_t){}"
    if isinstance(resolved, ScalarType) and resolved.name == "wchar_t":
        return "(int32_t){}"
    return "{}"


def _from_field(interface: Interface, type_: Type) -> str:
    resolved = interface.resolve(type_)
    if isinstance(resolved, NamedType) and resolved.tag == "enum":
        return f"({c_spelling(type_)}){{}}"
    if isinstance(resolved, ScalarType):
        if resolved.kind == "bool":
            return "{} != 0"
        if resolved.name == "wchar_t":
            return "(wchar_t){}"
    return "{}"
