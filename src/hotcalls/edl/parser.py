# SPDX-License-Identifier: Apache-2.0
"""From EDL text to a tree of what was written.

Called by :mod:`hotcalls.edl.imports`.  The text is untrusted: time and memory stay proportional to
its bounded length (the grammar has no nesting that recurses), and everything that is wrong with it
ends in a diagnostic.  After a syntax error the declaration around it is blanked and the rest is
read again, so that one run reports several errors.
"""

from __future__ import annotations

import functools
import re
from importlib import resources

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from hotcalls.edl.diagnostics import Findings, Source, Span
from hotcalls.edl.dialect import Dialect, dialect_named
from hotcalls.edl.syntax import (
    NUMBER_LIMIT,
    AllowSyntax,
    AttributesSyntax,
    AttributeSyntax,
    BlockSyntax,
    CompositeSyntax,
    DeclarationSyntax,
    DimensionSyntax,
    EnumeratorSyntax,
    EnumSyntax,
    FileSyntax,
    FunctionSyntax,
    ImportSyntax,
    IncludeSyntax,
    Name,
    Number,
    TypeSyntax,
)

MAX_TEXT_CHARACTERS = 1 << 19
"""Longest EDL text that is read; Intel's largest are some 50 KiB."""

_MAX_REREAD_CHARACTERS = 1 << 20
"""Bound on what recovery from syntax errors may read again, over all attempts."""


@functools.cache
def _parser() -> Lark:
    grammar = resources.files(__package__).joinpath("grammar.lark").read_text("utf-8")
    return Lark(grammar, parser="lalr", lexer="contextual", propagate_positions=True)


def read_syntax(
    source: Source, findings: Findings, dialect: Dialect | None = None
) -> FileSyntax | None:
    """Parse one text.

    Parameters
    ----------
    source
        The text.
    findings
        Receives what is wrong with it.
    dialect
        Whose grammar; this project's by default.

    Returns
    -------
    FileSyntax or None
        None when there was a syntax error.
    """
    text = source.text
    if len(text) > MAX_TEXT_CHARACTERS:
        findings.error(
            Span(source, 0),
            "too-large",
            f"the file has {len(text)} characters, more than the {MAX_TEXT_CHARACTERS} that are "
            "read",
            "split it into several files and use `from … import`",
        )
        return None
    budget = _MAX_REREAD_CHARACTERS
    good = True
    while True:
        try:
            tree = _parser().parse(text)
        except UnexpectedInput as error:
            good = False
            span = _report(source, text, error, findings)
            budget -= len(text)
            blanked = _blank(text, span.offset)
            if findings.full or budget < 0 or blanked is None:
                return None
            text = blanked
        else:
            if not good:
                return None
            builder = _Builder(source, findings, dialect or dialect_named("hotcalls"))
            return builder.file(tree)


_SHOWN = {
    "LBRACE": "`{`",
    "RBRACE": "`}`",
    "TRUSTED": "`trusted`",
    "LPAR": "`(`",
    "RPAR": "`)`",
    "LSQB": "`[`",
    "RSQB": "`]`",
    "SEMICOLON": "`;`",
    "COMMA": "`,`",
    "EQUAL": "`=`",
    "STAR": "`*`",
    "NAME": "a name",
    "NUMBER": "a number",
    "STRING": "a string",
    "BUILTIN": "a type",
    "TRANSITION": "`transition_using_threads`",
    "<END-OF-FILE>": "the end of the file",
}


def _report(source: Source, text: str, error: UnexpectedInput, findings: Findings) -> Span:
    if isinstance(error, UnexpectedCharacters):
        return _report_characters(source, text, error, findings)
    assert isinstance(error, UnexpectedToken)
    token = error.token
    expected = sorted(
        _SHOWN.get(name, f"`{name.lower()}`") for name in error.expected if name != "$END"
    )
    if token.type == "$END":
        offset = len(source.text.rstrip())
        span = Span(source, max(0, offset - 1))
        findings.error(
            span,
            "syntax",
            "the file ends in the middle of a declaration",
            _expectation(expected),
        )
        return Span(source, len(text))
    span = Span(source, token.start_pos or 0, len(token))
    shown = str(token) if len(token) <= 40 else f"{token[:37]}..."
    findings.error(span, "syntax", f"`{shown}` does not belong here", _expectation(expected))
    return span


def _expectation(expected: list[str]) -> str:
    if not expected:
        return "nothing may follow here"
    if len(expected) > 6:
        expected = [*expected[:6], "…"]
    return f"expected {' or '.join(expected)}"


def _report_characters(
    source: Source, text: str, error: UnexpectedCharacters, findings: Findings
) -> Span:
    span = Span(source, error.pos_in_stream or 0)
    rest = text[span.offset : span.offset + 2]
    if rest == "/*":
        findings.error(
            Span(source, span.offset, 2),
            "syntax",
            "this comment is never closed",
            "close it with `*/`; comments do not nest",
        )
    elif rest[:1] == '"' and '"' not in text[span.offset + 1 :]:
        findings.error(span, "syntax", "this string is never closed", 'close it with `"`')
    elif rest[:1].isdigit():
        findings.error(
            span, "syntax", "this is not a number", "numbers are decimal, without sign or suffix"
        )
    elif rest[:1].isalpha() or rest[:1] == "_":
        end = span.offset
        while end < len(text) and (text[end].isalnum() or text[end] == "_"):
            end += 1
        word = text[span.offset : end]
        findings.error(
            Span(source, span.offset, len(word)),
            "syntax",
            f"`{word[:40]}` does not belong here",
            _expectation(sorted(_SHOWN.get(n, f"`{n.lower()}`") for n in error.allowed or ())),
        )
    elif rest[:1] in _PUNCTUATION:
        findings.error(
            span,
            "syntax",
            f"`{rest[:1]}` does not belong here",
            _expectation(sorted(_SHOWN.get(n, f"`{n.lower()}`") for n in error.allowed or ())),
        )
    else:
        findings.error(
            span,
            "syntax",
            f"the character {rest[:1]!a} is not part of the language",
            "EDL is written in ASCII; other characters may stand in comments only",
        )
    return span


_PUNCTUATION = frozenset('{}()[]*,;="')


def _blank(text: str, offset: int) -> str | None:
    """`text` with the declaration around `offset` blanked out; None when there is none."""
    start = max(text.rfind(mark, 0, offset) for mark in ";{}") + 1
    end = offset
    while end < len(text) and text[end] not in ";{}":
        end += 1
    if end < len(text) and text[end] == ";":
        end += 1
    elif end < len(text) and text[end] == "{":
        # The head of a block is wrong: what is in it would only make further errors.
        depth = 0
        while end < len(text):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
            if depth == 0:
                break
        while end < len(text) and text[end].isspace():
            end += 1
        if end < len(text) and text[end] == ";":
            end += 1
    if end >= len(text) or not text[start:end].strip():
        return None
    kept = "".join(c if c == "\n" else " " for c in text[start:end])
    return text[:start] + kept + text[end:]


class _Builder:
    """Turns lark's tree into the dataclasses above; the tree is at most five levels deep."""

    def __init__(self, source: Source, findings: Findings, dialect: Dialect) -> None:
        self._source = source
        self._findings = findings
        self._dialect = dialect

    def _missing(self, offset: int, what: str) -> None:
        """Report what only Open Enclave's grammar leaves out."""
        if not self._dialect.lenient:
            self._findings.error(
                Span(self._source, offset), "syntax", f"{what} is missing", "add it"
            )

    def _no_trailing(self, tree: Tree[Token]) -> None:
        for child in tree.children:
            if isinstance(child, Tree) and child.data == "trailing" and not self._dialect.lenient:
                self._findings.error(
                    self._name(_tokens(child)[0]).span,
                    "syntax",
                    "a comma ends this list",
                    "remove it",
                )

    def file(self, tree: Tree[Token]) -> FileSyntax:
        builders = {
            "include": self._include,
            "import_decl": self._import,
            "struct_def": self._composite,
            "enum_def": self._enum,
            "block": self._block,
        }
        items = tuple(builders[str(child.data)](child) for child in _trees(tree))
        last = _tokens(tree)[-1]
        if last.type != "SEMICOLON":
            self._missing(last.start_pos or 0, "`;` behind the last brace")
        return FileSyntax(self._source, items)  # type: ignore[arg-type]

    def _span(self, tree: Tree[Token]) -> Span:
        start = tree.meta.start_pos
        return Span(self._source, start, max(1, tree.meta.end_pos - start))

    def _name(self, token: Token) -> Name:
        return Name(str(token), Span(self._source, token.start_pos or 0, max(1, len(token))))

    def _number(self, token: Token) -> Number:
        digits = token.lstrip("0")
        value = int(digits or "0") if len(digits) <= 20 else NUMBER_LIMIT
        return Number(
            min(value, NUMBER_LIMIT), Span(self._source, token.start_pos or 0, len(token))
        )

    def _value(self, token: Token) -> Name | Number:
        return self._number(token) if token.type == "NUMBER" else self._name(token)

    def _string(self, token: Token) -> Name:
        return Name(str(token)[1:-1], Span(self._source, token.start_pos or 0, len(token)))

    def _include(self, tree: Tree[Token]) -> IncludeSyntax:
        return IncludeSyntax(self._string(_tokens(tree)[0]), self._span(tree))

    def _import(self, tree: Tree[Token]) -> ImportSyntax:
        path, *rest = _tokens(tree)
        names = None
        if path.type == "IMPORT":
            if not self._dialect.lenient:
                self._findings.error(
                    self._span(tree),
                    "syntax",
                    "`import` without `from`",
                    'write `from "…" import *;`',
                )
            return ImportSyntax(self._string(rest[0]), None, self._span(tree))
        if not (rest and rest[0].type == "STAR"):
            names = tuple(self._name(token) for token in rest)
        return ImportSyntax(self._string(path), names, self._span(tree))

    def _composite(self, tree: Tree[Token]) -> CompositeSyntax:
        tag, name, brace = _tokens(tree)
        inside = self._source.text[: brace.start_pos].rstrip()
        if _trees(tree) and not self._ends_member(_trees(tree)[-1], brace):
            self._missing(len(inside) - 1, "`;` behind the last member")
        members = tuple(self._declaration(child) for child in _trees(tree))
        return CompositeSyntax(str(tag), self._name(name), members, self._span(tree))

    def _enum(self, tree: Tree[Token]) -> EnumSyntax:
        tokens = _tokens(tree)
        self._no_trailing(tree)
        enumerators = []
        for child in _trees(tree):
            if child.data == "trailing":
                continue
            name, *value = _tokens(child)
            enumerators.append(
                EnumeratorSyntax(self._name(name), self._value(value[0]) if value else None)
            )
        name_token = self._name(tokens[1]) if len(tokens) > 1 else None
        return EnumSyntax(name_token, tuple(enumerators), self._span(tree))

    def _block(self, tree: Tree[Token]) -> BlockSyntax:
        entries = tuple(
            self._include(child) if child.data == "include" else self._function(child)
            for child in _trees(tree)
        )
        return BlockSyntax(str(_tokens(tree)[0]) == "trusted", entries, self._span(tree))

    def _function(self, tree: Tree[Token]) -> FunctionSyntax:
        attributes: AttributesSyntax | None = None
        public: Name | None = None
        returns: TypeSyntax | None = None
        name: Name | None = None
        dimensions: list[DimensionSyntax] = []
        parameters: list[DeclarationSyntax] = []
        postfixes: list[AllowSyntax | Name] = []
        self._no_trailing(tree)
        for child in _present(tree):
            if isinstance(child, Token):
                if child.type == "NAME":
                    name = self._name(child)
                elif child.type == "PUBLIC":
                    public = self._name(child)
                else:
                    postfixes.append(self._name(child))
            elif child.data == "attributes":
                attributes = self._attributes(child)
            elif child.data == "type":
                returns = self._type(child)
            elif child.data == "dimension":
                dimensions.append(self._dimension(child))
            elif child.data == "parameter":
                parameters.append(self._declaration(child))
            elif child.data == "allow":
                self._no_trailing(child)
                names = tuple(self._name(t) for t in _tokens(child) if t.type == "NAME")
                postfixes.append(AllowSyntax(names, self._span(child)))
        assert returns is not None
        assert name is not None
        return FunctionSyntax(
            attributes,
            public,
            returns,
            tuple(dimensions),
            name,
            tuple(parameters),
            tuple(postfixes),
            self._span(tree),
        )

    def _declaration(self, tree: Tree[Token]) -> DeclarationSyntax:
        attributes: AttributesSyntax | None = None
        type_: TypeSyntax | None = None
        name: Name | None = None
        dimensions: tuple[DimensionSyntax, ...] = ()
        for child in _trees(tree):
            if child.data == "attributes":
                attributes = self._attributes(child)
            elif child.data == "type":
                type_ = self._type(child)
            else:
                name = self._name(_tokens(child)[0])
                dimensions = tuple(self._dimension(d) for d in _trees(child))
        assert type_ is not None
        return DeclarationSyntax(attributes, type_, name, dimensions, self._span(tree))

    def _attributes(self, tree: Tree[Token]) -> AttributesSyntax:
        items = []
        self._no_trailing(tree)
        for child in _trees(tree):
            if child.data == "trailing":
                continue
            key, *value = _tokens(child)
            items.append(AttributeSyntax(self._name(key), self._value(value[0]) if value else None))
        return AttributesSyntax(tuple(items), self._span(tree))

    def _type(self, tree: Tree[Token]) -> TypeSyntax:
        const: Name | None = None
        tag = "foreign"
        words: list[Name] = []
        stars = 0
        for token in _tokens(tree):
            if token.type == "CONST":
                const = self._name(token)
            elif token.type == "STAR":
                stars += 1
            elif token.type in ("STRUCT", "UNION", "ENUM"):
                tag = str(token)
            else:
                if token.type == "BUILTIN":
                    tag = "builtin"
                words.append(self._name(token))
        return TypeSyntax(const, tag, tuple(words), stars, self._span(tree))

    def _dimension(self, tree: Tree[Token]) -> DimensionSyntax:
        sizes = [token for token in _tokens(tree) if token.type in ("NUMBER", "NAME")]
        if sizes and sizes[0].type == "NAME" and not self._dialect.lenient:
            self._findings.error(
                self._name(sizes[0]).span,
                "syntax",
                f"`{sizes[0]}` does not belong here",
                "expected a number; `#define` can give it a name",
            )
        return DimensionSyntax(self._value(sizes[0]) if sizes else None, self._span(tree))

    def _ends_member(self, member: Tree[Token], brace: Token) -> bool:
        between = self._source.text[member.meta.end_pos : brace.start_pos]
        return ";" in re.sub(r"/\*.*?\*/|//[^\n]*", "", between, flags=re.DOTALL)


def _present(tree: Tree[Token]) -> list[Token | Tree[Token]]:
    # lark puts None where an optional part is missing; its types do not say so.
    return [child for child in tree.children if isinstance(child, (Token, Tree))]


def _trees(tree: Tree[Token]) -> list[Tree[Token]]:
    return [child for child in tree.children if isinstance(child, Tree)]


def _tokens(tree: Tree[Token]) -> list[Token]:
    return [child for child in tree.children if isinstance(child, Token)]
