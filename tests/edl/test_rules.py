# SPDX-License-Identifier: Apache-2.0
"""Each rule of the language, with what it accepts and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hotcalls.edl import EdlError, Interface, parse_text
from hotcalls.edl.model import Direction

Accept = Callable[..., Interface]
Refuse = Callable[..., set[str]]

PAIRS = "struct deep { size_t n; [count=n] int *p; }; struct plain { int *p; };"
DEEP = "struct deep { size_t n; [count=n] int *p; };"
SHALLOW = "struct shallow { int *p; };"

# Rule, one parameter list that is accepted, one that breaks the rule.
PARAMETERS = [
    ("pointer-direction", "[in] int *p", "int *p"),
    ("pointer-direction", "[in] int p[4]", "int p[4]"),
    ("pointer-direction", "[in] const int *p", "const int *p"),
    ("pointer-direction", "[in, isptr] foo_t p", "[isptr] foo_t p"),
    ("pointer-direction", "[in, isary] foo_t p", "[isary] foo_t p"),
    ("direction-user-check", "[user_check] int *p", "[in, user_check] int *p"),
    ("direction-user-check", "[in, out] int *p", "[out, user_check] int *p"),
    ("value-attribute", "int n", "[in] int n"),
    ("value-attribute", "foo_t n", "[in] foo_t n"),
    ("value-attribute", "[in] foo_t n[2]", "[in, size=4] foo_t n"),
    ("string-wstring", "[in, string] char *p", "[in, string, wstring] char *p"),
    ("string-type", "[in, string] unsigned char *p", "[in, string] int *p"),
    ("string-type", "[in, string] char *p", "[in, string] wchar_t *p"),
    ("string-type", "[in, wstring] wchar_t *p", "[in, wstring] char *p"),
    ("string-type", "[in, string] char *p", "[in, string] char **p"),
    ("string-type", "[in] char p[4]", "[in, string] char p[4]"),
    ("string-out", "[in, out, string] char *p", "[out, string] char *p"),
    ("string-out", "[in, out, wstring] wchar_t *p", "[out, wstring] wchar_t *p"),
    ("string-user-check", "[user_check] char *p", "[user_check, string] char *p"),
    ("string-size", "[in, size=4] char *p", "[in, string, size=4] char *p"),
    ("string-size", "[in, count=4] char *p", "[in, wstring, count=4] wchar_t *p"),
    ("void-size", "[in, size=4] void *p", "[in] void *p"),
    ("void-size", "[in, size=4, count=2] void *p", "[in, count=2] void *p"),
    ("void-size", "[user_check] void *p", "[in, out] void *p"),
    ("void", "[in, size=4] void *p", "void p"),
    ("isptr-type", "[in, isptr] foo_t p", "[in, isptr] int *p"),
    ("isptr-type", "[in, isptr] foo_t p", "[in, isptr] foo_t *p"),
    ("isary-type", "[in, isary] foo_t p", "[in, isary] int p"),
    ("isary-isptr", "[in, isary] foo_t p", "[in, isary, isptr] foo_t p"),
    ("isary-size", "[in, isptr, size=4] foo_t p", "[in, isary, size=4] foo_t p"),
    ("isary-string", "[in, isary] foo_t p", "[in, isary, string] foo_t p"),
    ("readonly", "[in, isptr, readonly] foo_t p", "[in, readonly] foo_t *p"),
    ("readonly", "[in] const int *p", "[in, readonly] int *p"),
    ("readonly-out", "[in, isptr, readonly] foo_t p", "[out, isptr, readonly] foo_t p"),
    ("readonly-out", "[in] const int *p", "[out] const int *p"),
    ("readonly-out", "[in, size=4] const void *p", "[out, size=4] const void *p"),
    ("readonly-out", "[in, out] int *p", "[in, out] const int *p"),
    ("const", "[in] const int *p", "const int p"),
    ("const", "[in] int p[4]", "[in] const int p[4]"),
    ("flexible-array", "[in] int p[4]", "[in] int p[]"),
    ("flexible-array", "[in] int p[4][2]", "[in] int p[][2]"),
    ("zero-length-array", "[in] int p[1]", "[in] int p[0]"),
    ("zero-length-array", "[in] int p[2][3]", "[in] int p[2][0]"),
    ("pointer-array", "[in] int p[4]", "[in] int *p[4]"),
    ("pointer-array", "[user_check] int **p", "[user_check] int *p[4]"),
    ("array-attribute", "[in, size=4] int *p", "[in, size=4] int p[4]"),
    ("array-attribute", "[in, count=4] int *p", "[in, count=4] int p[4]"),
    ("array-attribute", "[in] foo_t p[4]", "[in, isary] foo_t p[4]"),
    ("array-size", "[in] char p[1000000]", "[in] char p[4611686018427387903]"),
    ("array-size", "[in] char p[9][9]", "[in] char p[99999999][99999999][99999999]"),
    ("repeated-attribute", "[in, out] int *p", "[in, in] int *p"),
    ("repeated-attribute", "[in, size=4] int *p", "[in, size=4, size=4] int *p"),
    ("unknown-attribute", "[in] int *p", "[inn] int *p"),
    ("sizefunc", "[in, size=4] int *p", "[in, sizefunc=f] int *p"),
    ("attribute-value", "[in, size=4] int *p", "[in, size] int *p"),
    ("attribute-value", "[in] int *p", "[in=4] int *p"),
    ("empty-attributes", "[in] int *p", "[] int *p"),
    ("unknown-size", "[in, size=n] int *p, size_t n", "[in, size=n] int *p"),
    ("unknown-size", "[in, count=n] int *p, int n", "[in, count=m] int *p, int n"),
    ("size-type", "[in, size=n] int *p, uint8_t n", "[in, size=n] int *p, float n"),
    ("size-type", "[in, size=n] int *p, foo_t n", "[in, size=n] int *p, [in] int *n"),
    ("size-type", "[in, size=n] int *p, long n", "[in, size=p] int *p"),
    ("size-overflow", "[in, size=4, count=4] int *p",
     "[in, size=4611686018427387903, count=2] int *p"),
    ("number", "[in, size=4611686018427387903] int *p", "[in, size=4611686018427387904] int *p"),
    ("number", "[in, size=007] int *p", f"[in, size={'9' * 5000}] int *p"),
    ("keyword", "int register_", "int register"),
    ("keyword", "int klass", "int public"),
    ("duplicate", "int a, int b", "int a, int a"),
    ("syntax", "void", "int"),
    ("syntax", "int a", "int a,"),
    ("type", "unsigned long long a", "unsigned float a"),
    ("type", "long double a", "long long long a"),
    ("type", "unsigned a", "long long int a"),
    ("type", "[user_check] int **a", "[user_check] int *********a"),
    ("nrz", "[out, nrz, size=4] int *p", "[in, nrz, size=4] int *p"),
    ("nrz", "[out, nrz] int p[4]", "[in, out, nrz] int p[4]"),
]  # fmt: skip


@pytest.mark.parametrize("rule, good, bad", PARAMETERS)
def test_parameter_rule_accepts_one_and_refuses_the_other(
    accept: Accept, refuse: Refuse, rule: str, good: str, bad: str
) -> None:
    accept(f"public int f({good});")
    accept(untrusted=f"int f({good});")
    assert rule in refuse(f"public int f({bad});")
    assert rule in refuse(untrusted=f"int f({bad});")


FUNCTIONS = [
    ("public-ocall", {"trusted": "public void f();"}, {"untrusted": "public void f();"}),
    ("allow-ecall", {"untrusted": "void f() allow(root);"}, {"trusted": "void f() allow(root);"}),
    ("allow-ecall", {"untrusted": "void f() allow();"}, {"trusted": "public void f() allow();"}),
    ("unknown-ecall", {"untrusted": "void f() allow(root);"}, {"untrusted": "void f() allow(g);"}),
    ("unknown-ecall", {"untrusted": "void f();"}, {"untrusted": "void f() allow(f);"}),
    (
        "errno-ecall",
        {"untrusted": "void f() propagate_errno;"},
        {"trusted": "public void f() propagate_errno;"},
    ),
    (
        "repeated-attribute",
        {"untrusted": "void f() propagate_errno transition_using_threads;"},
        {"untrusted": "void f() propagate_errno propagate_errno;"},
    ),
    (
        "postfix-order",
        {"untrusted": "void f() allow(root) propagate_errno;"},
        {"untrusted": "void f() propagate_errno allow(root);"},
    ),
    (
        "function-attribute",
        {"untrusted": "[cdecl, dllimport] void f();"},
        {"untrusted": "[in] void f();"},
    ),
    (
        "function-attribute",
        {"untrusted": "[stdcall] void f();"},
        {"trusted": "[cdecl] public void f();"},
    ),
    (
        "calling-convention",
        {"untrusted": "[fastcall] void f();"},
        {"untrusted": "[fastcall, cdecl] void f();"},
    ),
    ("return-array", {"trusted": "public int f();"}, {"trusted": "public int[4] f();"}),
    ("const", {"trusted": "public char *f();"}, {"trusted": "public const char *f();"}),
    ("duplicate", {"trusted": "public void f();"}, {"trusted": "public void root();"}),
    ("duplicate", {"untrusted": "void f();"}, {"untrusted": "void root();"}),
    ("keyword", {"trusted": "public void f();"}, {"trusted": "public void while();"}),
    (
        "include-order",
        {"trusted": "", "types": 'trusted { include "a.h" void g(); };'},
        {"trusted": 'public void f(); include "a.h"'},
    ),
    ("include", {"types": 'include "a/b.h"'}, {"types": 'include ""'}),
    ("include", {"types": 'include "a.h"'}, {"types": 'include "a\n.h"'}),
    (
        "duplicate",
        {"types": "struct s { int a; };"},
        {"types": "struct s {int a;}; struct s {int a;};"},
    ),
    (
        "duplicate",
        {"types": "struct s { int a; };"},
        {"types": "struct s {int a;}; union s {int a;};"},
    ),
    ("duplicate", {"types": "struct s { int a; };"}, {"types": "struct s { int a; int a; };"}),
    ("duplicate", {"types": "enum e { A };"}, {"types": "enum e { A }; enum f { A };"}),
    ("duplicate", {"types": "enum e { A };"}, {"types": "enum root { A };"}),
    ("empty-struct", {"types": "struct s { int a; };"}, {"types": "struct s { };"}),
    ("empty-struct", {"types": "union s { int a; };"}, {"types": "union s { };"}),
    ("void", {"types": "union s { int *a; };"}, {"types": "union s { void a; };"}),
    (
        "union-attribute",
        {"types": "union s { int *a; };"},
        {"types": "union s { [size=4] int *a; };"},
    ),
    ("member-attribute", {"types": DEEP}, {"types": "struct s { [in, size=4] int *a; };"}),
    ("member-attribute", {"types": DEEP}, {"types": "struct s { [string] char *a; };"}),
    ("member-attribute", {"types": DEEP}, {"types": "struct s { [user_check] char *a; };"}),
    ("value-attribute", {"types": DEEP}, {"types": "struct s { [size=4] int a; };"}),
    (
        "pointer-array",
        {"types": "struct s { int *a[2]; };"},
        {"types": "struct s { [size=4] int *a[2]; };"},
    ),
    ("flexible-array", {"types": "struct s { int a[2]; };"}, {"types": "struct s { int a[]; };"}),
    (
        "zero-length-array",
        {"types": "struct s { int a[2]; };"},
        {"types": "struct s { int a[0]; };"},
    ),
    ("unknown-size", {"types": DEEP}, {"types": "struct s { [size=n] int *a; };"}),
    ("size-type", {"types": DEEP}, {"types": "struct s { float n; [size=n] int *a; };"}),
    ("const", {"types": DEEP}, {"types": "struct s { const int *a; };"}),
    (
        "incomplete-type",
        {"types": "struct b { struct a a; }; struct a { int x; };"},
        {"types": "struct b { struct a a; }; struct a { struct b b; };"},
    ),
    (
        "incomplete-type",
        {"types": "struct a { struct a *next; };"},
        {"types": "struct a { struct a next; };"},
    ),
    (
        "deep-copy-value",
        {"types": DEEP, "trusted": "public void f([in] struct deep *p);"},
        {"types": DEEP, "trusted": "public void f(struct deep p);"},
    ),
    (
        "deep-copy-out",
        {"types": DEEP, "trusted": "public void f([in, out] struct deep *p);"},
        {"types": DEEP, "trusted": "public void f([out] struct deep *p);"},
    ),
    (
        "deep-copy-out",
        {"types": PAIRS, "trusted": "public void f([out] struct plain p[2]);"},
        {"types": PAIRS, "trusted": "public void f([out] struct deep p[2]);"},
    ),
    (
        "deep-copy-foreign",
        {"types": SHALLOW, "trusted": "public void f([in] shallow *p);"},
        {"types": DEEP, "trusted": "public void f([in] deep *p);"},
    ),
]


@pytest.mark.parametrize("rule, good, bad", FUNCTIONS)
def test_declaration_rule_accepts_one_and_refuses_the_other(
    accept: Accept, refuse: Refuse, rule: str, good: dict[str, str], bad: dict[str, str]
) -> None:
    accept(**good)
    assert rule in refuse(**bad)


TEXTS = [
    (
        "no-root",
        "enclave { trusted { public void f(); }; };",
        "enclave { trusted { void f(); }; };",
    ),
    ("no-root", "enclave { trusted { public void f(); }; };", "enclave { };"),
    (
        "syntax",
        "enclave { trusted { public void f(); }; };",
        "enclave { trusted { public void f(); } };",
    ),
    (
        "syntax",
        "enclave { trusted { public void f(); }; };",
        "enclave { trusted { public void f(); }; }",
    ),
    (
        "syntax",
        "enclave { trusted { public void f(); }; };",
        "enclave { trusted { public void f() }; };",
    ),
    (
        "syntax",
        "enclave { enum { A, B }; trusted { public void f(); }; };",
        "enclave { enum { A, }; trusted { public void f(); }; };",
    ),
    (
        "syntax",
        "enclave { enum { A = 1 }; trusted { public void f(); }; };",
        "enclave { enum { A = -1 }; trusted { public void f(); }; };",
    ),
    (
        "syntax",
        "enclave { trusted { public void f(); }; }; // end",
        "enclave { trusted { public void f(); }; }; /* end",
    ),
    (
        "syntax",
        "/**//***/ enclave { trusted { public void f(); /* } */ }; };",
        "/* /* */ */ enclave { trusted { public void f(); }; };",
    ),
    (
        "syntax",
        'enclave { include "a.h" trusted { public void f(); }; };',
        'enclave { include "a.h; trusted { public void f(); }; };',
    ),
    (
        "syntax",
        "enclave { trusted { public void f(); }; };",
        "enclave { trusted { public void f(); }; }; enclave { };",
    ),
]


@pytest.mark.parametrize("rule, good, bad", TEXTS)
def test_text_rule_accepts_one_and_refuses_the_other(rule: str, good: str, bad: str) -> None:
    parse_text(good)
    with pytest.raises(EdlError) as caught:
        parse_text(bad)
    assert rule in {error.rule for error in caught.value.errors}


def test_every_builtin_type_is_accepted(accept: Accept) -> None:
    types = [
        "char",
        "unsigned char",
        "short",
        "short int",
        "unsigned short",
        "unsigned short int",
        "int",
        "unsigned",
        "unsigned int",
        "long",
        "long int",
        "unsigned long",
        "unsigned long int",
        "long long",
        "unsigned long long",
        "float",
        "double",
        "long double",
        "int8_t",
        "uint8_t",
        "int16_t",
        "uint16_t",
        "int32_t",
        "uint32_t",
        "int64_t",
        "uint64_t",
        "size_t",
        "wchar_t",
        "struct s",
        "union u",
        "enum e",
        "foreign",
    ]
    text = ", ".join(f"{type_} p{i}" for i, type_ in enumerate(types))
    interface = accept(f"public void f({text});")
    assert len(interface.ecalls[1].parameters) == len(types)


def test_blocks_may_be_repeated_and_mixed() -> None:
    interface = parse_text(
        "enclave { untrusted { void o1(); }; trusted { public void e1(); };"
        " struct s { int a; }; untrusted { void o2(); }; trusted { void e2(); }; };"
    )
    assert [f.name for f in interface.ecalls] == ["e1", "e2"]
    assert [f.name for f in interface.ocalls] == ["o1", "o2"]
    assert [f.id for f in interface.ocalls] == [0, 1]


TOKENS = (
    'enclave { include "a.h" enum e { A , B = 2 } ; struct s { size_t n ; [ count = n ] int * p ; }'
    ' ; trusted { include "t.h" public unsigned long long f ( [ in , size = n ] const void * p ,'
    " size_t n , [ out ] int a [ 2 ] [ 3 ] ) transition_using_threads ; void g ( void ) ; } ;"
    " untrusted { [ cdecl , dllimport ] void o ( [ in , string ] char * s ) allow ( f , g )"
    " propagate_errno transition_using_threads ; } ; } ;"
)


@pytest.mark.parametrize("between", ["/**/", "/* ; } */", "// ) ]\n", "\r\n\t", "/***/ // x\n"])
def test_comments_and_blanks_may_stand_between_any_two_words(between: str) -> None:
    text = between + between.join(TOKENS.split(" ")) + between
    assert parse_text(text).to_json() == parse_text(TOKENS).to_json()


def test_includes_belong_to_their_side() -> None:
    interface = parse_text(
        'enclave { include "both.h" trusted { include "t.h" include "t2.h" public void f(); };'
        ' untrusted { include "u.h" }; };'
    )
    assert interface.includes == ("both.h",)
    assert interface.trusted_includes == ("t.h", "t2.h")
    assert interface.untrusted_includes == ("u.h",)


def test_attributes_may_stand_in_any_order(accept: Accept) -> None:
    interface = accept("public void f([count=n, out, size=2, in] int *p, size_t n);")
    parameter = interface.ecalls[1].parameters[0]
    assert parameter.direction is Direction.INOUT
    assert (parameter.size, parameter.count) == (2, "n")


def test_postfixes_may_stand_in_any_order(accept: Accept) -> None:
    for text in (
        "propagate_errno transition_using_threads",
        "transition_using_threads propagate_errno",
    ):
        ocall = accept(untrusted=f"void f() {text};").ocalls[0]
        assert (ocall.hot, ocall.propagate_errno) == (True, True)


def test_function_can_be_hot_on_either_side(accept: Accept) -> None:
    interface = accept(
        "public void e() transition_using_threads;", "void o() transition_using_threads;"
    )
    assert interface.ecalls[1].hot
    assert interface.ocalls[0].hot


@pytest.mark.parametrize(
    "text", ["[out, nrz] int *p", "[user_check, size=4] int *p", "[user_check, count=4] int *p"]
)
def test_extensions_are_refused_in_intels_dialect(
    accept: Accept, refuse: Refuse, text: str
) -> None:
    accept(f"public void f({text});")
    assert refuse(f"public void f({text});", dialect="intel") & {
        "unknown-attribute",
        "size-user-check",
    }


WARNINGS = [
    ("user-check", {"trusted": "public void f([user_check] int *p);"}),
    ("unbounded-string", {"trusted": "public void f([in, string] char *p);"}),
    ("unbounded-string", {"untrusted": "void f([in, out, string] char *p);"}),
    ("unreachable", {"trusted": "void f();"}),
    ("shallow-struct", {"types": SHALLOW, "trusted": "public void f(struct shallow p);"}),
    ("struct-name", {"types": "struct s { int a; };", "trusted": "public void f(s p);"}),
    ("cpp-keyword", {"trusted": "public void class();"}),
    ("cpp-keyword", {"trusted": "public void f(int this);"}),
]


@pytest.mark.parametrize("rule, text", WARNINGS)
def test_unsafe_but_legal_gives_a_warning(accept: Accept, rule: str, text: dict[str, str]) -> None:
    assert rule in {warning.rule for warning in accept(**text).warnings}


def test_harmless_interface_gives_no_warning(accept: Accept) -> None:
    assert accept("public int f([in, size=n] uint8_t *p, size_t n);", "void o();").warnings == ()


def test_private_ecall_that_an_ocall_allows_gives_no_warning(accept: Accept) -> None:
    assert accept("void f();", "void o() allow(f);").warnings == ()


def test_file_name_that_is_no_identifier_gives_a_warning() -> None:
    interface = parse_text("enclave { trusted { public void f(); }; };", "my-enclave.v2.edl")
    assert interface.name == "my_enclave_v2"
    assert [warning.rule for warning in interface.warnings] == ["file-name"]


def test_enum_values_count_on_from_the_last_known() -> None:
    interface = parse_text(
        "enclave { enum e { A, B = 5, C, D = B, E, F = ELSEWHERE, G };"
        " trusted { public void f(); }; };"
    )
    values = interface.enums["e"].values()
    assert values == {"A": 0, "B": 5, "C": 6, "D": 5, "E": 6, "F": None, "G": None}


def test_foreign_name_of_a_struct_is_that_struct(accept: Accept) -> None:
    interface = accept("public void f(s p);", types="struct s { int a; };")
    description: Any = interface.description()
    assert description["ecalls"][1]["parameters"][0]["type"] == {"kind": "struct", "name": "s"}
