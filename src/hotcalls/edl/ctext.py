# SPDX-License-Identifier: Apache-2.0
"""Lays out C text: lines that are wrapped as clang-format would wrap them.

Used by the emitters, whose templates decide what is written; this decides only where a line breaks.
The style is the project's: 100 columns, arguments filled and aligned behind the parenthesis.
"""

from __future__ import annotations

from collections.abc import Sequence

COLUMNS = 100

# What clang-format charges for a line break: before an argument, before the first one, behind an
# assignment, behind a return type.
_ARGUMENT = 41
_FIRST = 59
_FIRST_IN_DECLARATION = 140
_ASSIGNMENT = 22
_RETURN_TYPE = 100


def invoke(head: str, arguments: Sequence[str], tail: str = ";", indent: int = 4) -> str:
    """A call or a prototype: ``head(argument, argument)tail``.

    Parameters
    ----------
    head
        What stands before the parenthesis, such as ``status = f``.
    arguments
        Its arguments, none of which is broken.
    tail
        What stands behind the parenthesis.
    indent
        Columns before the first line.
    """
    first = f"{' ' * indent}{head}("
    aligned = _fill(first, arguments, tail, len(first))
    if len(aligned) == 1 and len(aligned[0]) <= COLUMNS:
        return aligned[0]
    below = [first, *_fill(" " * (indent + 4), arguments, tail, indent + 4)]
    is_declaration = indent == 0
    choices = [
        (_ARGUMENT * (len(aligned) - 1), aligned),
        (
            _ARGUMENT * (len(below) - 2) + (_FIRST_IN_DECLARATION if is_declaration else _FIRST),
            below,
        ),
    ]
    if " = " in head:
        target, call = first.split(" = ", 1)
        rest = _fill(f"{' ' * (indent + 4)}{call}", arguments, tail, indent + 4 + len(call))
        choices.append((_ASSIGNMENT + _ARGUMENT * (len(rest) - 1), [f"{target} =", *rest]))
    elif is_declaration and " " in head:
        type_, name = head.rsplit(" ", 1)
        name = f"{name}("
        rest = _fill(name, arguments, tail, len(name))
        choices.append((_RETURN_TYPE + _ARGUMENT * (len(rest) - 1), [type_, *rest]))
    fitting = [choice for choice in choices if max(map(len, choice[1])) <= COLUMNS]
    return "\n".join(min(fitting or choices[1:2], key=lambda choice: choice[0])[1])


def _fill(first: str, arguments: Sequence[str], tail: str, align: int) -> list[str]:
    lines = [first]
    for index, argument in enumerate(arguments):
        last = index == len(arguments) - 1
        piece = argument + (f"){tail}" if last else ",")
        if lines[-1] == first:
            lines[-1] += piece
        elif len(lines[-1]) + 1 + len(piece) <= COLUMNS:
            lines[-1] += f" {piece}"
        else:
            lines.append(f"{' ' * align}{piece}")
    if not arguments:
        lines[-1] += f"){tail}"
    return lines


def literal(text: str, indent: int = 4) -> str:
    """A string as C literals of one line each."""
    room = COLUMNS - indent - 3
    # Escaped question marks cannot make trigraphs.
    escaped = text.translate({ord(character): f"\\{character}" for character in '"\\?'})
    lines: list[str] = []
    start = 0
    while start < len(escaped) or not lines:
        line = escaped[start : start + room]
        # An escape is not cut in two: each but the last of a row of them is whole.
        if (len(line) - len(line.rstrip("\\"))) % 2 == 1:
            line = line[:-1]
        lines.append(line)
        start += len(line)
    return "\n".join(f'{" " * indent}"{line}"' for line in lines)


def columns(items: Sequence[str], per_line: int, indent: int) -> str:
    """Items with commas between them, some on each line; the first line is not indented."""
    lines = [", ".join(items[start : start + per_line]) for start in range(0, len(items), per_line)]
    return f",\n{' ' * indent}".join(lines)
