# SPDX-License-Identifier: Apache-2.0
"""Structs that are copied deep by the sgx-sdk target, and that each of its checks is needed.

Two lines are not in the list of mutants, because nothing that a test can do depends on them: the
fence behind the checks of an answer, which stops speculation only, and the overflow of the sum of
what goes out, all of which was found inside the enclave before.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest

import native
from hotcalls.edl import EdlError, parse_file, parse_text
from hotcalls.edl.sgx import emit_sgx
from hotcalls.sgx.project import ENCLAVE_FLAGS

HERE = Path(__file__).resolve().parent
SOURCES = [HERE / "deep_test.c", HERE / "deep_trusted.c", HERE / "stand_in.c"]
TESTS = native.tests_in(SOURCES[0])
#: Of the stand-in SDK the headers; those of this folder go before them.
HEADERS = native.ROOT / "src/hotcalls/sgx/stand_in/include"
INCLUDES = [f"-I{HERE / 'sdk'}", f"-I{HEADERS}", f"-I{HERE}"]
NARROW = "-DHC_SGX_INSECURE_NARROW_READS"


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both sides of deep.edl."""
    folder = tmp_path_factory.mktemp("deep")
    for name, text in emit_sgx(parse_file(HERE / "deep.edl")).items():
        (folder / name).write_text(text)
    return folder


def build(name: str, deep: Path, *flags: str) -> Path:
    # native.build does not look at the generated text: its checksum is part of the command.
    stamp = zlib.crc32(b"".join((deep / f"deep_{side}.c").read_bytes() for side in "tu"))
    flags = ("-std=gnu11", *flags, f"-DSTAMP={stamp}u", f"-I{deep}", *INCLUDES)
    return native.build(name, SOURCES, flags)


@pytest.mark.parametrize("test", TESTS)
def test_sanitized(deep: Path, test: str) -> None:
    native.run([build("sgx-deep-address", deep, *native.ADDRESS, NARROW), test])


def test_as_shipped(deep: Path) -> None:
    # Each in a process of its own: an enclave takes its channel once.
    for test in TESTS:
        native.run([build("sgx-deep-plain", deep, "-O2"), test])


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_trusted_side_compiles_with_the_flags_of_the_sdks_samples(
    deep: Path, compiler: str, tmp_path: Path
) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    includes = [f"-I{HEADERS / 'tlibc'}", f"-I{native.INCLUDE}", *INCLUDES]
    command = [compiler, *native.WARNINGS, *ENCLAVE_FLAGS, *includes, "-O2", "-c"]
    command += [str(deep / "deep_t.c"), "-o", str(tmp_path / "t.o")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


ONE_SIDE = [
    ("[in] struct d *p", ""),
    ("[in, out] struct d *p", ""),
    ("", "[in] const struct d *p"),
    ("", "[in, out] struct d p[3]"),
    # Names of parameters next to names that are generated.
    ("[in, out] struct d *line, [in] struct d *in, [in] struct d *out", "[in] struct d *area"),
    ("[in] struct d *deep, [in, out] struct d *type", "[in, out] struct d *send, int at"),
]


@pytest.mark.parametrize("ecall, ocall", ONE_SIDE)
def test_every_direction_alone_compiles_without_warnings(
    ecall: str, ocall: str, tmp_path: Path
) -> None:
    text = (
        "enclave { struct d { size_t n; [count=n] int *p; [size=4] void *q; };"
        f" trusted {{ public int f({ecall}); }}; untrusted {{ int o({ocall}); }}; }};"
    )
    for name, content in emit_sgx(parse_text(text, "E.edl")).items():
        (tmp_path / name).write_text(content)
    for side in "tu":
        command = ["gcc", "-std=gnu11", *native.WARNINGS, "-O2", f"-I{native.INCLUDE}", *INCLUDES]
        command += ["-c", str(tmp_path / f"E_{side}.c"), "-o", str(tmp_path / "o")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_nothing_is_generated_where_nothing_is_copied_deep() -> None:
    text = (
        "enclave { struct d { size_t n; [count=n] int *p; }; struct s { int *p; };"
        " trusted { public void f([user_check] struct d *p, [in] struct s *q); }; };"
    )
    assert "hc_deep" not in emit_sgx(parse_text(text, "E.edl"))["E_t.c"]


def test_deep_struct_that_is_only_out_is_refused() -> None:
    text = (
        "enclave { struct d { size_t n; [count=n] int *p; };"
        " trusted { public void f([out] struct d p[2]); }; };"
    )
    with pytest.raises(EdlError) as caught:
        emit_sgx(parse_text(text, "E.edl", dialect="intel"))
    assert [error.rule for error in caught.value.errors] == ["deep-copy-out"]


# ---- mutants -------------------------------------------------------------------------------------

BLOCK = "return SGX_ERROR_INVALID_PARAMETER;\n"
GIVE_UP = r"        if .*\n            goto hc_end;\n"
#: What is taken away from the generated text, and what stands there instead.
MUTANTS = {
    "overflow of a member": (
        r"    if \(!hc_sgx_mul\((\(size_t\)s->height, [^&]*)(&sizes\[2\])\)\)\n"
        r"        return 0;\n", r"    (void)hc_sgx_mul(\1\2);\n"),
    "whole elements of a member": (r"    if \(s->p != NULL && sizes.*\n        return 0;\n", ""),
    "whole structs coming in": (
        r"        if \(hc_size_p % sizeof\(struct whole\) != 0\) \{\n(?:.*\n){2}        \}\n", ""),
    "whole structs going out": (
        r"    if \(hc_size_p % sizeof\(struct whole\) != 0\)\n        " + BLOCK, ""),
    "whole elements going out": (
        r"    if \(hc_size_p % sizeof\(uint32_t\) != 0\)\n        " + BLOCK, ""),
    "sizes of what comes in": (
        r"(hc_deep_in\((?:.*\n)*?        )if \(!(type->sizes\(s, sizes\))\)\n            " + BLOCK,
        r"\1(void)\2;\n"),
    "sizes of what goes back": (
        r"(hc_deep_out\((?:.*\n)*?        )if \(!(type->sizes\(s, sizes\))\)\n            " + BLOCK,
        r"\1(void)\2;\n"),
    "sizes of what goes out": (
        r"(hc_deep_measure\((?:.*\n)*?        )if \(!(type->sizes\(s, sizes\))\)\n            "
        + BLOCK, r"\1(void)\2;\n"),
    "sizes of an answer": (
        r"(hc_deep_check\((?:.*\n)*?        )if \(!(type->sizes\(s, sizes\))\)\n            "
        + BLOCK, r"\1(void)\2;\n"),
    "targets outside": (r"            if \(!sgx_is_outside_enclave\(u_pointer.*\n.*\n", ""),
    "fence behind the targets": (r"(\n    \}\n)    sgx_lfence\(\);\n(    \*deep = )", r"\1\2"),
    "overflow of the sum": (
        r"if \(__builtin_add_overflow\(total, sizes\[j\], &total\) \|\| total > SIZE_MAX - 15u\)\n"
        r"                " + BLOCK, "total += sizes[j];\n"),
    "overflow of the rounded sum": (r" \|\| total > SIZE_MAX - 15u", ""),
    "memory for the targets": (
        r"    if \(\*deep == NULL\)\n        return SGX_ERROR_OUT_OF_MEMORY;\n"
        r"(    struct hc_deep \*one = \*deep;\n    uint8_t \*room)", r"\1"),
    "memory for the copies": (
        r"    if \(\*deep == NULL\)\n        return SGX_ERROR_OUT_OF_MEMORY;\n"
        r"(    struct hc_deep \*one = \*deep;\n    uint8_t \*copy)", r"\1"),
    "no more back than came": (
        r"                if \(sizes\[j\] > deep->size\)\n                    " + BLOCK
        + r"(                if \(!sgx)", r"\1"),
    "back from inside only": (
        r"                if \(!sgx_is_within_enclave\(pointer.*\n *" + BLOCK, ""),
    "pointers of the host": (r"            hc_deep_set\(s \+ type->at\[j\], deep->u_pointer\);\n"
                             r"(        \}\n    \}\n    return)", r"\1"),
    "targets inside": (r"            if \(one->size != 0 && !sgx_is_within_enclave\(.*\n.*\n", ""),
    "no address goes out": (r"            hc_deep_set\(s \+ type->at\[j\], deep->u_pointer\);\n"
                            r"(        \}\n    \}\n    hc_sgx_write)", r"\1"),
    "pointer of an answer": (
        r"                if \(hc_deep_get\(s.*\n                    " + BLOCK, ""),
    "no more answer than was sent": (
        r"                if \(sizes\[j\] > deep->size\)\n                    " + BLOCK
        + r"(                deep->size)", r"\1"),
    "pointers of the enclave": (r"            hc_deep_set\(s \+ type->at\[j\], deep->pointer\);\n"
                                r"(        \}\n    \}\n    sgx_lfence)", r"\1"),
    "failed copying in": (r"(hc_deep_in\(&.*\n)" + GIVE_UP, r"\1"),
    "failed copying back": (r"(hc_deep_out\(&.*\n)" + GIVE_UP, r"\1"),
    "failed check of an answer": (r"hc_status = (hc_deep_check\(&)", r"(void)\1"),
    "failed measuring": (r"(hc_deep_measure\(&.*\n)" + GIVE_UP, r"\1"),
    "room outside": (r"    if \(u_hc_area == NULL\) \{\n.*\n.*\n    \}\n", ""),
    "records are freed": (r"    free\(hc_held_\w+\);\n", ""),
}  # fmt: skip


@pytest.fixture(scope="module")
def objects(deep: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The untrusted side and the stand-ins, compiled once."""
    folder = tmp_path_factory.mktemp("objects")
    return [
        compiled(HERE / f"{name}.c", folder / f"{name}.o", deep)
        for name in ("deep_test", "stand_in")
    ]


def compiled(source: Path, target: Path, generated: Path) -> Path:
    command = ["gcc", "-std=gnu11", "-O1", "-w", "-fsanitize=address,undefined", NARROW,
               "-fno-sanitize-recover=all", f"-I{generated}", f"-I{native.INCLUDE}", *INCLUDES,
               f"-I{native.TESTS / 'c'}", "-c", source, "-o", target]  # fmt: skip
    subprocess.run(command, check=True)
    return target


def fails(text: str, deep: Path, objects: list[Path], folder: Path, patience: float = 20) -> bool:
    """Whether a test fails with this trusted side."""
    (folder / "deep_t.c").write_text(text)
    (folder / "deep_t.h").write_text((deep / "deep_t.h").read_text())
    trusted = compiled(HERE / "deep_trusted.c", folder / "t.o", folder)
    program = folder / "program"
    command = ["gcc", "-pthread", "-fsanitize=address,undefined", *objects, trusted, "-o", program]
    subprocess.run(command, check=True)
    for test in TESTS:
        if test.endswith("hot_calls"):
            continue
        try:
            done = subprocess.run(
                [program, test], capture_output=True, timeout=patience, check=False
            )
        except subprocess.TimeoutExpired:
            return True
        if done.returncode != 0:
            return True
    return False


def test_unchanged_text_passes(deep: Path, objects: list[Path], tmp_path: Path) -> None:
    text = (deep / "deep_t.c").read_text()
    assert not fails(text, deep, objects, tmp_path, patience=200)


@pytest.mark.parametrize("mutant", native.some(MUTANTS))
def test_removed_check_is_noticed(
    mutant: str, deep: Path, objects: list[Path], tmp_path: Path
) -> None:
    pattern, instead = MUTANTS[mutant]
    text, count = re.subn(pattern, instead, (deep / "deep_t.c").read_text())
    assert count > 0, "the check is not in the generated text"
    assert fails(text, deep, objects, tmp_path), f"nobody misses it ({count} places)"
