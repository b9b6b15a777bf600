# SPDX-License-Identifier: Apache-2.0
"""The tree of what was written in an EDL text, every part with its place.

Made by :mod:`hotcalls.edl.parser`, read by the checks.  Nothing here has been checked beyond the
grammar.
"""

from __future__ import annotations

from dataclasses import dataclass

from hotcalls.edl.diagnostics import Source, Span

NUMBER_LIMIT = 1 << 62
"""Numbers must stay below: the limit of Intel's compiler, and room for a product in 64 bits."""


@dataclass(frozen=True, slots=True)
class Name:
    """An identifier or a word of the language, with its place."""

    text: str
    span: Span


@dataclass(frozen=True, slots=True)
class Number:
    """A decimal number, clamped to :data:`NUMBER_LIMIT`, with its place."""

    value: int
    span: Span


@dataclass(frozen=True, slots=True)
class AttributeSyntax:
    """``key``, ``key=identifier`` or ``key=number``."""

    key: Name
    value: Name | Number | None


@dataclass(frozen=True, slots=True)
class AttributesSyntax:
    """The bracket in front of a parameter, a member or a function."""

    items: tuple[AttributeSyntax, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class TypeSyntax:
    """A type as written; `tag` is ``struct``, ``union``, ``enum``, ``builtin`` or ``foreign``."""

    const: Name | None
    tag: str
    words: tuple[Name, ...]
    stars: int
    span: Span

    @property
    def text(self) -> str:
        """The type's words as C writes them, without its stars."""
        words = " ".join(word.text for word in self.words)
        return words if self.tag in ("builtin", "foreign") else f"{self.tag} {words}"


@dataclass(frozen=True, slots=True)
class DimensionSyntax:
    """``[number]``, ``[NAME]``, or ``[]`` when there is nothing between the brackets."""

    number: Number | Name | None
    span: Span


@dataclass(frozen=True, slots=True)
class DeclarationSyntax:
    """A parameter or a member; a parameter may lack its name (``void``)."""

    attributes: AttributesSyntax | None
    type: TypeSyntax
    name: Name | None
    dimensions: tuple[DimensionSyntax, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class CompositeSyntax:
    """A struct or a union."""

    tag: str
    name: Name
    members: tuple[DeclarationSyntax, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class EnumeratorSyntax:
    """One name of an enum and its value, if written."""

    name: Name
    value: Name | Number | None


@dataclass(frozen=True, slots=True)
class EnumSyntax:
    """An enum, which may have no name."""

    name: Name | None
    enumerators: tuple[EnumeratorSyntax, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class AllowSyntax:
    """``allow(a, b)``."""

    names: tuple[Name, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class FunctionSyntax:
    """A function with everything that stood around it, in the order of the text."""

    attributes: AttributesSyntax | None
    public: Name | None
    returns: TypeSyntax
    return_dimensions: tuple[DimensionSyntax, ...]
    name: Name
    parameters: tuple[DeclarationSyntax, ...]
    postfixes: tuple[AllowSyntax | Name, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class IncludeSyntax:
    """``include "header.h"``."""

    header: Name
    span: Span


@dataclass(frozen=True, slots=True)
class ImportSyntax:
    """``from "file.edl" import a, b`` or ``import *`` (then `names` is None)."""

    path: Name
    names: tuple[Name, ...] | None
    span: Span


@dataclass(frozen=True, slots=True)
class BlockSyntax:
    """A ``trusted`` or ``untrusted`` block."""

    trusted: bool
    entries: tuple[IncludeSyntax | FunctionSyntax, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class FileSyntax:
    """One EDL file."""

    source: Source
    items: tuple[
        IncludeSyntax | ImportSyntax | CompositeSyntax | EnumSyntax | BlockSyntax,
        ...,
    ]
