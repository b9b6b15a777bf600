# SPDX-License-Identifier: Apache-2.0
"""From loaded EDL files to one checked :class:`~hotcalls.edl.model.Interface`.

Called through :func:`hotcalls.edl.parse_file` and :func:`~hotcalls.edl.parse_text`.  Here are the
rules for names, blocks and what stands around functions; those that concern one declaration are in
:mod:`hotcalls.edl.parameters`, those that need to see the whole in :mod:`hotcalls.edl.usage`.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence

from hotcalls.edl.diagnostics import EdlError, Findings, Span
from hotcalls.edl.dialect import DIALECTS, Dialect, dialect_named
from hotcalls.edl.imports import LoadedFile, load_file, load_text
from hotcalls.edl.model import (
    Composite,
    Enum,
    Function,
    Interface,
    Parameter,
)
from hotcalls.edl.names import CPP_KEYWORDS
from hotcalls.edl.order import definition_order
from hotcalls.edl.parameters import DeclarationRules
from hotcalls.edl.preprocess import definitions
from hotcalls.edl.syntax import (
    AllowSyntax,
    BlockSyntax,
    CompositeSyntax,
    DeclarationSyntax,
    EnumSyntax,
    FunctionSyntax,
    IncludeSyntax,
    Name,
    Number,
)
from hotcalls.edl.usage import UsageRules

_CONVENTIONS = ("stdcall", "fastcall", "cdecl")


def parse_file(
    path: str | os.PathLike[str],
    search_path: Sequence[str | os.PathLike[str]] = (),
    *,
    dialect: str = "hotcalls",
    defines: Sequence[str] = (),
    header_only: bool = False,
) -> Interface:
    """Read and check an EDL file and everything it imports.

    Parameters
    ----------
    path
        The file.
    search_path
        Directories in which imports are looked up after the directory of the importing file.
    dialect
        ``"hotcalls"``; ``"intel"`` or ``"oe"`` to accept and refuse what Intel's and Open
        Enclave's compilers do.
    defines
        Macros for the preprocessor step, ``NAME`` or ``NAME=VALUE``.
    header_only
        Only headers will be generated: there need not be a public ecall.

    Raises
    ------
    EdlError
        With every error and warning found.
    """
    rules = dialect_named(dialect)
    findings = Findings()
    files = load_file(path, search_path, findings, rules, definitions(defines))
    return _finish(files, os.fspath(path), findings, rules, header_only)


def parse_text(
    text: str,
    name: str = "enclave.edl",
    search_path: Sequence[str | os.PathLike[str]] = (),
    *,
    dialect: str = "hotcalls",
    defines: Sequence[str] = (),
    header_only: bool = False,
) -> Interface:
    """Check an EDL text; `name` stands for its file. See :func:`parse_file`."""
    rules = dialect_named(dialect)
    findings = Findings()
    files = load_text(text, name, search_path, findings, rules, definitions(defines))
    return _finish(files, name, findings, rules, header_only)


def _finish(
    files: list[LoadedFile], name: str, findings: Findings, dialect: Dialect, header_only: bool
) -> Interface:
    findings.raise_if_failed()
    interface = _Checker(files, name, findings, dialect, header_only).interface()
    findings.raise_if_failed()
    return interface


def interface_name(file_name: str) -> str:
    """The stem of a file name as a C identifier."""
    stem = os.path.basename(file_name).rsplit(".", 1)[0]
    name = re.sub(r"[^A-Za-z0-9_]", "_", stem)
    return f"_{name}" if not name or name[0].isdigit() else name


class _Checker:
    def __init__(
        self,
        files: list[LoadedFile],
        name: str,
        findings: Findings,
        dialect: Dialect,
        header_only: bool,
    ) -> None:
        self._dialect = dialect
        self._header_only = header_only
        self._files = files
        self._file_name = name
        self._findings = findings
        self._rules = DeclarationRules(findings, dialect)
        self._includes: dict[str, dict[str, None]] = {"both": {}, "trusted": {}, "untrusted": {}}
        self._types: list[Composite | Enum] = []
        self._functions: dict[bool, list[Function]] = {True: [], False: []}
        self._function_spans: dict[str, Span] = {}
        self._allow_spans: list[tuple[str, Name]] = []

    def interface(self) -> Interface:
        for file in self._files:
            for item in file.syntax.items:
                if isinstance(item, EnumSyntax):
                    self._enum(item)
        for file in self._files:
            self._visit(file)
        name = interface_name(self._file_name)
        start = Span(self._files[0].syntax.source, 0)
        if os.path.basename(self._file_name).rsplit(".", 1)[0] != name:
            self._findings.warning(
                start,
                "file-name",
                f"the name of the file is not a C identifier, `{name}` is used instead",
                "rename the file",
            )
        interface = Interface(
            name,
            os.path.basename(self._file_name),
            tuple(self._includes["both"]),
            tuple(self._includes["trusted"]),
            tuple(self._includes["untrusted"]),
            self._ordered_types(),
            tuple(self._functions[True]),
            tuple(self._functions[False]),
            tuple(name.text for name in self._rules.unknown_dimensions),
        )
        rooted = not self._dialect.private or self._header_only
        UsageRules(interface, self._findings, self._dialect).check(
            self._allow_spans, start, rooted=rooted
        )
        warnings = tuple(d for d in self._findings.sorted() if d.severity == "warning")
        return dataclasses.replace(interface, warnings=warnings)

    def _ordered_types(self) -> tuple[Composite | Enum, ...]:
        # Headers are written in this order, and a file's own types come before imported ones.
        return definition_order(self._types)

    def _visit(self, file: LoadedFile) -> None:
        for item in file.syntax.items:
            if isinstance(item, IncludeSyntax):
                self._include(item, "both")
            elif isinstance(item, CompositeSyntax):
                self._composite(item)
            elif isinstance(item, BlockSyntax):
                self._block(file, item)

    def _include(self, item: IncludeSyntax, side: str) -> None:
        header = item.header.text
        if not header or not header.isprintable() or "\\" in header:
            self._findings.error(
                item.header.span,
                "include",
                "this cannot be the name of a header",
                'write include "header.h"',
            )
            return
        self._includes[side][header] = None

    def _block(self, file: LoadedFile, block: BlockSyntax) -> None:
        if self._dialect.oe and block.entries and isinstance(block.entries[0], IncludeSyntax):
            self._findings.error(
                block.entries[0].span,
                "include-block",
                "Open Enclave's compiler takes no `include` inside of a block",
                "move it before the block",
            )
        seen_function = False
        for entry in block.entries:
            if isinstance(entry, IncludeSyntax):
                if seen_function:
                    self._findings.error(
                        entry.span,
                        "include-order",
                        "an `include` stands before the functions of its block",
                        "move it to the beginning of the block",
                    )
                self._include(entry, "trusted" if block.trusted else "untrusted")
                continue
            seen_function = True
            if file.wanted is None or entry.name.text in file.wanted:
                self._function(entry, block.trusted)

    def _composite(self, item: CompositeSyntax) -> None:
        self._rules.identifier(item.name, item.tag)
        self._type_name(item.name)
        if not item.members and not self._dialect.lenient:
            self._findings.error(
                item.span, "empty-struct", f"a {item.tag} has at least one member", "add one"
            )
        members = []
        seen: set[str] = set()
        for declaration in item.members:
            if item.tag == "union":
                member = self._rules.union_member(declaration)
            else:
                member = self._rules.struct_member(declaration)
            self._unique(declaration, seen, f"{item.tag} {item.name.text}")
            if member is not None:
                members.append(member)
        self._types.append(Composite(item.tag, item.name.text, tuple(members), item.name.span))

    def _enum(self, item: EnumSyntax) -> None:
        if item.name is not None:
            self._rules.identifier(item.name, "enum")
            self._type_name(item.name)
        elif self._dialect.oe and any(isinstance(t, Enum) and t.name is None for t in self._types):
            self._findings.error(
                item.span,
                "duplicate",
                "Open Enclave's compiler takes one enum without a name only",
                "name it",
            )
        enumerators: list[tuple[str, int | str | None]] = []
        for enumerator in item.enumerators:
            self._rules.identifier(enumerator.name, "constant")
            self._ordinary_name(enumerator.name, "constant")
            value: int | str | None = None
            if isinstance(enumerator.value, Number):
                value = enumerator.value.value
            elif enumerator.value is not None:
                value = enumerator.value.text
            enumerators.append((enumerator.name.text, value))
        self._rules.learn(Enum(None, tuple(enumerators)).values())
        name = item.name.text if item.name else None
        span = item.name.span if item.name else item.span
        self._types.append(Enum(name, tuple(enumerators), span))

    def _type_name(self, name: Name) -> None:
        # Types get a typedef too, so they share one name space with functions and constants.
        self._ordinary_name(name, "type")

    def _ordinary_name(self, name: Name, what: str) -> None:
        first = self._function_spans.setdefault(name.text, name.span)
        if first is not name.span:
            line, _ = first.source.locate(first.offset)
            self._findings.error(
                name.span,
                "duplicate",
                f"the {what} `{name.text}` is declared twice, first at {first.source.path}:{line}",
                "rename or remove one of them",
            )

    def _unique(self, declaration: DeclarationSyntax, seen: set[str], where: str) -> None:
        if declaration.name is None:
            return
        if declaration.name.text in seen:
            self._findings.error(
                declaration.name.span,
                "duplicate",
                f"`{declaration.name.text}` stands twice in {where}",
                "rename one of them",
            )
        seen.add(declaration.name.text)

    def _function(self, item: FunctionSyntax, trusted: bool) -> None:
        self._rules.identifier(item.name, "function")
        self._ordinary_name(item.name, "function")
        if item.name.text in CPP_KEYWORDS:
            self._findings.warning(
                item.name.span,
                "cpp-keyword",
                f"`{item.name.text}` is a keyword of C++: C++ cannot include the generated header",
                "choose another name",
            )
        returns = self._rules.returns(item.returns, item.return_dimensions)
        parameters = self._parameters(item)
        convention, dllimport = self._function_attributes(item, trusted)
        if trusted and item.public is None and not self._dialect.private:
            self._findings.error(
                item.name.span,
                "private",
                f"`{item.name.text}` is not public, which Open Enclave does not have",
                "write `public` before it",
            )
        if item.public is not None and not trusted:
            self._findings.error(
                item.public.span,
                "public-ocall",
                "`public` is for trusted functions: every ocall can be made by the enclave only",
                "remove it",
            )
        allow, words = self._postfixes(item, trusted)
        if returns is None:
            return
        self._functions[trusted].append(
            Function(
                len(self._functions[trusted]),
                item.name.text,
                trusted,
                returns,
                parameters,
                item.public is not None,
                "transition_using_threads" in words,
                allow,
                "propagate_errno" in words,
                convention,
                dllimport,
                item.name.span,
            )
        )

    def _parameters(self, item: FunctionSyntax) -> tuple[Parameter, ...]:
        declarations = item.parameters
        if len(declarations) == 1 and _is_plain_void(declarations[0]):
            return ()
        seen: set[str] = set()
        parameters = []
        for declaration in declarations:
            parameter = self._rules.parameter(declaration)
            self._unique(declaration, seen, f"the parameters of `{item.name.text}`")
            if parameter is not None:
                parameters.append(parameter)
                if parameter.name in CPP_KEYWORDS:
                    assert parameter.span is not None
                    self._findings.warning(
                        parameter.span,
                        "cpp-keyword",
                        f"`{parameter.name}` is a keyword of C++: C++ cannot include the generated "
                        "header",
                        "choose another name",
                    )
        return tuple(parameters)

    def _function_attributes(self, item: FunctionSyntax, trusted: bool) -> tuple[str | None, bool]:
        convention: str | None = None
        dllimport = False
        if item.attributes is None:
            return None, False
        if trusted or self._dialect.oe:
            self._findings.error(
                item.attributes.span,
                "function-attribute",
                "a trusted function has no attributes before it"
                if trusted
                else "Open Enclave has no calling conventions",
                "remove them",
            )
            return None, False
        if not item.attributes.items:
            self._findings.error(
                item.attributes.span,
                "empty-attributes",
                "there is no attribute",
                "remove the brackets",
            )
        for attribute in item.attributes.items:
            key = attribute.key
            if key.text in _CONVENTIONS:
                if convention is not None:
                    self._findings.error(
                        key.span,
                        "calling-convention",
                        f"`{key.text}` contradicts `{convention}`",
                        "keep one of them",
                    )
                convention = key.text
            elif key.text == "dllimport":
                if dllimport:
                    self._findings.error(
                        key.span,
                        "repeated-attribute",
                        "`dllimport` is given twice",
                        "remove one of them",
                    )
                dllimport = True
            else:
                self._findings.error(
                    key.span,
                    "function-attribute",
                    f"`{key.text}` is not an attribute of a function",
                    "the attributes are cdecl, stdcall, fastcall and dllimport",
                )
        return convention, dllimport

    def _postfixes(self, item: FunctionSyntax, trusted: bool) -> tuple[tuple[str, ...], set[str]]:
        allow: dict[str, None] = {}
        words: set[str] = set()
        for index, postfix in enumerate(item.postfixes):
            if isinstance(postfix, AllowSyntax):
                if trusted:
                    self._findings.error(
                        postfix.span,
                        "allow-ecall",
                        "`allow` is for untrusted functions: it names the ecalls that may be made "
                        "while one runs",
                        "remove it",
                    )
                elif index != 0:
                    self._findings.error(
                        postfix.span,
                        "postfix-order",
                        "`allow` stands once, directly behind the parameters",
                        "move it there",
                    )
                for name in postfix.names:
                    allow[name.text] = None
                    self._allow_spans.append((item.name.text, name))
                continue
            if postfix.text in words:
                self._findings.error(
                    postfix.span,
                    "repeated-attribute",
                    f"`{postfix.text}` is given twice",
                    "remove one of them",
                )
            if postfix.text == "propagate_errno" and trusted:
                self._findings.error(
                    postfix.span,
                    "errno-ecall",
                    "`propagate_errno` is for untrusted functions",
                    "remove it",
                )
            words.add(postfix.text)
        return tuple(allow), words


def _is_plain_void(declaration: DeclarationSyntax) -> bool:
    return (
        declaration.name is None
        and declaration.attributes is None
        and declaration.type.text == "void"
        and declaration.type.stars == 0
        and declaration.type.const is None
    )


__all__ = ["DIALECTS", "EdlError", "interface_name", "parse_file", "parse_text"]
