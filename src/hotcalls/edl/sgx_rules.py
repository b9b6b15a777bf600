# SPDX-License-Identifier: Apache-2.0
"""What the ``sgx-sdk`` target cannot generate, and which names it needs for itself.

Called by :mod:`hotcalls.edl.sgx` before anything is generated.
"""

from __future__ import annotations

from hotcalls.edl.diagnostics import Diagnostic, EdlError, Findings, Span
from hotcalls.edl.model import (
    Composite,
    Direction,
    Enum,
    Function,
    Interface,
    Parameter,
)
from hotcalls.edl.names import HEADER_MACROS
from hotcalls.edl.process_rules import unresolved

_OWN = frozenset({"eid", "retval", "pms", "ms", "status"})
_CALLED = frozenset({"memcpy", "memset", "strlen", "wcslen", "malloc", "free", "errno"})
_RUNTIME = frozenset({"g_hot", "g_ecall_table", "g_dyn_entry_table", "g_hot_ecalls"})


def check_sgx(interface: Interface, *, hot_all: bool = False) -> tuple[Diagnostic, ...]:
    """Check that the ``sgx-sdk`` target can do what the interface needs.

    Returns
    -------
    tuple of Diagnostic
        Warnings that concern this target.

    Raises
    ------
    EdlError
        With everything that it cannot do.
    """
    if interface.unresolved:
        raise EdlError([unresolved(interface)])
    rules = _Rules(interface, hot_all)
    for definition in interface.types:
        rules.definition(definition)
    for function in interface.functions:
        rules.function(function)
    rules.findings.raise_if_failed()
    return rules.findings.sorted()


class _Rules:
    def __init__(self, interface: Interface, hot_all: bool) -> None:
        self._interface = interface
        self._hot_all = hot_all
        self.findings = Findings()
        self._generated = {f"sgx_{f.name}" for f in interface.ecalls} | _RUNTIME
        self._generated |= {f"{interface.name}_{f.name}" for f in interface.ocalls}
        self._generated |= {f"ms_{f.name}_t" for f in interface.functions}

    def _error(self, span: Span | None, rule: str, message: str, hint: str) -> None:
        assert span is not None
        self.findings.error(span, rule, f"target sgx-sdk: {message}", hint)

    def _name(self, name: str, span: Span | None, reserved: frozenset[str]) -> None:
        taken = name in reserved or name in HEADER_MACROS or name in self._generated
        if taken or name.startswith(("hc_", "HC_", "hot_", "HOT_")):
            self._error(
                span,
                "reserved-name",
                f"`{name}` is a name that generated code uses",
                "choose another name",
            )

    def definition(self, definition: Composite | Enum) -> None:
        """Check the names of a type."""
        if definition.name:
            self._name(definition.name, definition.span, _CALLED)
        if isinstance(definition, Enum):
            for name, _ in definition.enumerators:
                self._name(name, definition.span, _CALLED)
        else:
            for member in definition.members:
                self._name(member.name, member.span, frozenset())

    def function(self, function: Function) -> None:
        """Check a function."""
        self._name(function.name, function.span, _CALLED)
        if (function.hot or self._hot_all) and function.allow and function.hot:
            assert function.span is not None
            self.findings.warning(
                function.span,
                "hot-allow",
                f"target sgx-sdk: `{function.name}` allows ecalls, which only come back in through "
                "an ordinary ocall: it is never hot",
                "remove `allow` or `transition_using_threads`",
            )
        if function.trusted and function.hot and not function.public:
            assert function.span is not None
            self.findings.warning(
                function.span,
                "hot-private",
                f"target sgx-sdk: `{function.name}` is private, so it is never hot",
                "remove `transition_using_threads`, or write `public`",
            )
        for parameter in function.parameters:
            self._parameter(parameter)

    def _parameter(self, parameter: Parameter) -> None:
        self._name(parameter.name, parameter.span, _OWN | _CALLED)
        if parameter.name.startswith("u_"):
            self._error(
                parameter.span,
                "reserved-name",
                f"`{parameter.name}` begins like a name of generated code",
                "choose another name",
            )
        if parameter.direction is Direction.OUT and self._interface.copied_deep(parameter):
            self._error(
                parameter.span,
                "deep-copy-out",
                f"`{parameter.name}` is copied deep and cannot be only `out`: its sizes come from "
                "the caller",
                "write `[in, out]`",
            )
