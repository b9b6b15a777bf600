# SPDX-License-Identifier: Apache-2.0
"""Where Intel's compiler, Open Enclave's and ours disagree, and the preprocessor step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hotcalls.edl import EdlError, Interface, parse_file, parse_text
from hotcalls.edl.process import emit

ROOT = "enclave { trusted { public void root(); }; untrusted { %s }; };"
#: Text, and who accepts it: i(ntel), o(pen enclave), h(otcalls).
CASES = [
    ("enclave { trusted { public void f(); void g(); }; };", "ih"),
    ("enclave { trusted { void g(); }; };", ""),
    ("enclave { };", "o"),
    ("enclave { }", "o"),
    ("enclave { trusted { public void f(); }; }", "o"),
    ("enclave { enum e { A, B, }; trusted { public void f(); }; };", "o"),
    ("enclave { enum { A }; enum { B }; trusted { public void f(); }; };", "ih"),
    ("enclave { struct s { int a; int b }; trusted { public void f(); }; };", "o"),
    ("enclave { struct s { int a; int b; }; trusted { public void f(); }; };", "ioh"),
    ("enclave { struct s { }; trusted { public void f(); }; };", "o"),
    ("enclave { enum { N = 4 }; trusted { public void f([in] int a[N]); }; };", "o"),
    ("enclave { trusted { public void f([in] int a[ELSEWHERE]); }; };", "o"),
    ('enclave { trusted { include "a.h" public void f(); }; };', "ih"),
    (ROOT % "[cdecl] void o();", "ih"),
    (ROOT % "void o() allow(root);", "ioh"),
    (ROOT % "void o() allow(nobody);", "o"),
    (ROOT % "void o(int *p);", "o"),
    (ROOT % "void o(int a,);", "o"),
    (ROOT % "void o([in,] int *a);", "o"),
    (ROOT % "void o([out] const int *p);", "o"),
    (ROOT % "const char *o();", "o"),
    (ROOT % "void o(const int a);", "o"),
    (ROOT % "void o([in] void *p);", "o"),
    (ROOT % "void o([in, size=4, count=2] int *p);", "ih"),
    (ROOT % "void o([in, string] unsigned char *p);", "ih"),
    (ROOT % "void o([in, isptr, readonly] foo_t p);", "ih"),
    (ROOT % "void o([out, nrz] int *p);", "h"),
    (ROOT % "void o([user_check, size=4] int *p);", "h"),
    (ROOT % "void o([in, string] wchar_t *p);", ""),
    (ROOT % "void o([in, wstring] wchar_t *p, long n);", "ioh"),
    (
        "enclave { struct d { size_t n; [count=n] int *p; };"
        " trusted { public void f([out] struct d *p); }; };",
        "o",
    ),
    (
        "enclave { struct d { size_t n; [count=n] int *p; };"
        " trusted { public void f([in] d *p); }; };",
        "o",
    ),
    (
        "enclave { struct d { size_t n; [count=n] int *p; };"
        " trusted { public void f(struct d p); }; };",
        "",
    ),
    (
        "enclave { struct d { size_t n; [count=n] int *p; };"
        " trusted { public void f([out] struct d p[2]); }; };",
        "io",
    ),
    (
        "enclave { struct d { size_t n; [count=n] int *p; };"
        " trusted { public void f([in, size=n] struct d *p, size_t n); }; };",
        "ih",
    ),
    ("enclave { struct d { [size=4, user_check] int *p; }; trusted { public void f(); }; };", "i"),
    ("enclave { struct d { [user_check] int *p; }; trusted { public void f(); }; };", ""),
    ("enclave { struct d { [size=4, count=2] int *p; }; trusted { public void f(); }; };", "ioh"),
    ("enclave { struct d { float n; [size=n] int *p; }; trusted { public void f(); }; };", "o"),
    (ROOT % "void o([out, size=4] const void *p);", "o"),
    (ROOT % "void o([user_check] void *p[4]);", "io"),
    (ROOT % "void o([user_check] int *p[4]);", "o"),
    (ROOT % "void o([in, count=n] const void **p, size_t n);", "ioh"),
    (ROOT % "void o([in, size=8, count=n] const void **p, size_t n);", "ih"),
    (ROOT % "void o([in, count=n] int *p, double n);", "o"),
    (ROOT % "void o(char int c, unsigned char int d);", "o"),
    (ROOT % "void o([out, in, string] char *s);", "ih"),
    (ROOT % "void o([in, out, string] char *s);", "ioh"),
    (ROOT % "void o([string] char *s);", ""),
    (ROOT % "void o([count=1] int *s);", ""),
    (ROOT % "DIR *o([\nuser_check] DIR *d, long at);", "ioh"),
    ("#define N 4\nenclave { trusted { public void f([in] int a[N]); }; };", "ih"),
    ("#ifdef NO\n!\n#endif\nenclave { trusted { public void f(); }; };", "ioh"),
    ("#if 1\nenclave { trusted { public void f(); }; };\n#endif", "ih"),
    ("#ifdef NO\nenclave { trusted { public void f(); }; };", ""),
    ('#include "a.h"\nenclave { trusted { public void f(); }; };', ""),
    ("#define F(x) x\nenclave { trusted { public void f(); }; };", ""),
]  # fmt: skip
LETTERS = {"intel": "i", "oe": "o", "hotcalls": "h"}


@pytest.mark.parametrize("dialect", LETTERS)
@pytest.mark.parametrize("text, who", CASES)
def test_dialect_accepts_what_its_compiler_does(text: str, who: str, dialect: str) -> None:
    if LETTERS[dialect] in who:
        parse_text(text, dialect=dialect)
        return
    with pytest.raises(EdlError) as caught:
        parse_text(text, dialect=dialect)
    assert all(error.message and error.line >= 1 for error in caught.value.errors)


@pytest.mark.parametrize(
    "text, rule",
    [
        ("void o(wchar_t c, long n);", "not-portable"),
        ("void o() allow(root);", "allow-ignored"),
        ("void o(int *p);", "pointer-direction"),
    ],
)
def test_open_enclave_warns_where_it_ignores(text: str, rule: str) -> None:
    interface = parse_text(ROOT % text, dialect="oe")
    assert rule in {warning.rule for warning in interface.warnings}


DEEP = (
    "enclave {{ struct d {{ size_t n; [count=n] int *p; }}; trusted {{ public void f({}); }}; }};"
)


@pytest.mark.parametrize(
    "text, rule",
    [
        (DEEP.format("[in, size=n] struct d *p, size_t n"), "deep-copy-size"),
        (DEEP.format("struct d p"), "deep-copy-value"),
        ('enclave { untrusted { include "a.h" void o(); }; };', "include-block"),
        ("enclave { trusted { void f(); }; };", "private"),
        (ROOT % "void o([in, size=4, count=2] int *p);", "size-and-count"),
        ("enclave { trusted { public void f() allow(f); }; };", "allow-ecall"),
        ("#if 1\nenclave { };\n#endif", "preprocessor"),
    ],
)
def test_open_enclave_refuses_by_rule(text: str, rule: str) -> None:
    with pytest.raises(EdlError) as caught:
        parse_text(text, dialect="oe")
    assert rule in {error.rule for error in caught.value.errors}


def test_open_enclave_takes_a_dimension_that_a_header_knows_and_says_so() -> None:
    interface = parse_text(ROOT % "void o([in] int a[ELSEWHERE]);", dialect="oe")
    assert "dimension" in {warning.rule for warning in interface.warnings}


@pytest.mark.parametrize("dialect", LETTERS)
def test_wide_strings_are_taken_in_every_dialect(dialect: str) -> None:
    interface = parse_text(
        ROOT % "void o([in, wstring] const wchar_t *s, wchar_t c, [out] wchar_t a[2][3]);",
        dialect=dialect,
    )
    portable = "not-portable" not in {warning.rule for warning in interface.warnings}
    assert portable == (dialect != "oe")


def test_nothing_is_generated_when_a_dimension_is_unknown() -> None:
    interface = parse_text(ROOT % "void o([in] int a[ELSEWHERE]);", dialect="oe")
    with pytest.raises(EdlError, match="ELSEWHERE"):
        emit(interface)


def test_unknown_dialect_is_refused() -> None:
    with pytest.raises(ValueError, match="dialect"):
        parse_text("enclave { };", dialect="french")


def ocalls(text: str, *defines: str, **options: Any) -> list[str]:
    interface: Interface = parse_text(text, defines=defines, **options)
    return [ocall.name for ocall in interface.ocalls]


CONDITIONAL = ROOT % (
    "\n#if defined(A) && (LEVEL + 1 > 0x2 || !defined B)\nvoid a();\n#elif B\nvoid b();\n"
    "#else /* neither */\nvoid c();\n#endif // end\n"
)


@pytest.mark.parametrize(
    "defines, expected",
    [
        ((), ["c"]),
        (("A",), ["a"]),
        (("A", "B"), ["b"]),
        (("A", "B", "LEVEL=2"), ["a"]),
        (("B=0",), ["c"]),
        (("A", "B", "LEVEL=B"), ["b"]),
    ],
)
def test_condition_chooses_the_branch(defines: tuple[str, ...], expected: list[str]) -> None:
    assert ocalls(CONDITIONAL, *defines) == expected


def test_nested_conditions_in_skipped_text_stay_skipped() -> None:
    text = (
        ROOT
        % "\n#ifdef A\n#ifdef B\nvoid b();\n#else\nvoid c();\n#endif\n#else\nvoid d();\n#endif\n"
    )
    assert ocalls(text) == ["d"]
    assert ocalls(text, "A") == ["c"]
    assert ocalls(text, "A", "B", dialect="oe") == ["b"]


def test_macro_expands_outside_of_strings_and_comments_only() -> None:
    text = ROOT % "\n#define n m\nvoid n(); // n\n"
    assert ocalls(text) == ["m"]
    assert parse_text(
        '#define a b\nenclave { include "a.h" trusted { public void a(); }; };'
    ).includes == ("a.h",)


def test_directive_in_a_comment_is_none() -> None:
    assert ocalls(ROOT % "/*\n#error no\n*/ void o();") == ["o"]


def test_lines_keep_their_numbers() -> None:
    with pytest.raises(EdlError) as caught:
        parse_text(
            "#define A \\\n 1\n#if A\nenclave { trusted { public void f(in a b); }; };\n#endif"
        )
    assert caught.value.errors[0].line == 4


@pytest.mark.parametrize(
    "text",
    [
        "#if",
        "#if (\n#endif",
        "#if 1 /\n#endif",
        "#if 1/0\n#endif",
        "#if " + "(" * 5000 + "1" + ")" * 5000 + "\n#endif",
        "#if " + "!" * 100000 + "1\n#endif\n",
        "#else",
        "#endif",
        "#if 1\n#else\n#else\n#endif",
        "#frobnicate",
        "#error never",
        "#ifdef\n#endif",
        "#if 'a'\n#endif",
        "#if 1\n" * 1000,
        "#if " + "9" * 5000 + "\n#endif",
    ],
    ids=range(15),
)
def test_broken_directive_is_refused(text: str) -> None:
    with pytest.raises(EdlError):
        parse_text(text + "\nenclave { }")


def test_macros_that_double_end_in_bounded_time_and_memory() -> None:
    laughs = "".join(f"#define a{i + 1} a{i} a{i} a{i} a{i}\n" for i in range(200))
    with pytest.raises(EdlError):
        parse_text(f"#define a0 x\n{laughs}enclave {{ a150 a199 }};")


def test_macro_that_names_itself_ends() -> None:
    assert ocalls(ROOT % "\n#define a b\n#define b a\nvoid a();\n") == ["a"]


def test_type_may_stand_before_what_it_contains(tmp_path: Path) -> None:
    (tmp_path / "a.edl").write_text("enclave { struct inner { int x; }; };")
    root = tmp_path / "root.edl"
    root.write_text(
        'enclave { from "a.edl" import *; struct outer { struct inner i; };'
        " trusted { public void f([in] struct outer *p); }; };"
    )
    assert [t.name for t in parse_file(root).types] == ["inner", "outer"]


def test_import_may_leave_the_directory_as_the_others_allow(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.edl").write_text("enclave { untrusted { void o(); }; };")
    root = tmp_path / "sub" / "root.edl"
    root.write_text('enclave { from "../a.edl" import *; trusted { public void f(); }; };')
    assert parse_file(root, dialect="intel").ocalls
    assert parse_file(root, dialect="oe").ocalls
    with pytest.raises(EdlError) as caught:
        parse_file(root)
    assert caught.value.errors[0].rule == "import-escape"


def test_named_import_through_several_files_is_as_the_others_have_it(tmp_path: Path) -> None:
    (tmp_path / "a.edl").write_text(
        'enclave { from "b.edl" import *; from "c.edl" import *; untrusted { void a(); }; };'
    )
    (tmp_path / "b.edl").write_text("enclave { untrusted { void b(); }; };")
    (tmp_path / "c.edl").write_text("enclave { untrusted { void c(); }; };")
    root = tmp_path / "root.edl"
    text = 'enclave {{ from "a.edl" import {}; trusted {{ public void f(); }}; }};'
    root.write_text(text.format("b"))
    for dialect in ("hotcalls", "oe"):
        assert [ocall.name for ocall in parse_file(root, dialect=dialect).ocalls] == ["b"]
    with pytest.raises(EdlError) as caught:
        parse_file(root, dialect="intel")
    assert "in each file that it imports" in caught.value.errors[0].hint
    root.write_text(text.format("a"))
    assert [ocall.name for ocall in parse_file(root, dialect="intel").ocalls] == ["a"]


def test_import_without_from_is_open_enclaves(tmp_path: Path) -> None:
    (tmp_path / "a.edl").write_text("enclave { untrusted { void o(); }; }")
    root = tmp_path / "root.edl"
    root.write_text('enclave { import "a.edl" trusted { public void f(); }; };')
    assert parse_file(root, dialect="oe").ocalls
    with pytest.raises(EdlError):
        parse_file(root, dialect="intel")


def test_large_interface_with_imports_is_read(tmp_path: Path) -> None:
    def block(start: int) -> str:
        return "\n".join(
            f"void o{i}([in, size=n] const uint8_t *p, size_t n, [out, count=4] int *q);"
            for i in range(start, start + 650)
        )

    (tmp_path / "a.edl").write_text(f"enclave {{ untrusted {{\n{block(0)}\n}}; }};")
    (tmp_path / "b.edl").write_text(f"enclave {{ untrusted {{\n{block(650)}\n}}; }};")
    root = tmp_path / "root.edl"
    root.write_text(
        'enclave { from "a.edl" import *; from "b.edl" import *;'
        f" trusted {{ public void f(); }}; untrusted {{\n{block(1300)}\n}}; }};"
    )
    assert len(parse_file(root).ocalls) == 1950
