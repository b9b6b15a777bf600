# SPDX-License-Identifier: Apache-2.0
"""Words that an EDL file must not use as names, and how names appear in Python.

Used by the checks of the language and of the targets.  Nothing here depends on an EDL text.
"""

from __future__ import annotations

import keyword

EDL_KEYWORDS = frozenset(
    """
    enclave trusted untrusted from import include public allow propagate_errno
    transition_using_threads const char short unsigned int float double long void struct union enum
    int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t size_t wchar_t
    """.split()  # noqa: SIM905
)

C_KEYWORDS = frozenset(
    """
    auto break case char const continue default do double else enum extern float for goto if inline
    int long register restrict return short signed sizeof static struct switch typedef union
    unsigned void volatile while _Alignas _Alignof _Atomic _Bool _Complex _Generic _Imaginary
    _Noreturn _Static_assert _Thread_local asm typeof
    """.split()  # noqa: SIM905
)

CPP_KEYWORDS = frozenset(
    """
    alignas alignof and and_eq bitand bitor catch char8_t char16_t char32_t class co_await
    co_return co_yield compl concept const_cast consteval constexpr constinit decltype delete
    dynamic_cast explicit export false friend mutable namespace new noexcept not not_eq nullptr
    operator or or_eq private protected reinterpret_cast requires static_assert static_cast
    template this throw true try typeid typename using virtual xor xor_eq
    """.split()  # noqa: SIM905
)

HEADER_MACROS = frozenset(
    """
    NULL bool true false errno offsetof assert EOF stdin stdout stderr
    """.split()  # noqa: SIM905
)
"""Macros of the headers that generated code includes."""

HEADER_FUNCTIONS = frozenset(
    """
    memcpy memmove memset memcmp memchr strcpy strncpy strcat strncat strcmp strncmp strcoll
    strxfrm strchr strrchr strspn strcspn strpbrk strstr strtok strlen strerror strdup strndup
    wcslen calloc malloc realloc free main
    """.split()  # noqa: SIM905
)
"""Functions that generated code calls, or that the headers it includes declare."""


def field_name(name: str) -> str:
    """A member of a C struct as a field of a named tuple, which has methods of its own."""
    return f"{name}_" if name in ("count", "index") else python_name(name)


def python_name(name: str) -> str:
    """A C name as an attribute or parameter name in Python."""
    if name.startswith("_"):
        name = f"x{name}"
    return f"{name}_" if keyword.iskeyword(name) or name == "self" else name
