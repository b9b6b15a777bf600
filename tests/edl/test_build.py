# SPDX-License-Identifier: Apache-2.0
"""`hotcalls build` and `hotcalls edl`: what they leave, and how they fail."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hotcalls.build import BuildError, build, build_command, find_compiler, include_dirs
from hotcalls.edl import EdlError, parse_file
from hotcalls.edl.command import edl_command
from hotcalls.edl.description import section_text
from hotcalls.edl.elf import NotAnEnclaveError, read_interface, undefined_symbols

EDL = """enclave {
    trusted { public int add(int a, int b); };
    untrusted { void log_line([in, string] const char *text); };
};
"""
SOURCE = """#include "calc_t.h"
int add(int a, int b)
{
    (void)log_line("adding");
    return a + b;
}
"""


@pytest.fixture
def project(tmp_path: Path, gcc: str) -> Path:
    """A small enclave's sources."""
    del gcc
    (tmp_path / "calc.edl").write_text(EDL)
    (tmp_path / "calc.c").write_text(SOURCE)
    return tmp_path


def built(project: Path, **options: Any) -> Path:
    result = build(
        project / "calc.edl", [project / "calc.c"], project / "calc.enclave.so", **options
    )
    return result.enclave


def test_build_leaves_enclave_header_source_and_stub(project: Path) -> None:
    result = build(project / "calc.edl", [project / "calc.c"], project / "out" / "calc.enclave.so")
    assert sorted(path.name for path in (project / "out").iterdir()) == [
        "calc.enclave.so",
        "calc_u.c",
        "calc_u.h",
        "calc_u.py",
    ]
    assert result.stub == project / "out" / "calc_u.py"
    assert result.compiler_output == ""
    compile(result.stub.read_text(), "calc_u.py", "exec")


def test_enclave_carries_its_interface(project: Path) -> None:
    carried = read_interface(built(project))
    interface = parse_file(project / "calc.edl")
    assert carried == json.loads(section_text(interface))
    assert carried["digest"] == interface.digest.hex()
    assert carried["interface"] == interface.description()


def test_enclave_exports_its_interface_and_nothing_else(project: Path) -> None:
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("no nm")
    path = built(project)
    listed = subprocess.run([nm, "-D", "--defined-only", path], check=True, capture_output=True)
    names = {line.split()[-1] for line in listed.stdout.decode().splitlines()}
    assert names == {"hc_enclave_interface"}
    assert any(name.startswith("hc_") for name in undefined_symbols(path))


def test_enclave_is_hardened(project: Path) -> None:
    readelf = shutil.which("readelf")
    if readelf is None:
        pytest.skip("no readelf")
    path = built(project)
    listed = subprocess.run([readelf, "-lWd", path], check=True, capture_output=True)
    text = listed.stdout.decode()
    assert "GNU_RELRO" in text
    assert "BIND_NOW" in text or "NOW" in text
    stack = next(line for line in text.splitlines() if "GNU_STACK" in line)
    assert "RWE" not in stack


def test_stub_launches_the_file_that_was_built(project: Path) -> None:
    result = build(project / "calc.edl", [project / "calc.c"], project / "other.so")
    assert 'with_name("other.so")' in result.stub.read_text()


def test_undefined_ecall_is_named(project: Path) -> None:
    (project / "calc.c").write_text('#include "calc_t.h"\n')
    with pytest.raises(BuildError, match="no source defines `add`"):
        built(project)
    assert sorted(path.name for path in project.iterdir()) == ["calc.c", "calc.edl"]


def test_failing_compiler_leaves_nothing_and_is_quoted(project: Path) -> None:
    (project / "calc.c").write_text("this is not C")
    with pytest.raises(BuildError) as caught:
        built(project)
    assert "calc.c:1" in caught.value.output
    assert "failed with exit code" in str(caught.value)
    assert sorted(path.name for path in project.iterdir()) == ["calc.c", "calc.edl"]


def test_refused_edl_leaves_nothing(project: Path) -> None:
    (project / "calc.edl").write_text("enclave { trusted { public int add(int *a); }; };")
    with pytest.raises(EdlError):
        built(project)
    assert sorted(path.name for path in project.iterdir()) == ["calc.c", "calc.edl"]


def test_missing_compiler_says_what_to_install(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(project))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(BuildError, match="there is no C compiler: install one"):
        built(project)


def test_named_compiler_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BuildError, match="--cc names `no-such-cc`"):
        find_compiler("no-such-cc")
    monkeypatch.setenv("CC", "no-such-cc -m64")
    with pytest.raises(BuildError, match="CC names `no-such-cc -m64`"):
        find_compiler()


def test_compiler_may_have_arguments(monkeypatch: pytest.MonkeyPatch, gcc: str) -> None:
    monkeypatch.setenv("CC", f"{gcc} -pipe")
    assert find_compiler() == [gcc, "-pipe"]


def test_missing_source_is_named(project: Path) -> None:
    with pytest.raises(BuildError, match=r"there is no file .*none\.c"):
        build(project / "calc.edl", [project / "none.c"], project / "calc.enclave.so")


def test_flags_reach_the_compiler(project: Path) -> None:
    (project / "calc.c").write_text(SOURCE.replace("a + b", "a + b + OFFSET"))
    built(project, cflags=["-DOFFSET=1"])


def test_headers_are_found() -> None:
    assert any((folder / "hotcalls" / "marshal.h").is_file() for folder in include_dirs())
    assert any((folder / "hotcalls_enclave.h").is_file() for folder in include_dirs())


@pytest.mark.parametrize(
    "content, text",
    [
        (b"", "not an ELF file"),
        (b"#!/bin/sh", "not an ELF file"),
        (b"\x7fELF", "truncated"),
        (b"\x7fELF" + bytes(60), "not a 64-bit little-endian ELF file"),
        (b"\x7fELF\x02\x01" + bytes(58), "not a shared object"),
    ],
)
def test_file_that_is_no_enclave_is_refused(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "x.so"
    path.write_bytes(content)
    with pytest.raises(NotAnEnclaveError, match=text):
        read_interface(path)


def test_source_given_for_an_enclave_says_how_to_build_it(tmp_path: Path) -> None:
    path = tmp_path / "vault.c"
    path.write_text("int x;")
    with pytest.raises(NotAnEnclaveError, match=r"hotcalls build vault\.edl vault\.c"):
        read_interface(path)
    with pytest.raises(NotAnEnclaveError, match="cannot be read"):
        read_interface(tmp_path / "none.so")


def test_other_shared_object_is_no_enclave(tmp_path: Path, gcc: str) -> None:
    (tmp_path / "x.c").write_text("int x;\n")
    subprocess.run([gcc, "-shared", "-o", tmp_path / "x.so", tmp_path / "x.c"], check=True)
    with pytest.raises(NotAnEnclaveError, match="not an enclave built by `hotcalls build`"):
        read_interface(tmp_path / "x.so")


def test_every_damage_to_the_interface_is_noticed(project: Path) -> None:
    path = built(project)
    good = path.read_bytes()
    text = section_text(parse_file(project / "calc.edl")).encode()
    at = good.index(text)
    for old, new, expected in (
        (b'"abi":1', b'"abi":2', "built for version 2"),
        (b'"name":"add"', b'"name":"sub"', "digest does not match"),
        (b'{"abi"', b'["abi"', "damaged"),
    ):
        damaged = good[:at] + text.replace(old, new, 1) + good[at + len(text) :]
        path.write_bytes(damaged)
        with pytest.raises(NotAnEnclaveError, match=expected):
            read_interface(path)


def test_no_truncation_of_an_enclave_is_accepted(project: Path) -> None:
    path = built(project)
    good = path.read_bytes()
    for size in range(0, len(good), 997):
        path.write_bytes(good[:size])
        with pytest.raises(NotAnEnclaveError):
            read_interface(path)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(edl_command, [str(argument) for argument in arguments])


def test_command_writes_all_files(project: Path) -> None:
    result = run(project / "calc.edl", "--out-dir", project / "out")
    assert result.exit_code == 0, result.output
    names = sorted(path.name for path in (project / "out").iterdir())
    assert names == ["calc_t.c", "calc_t.h", "calc_u.c", "calc_u.h", "calc_u.py"]
    assert [Path(line).name for line in result.stdout.splitlines()] == [
        "calc_t.h",
        "calc_t.c",
        "calc_u.h",
        "calc_u.c",
        "calc_u.py",
    ]


@pytest.mark.parametrize(
    "option, names",
    [
        ("--trusted", ["calc_t.c", "calc_t.h"]),
        ("--untrusted", ["calc_u.c", "calc_u.h", "calc_u.py"]),
    ],
)
def test_command_writes_one_side(project: Path, option: str, names: list[str]) -> None:
    assert run(project / "calc.edl", option, "--out-dir", project / "out").exit_code == 0
    assert sorted(path.name for path in (project / "out").iterdir()) == names


def test_command_checks_without_writing(project: Path) -> None:
    result = run(project / "calc.edl", "--check", "--out-dir", project / "out")
    assert result.exit_code == 0
    assert not (project / "out").exists()


def test_command_dumps_canonical_json(project: Path) -> None:
    result = run(project / "calc.edl", "--dump", "json")
    assert result.stdout.strip() == parse_file(project / "calc.edl").to_json()


def test_command_explains_a_refusal_and_writes_nothing(project: Path) -> None:
    (project / "calc.edl").write_text("enclave { trusted { public int add(int *a); }; };")
    result = run(project / "calc.edl", "--out-dir", project / "out")
    assert result.exit_code == 3
    assert "calc.edl:1:36: error:" in result.stderr
    assert result.stdout == ""
    assert not (project / "out").exists()


def test_command_gives_diagnostics_as_json(project: Path) -> None:
    (project / "calc.edl").write_text("enclave { trusted { public int add(int *a); }; };")
    result = run(project / "calc.edl", "--check", "--json")
    assert result.exit_code == 3
    data = json.loads(result.stdout)
    assert data["accepted"] is False
    assert data["diagnostics"][0]["rule"] == "pointer-direction"


def test_command_says_when_it_cannot_write(project: Path) -> None:
    (project / "file").write_text("")
    result = run(project / "calc.edl", "--out-dir", project / "file" / "inside")
    assert result.exit_code == 1
    assert "cannot write" in result.stderr


def test_build_command_prints_what_it_built(project: Path) -> None:
    arguments = [project / "calc.edl", project / "calc.c", "-o", project / "calc.enclave.so"]
    result = CliRunner().invoke(build_command, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert Path(data["enclave"]).name == "calc.enclave.so"
    assert len(data["files"]) == 4


def test_build_command_fails_with_one_message(project: Path) -> None:
    arguments = [project / "calc.edl", project / "none.c"]
    result = CliRunner().invoke(build_command, list(map(str, arguments)))
    assert result.exit_code == 1
    assert result.stderr.startswith("hotcalls build: there is no file")
