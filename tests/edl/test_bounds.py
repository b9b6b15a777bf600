# SPDX-License-Identifier: Apache-2.0
"""Nothing that is called an EDL file harms: errors only, in bounded time, never a traceback."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import native
from hotcalls.edl import EdlError, Interface, parse_file, parse_text
from hotcalls.edl.dialect import DIALECTS
from hotcalls.edl.process import emit
from hotcalls.edl.sgx import emit_sgx

SHAPES = (Path(__file__).parent / "data" / "shapes.edl").read_text()
WORDS = [
    "enclave",
    "{",
    "}",
    ";",
    "(",
    ")",
    "[",
    "]",
    ",",
    "*",
    "=",
    ".",
    "trusted",
    "untrusted",
    "public",
    "include",
    "from",
    "import",
    "struct",
    "union",
    "enum",
    "const",
    "char",
    "int",
    "unsigned",
    "long",
    "void",
    "size_t",
    "in",
    "out",
    "size",
    "count",
    "string",
    "user_check",
    "allow",
    "propagate_errno",
    "transition_using_threads",
    "isptr",
    "isary",
    "readonly",
    "nrz",
    "a",
    "b",
    "c",
    "0",
    "1",
    "99",
    '"a.h"',
    "/*",
    "*/",
    "//",
    "\n",
    "@",
    "é",
]


def outcome(text: str) -> Interface | None:
    """Parse and generate; anything but EdlError is a failure of the test."""
    accepted: list[Interface] = []
    refused: list[EdlError] = []
    for dialect in DIALECTS:
        for target in (emit, emit_sgx):
            try:
                interface = parse_text(text, dialect=dialect)
                target(interface)
            except EdlError as error:
                refused.append(error)
            else:
                accepted.append(interface)
    assert all(error.errors and str(error) for error in refused)
    return accepted[0] if accepted else None


@settings(max_examples=native.examples(150), deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_accepted_or_refused(text: str) -> None:
    outcome(text)


@settings(max_examples=native.examples(250), deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=60))
def test_any_words_are_accepted_or_refused(words: list[str]) -> None:
    outcome(" ".join(words))


@settings(max_examples=native.examples(60), deadline=None)
@given(st.integers(0, len(SHAPES)), st.integers(0, 40), st.sampled_from(["", *WORDS]))
def test_any_edit_of_a_good_file_is_accepted_or_refused(at: int, cut: int, word: str) -> None:
    outcome(SHAPES[:at] + word + SHAPES[at + cut :])


@settings(
    max_examples=native.examples(100), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(st.data())
def test_any_declaration_made_of_valid_parts_is_accepted_or_refused(data: st.DataObject) -> None:
    draw = data.draw
    attribute = st.sampled_from(
        [
            "in",
            "out",
            "user_check",
            "string",
            "wstring",
            "isptr",
            "isary",
            "readonly",
            "nrz",
            "size=n",
            "size=4",
            "count=n",
            "count=0",
        ]
    )
    type_ = st.sampled_from(
        [
            "int",
            "char",
            "void",
            "wchar_t",
            "bool",
            "float",
            "size_t",
            "foo_t",
            "long@double",
            "struct@s",
            "struct@d",
            "union@u",
            "enum@e",
            "s",
            "unsigned@char",
        ]
    )
    parameters = []
    for index in range(draw(st.integers(0, 4))):
        attributes = draw(st.lists(attribute, max_size=4))
        bracket = f"[{', '.join(attributes)}] " if attributes else ""
        stars = "*" * draw(st.integers(0, 2))
        dims = draw(st.sampled_from(["", "", "[2]", "[2][3]", "[]"]))
        const = draw(st.sampled_from(["", "const "]))
        parameters.append(f"{bracket}{const}{draw(type_).replace('@', ' ')} {stars}p{index}{dims}")
    parameters.append("int n")
    outcome(
        "enclave { struct s { char c; int i; bool b[2]; };"
        " struct d { size_t n; [count=n] int *p; [size=4] struct s *q; foo_t *r; };"
        " union u { int i; }; enum e { A };"
        f" trusted {{ public {draw(type_).replace('@', ' ')} f({', '.join(parameters)}); }};"
        f" untrusted {{ int o({', '.join(parameters)}); }}; }};"
    )


def test_every_truncation_is_refused() -> None:
    text = SHAPES[SHAPES.index("enclave") :].rstrip()
    random.seed(1)
    for end in random.sample(range(len(text)), 60):
        with pytest.raises(EdlError):
            parse_text(text[:end])


#: Of processor time, which others do not take part in; some seconds where nobody else is.
BOUND_SECONDS = 60.0


@pytest.mark.parametrize(
    "text",
    [
        "{" * 500_000,
        "}" * 500_000,
        "[" * 500_000,
        "(" * 500_000,
        "*" * 500_000,
        "/*" * 250_000,
        "/" + "*" * 499_999,
        '"' * 500_000,
        "a" * 500_000,
        "9" * 500_000,
        ";" * 500_000,
        "enclave {" * 50_000,
        "enclave { trusted {" + "}" * 400_000,
        "enclave { trusted { public void f(int " + "*" * 100_000 + "p); }; };",
        "enclave { trusted { public void f([in] int p" + "[2]" * 30_000 + "); }; };",
        "enclave { trusted { public void f([in, size=" + "9" * 400_000 + "] int *p); }; };",
        " " * 524_288,
        " " * 524_289,
        "x" * 5_000_000,
    ],
    ids=lambda text: f"{text[:12]}-{len(text)}",
)
def test_enormous_text_is_refused_in_bounded_time(text: str) -> None:
    start = time.process_time()
    with pytest.raises(EdlError):
        parse_text(text)
    assert time.process_time() - start < BOUND_SECONDS


def test_deep_chain_of_structs_is_refused_without_recursion() -> None:
    structs = "struct s0 { int a; };" + "".join(
        f"struct s{i} {{ struct s{i - 1} a; struct s{i - 1} b; }};" for i in range(1, 3000)
    )
    with pytest.raises(EdlError) as caught:
        parse_text(f"enclave {{ {structs} trusted {{ public void f(); }}; }};")
    assert {error.rule for error in caught.value.errors} == {"nesting"}


def test_struct_that_doubles_at_each_level_takes_no_exponential_time() -> None:
    structs = "struct s0 { char c; int a; };" + "".join(
        f"struct s{i} {{ struct s{i - 1} a; struct s{i - 1} b; }};" for i in range(1, 31)
    )
    text = f"enclave {{ {structs} trusted {{ public void f(struct s30 p); }}; }};"
    start = time.process_time()
    with pytest.raises(EdlError):
        emit(parse_text(text))
    emit_sgx(parse_text(text))
    assert time.process_time() - start < 10


def test_two_thousand_functions_compile_in_little_time() -> None:
    functions = "\n".join(
        f"public int f{i}([in, size=n] const uint8_t *p, size_t n, [out, count=4] int *q);"
        for i in range(2000)
    )
    start = time.process_time()
    interface = parse_text(f"enclave {{ trusted {{\n{functions}\n}}; }};")
    assert len(interface.ecalls) == 2000
    assert time.process_time() - start < 10


def test_file_that_is_too_large_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "huge.edl"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(EdlError) as caught:
        parse_file(path)
    assert caught.value.errors[0].rule == "too-large"
