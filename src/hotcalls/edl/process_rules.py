# SPDX-License-Identifier: Apache-2.0
"""What the ``process`` target cannot carry, and which names it needs for itself.

Called by :mod:`hotcalls.edl.process` before anything is generated.  An interface that passes can be
generated, compiled without a warning, and marshalled by Python.
"""

from __future__ import annotations

from typing import NamedTuple

from hotcalls.edl.diagnostics import Diagnostic, EdlError, Findings, Span
from hotcalls.edl.layout import MAX_POINTERS, Layouts, pointer_parameters
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
from hotcalls.edl.names import HEADER_FUNCTIONS, HEADER_MACROS, field_name, python_name
from hotcalls.edl.process_deep import as_parameter

GENERATED_SUFFIXES = (
    "_pending",
    "_ms",
    "_submit",
    "_collect",
    "_oneway",
    "_prepare",
    "_finish",
    "_bridge",
)
"""What is appended to the name of a function to name what is generated for it."""

_LARGEST_STRUCT = 1 << 32
_LARGEST_BUFFER = 1 << 40
_CALLED = frozenset({"memcpy", "memmove", "memset", "strlen", "wcslen", "malloc", "free"})


def check_process(interface: Interface) -> tuple[Diagnostic, ...]:
    """Check that the ``process`` target can do what the interface needs.

    Returns
    -------
    tuple of Diagnostic
        Warnings that concern this target.

    Raises
    ------
    EdlError
        With everything that it cannot do.
    """
    rules = _Rules(interface)
    rules.run()
    rules.findings.raise_if_failed()
    return rules.findings.sorted()


def unresolved(interface: Interface) -> Diagnostic:
    """Why nothing can be generated from an interface with named dimensions."""
    names = ", ".join(f"`{name}`" for name in dict.fromkeys(interface.unresolved))
    return Diagnostic(
        interface.file,
        1,
        1,
        1,
        "error",
        "dimension",
        f"only a header knows the dimensions {names}"[:400],
        "write the numbers, or define them in an enum of the EDL",
    )


class _Reason(NamedTuple):
    rule: str
    text: str
    hint: str


class _Rules:
    def __init__(self, interface: Interface) -> None:
        self._deep_seen: set[str] = set()
        self._reasons: dict[NamedType, _Reason | None] = {}
        self._interface = interface
        self._layouts = Layouts(interface)
        self.findings = Findings()
        self._generated = {f"{interface.name}_interface": "the interface"}
        for name in (
            *("deep_get", "deep_set", "deep_mark", "deep_records", "deep_pack", "deep_send"),
            *("deep_check", "deep_take", "deep_open", "deep_reply", "DEEP_MAX"),
            "clear_padding",
            "send_clean",
            "settle_bools",
            "end_string",
            "end_wstring",
            "string_ends",
            "wstring_ends",
        ):
            self._generated[name] = "all interfaces"
        for function in interface.functions:
            for suffix in GENERATED_SUFFIXES:
                self._generated[f"{function.name}{suffix}"] = f"`{function.name}`"

    def run(self) -> None:
        if self._interface.unresolved:
            raise EdlError([unresolved(self._interface)])
        for definition in self._interface.types:
            if isinstance(definition, Composite):
                self._composite(definition)
            else:
                self._enum(definition)
        for function in self._interface.functions:
            self._function(function)

    def _error(self, span: Span | None, rule: str, message: str, hint: str) -> None:
        assert span is not None
        self.findings.error(span, rule, f"target process: {message}", hint)

    def _name(self, name: str, span: Span | None, *, parameter: bool) -> None:
        reserved = None
        if name.startswith(("hc_", "HC_")):
            reserved = "belongs to the runtime"
        elif name in HEADER_MACROS:
            reserved = "is a macro of a standard header"
        elif name in (_CALLED if parameter else HEADER_FUNCTIONS):
            reserved = "is a function that generated code uses or declares"
        elif name in self._generated:
            reserved = f"is generated for {self._generated[name]}"
        if reserved:
            self._error(span, "reserved-name", f"`{name}` {reserved}", "choose another name")

    def _composite(self, definition: Composite) -> None:
        self._name(definition.name, definition.span, parameter=False)
        seen: set[str] = set()
        for member in definition.members:
            self._name(member.name, member.span, parameter=True)
            self._distinct(field_name(member.name), seen, member.span)
        found = self._layouts.composite(definition.tag, definition.name)
        if found is not None and found[0].size >= _LARGEST_STRUCT:
            self._error(
                definition.span,
                "struct-size",
                f"`{definition.name}` has {found[0].size} bytes",
                "pass the data in a buffer with `size=`",
            )

    def _enum(self, definition: Enum) -> None:
        if definition.name:
            self._name(definition.name, definition.span, parameter=False)
        if not definition.enumerators:
            self._error(definition.span, "empty-enum", "an enum without constants", "add one")
        for name, value in definition.values().items():
            self._name(name, definition.span, parameter=False)
            if value is not None and value > 0x7FFFFFFF:
                self._error(
                    definition.span,
                    "enum-value",
                    f"`{name}` is {value}, which no int holds",
                    "use an integer parameter instead",
                )

    def _function(self, function: Function) -> None:
        self._name(function.name, function.span, parameter=False)
        if function.convention in ("stdcall", "fastcall"):
            self.findings.warning(
                _span(function.span),
                "calling-convention",
                f"target process: `{function.convention}` has no meaning on Linux",
                "remove it",
            )
        if isinstance(function.returns, PointerType):
            self._error(
                function.span,
                "return-pointer",
                f"`{function.name}` returns a pointer, which means nothing on the other side",
                "return the data through an `[out]` parameter",
            )
        elif not function.is_void:
            self._carried(function.returns, function.span, f"`{function.name}` returns")
        if len(pointer_parameters(function)) > MAX_POINTERS:
            self._error(
                function.span,
                "pointer-count",
                f"`{function.name}` has more than {MAX_POINTERS} pointers",
                "put them into one buffer",
            )
        seen: set[str] = set()
        for parameter in function.parameters:
            self._name(parameter.name, parameter.span, parameter=True)
            self._distinct(python_name(parameter.name), seen, parameter.span)
            self._parameter(parameter)

    def _distinct(self, name: str, seen: set[str], span: Span | None) -> None:
        if name in seen:
            self._error(
                span,
                "python-name",
                f"two names here become `{name}` in Python",
                "rename one of them",
            )
        seen.add(name)

    def _parameter(self, parameter: Parameter) -> None:
        if parameter.isptr or parameter.isary:
            self._error(
                parameter.span,
                "foreign-type",
                f"the size of what `{c_spelling(parameter.type)}` stands for is unknown",
                "declare a pointer with `size=`, or define a struct in the EDL",
            )
            return
        if parameter.is_value:
            if isinstance(parameter.type, PointerType):
                return
            self._carried(parameter.type, parameter.span, f"`{parameter.name}` is")
            return
        self._constant_size(parameter)
        if parameter.const and parameter.direction.comes_out:
            self._error(
                parameter.span,
                "readonly-out",
                f"`{parameter.name}` is const and `out`",
                "remove `const`",
            )
        struct = self._interface.copied_deep(parameter)
        if struct is not None:
            self._deep(parameter, struct)
        else:
            self._target(parameter)

    def _target(self, parameter: Parameter) -> None:
        """What a pointer points to, of a function or of a struct that is copied deep."""
        element = self._interface.resolve(parameter.element)
        if isinstance(element, PointerType):
            self._error(
                parameter.span,
                "pointer-to-pointer",
                f"`{parameter.name}` points to a pointer, which means nothing on the other side",
                "pass the data itself in a buffer",
            )
        elif (
            isinstance(element, VoidType)
            or parameter.direction is Direction.USER_CHECK
            or self._blob(parameter, element)
        ):
            return
        else:
            self._carried(element, parameter.span, f"`{parameter.name}` points to")

    def _deep(self, parameter: Parameter, struct: Composite) -> None:
        if parameter.direction is Direction.OUT:
            self._error(
                parameter.span,
                "deep-copy-out",
                f"`{parameter.name}` is copied deep and cannot be only `out`: its sizes come from "
                "the caller",
                "write `[in, out]`",
            )
        if struct.name in self._deep_seen:
            return
        self._deep_seen.add(struct.name)
        for member in struct.members:
            if member.deep:
                pointed = as_parameter(member)
                self._constant_size(pointed)
                self._target(pointed)
            elif isinstance(member.type, PointerType):
                self._error(
                    member.span,
                    "struct-pointer",
                    f"`{member.name}` of `struct {struct.name}` means nothing on the other side",
                    "give it `size=` or `count=`",
                )
            else:
                self._carried(member.type, member.span, f"`{member.name}` is")
        named = NamedType("struct", struct.name)
        if self._layouts.of(named) is None:
            return
        if self._layouts.holes(named) is None or self._layouts.bools(named) is None:
            self._error(
                struct.span,
                "padding",
                f"`struct {struct.name}` has padding or `bool` in too many places",
                "order its members by falling size, or name the padding as members",
            )

    def _constant_size(self, parameter: Parameter) -> None:
        """A size that the EDL gives as numbers must be one that an address space has."""
        if isinstance(parameter.size, str) or isinstance(parameter.count, str):
            return
        size = self._layouts.element_size(parameter) or 1
        if parameter.size is not None or parameter.count is not None:
            element = size if parameter.size is None else parameter.size
            size = element * (1 if parameter.count is None else parameter.count)
        for dimension in parameter.dims:
            size *= dimension
        if size >= _LARGEST_BUFFER:
            self._error(
                parameter.span,
                "buffer-size",
                f"`{parameter.name}` has {size} bytes",
                "use a smaller number",
            )

    def _blob(self, parameter: Parameter, element: Type) -> bool:
        """A type that only a header defines, in a buffer whose bytes are counted by the EDL."""
        if self._layouts.of(element) is not None or parameter.size is None:
            return False
        if isinstance(element, NamedType) and element.tag in ("foreign", "struct"):
            self.findings.warning(
                _span(parameter.span),
                "foreign-padding",
                f"target process: `{parameter.name}` is copied as bytes, with the padding of "
                f"`{element.spelling}`",
                "define the struct in the EDL to keep its padding from leaving",
            )
            return True
        return False

    def _carried(self, type_: Type, span: Span | None, subject: str) -> None:
        """Report a type whose values cannot cross."""
        resolved = self._interface.resolve(type_)
        if isinstance(resolved, ScalarType):
            if resolved.name == "long double":
                self._error(
                    span,
                    "long-double",
                    f"{subject} a `long double`, whose form and padding depend on the processor",
                    "use `double`",
                )
            return
        if not isinstance(resolved, NamedType) or resolved.tag == "enum":
            return
        reason = self._why_not(resolved)
        if reason is not None:
            self._error(
                span, reason.rule, f"{subject} a `{resolved.spelling}`, {reason.text}", reason.hint
            )

    def _why_not(self, type_: NamedType) -> _Reason | None:
        """Why values of a struct or union cannot cross; each type is looked at once."""
        if type_ not in self._reasons:
            self._reasons[type_] = None  # For a type that contains itself, which is refused.
            self._reasons[type_] = self._find_reason(type_)
        return self._reasons[type_]

    def _find_reason(self, type_: NamedType) -> _Reason | None:
        if type_.tag == "union":
            return _Reason(
                "union",
                "which of its bytes are meant is unknown, and others would leak",
                "use a struct, or a buffer with `size=`",
            )
        definition = self._interface.composites.get((type_.tag, type_.name))
        if definition is None:
            return _Reason(
                "foreign-type",
                "whose layout the EDL does not define",
                "define it in the EDL, or pass a pointer with `size=`",
            )
        if definition.deep:
            return _Reason(
                "deep-copy",
                "which is copied deep, and that only a pointer parameter is",
                "pass a pointer to it as a parameter of its own",
            )
        if definition.has_pointers:
            return _Reason(
                "struct-pointer",
                "whose pointers mean nothing on the other side",
                "pass what they point to as a parameter",
            )
        for member in definition.members:
            resolved = self._interface.resolve(member.type)
            if isinstance(resolved, NamedType) and resolved.tag != "enum":
                reason = self._why_not(resolved)
                if reason is not None:
                    return _Reason(
                        reason.rule,
                        f"which contains a `{resolved.spelling}`, {reason.text}"[:400],
                        reason.hint,
                    )
            elif isinstance(resolved, ScalarType) and resolved.name == "long double":
                return _Reason("long-double", "which contains a `long double`", "use `double`")
        if self._layouts.holes(type_) is None or self._layouts.bools(type_) is None:
            return _Reason(
                "padding",
                "which has padding or `bool` in too many places",
                "order its members by falling size, or name the padding as members",
            )
        return None


def _span(span: Span | None) -> Span:
    assert span is not None
    return span
