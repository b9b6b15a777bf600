# SPDX-License-Identifier: Apache-2.0
"""The rules that need to see a whole interface: what refers to what, and what is unsafe.

Called by :mod:`hotcalls.edl.check` when everything has been read: sizes that name parameters,
structs in structs and in functions, allow lists, and whether anything can enter the enclave.
"""

from __future__ import annotations

from hotcalls.edl.diagnostics import Findings, Span
from hotcalls.edl.dialect import Dialect
from hotcalls.edl.model import (
    Composite,
    Direction,
    Function,
    Interface,
    Member,
    NamedType,
    Parameter,
    PointerType,
    ScalarType,
    Type,
)
from hotcalls.edl.syntax import NUMBER_LIMIT, Name

_NOT_PORTABLE = frozenset({"wchar_t", "long", "unsigned long", "long double"})

MAX_NESTING = 32
"""How deep structs may lie in structs; what walks them may then recurse."""


class UsageRules:
    """Checks one interface.

    Parameters
    ----------
    interface
        Everything that was declared.
    findings
        Receives what is wrong.
    dialect
        Whose language it is.
    """

    def __init__(self, interface: Interface, findings: Findings, dialect: Dialect) -> None:
        self._dialect = dialect
        self._interface = interface
        self._findings = findings

    def check(
        self, written_allows: list[tuple[str, Name]], start: Span, *, rooted: bool = False
    ) -> None:
        """Apply all rules.

        Parameters
        ----------
        written_allows
            Each name in an ``allow()`` and the ocall that it belongs to.
        start
            What findings about the file as a whole point at.
        rooted
            There need not be a public ecall.
        """
        self._check_types()
        for function in self._interface.functions:
            self._check_function(function)
        self._check_allow(written_allows)
        self._check_roots(start, rooted)

    def _check_types(self) -> None:
        pending = set(self._interface.composites) | {
            ("enum", name) for name in self._interface.enums
        }
        depths: dict[str, int] = {}
        for type_ in self._interface.types:
            if isinstance(type_, Composite):
                inner = (self._interface.resolve(member.type) for member in type_.members)
                depth = 1 + max(
                    (depths.get(t.name, 0) for t in inner if isinstance(t, NamedType)), default=0
                )
                depths[type_.name] = depth
                if depth == MAX_NESTING + 1:
                    assert type_.span is not None
                    self._findings.error(
                        type_.span,
                        "nesting",
                        f"structs lie in each other more than {MAX_NESTING} deep",
                        "join some of them",
                    )
                members = {member.name: member for member in type_.members}
                for member in type_.members:
                    self._check_member(type_, member, members, pending)
                pending.discard((type_.tag, type_.name))
            elif type_.name:
                pending.discard(("enum", type_.name))

    def _check_member(
        self,
        owner: Composite,
        member: Member,
        members: dict[str, Member],
        pending: set[tuple[str, str]],
    ) -> None:
        assert member.span is not None
        resolved = self._interface.resolve(member.type)
        if isinstance(resolved, NamedType) and (resolved.tag, resolved.name) in pending:
            self._findings.error(
                member.span,
                "incomplete-type",
                f"`{resolved.spelling}` is not complete here",
                "define it first, or use a pointer",
            )
        for amount, key in ((member.size, "size"), (member.count, "count")):
            if isinstance(amount, str):
                other = members.get(amount)
                self._check_amount(
                    member.span,
                    key,
                    amount,
                    other.type if other else None,
                    bool(other and other.dims),
                    f"members of `{owner.name}`",
                )

    def _check_amount(
        self,
        span: Span,
        key: str,
        name: str,
        type_: Type | None,
        array: bool,
        among: str,
    ) -> None:
        if type_ is None:
            self._findings.error(
                span,
                "unknown-size",
                f"`{key}={name}`: there is no `{name}` among the {among}",
                "name one of them, or write a number",
            )
            return
        resolved = self._interface.resolve(type_)
        integer = isinstance(resolved, ScalarType) and (resolved.kind == "int" or self._dialect.oe)
        foreign = isinstance(resolved, NamedType) and resolved.tag in ("foreign", "enum")
        if array or not (integer or foreign):
            self._findings.error(
                span,
                "size-type",
                f"`{key}={name}`: `{name}` is not an integer",
                "use a parameter such as `size_t n`",
            )

    def _check_function(self, function: Function) -> None:
        by_name = {parameter.name: parameter for parameter in function.parameters}
        for parameter in function.parameters:
            assert parameter.span is not None
            for amount, key in ((parameter.size, "size"), (parameter.count, "count")):
                if isinstance(amount, str):
                    other = by_name.get(amount)
                    self._check_amount(
                        parameter.span,
                        key,
                        amount,
                        other.type if other else None,
                        bool(other and not other.is_value),
                        f"parameters of `{function.name}`",
                    )
            if (
                isinstance(parameter.size, int)
                and isinstance(parameter.count, int)
                and parameter.size * parameter.count >= NUMBER_LIMIT
            ):
                self._findings.error(
                    parameter.span,
                    "size-overflow",
                    "`size` times `count` is more than an address space",
                    "use smaller numbers",
                )
            self._check_struct_use(function, parameter)
            self._check_portable(function, parameter)
            self._warn(function, parameter)

    def _check_portable(self, function: Function, parameter: Parameter) -> None:
        """Open Enclave loads an enclave built on Linux into a Windows host."""
        base: Type = parameter.type
        while isinstance(base, PointerType):
            base = base.to
        words = base.name if isinstance(base, ScalarType) else ""
        if self._dialect.oe and words in _NOT_PORTABLE:
            assert parameter.span is not None
            self._findings.warning(
                parameter.span,
                "not-portable",
                f"`{words}` of `{function.name}` has another size on Windows",
                "use a type of fixed width",
            )

    def _check_struct_use(self, function: Function, parameter: Parameter) -> None:
        assert parameter.span is not None
        base: Type = parameter.type
        while isinstance(base, PointerType):
            base = base.to
        if not isinstance(base, NamedType):
            return
        named = base
        composite = self._interface.composites.get(("struct", named.name))
        if composite is None or named.tag not in ("struct", "foreign"):
            return
        if named.tag == "foreign" and not self._dialect.oe:
            message = f"`{named.name}` is a struct of this interface"
            hint = f"write `struct {named.name}`"
            if composite.deep:
                self._findings.error(
                    parameter.span, "deep-copy-foreign", f"{message} that is copied deep", hint
                )
            else:
                self._findings.warning(parameter.span, "struct-name", message, hint)
        if composite.deep and parameter.is_value:
            self._findings.error(
                parameter.span,
                "deep-copy-value",
                f"`struct {named.name}` is copied deep and cannot be passed by value",
                "pass a pointer to it",
            )
        elif composite.deep and self._dialect.oe and parameter.size is not None:
            self._findings.error(
                parameter.span,
                "deep-copy-size",
                f"Open Enclave's compiler takes no `size` for `struct {named.name}`, which is "
                "copied deep",
                "write `count=`",
            )
        elif (
            composite.deep
            and parameter.direction is Direction.OUT
            and not self._dialect.oe
            and self._one_pointer(parameter)
        ):
            self._findings.error(
                parameter.span,
                "deep-copy-out",
                f"`struct {named.name}` is copied deep and cannot be only `out`: its sizes come "
                "from the caller",
                "write `[in, out]`",
            )
        elif composite.has_pointers and parameter.is_value:
            self._findings.warning(
                parameter.span,
                "shallow-struct",
                f"`struct {named.name}` has pointers, and what they point to does not travel",
                "pass a pointer to the struct and give its pointers `size=` or `count=`",
            )

    def _one_pointer(self, parameter: Parameter) -> bool:
        """Whether Intel's compiler looks at what it points to; it does not with arrays."""
        if self._dialect.name != "intel":
            return True
        type_ = parameter.type
        single = isinstance(type_, PointerType) and not isinstance(type_.to, PointerType)
        return single and not parameter.dims

    def _warn(self, function: Function, parameter: Parameter) -> None:
        assert parameter.span is not None
        if parameter.direction is Direction.USER_CHECK:
            self._findings.warning(
                parameter.span,
                "user-check",
                f"`{parameter.name}` of `{function.name}` crosses unchecked: its target can change "
                "at any time",
                "write `[in]` or `[out]` unless it must be shared",
            )
        elif (
            parameter.string is not None
            and parameter.direction.goes_in
            and (function.trusted or parameter.direction.comes_out)
        ):
            self._findings.warning(
                parameter.span,
                "unbounded-string",
                f"the other side decides how long `{parameter.name}` of `{function.name}` is",
                "use `[in, size=n]` where a length is known",
            )

    def _check_allow(self, written_allows: list[tuple[str, Name]]) -> None:
        ecalls = {ecall.name for ecall in self._interface.ecalls}
        if self._dialect.oe:
            for owner, written in written_allows:
                self._findings.warning(
                    written.span,
                    "allow-ignored",
                    f"Open Enclave ignores what `{owner}` allows: every ecall may come in",
                    "remove the list",
                )
            return
        for owner, written in written_allows:
            if written.text not in ecalls:
                self._findings.error(
                    written.span,
                    "unknown-ecall",
                    f"there is no trusted function `{written.text}` that `{owner}` could allow",
                    "name a function of a `trusted` block",
                )

    def _check_roots(self, start: Span, rooted: bool) -> None:
        if not rooted and not any(function.public for function in self._interface.ecalls):
            self._findings.error(
                start,
                "no-root",
                f"the enclave `{self._interface.name}` has no public ecall: nothing can enter it",
                "write `public` before a trusted function",
            )
        allowed = {name for ocall in self._interface.ocalls for name in ocall.allow}
        for ecall in self._interface.ecalls:
            if not ecall.public and ecall.name not in allowed:
                assert ecall.span is not None
                self._findings.warning(
                    ecall.span,
                    "unreachable",
                    f"`{ecall.name}` is not public and no ocall allows it: it can never be called",
                    "write `public` before it, or name it in an `allow()`",
                )
