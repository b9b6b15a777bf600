# SPDX-License-Identifier: Apache-2.0
"""Where an EDL text is wrong, which rule it breaks and what to write instead.

Used by every stage of the EDL compiler and by its callers, which show an :class:`EdlError` to the
user as it is.  Runs on the machine that builds an enclave; the text it quotes is untrusted, so
control characters never reach the terminal and long lines are cut.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from dataclasses import dataclass, field

from hotcalls.failure import HotcallsError

MAX_ERRORS = 20
"""Errors reported per run; more would only be consequences of the first ones."""

_MAX_QUOTED_COLUMNS = 160


class Source:
    """One EDL text, with the index that turns an offset into line and column.

    Parameters
    ----------
    path
        Name of the text as the user knows it.
    text
        Its decoded content.
    """

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text
        self._line_starts = [0]
        position = text.find("\n")
        while position >= 0:
            self._line_starts.append(position + 1)
            position = text.find("\n", position + 1)

    def locate(self, offset: int) -> tuple[int, int]:
        """Line and column, both from 1, of a character offset."""
        offset = max(0, min(offset, len(self.text)))
        line = bisect.bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of a line without its end."""
        start = self._line_starts[number - 1]
        end = self.text.find("\n", start)
        return self.text[start : end if end >= 0 else len(self.text)].rstrip("\r")


@dataclass(frozen=True, slots=True)
class Span:
    """A place in a source: what a diagnostic points at."""

    source: Source = field(repr=False)
    offset: int
    length: int = 1

    @property
    def end(self) -> int:
        """Offset of the first character behind the place."""
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding: place, rule, and what to write instead.

    Attributes
    ----------
    path, line, column, length
        Where; line and column count from 1, length in characters.
    severity
        ``"error"`` or ``"warning"``.
    rule
        Short fixed name of the rule, such as ``pointer-direction``.
    message
        What is wrong, in one sentence.
    hint
        What to write instead; empty when there is nothing to add.
    source_line
        The line that `column` points into; empty when there is none (a file that cannot be read).
    """

    path: str
    line: int
    column: int
    length: int
    severity: str
    rule: str
    message: str
    hint: str = ""
    source_line: str = ""

    @classmethod
    def at(
        cls, span: Span, rule: str, message: str, hint: str = "", *, severity: str = "error"
    ) -> Diagnostic:
        """Make a diagnostic that points at `span`."""
        line, column = span.source.locate(span.offset)
        return cls(
            span.source.path,
            line,
            column,
            max(1, span.length),
            severity,
            rule,
            message,
            hint,
            span.source.line(line),
        )

    def render(self) -> str:
        """The diagnostic as it is printed: place and rule, the line, a caret, the hint."""
        place = f"{_printable(self.path)}:{self.line}:{self.column}"
        head = f"{place}: {self.severity}: {self.message} [{self.rule}]"
        lines = [head]
        if self.source_line:
            lines += _quote(self.source_line, self.column, self.length)
        if self.hint:
            lines.append(f"    hint: {self.hint}")
        return "\n".join(lines)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _quote(line: str, column: int, length: int) -> list[str]:
    start = 0
    if column > _MAX_QUOTED_COLUMNS:
        start = column - _MAX_QUOTED_COLUMNS // 2
    shown = _printable(line[start : start + _MAX_QUOTED_COLUMNS])
    before = column - 1 - start
    # Tabs stay tabs in front of the caret, so that it stands below its character at any tab width.
    padding = "".join("\t" if c == "\t" else " " for c in shown[:before]).ljust(before)
    carets = "^" * max(1, min(length, len(shown) - before))
    return [f"    {shown}", f"    {padding}{carets}"]


class EdlError(HotcallsError):
    """An EDL text was refused.

    Parameters
    ----------
    diagnostics
        Every finding of the run, errors and warnings, in the order of their places.
    """

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__(self.diagnostics)

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """The findings that made the text unacceptable."""
        return tuple(d for d in self.diagnostics if d.severity == "error")

    def __str__(self) -> str:
        return "\n".join(d.render() for d in self.diagnostics)


class Findings:
    """Collects diagnostics of a run; bounded, and each place and rule is reported once."""

    def __init__(self) -> None:
        self._items: list[Diagnostic] = []
        self._seen: set[tuple[str, int, int, str, str]] = set()
        self._error_count = 0

    def error(self, span: Span, rule: str, message: str, hint: str = "") -> None:
        """Record an error."""
        self.add(Diagnostic.at(span, rule, message, hint))

    def warning(self, span: Span, rule: str, message: str, hint: str = "") -> None:
        """Record a warning."""
        self.add(Diagnostic.at(span, rule, message, hint, severity="warning"))

    def add(self, diagnostic: Diagnostic) -> None:
        """Record a finding unless it is there already or there are too many."""
        key = (
            diagnostic.path,
            diagnostic.line,
            diagnostic.column,
            diagnostic.rule,
            diagnostic.message,
        )
        if key in self._seen:
            return
        self._seen.add(key)
        if diagnostic.severity == "error":
            self._error_count += 1
            if self._error_count > MAX_ERRORS:
                return
        self._items.append(diagnostic)

    @property
    def failed(self) -> bool:
        """Whether an error was recorded."""
        return self._error_count > 0

    @property
    def full(self) -> bool:
        """Whether further errors would not be shown."""
        return self._error_count >= MAX_ERRORS

    def sorted(self) -> tuple[Diagnostic, ...]:
        """All findings, by file in the order of first mention, then by place."""
        files: dict[str, int] = {}
        for item in self._items:
            files.setdefault(item.path, len(files))
        return tuple(sorted(self._items, key=lambda d: (files[d.path], d.line, d.column)))

    def raise_if_failed(self) -> None:
        """Raise :class:`EdlError` with everything recorded when there was an error."""
        if self.failed:
            raise EdlError(self.sorted())
