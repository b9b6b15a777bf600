# SPDX-License-Identifier: Apache-2.0
"""The C that target process generates: it compiles, is formatted, and is the same again."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hotcalls.build import include_dirs
from hotcalls.edl import EdlError, Interface, parse_file, parse_text
from hotcalls.edl.layout import Layouts
from hotcalls.edl.process import check_process, emit

HERE = Path(__file__).resolve().parent
DATA = HERE / "data"
DOUBLE = HERE / "double"
WARNINGS = "-Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Werror"
COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
EDLS = sorted(path.name for path in DATA.glob("*.edl"))


def generate(folder: Path, edl: Path, **options: bool) -> Interface:
    interface = parse_file(edl)
    for name, text in emit(interface, **options).items():
        (folder / name).write_text(text)
    return interface


def compile_c(compiler: str, source: Path, *flags: str) -> None:
    """Compile a file; clang only reads it, for its warnings do not come from the optimizer."""
    if compiler.startswith("clang"):
        flags = ("-fsyntax-only", *flags)
    command = [compiler, "-std=c11", *WARNINGS.split(), "-O2", "-fPIC", f"-I{DATA}", *flags]
    command += ["-c", str(source), "-o", str(source.with_suffix(".o"))]
    subprocess.run(command, check=True)


@pytest.mark.parametrize("edl", EDLS)
@pytest.mark.parametrize("compiler", COMPILERS)
def test_generated_code_compiles_without_warnings(tmp_path: Path, compiler: str, edl: str) -> None:
    # Prefixed names are longer and otherwise the same: one of the files tries them.
    interface = generate(tmp_path, DATA / edl, use_prefix=edl == "names.edl")
    for side in "tu":
        compile_c(compiler, tmp_path / f"{interface.name}_{side}.c", f"-I{DOUBLE}")


@pytest.mark.parametrize("edl", EDLS)
@pytest.mark.parametrize("compiler", COMPILERS[:1])
def test_generated_code_compiles_with_the_headers_of_the_runtime(
    tmp_path: Path, compiler: str, edl: str
) -> None:
    interface = generate(tmp_path, DATA / edl)
    flags = [f"-I{folder}" for folder in include_dirs()]
    for side in "tu":
        # What the optimizer sees is the same as over the double.
        compile_c(compiler, tmp_path / f"{interface.name}_{side}.c", "-fsyntax-only", *flags)


@pytest.mark.parametrize("edl", EDLS)
def test_generated_headers_are_cxx_too(tmp_path: Path, edl: str) -> None:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    interface = generate(tmp_path, DATA / edl)
    flags = [f"-I{folder}" for folder in include_dirs()]
    source = tmp_path / "user.cc"
    source.write_text(f'#include "{interface.name}_u.h"\n')
    subprocess.run(
        [compiler, "-std=c++17", f"-I{DATA}", *flags, "-fsyntax-only", str(source)], check=True
    )


@pytest.mark.parametrize("edl", EDLS)
def test_generated_code_is_formatted(tmp_path: Path, repository: Path, edl: str) -> None:
    tool = shutil.which("clang-format", path=Path(sys.executable).parent)
    if tool is None:
        pytest.skip("no clang-format in this environment")
    interface = generate(tmp_path, DATA / edl)
    shutil.copy(repository / ".clang-format", tmp_path)
    files = [f"{interface.name}_{part}" for part in ("t.h", "t.c", "u.h", "u.c")]
    subprocess.run([tool, "--dry-run", "-Werror", *files], cwd=tmp_path, check=True)


def test_generated_files_are_the_same_again(shapes: Interface) -> None:
    first, second = emit(shapes), emit(parse_file(DATA / "shapes.edl"))
    assert first == second
    assert list(first) == ["shapes_t.h", "shapes_t.c", "shapes_u.h", "shapes_u.c", "shapes_u.py"]


def test_header_for_hosts_is_the_golden_one(shapes: Interface) -> None:
    assert emit(shapes)["shapes_u.h"] == (DATA / "shapes_u.h.golden").read_text()


def test_digest_follows_the_interface_only() -> None:
    text = "enclave { trusted { public void f(int a); }; };"
    same = "enclave {\n/* a comment */ trusted { public void f(int  a); }; };"
    other = "enclave { trusted { public void f(long a); }; };"
    assert parse_text(text).digest == parse_text(same).digest
    assert parse_text(text).digest != parse_text(other).digest
    assert len(parse_text(text).digest) == 32


def test_sides_can_be_generated_alone(shapes: Interface) -> None:
    assert list(emit(shapes, untrusted=False, stub=False)) == ["shapes_t.h", "shapes_t.c"]
    assert list(emit(shapes, trusted=False, stub=False)) == ["shapes_u.h", "shapes_u.c"]


def test_prefix_names_the_hosts_proxies_only(shapes: Interface) -> None:
    files = emit(shapes, use_prefix=True)
    assert "enum hc_status shapes_sign(hc_enclave *enclave" in files["shapes_u.h"]
    assert "enum hc_status log_line(int *retval" in files["shapes_t.h"]
    assert "int log_line(const char *text);" in files["shapes_u.h"]


def test_marshalling_fields_fall_in_alignment_without_padding_between() -> None:
    for edl in EDLS:
        interface = parse_file(DATA / edl)
        layouts = Layouts(interface)
        for function in interface.functions:
            layout = layouts.marshalling(function)
            assert layout is not None
            end = 0
            aligns = []
            for field in layout.fields:
                assert field.offset == end
                end += field.size
                aligns.append(field.align)
            assert end == layout.size
            assert aligns == sorted(aligns, reverse=True)
            assert layout.size % layout.align == 0


def test_allow_list_becomes_a_bitmap_over_the_ecalls() -> None:
    functions = " ".join(f"public void e{i}();" for i in range(70))
    interface = parse_text(
        f"enclave {{ trusted {{ {functions} }}; untrusted {{ void o() allow(e0, e65, e69); }}; }};"
    )
    text = emit(interface)["enclave_t.c"]
    match = re.search(r"g_allow_o\[\] = \{(.*?)\}", text, re.DOTALL)
    assert match is not None
    words = re.findall(r"0x([0-9a-f]+)", match.group(1))
    assert [int(word, 16) for word in words] == [1, (1 << 1) | (1 << 5)]
    assert '{"o", NULL, 0, g_allow_o}' in text


def test_flags_say_public_and_hot(shapes: Interface) -> None:
    text = emit(shapes)["shapes_t.c"]
    assert '{"sign", sign_bridge, HC_FN_PUBLIC | HC_FN_HOT, NULL}' in text
    assert '{"inner", inner_bridge, 0, NULL}' in text
    assert '{"tick", NULL, HC_FN_HOT, NULL}' in text


REFUSED = [
    ("deep-copy", "struct d { size_t n; [count=n] int *p; }; struct e { struct d d; };",
     "[in] struct e *p"),
    ("struct-pointer", "struct d { size_t n; [count=n] int *p; int *q; };", "[in] struct d *p"),
    ("pointer-to-pointer", "struct d { [count=2] int **p; };", "[in] struct d *p"),
    ("deep-copy", "struct d { size_t n; [count=n] int *p; }; struct e { [count=1] struct d *d; };",
     "[in] struct e *p"),
    ("foreign-type", "struct d { [count=2] foreign_t *p; };", "[in] struct d *p"),
    ("union", "union u { int i; }; struct d { union u u; [count=2] int *p; };",
     "[in] struct d *p"),
    ("buffer-size", "struct d { [count=4611686018427387903] int *p; };", "[in] struct d *p"),
    ("padding", "struct a { char c; int i; }; struct d { struct a a[1000]; [size=1] int *p; };",
     "[in] struct d *p"),
    ("reserved-name", "", "int deep_pack"),
    ("struct-pointer", "struct d { int *p; };", "struct d p"),
    ("struct-pointer", "struct d { int *p; }; struct e { struct d d; };", "[in] struct e *p"),
    ("union", "union u { int a; };", "union u p"),
    ("union", "union u { int a; }; struct s { union u u; };", "[in] struct s *p"),
    ("foreign-type", "", "foreign_t p"),
    ("foreign-type", "", "[in, isptr] foreign_t p"),
    ("foreign-type", "", "[in, isary] foreign_t p"),
    ("foreign-type", "", "[in] foreign_t *p"),
    ("foreign-type", "", "struct unknown p"),
    ("long-double", "", "long double p"),
    ("long-double", "struct s { long double d; };", "struct s p"),
    ("pointer-to-pointer", "", "[in] int **p"),
    ("buffer-size", "", "[in, count=4611686018427387903] int *p"),
    ("buffer-size", "", "[in] int p[1000000000][1000000]"),
    ("struct-size", "struct s { int a[1000000][1000000]; };", "int p"),
    ("padding", "struct a { char c; int i; }; struct s { struct a a[1000]; };", "struct s p"),
    ("pointer-count", "", ", ".join(f"[in] int *p{i}" for i in range(65))),
    ("reserved-name", "", "int hc_value"),
    ("reserved-name", "", "int errno"),
    ("reserved-name", "", "int memset"),
    ("reserved-name", "", "int f_prepare"),
    ("reserved-name", "struct f_ms { int a; };", "int p"),
    ("reserved-name", "enum e { f_submit };", "int p"),
    ("python-name", "", "int lambda, int lambda_"),
    ("python-name", "struct s { int count; int count_; };", "struct s p"),
    ("enum-value", "enum e { A = 2147483648 };", "int p"),
    ("empty-enum", "enum e { };", "int p"),
]  # fmt: skip


@pytest.mark.parametrize("rule, types, parameters", REFUSED)
def test_what_the_target_cannot_carry_is_refused(
    accept: Callable[..., Interface], rule: str, types: str, parameters: str
) -> None:
    interface = accept(f"public void f({parameters});", types=types)
    with pytest.raises(EdlError) as caught:
        emit(interface)
    assert rule in {error.rule for error in caught.value.errors}
    assert all(error.message.startswith("target process: ") for error in caught.value.errors)


def test_const_that_comes_out_is_refused_where_the_language_takes_it() -> None:
    text = "enclave { trusted { public void f([out, size=4] const void *p); }; };"
    with pytest.raises(EdlError) as caught:
        emit(parse_text(text, dialect="oe"))
    assert {error.rule for error in caught.value.errors} == {"readonly-out"}


TABLES = "struct s { char c; int i; bool b; };"
UNUSED = [
    ("struct s a", ""),
    ("[in] struct s *a", ""),
    ("[out] struct s *a", ""),
    ("", "struct s a"),
    ("", "[in] struct s *a"),
    ("", "[in, out] struct s *a"),
    ("[in] bool *t", "[in, count=t] int *p, int t"),
    ("[in, size=size] void *t, size_t size, [out] int *area", "[in, out] int *t"),
]


@pytest.mark.parametrize("ecall, ocall", UNUSED)
def test_every_direction_alone_compiles_without_warnings(
    ecall: str, ocall: str, tmp_path: Path, gcc: str
) -> None:
    text = f"enclave {{ {TABLES} trusted {{ public void f({ecall}); }};"
    text += f" untrusted {{ void o({ocall}); }}; }};"
    for name, content in emit(parse_text(text, "E.edl")).items():
        (tmp_path / name).write_text(content)
    for side in "tu":
        compile_c(gcc, tmp_path / f"E_{side}.c", f"-I{DOUBLE}")


@pytest.mark.parametrize(
    "rule, function",
    [
        ("return-pointer", "public char *f();"),
        ("reserved-name", "public void memcpy();"),
        ("reserved-name", "public void main();"),
        ("reserved-name", "public void root_submit();"),
        ("reserved-name", "public void test_interface();"),
    ],
)
def test_functions_that_the_target_cannot_carry_are_refused(
    accept: Callable[..., Interface], rule: str, function: str
) -> None:
    with pytest.raises(EdlError) as caught:
        check_process(accept(function))
    assert {error.rule for error in caught.value.errors} == {rule}


@pytest.mark.parametrize(
    "rule, ocall",
    [
        ("foreign-padding", "void o([in, size=8] foreign_t *p);"),
        ("calling-convention", "[stdcall] void o();"),
    ],
)
def test_what_is_legal_and_unsafe_for_the_target_gives_a_warning(
    accept: Callable[..., Interface], rule: str, ocall: str
) -> None:
    assert rule in {warning.rule for warning in check_process(accept(untrusted=ocall))}
    assert check_process(accept(untrusted="[cdecl] void o([in, size=8] void *p);")) == ()


def test_64_pointers_fit_the_present_mask(
    accept: Callable[..., Interface], tmp_path: Path, gcc: str
) -> None:
    parameters = ", ".join(f"[in, out] int *p{i}" for i in range(64))
    for name, text in emit(accept(f"public void f({parameters});")).items():
        (tmp_path / name).write_text(text)
    for side in "tu":
        compile_c(gcc, tmp_path / f"test_{side}.c", f"-I{DOUBLE}")


def checks(text: str) -> list[re.Match[str]]:
    """The statements of generated bridges that refuse a message."""
    return list(re.finditer(r"        return (HC_ERR_MESSAGE|HC_ERR_OVERFLOW);", text))


def test_every_bridge_checks_what_it_reads(shapes: Interface) -> None:
    text = emit(shapes)["shapes_t.c"]
    total = text[text.index("total_bridge") :]
    assert "if (ms.arg_n < 0)" in total
    assert "hc_size_mul((uint64_t)ms.arg_n, sizeof(int32_t), &size_values)" in total
    assert len(checks(text)) >= 5


def test_no_position_and_no_pointer_is_in_a_message(shapes: Interface) -> None:
    text = emit(shapes)["shapes_t.c"]
    for match in re.finditer(r"struct \w+_ms \{(.*?)\};", text, re.DOTALL):
        assert "*" not in match.group(1)
        for line in match.group(1).strip().splitlines():
            assert re.match(
                r"\s*(u?int(8|16|32|64)_t|char|float|double|struct (point|box)) ", line
            ), line


def test_type_that_only_a_header_knows_is_left_to_the_compiler(
    accept: Callable[..., Interface],
) -> None:
    interface = accept(types="union u { from_a_header a; };")
    header = emit(interface)["test_t.h"]
    assert "from_a_header a;" in header
