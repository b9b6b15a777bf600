# SPDX-License-Identifier: Apache-2.0
"""The sgx-sdk target without the SDK: every shape of call, and a host that lies.

Trusted and untrusted side are threads of one process over the stand-ins of this folder. Nothing
here ran in an enclave: what that leaves open is said in docs/from-edger8r.md.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

import native
from hotcalls.edl import EdlError, parse_text
from hotcalls.edl.sgx import check_sgx, emit_sgx
from hotcalls.sgx.project import ENCLAVE_FLAGS

HERE = Path(__file__).resolve().parent
SOURCES = [HERE / "shapes_test.c", HERE / "trusted.c", HERE / "stand_in.c"]
TESTS = native.tests_in(SOURCES[0])
#: Of the stand-in SDK the headers; those of this folder go before them.
HEADERS = native.ROOT / "src/hotcalls/sgx/stand_in/include"
INCLUDES = [f"-I{HERE / 'sdk'}", f"-I{HEADERS}", f"-I{HERE}"]
NARROW = "-DHC_SGX_INSECURE_NARROW_READS"
#: What a race could break; the others are one thread at a time.
RACY = ["test_every_shape_by_hot_calls", "test_many_threads_get_their_own_answers",
        "test_burst_wakes_a_sleeping_responder"]  # fmt: skip


def build(name: str, generated: Path, *flags: str) -> Path:
    # native.build does not look at the generated text: its checksum is part of the command.
    stamp = f"-DSTAMP={zlib.crc32((generated / 'shapes_t.c').read_bytes())}u"
    stamp += f"{zlib.crc32((generated / 'shapes_u.c').read_bytes())}"
    return native.build(name, SOURCES, ["-std=gnu11", *flags, stamp, f"-I{generated}", *INCLUDES])


@pytest.mark.parametrize("test", TESTS)
def test_sanitized(generated: Path, test: str) -> None:
    native.run([build("sgx-address", generated, *native.ADDRESS, NARROW), test])


def test_as_shipped(generated: Path) -> None:
    # Each in a process of its own: an enclave takes its channel once.
    for test in TESTS:
        native.run([build("sgx-plain", generated, "-O2"), test])


def test_without_the_workarounds(generated: Path) -> None:
    for test in TESTS[:1]:
        native.run([build("sgx-bare", generated, "-O2", NARROW, "-DHC_SGX_INSECURE_NO_VERW"), test])


@pytest.mark.parametrize("test", RACY)
def test_without_data_races(generated: Path, test: str) -> None:
    native.run([build("sgx-thread", generated, *native.THREAD), test], timeout=100)


#: Of the SDK's samples, for both sides and for the enclave's; sgx.project has them too.
SAMPLES = [
    "-Wall", "-Wextra", "-Winit-self", "-Wpointer-arith", "-Wreturn-type", "-Waddress",
    "-Wsequence-point", "-Wformat-security", "-Wmissing-include-dirs", "-Wfloat-equal", "-Wundef",
    "-Wshadow", "-Wcast-align", "-Wconversion", "-Wredundant-decls", "-Wstrict-prototypes",
]  # fmt: skip
STANDARDS = ["-std=c11", "-std=gnu11", "-std=gnu17"]


def check_compiles(compiler: str, source: Path, flags: list[str], tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    includes = [f"-I{native.INCLUDE}", *INCLUDES]
    command = [compiler, *flags, *includes, "-Werror", "-c", str(source)]
    # The warnings of clang do not come from its optimizer.
    command += ["-fsyntax-only"] if compiler == "clang" else ["-o", str(tmp_path / "made.o")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("warnings", [native.WARNINGS, SAMPLES], ids=["ours", "samples"])
@pytest.mark.parametrize("level", ["-O0", "-O2"])
def test_trusted_side_compiles_with_the_flags_of_the_sdks_samples(
    generated: Path, compiler: str, warnings: list[str], level: str, tmp_path: Path
) -> None:
    flags = [*warnings, *ENCLAVE_FLAGS, f"-I{HEADERS / 'tlibc'}", level]
    check_compiles(compiler, generated / "shapes_t.c", flags, tmp_path)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("warnings", [native.WARNINGS, SAMPLES], ids=["ours", "samples"])
def test_untrusted_side_compiles_with_the_flags_of_the_sdks_samples(
    generated: Path, compiler: str, warnings: list[str], tmp_path: Path
) -> None:
    check_compiles(compiler, generated / "shapes_u.c", [*warnings, "-fPIC", "-O2"], tmp_path)


@pytest.mark.parametrize("standard", STANDARDS)
def test_both_sides_compile_in_each_standard(
    generated: Path, standard: str, tmp_path: Path
) -> None:
    for name in ("shapes_t.c", "shapes_u.c"):
        check_compiles("gcc", generated / name, [*SAMPLES, standard], tmp_path)


@pytest.mark.parametrize(
    "dropped, instruction, there",
    [
        ([], "verw", True),
        (["-DHC_SGX_INSECURE_NO_VERW"], "verw", False),
        (["-DHC_SGX_INSECURE_NO_VERW"], "lfence", True),
        (["-DHC_SGX_INSECURE_NO_VERW", "-DHC_SGX_INSECURE_NO_LFENCE"], "lfence", False),
    ],
)
def test_mitigations_are_there_until_they_are_dropped(
    generated: Path, dropped: list[str], instruction: str, there: bool, tmp_path: Path
) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("these are instructions of x86")
    # The header of this folder counts fences; the other one makes them.
    flags = [f"-I{HEADERS}"]
    flags += [*ENCLAVE_FLAGS, f"-I{HEADERS / 'tlibc'}", "-O2", "-S", *dropped]
    check_compiles("gcc", generated / "shapes_t.c", flags, tmp_path)
    assert (f"\t{instruction}" in (tmp_path / "made.o").read_text()) == there


def test_generated_code_is_formatted(generated: Path, tmp_path: Path) -> None:
    tool = shutil.which("clang-format", path=Path(sys.executable).parent)
    if tool is None:
        pytest.skip("no clang-format in this environment")
    shutil.copy(native.ROOT / ".clang-format", tmp_path)
    files = [shutil.copy(path, tmp_path) for path in sorted(generated.glob("shapes_[tu].[ch]"))]
    assert len(files) == 4
    subprocess.run([tool, "--dry-run", "-Werror", *files], cwd=tmp_path, check=True)


def test_untrusted_header_is_cpp(generated: Path) -> None:
    text = '#include "shapes_u.h"\nint main() { shapes_hot_stop(1); }\n'
    command = ["g++", "-std=c++17", "-Wall", "-Werror", "-fsyntax-only", "-x", "c++", "-",
               f"-I{generated}", f"-I{native.INCLUDE}", *INCLUDES]  # fmt: skip
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_example_of_the_guide_runs(tmp_path: Path) -> None:
    guide = (native.ROOT / "docs/from-edger8r.md").read_text()
    source = tmp_path / "two-threads.c"
    source.write_text(guide.split("<!-- example: two-threads.c -->\n```c\n")[1].split("```")[0])
    program = native.build("two-threads", [source], ["-O2"])
    assert native.run([program]).stdout == "the call was made and answered: 0, 42\n"


SHAPES = [
    ("void", "void", ""),
    ("struct s", "struct s p", ""),
    ("char *", "[user_check] const char **p", "[in, count=n] const void **p, size_t n"),
    ("int", "[in, count=4] const char **p", "[in, out, count=4] char **p"),
    ("bool", "bool b, [in, out] bool *p", "[in] bool a[3]"),
    ("int *", "[out] int **area", "[out] int **area, [user_check] void *q"),
]


@pytest.mark.parametrize("returns, ecall, ocall", SHAPES)
def test_unusual_shapes_compile_without_warnings(
    returns: str, ecall: str, ocall: str, tmp_path: Path
) -> None:
    text = f"enclave {{ struct s {{ int a; }}; trusted {{ public {returns} f({ecall}); }};"
    text += f" untrusted {{ {returns} o({ocall}); }}; }};"
    for name, content in emit_sgx(parse_text(text, "E.edl")).items():
        (tmp_path / name).write_text(content)
    for side in "tu":
        command = ["gcc", *native.WARNINGS, *INCLUDES, "-O1", "-c", str(tmp_path / f"E_{side}.c")]
        done = subprocess.run(
            [*command, "-o", str(tmp_path / "o")], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


ROOT = "enclave {{ {} trusted {{ public void f({}); }}; untrusted {{ {} }}; }};"


def test_without_hot_functions_nothing_of_hotcalls_is_needed() -> None:
    files = emit_sgx(parse_text(ROOT.format("", "[in, size=4] int *p", "void o();"), "E.edl"))
    assert set(files) == {"E_t.h", "E_t.c", "E_u.h", "E_u.c"}
    assert not any("<hotcalls/" in text or "hc_attach" in text for text in files.values())


def test_hot_all_makes_hot_what_can_be() -> None:
    text = ROOT.format("", "int a", "void o(); void p() allow(f);")
    files = emit_sgx(parse_text(text, "E.edl"), hot_all=True)
    assert "[0] = sgx_f" in files["E_t.c"]
    assert "[0] = E_o" in files["E_u.c"]
    assert "[1] = E_p" not in files["E_u.c"]


def test_command_line_writes_the_target(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from hotcalls.edl.command import edl_command

    edl = tmp_path / "E.edl"
    edl.write_text(ROOT.format("", "int a[N]", "").replace("int a[N]", "[in] int a[N]"))
    arguments = [str(edl), "--target", "sgx-sdk", "--out-dir", str(tmp_path), "--trusted"]
    done = CliRunner().invoke(edl_command, [*arguments, "-D", "N=4", "--hot-all"])
    assert done.exit_code == 0, done.output
    assert {path.name for path in tmp_path.glob("E_*")} == {"E_t.h", "E_t.c"}
    assert "sgx_hc_serve" in (tmp_path / "E_t.c").read_text()
    assert CliRunner().invoke(edl_command, [*arguments, "-D", "1"]).exit_code == 2


def test_generated_text_is_the_same_each_time(generated: Path) -> None:
    from hotcalls.edl import parse_file

    again = emit_sgx(parse_file(HERE / "shapes.edl"))
    assert again == {name: (generated / name).read_text() for name in again}


@pytest.mark.parametrize(
    "types, parameters, rule",
    [
        ("", "int hc_x", "reserved-name"),
        ("", "int retval", "reserved-name"),
        ("", "int eid", "reserved-name"),
        ("", "int errno", "reserved-name"),
        ("", "int u_p", "reserved-name"),
        ("struct hc_deep { int a; };", "int p", "reserved-name"),
        ("struct ms_f_t { int a; };", "int p", "reserved-name"),
        ("enum { sgx_f };", "int p", "reserved-name"),
        ("struct s { int errno; };", "int p", "reserved-name"),
        ("enum e { memcpy };", "int p", "reserved-name"),
        ("", "int memcpy", "reserved-name"),
    ],
)
def test_what_cannot_be_generated_is_refused(types: str, parameters: str, rule: str) -> None:
    with pytest.raises(EdlError) as caught:
        emit_sgx(parse_text(ROOT.format(types, parameters, "")))
    assert {error.rule for error in caught.value.errors} == {rule}


@pytest.mark.parametrize(
    "functions, rule",
    [
        ("void p() allow(f) transition_using_threads;", "hot-allow"),
        ("}; trusted { void g() transition_using_threads;", "hot-private"),
    ],
)
def test_function_that_is_never_hot_gives_a_warning(functions: str, rule: str) -> None:
    warnings = check_sgx(parse_text(ROOT.format("", "", functions)))
    assert [warning.rule for warning in warnings] == [rule]
    assert check_sgx(parse_text(ROOT.format("", "", "void p() transition_using_threads;"))) == ()
