# SPDX-License-Identifier: Apache-2.0
"""How a refused EDL is explained: place, source line, caret, rule, and what to write instead."""

from __future__ import annotations

import textwrap

import pytest

from hotcalls.edl import EdlError, parse_text
from hotcalls.edl.diagnostics import MAX_ERRORS


def explain(text: str) -> str:
    with pytest.raises(EdlError) as caught:
        parse_text(textwrap.dedent(text).lstrip("\n"), "vault.edl")
    return str(caught.value)


def test_error_shows_place_line_caret_rule_and_remedy() -> None:
    assert explain(
        """
        enclave {
            trusted {
                public int sign(uint8_t *digest, size_t size);
            };
        };
        """
    ) == textwrap.dedent(
        """\
        vault.edl:3:25: error: the pointer `digest` has no direction [pointer-direction]
                    public int sign(uint8_t *digest, size_t size);
                                    ^^^^^^^^^^^^^^^
            hint: write `[in]`, `[out]`, `[in, out]` or `[user_check]` before it"""
    )


def test_several_errors_are_shown_in_one_run_in_the_order_of_the_text() -> None:
    text = explain(
        """
        enclave {
            trusted {
                public int a([in, size=n] void *p);
                public int b([out, string] char *s);
                public int b(int while);
            };
        };
        """
    )
    heads = [line for line in text.splitlines() if line.startswith("vault.edl")]
    assert heads == [
        "vault.edl:3:41: error: `size=n`: there is no `n` among the parameters of `a` "
        "[unknown-size]",
        "vault.edl:4:28: error: `string` needs `in`: the length is taken from what goes in "
        "[string-out]",
        "vault.edl:5:20: error: the function `b` is declared twice, first at vault.edl:4 "
        "[duplicate]",
        "vault.edl:5:26: error: `while` is a keyword of C and cannot name a parameter [keyword]",
    ]


def test_several_syntax_errors_are_shown_in_one_run() -> None:
    text = explain(
        """
        enclave {
            struct s { int a b; };
            trusted {
                public int f(;
                public int g();
                public h();
            };
        };
        """
    )
    heads = [line for line in text.splitlines() if line.startswith("vault.edl")]
    assert heads == [
        "vault.edl:2:22: error: `b` does not belong here [syntax]",
        "vault.edl:4:22: error: `;` does not belong here [syntax]",
        "vault.edl:6:17: error: `(` does not belong here [syntax]",
    ]


def test_broken_head_of_a_block_gives_one_error() -> None:
    text = explain("enclave { struct { int a; int b; }; trusted { public void f(); }; };")
    assert text.count("error:") == 1
    assert "vault.edl:1:18" in text


def test_caret_stands_below_its_column_behind_tabs() -> None:
    text = explain("enclave { trusted {\n\t\tpublic int f(int *p);\n}; };")
    lines = text.splitlines()
    assert lines[1] == "    \t\tpublic int f(int *p);"
    assert lines[2] == "    \t\t             ^^^^^^"


def test_long_line_is_cut_around_the_place() -> None:
    text = explain("enclave { trusted { " + " " * 5000 + "public int f(int *p); }; };")
    lines = text.splitlines()
    assert max(map(len, lines)) < 200
    column = lines[2].index("^")
    assert lines[1][column:].startswith("int *p")


def test_control_characters_never_reach_the_terminal() -> None:
    text = explain("enclave { trusted { public int f(int *p); /* \x1b[31m \x07 \x9b */ }; };")
    assert all(c.isprintable() or c in "\n\t" for c in text)


def test_end_of_file_points_behind_the_last_word() -> None:
    assert explain("enclave {\n  trusted {\n\n\n").splitlines()[:2] == [
        "vault.edl:2:11: error: the file ends in the middle of a declaration [syntax]",
        "      trusted {",
    ]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("enclave { /* ", "1:11: error: this comment is never closed"),
        ('enclave { include "a', "1:19: error: this string is never closed"),
        ("enclave { int 0x12; };", "1:11: error: `int` does not belong here"),
        ("enclave { enum { A = 0x12 }; };", "1:22: error: this is not a number"),
        ("enclave { § };", "1:11: error: the character '\\xa7' is not part of the language"),
        ("enclave { } ", "1:11: error: `;` behind the last brace is missing"),
    ],
)
def test_lexical_error_says_what_it_is(text: str, expected: str) -> None:
    assert explain(text).splitlines()[0].startswith(f"vault.edl:{expected}")


def test_number_of_errors_is_bounded() -> None:
    text = explain("enclave { trusted { " + "public void f(int *p);" * 1000 + "}; };")
    assert text.count("error:") == MAX_ERRORS


def test_errors_carry_fields() -> None:
    with pytest.raises(EdlError) as caught:
        parse_text("enclave { trusted { public int f(int *p); }; };", "a.edl")
    (error,) = caught.value.errors
    assert (error.path, error.line, error.column, error.length) == ("a.edl", 1, 34, 6)
    assert (error.severity, error.rule) == ("error", "pointer-direction")
    assert error.hint
    assert error.source_line == "enclave { trusted { public int f(int *p); }; };"


def test_warnings_come_with_the_errors() -> None:
    with pytest.raises(EdlError) as caught:
        parse_text("enclave { trusted { public int f(int *p, [user_check] int *q); }; };")
    assert [d.severity for d in caught.value.diagnostics] == ["error", "warning"]
