# SPDX-License-Identifier: Apache-2.0
"""The preprocessor step: conditional parts and simple macros of an EDL text.

Called by :mod:`hotcalls.edl.imports` before a text is parsed.  Intel's compiler pipes each file
through ``gcc -E``; this does what EDL files use of that, without a compiler, the same on every
machine: ``#define NAME tokens``, ``#undef``, ``#if``, ``#ifdef``, ``#ifndef``, ``#elif``,
``#else``, ``#endif``, ``#error``.  Macros with parameters and ``#include`` are refused with a
sentence.  Lines stay lines, so a place in the result is a place in the file; on a line with a macro
the columns are those of the expanded line, which is the one that a diagnostic shows.

The text is untrusted: nesting, expansion and the size of the result are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from hotcalls.edl.diagnostics import Findings, Source, Span

MAX_RESULT_CHARACTERS = 1 << 19
_MAX_DEPTH = 64

#: What gcc predefines on x86-64 Linux and an EDL may ask for; its line numbers are none of that.
PREDEFINED = {
    **dict.fromkeys(("__linux__", "__linux", "__gnu_linux__", "linux", "__unix__", "unix"), "1"),
    **dict.fromkeys(("__x86_64__", "__x86_64", "__amd64__", "__LP64__", "_LP64", "__ELF__"), "1"),
    **dict.fromkeys(("__STDC__", "__STDC_HOSTED__"), "1"),
    "__GNUC__": "12",
    "__STDC_VERSION__": "201710",
}

_PIECES = re.compile(
    r"/\*.*?\*/|//[^\n]*|/\*|\"[^\"\n]*\"|[A-Za-z_][A-Za-z0-9_]*|[0-9][A-Za-z0-9_]*|\n|[^\S\n]+|.",
    re.DOTALL,
)
_DIRECTIVE = re.compile(r"^[^\S\n]*#", re.MULTILINE)
_EXPRESSION = re.compile(
    r"\s*(?:(?P<number>0[xX][0-9a-fA-F]+|[0-9]+)[uUlL]*|(?P<name>[A-Za-z_]\w*)|"
    r"(?P<sign>&&|\|\||[=!<>]=|[-+*/%<>!()]))"
)
_LEVELS = (("||",), ("&&",), ("==", "!="), ("<", ">", "<=", ">="), ("+", "-"), ("*", "/", "%"))


class _Wrong(Exception):
    """A directive that cannot be followed."""


def definitions(written: Iterable[str]) -> dict[str, str]:
    """Macros from ``NAME`` or ``NAME=VALUE``, as after ``-D``.

    Raises
    ------
    ValueError
        One of them has no name.
    """
    macros = {}
    for item in written:
        name, equals, value = item.partition("=")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(f"-D{item}: a macro is a C identifier")
        macros[name] = value if equals else "1"
    return macros


def preprocess(
    source: Source, macros: dict[str, str], findings: Findings, *, full: bool
) -> Source | None:
    """Apply the directives of a text.

    Parameters
    ----------
    source
        The text.
    macros
        What is defined from outside; not changed.
    full
        Whether macros expand and have values; otherwise names are defined or not, and only
        ``#ifdef``, ``#ifndef``, ``#else`` and ``#endif`` are known.

    Returns
    -------
    Source or None
        A text with as many lines; None after an error.
    """
    if _DIRECTIVE.search(source.text) is None and not (full and macros):
        return source
    known = {**PREDEFINED, **macros} if full else dict(macros)
    text = _Preprocessor(source, known, findings, full=full).run()
    return None if text is None else Source(source.path, text)


class _Preprocessor:
    def __init__(
        self, source: Source, macros: dict[str, str], findings: Findings, *, full: bool
    ) -> None:
        self._source = source
        self._macros = macros
        self._findings = findings
        self._full = full
        # One entry per open #if: whether its text counts, whether a branch was taken, #else seen.
        self._open: list[tuple[bool, bool, bool, Span]] = []
        self._result: list[str] = []
        self._size = 0

    def run(self) -> str | None:
        text = self._source.text
        position = 0
        fresh = True  # only blanks so far on this line
        while position < len(text):
            if fresh and (match := re.compile(r"[^\S\n]*#").match(text, position)):
                end = self._end_of_directive(position)
                span = Span(self._source, match.end() - 1, max(1, end - match.end() + 1))
                try:
                    self._directive(text[match.end() : end], span)
                except _Wrong as wrong:
                    message, hint = wrong.args
                    self._findings.error(span, "preprocessor", message, hint)
                    return None
                self._put("\n" * text.count("\n", position, end))
                position = end
                continue
            found = _PIECES.match(text, position)
            assert found is not None
            piece = found.group()
            position = found.end()
            if piece == "\n":
                fresh = True
            elif not piece.isspace() and not piece.startswith("/*"):
                fresh = False
            if not self._counts() or (piece.startswith(("/*", "//")) and piece != "/*"):
                self._put("".join(c if c == "\n" else " " for c in piece))
            elif self._full and piece in self._macros:
                self._put(self._expand(piece, set()))
            else:
                self._put(piece)
            if self._size > MAX_RESULT_CHARACTERS + len(text):
                self._findings.error(
                    Span(self._source, position - 1),
                    "preprocessor",
                    "macros make the text too large",
                    "write the values themselves",
                )
                return None
        if self._open:
            self._findings.error(
                self._open[-1][3], "preprocessor", "this has no `#endif`", "write one"
            )
            return None
        return "".join(self._result)

    def _put(self, piece: str) -> None:
        self._result.append(piece)
        self._size += len(piece)

    def _counts(self) -> bool:
        return not self._open or self._open[-1][0]

    def _end_of_directive(self, position: int) -> int:
        text = self._source.text
        while True:
            end = text.find("\n", position)
            if end < 0:
                return len(text)
            if not text[:end].rstrip("\r").endswith("\\"):
                return end
            position = end + 1

    def _expand(self, name: str, inside: set[str]) -> str:
        value = self._macros[name]
        if len(inside) >= _MAX_DEPTH:
            return value
        parts: list[str] = []
        size = 0
        for match in _PIECES.finditer(value):
            piece = match.group()
            if piece in self._macros and piece != name and piece not in inside:
                piece = self._expand(piece, inside | {name})
            parts.append(piece)
            size += len(piece)
            if size > MAX_RESULT_CHARACTERS:
                break
        return "".join(parts)

    def _directive(self, rest: str, span: Span) -> None:
        rest = re.sub(r"\\\r?\n", " ", rest)
        rest = re.sub(r"/\*.*?\*/|//.*", " ", rest)
        word, _, rest = rest.strip().partition(" ")
        rest = rest.strip()
        basic = ("ifdef", "ifndef", "else", "endif")
        if word and word not in basic and not self._full:
            raise _Wrong(f"`#{word[:40]}` is not supported here", "only #ifdef … #else … #endif is")
        if word in ("if", "ifdef", "ifndef"):
            self._begin(word, rest, span)
        elif word in ("elif", "else"):
            if not self._open or self._open[-1][2]:
                raise _Wrong(f"`#{word}` without `#if`", "remove it")
            _, taken, _, where = self._open.pop()
            outer = self._counts()
            holds = outer and not taken and (word == "else" or self._value(rest) != 0)
            self._open.append((holds, taken or holds, word == "else", where))
        elif word == "endif":
            if not self._open:
                raise _Wrong("`#endif` without `#if`", "remove it")
            self._open.pop()
        elif self._counts():
            self._definition(word, rest)

    def _begin(self, word: str, rest: str, span: Span) -> None:
        if len(self._open) >= _MAX_DEPTH:
            raise _Wrong(f"more than {_MAX_DEPTH} open `#if`", "use fewer")
        outer = self._counts()
        holds = False
        if outer and word == "if":
            holds = self._value(rest) != 0
        elif word != "if":
            name = rest.split()[0] if rest else ""
            if not re.fullmatch(r"[A-Za-z_]\w*", name):
                raise _Wrong(f"`#{word}` without a name", f"write `#{word} NAME`")
            holds = outer and (name in self._macros) == (word == "ifdef")
        # Inside text that does not count, no branch is ever taken.
        self._open.append((holds, holds or not outer, False, span))

    def _definition(self, word: str, rest: str) -> None:
        if word == "define":
            match = re.match(r"([A-Za-z_]\w*)(\(?)\s*(.*)", rest, re.DOTALL)
            if match is None:
                raise _Wrong("`#define` without a name", "write `#define NAME value`")
            if match.group(2):
                raise _Wrong(
                    "macros with parameters are not expanded", "write out what the macro gives"
                )
            self._macros[match.group(1)] = match.group(3).strip()
        elif word == "undef":
            self._macros.pop(rest, None)
        elif word == "include":
            raise _Wrong(
                "a header cannot be spliced into an EDL",
                'write `include "header.h"` without `#`, or `from "file.edl" import *;`',
            )
        elif word == "error":
            raise _Wrong(f"#error {rest[:200]}", "this file refuses to be read so")
        elif word and word not in ("pragma", "line", "warning", "ident"):
            raise _Wrong(f"`#{word[:40]}` is not a directive", "remove it")

    # ---- expressions of #if ---------------------------------------------------------------------

    def _value(self, text: str) -> int:
        text = re.sub(
            r"\bdefined\b\s*(?:\(\s*([A-Za-z_]\w*)\s*\)|([A-Za-z_]\w*))",
            lambda m: "1" if (m.group(1) or m.group(2)) in self._macros else "0",
            text,
        )
        tokens: list[str] = []
        self._tokens(text, tokens, set())
        if not tokens or len(tokens) > 4096:
            raise _Wrong("`#if` without a condition that can be read", "write `#if defined(NAME)`")
        tokens.reverse()
        value = self._binary(tokens, 0, 0)
        if tokens:
            raise _Wrong(f"`{tokens[-1]}` does not belong into this condition", "remove it")
        return value

    def _tokens(self, text: str, tokens: list[str], inside: set[str]) -> None:
        position = 0
        text = text.strip()
        while position < len(text) and len(tokens) <= 4096:
            match = _EXPRESSION.match(text, position)
            if match is None:
                raise _Wrong(
                    "this condition cannot be read", "use numbers, names, defined, ! && ||"
                )
            position = match.end()
            name = match.group("name")
            if name is None:
                tokens.append(match.group("number") or match.group("sign"))
            elif name in self._macros and name not in inside and len(inside) < _MAX_DEPTH:
                self._tokens(self._macros[name], tokens, inside | {name})
            else:
                tokens.append("0")

    def _binary(self, tokens: list[str], level: int, depth: int) -> int:
        if depth > _MAX_DEPTH:
            raise _Wrong("the condition is nested too deep", "split it")
        if level == len(_LEVELS):
            return self._unary(tokens, depth)
        left = self._binary(tokens, level + 1, depth)
        while tokens and tokens[-1] in _LEVELS[level]:
            sign = tokens.pop()
            left = _apply(sign, left, self._binary(tokens, level + 1, depth))
        return left

    def _unary(self, tokens: list[str], depth: int) -> int:
        negations = 0
        sign = 1
        while tokens and tokens[-1] in ("!", "-", "+"):
            word = tokens.pop()
            if word == "!":
                negations += 1
            elif word == "-":
                sign = -sign
        if not tokens:
            raise _Wrong("the condition ends too early", "complete it")
        word = tokens.pop()
        if word == "(":
            value = self._binary(tokens, 0, depth + 1)
            if not tokens or tokens.pop() != ")":
                raise _Wrong("a `)` is missing in this condition", "close it")
        elif word[0].isdigit():
            if len(word) > 20:
                raise _Wrong("the number is too large", "use a smaller one")
            value = int(word, 16) if word[:2] in ("0x", "0X") else int(word)
        else:
            raise _Wrong(f"`{word}` does not belong into this condition", "remove it")
        value *= sign
        return value if negations == 0 else int((value == 0) == (negations % 2 == 1))


def _apply(sign: str, left: int, right: int) -> int:
    if sign in ("/", "%"):
        if right == 0:
            raise _Wrong("division by zero in this condition", "remove it")
        return left // right if sign == "/" else left % right
    return {
        "||": lambda: int(bool(left or right)),
        "&&": lambda: int(bool(left and right)),
        "==": lambda: int(left == right),
        "!=": lambda: int(left != right),
        "<": lambda: int(left < right),
        ">": lambda: int(left > right),
        "<=": lambda: int(left <= right),
        ">=": lambda: int(left >= right),
        "+": lambda: left + right,
        "-": lambda: left - right,
        "*": lambda: (left * right) % (1 << 64),
    }[sign]()
