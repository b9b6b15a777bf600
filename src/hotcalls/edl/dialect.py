# SPDX-License-Identifier: Apache-2.0
"""Where Intel's compiler, Open Enclave's and this project's disagree about the language.

Read by the parser, the import loader and the checks.  A dialect is a table of differences, so that
each of them is asked for by name where it matters.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    """What one dialect accepts.

    Attributes
    ----------
    name
        As on the command line.
    extensions
        What this project adds: ``nrz``, and size or count with ``user_check``.
    confined
        Imports stay inside the directory of the first file and the search path.
    macros
        ``#define`` and ``#if`` in the text, as after the C preprocessor that Intel's compiler
        runs; otherwise ``#ifdef``, ``#ifndef``, ``#else`` and ``#endif`` only.
    lenient
        Open Enclave's grammar: a comma may end a list, the last ``;`` of a struct and of the
        enclave may be missing, ``import "file"`` stands alone, arrays have named dimensions.
    private
        Ecalls that are not public; an interface without a public one is then refused.
    """

    name: str
    extensions: bool = False
    confined: bool = False
    macros: bool = True
    lenient: bool = False
    private: bool = True

    @property
    def oe(self) -> bool:
        """Whether it is Open Enclave's."""
        return self.name == "oe"


_ALL = (
    Dialect("hotcalls", extensions=True, confined=True),
    Dialect("intel"),
    Dialect("oe", macros=False, lenient=True, private=False),
)
DIALECTS = tuple(dialect.name for dialect in _ALL)


def dialect_named(name: str) -> Dialect:
    """Return the dialect of that name.

    Raises
    ------
    ValueError
        There is none.
    """
    for dialect in _ALL:
        if dialect.name == name:
            return dialect
    raise ValueError(f"dialect: expected one of {', '.join(DIALECTS)}, got {name!r}")
