# SPDX-License-Identifier: Apache-2.0
"""The drop-in for the SDK's tool: its options, its file names, its exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotcalls.edl.edger8r import main

EDL = "enclave { trusted { public void f([in, size=n] const char *p, size_t n); }; };"


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Enclave.edl").write_text(EDL)
    return tmp_path


def made(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*_[tu].[ch]")}


@pytest.mark.parametrize(
    "options, expected",
    [
        ([], {"Enclave_t.h", "Enclave_t.c", "Enclave_u.h", "Enclave_u.c"}),
        (["--trusted"], {"Enclave_t.h", "Enclave_t.c"}),
        (["--UNTRUSTED"], {"Enclave_u.h", "Enclave_u.c"}),
        (["--header-only"], {"Enclave_t.h", "Enclave_u.h"}),
        (["--trusted", "--trusted-dir", "a/b"], {"a/b/Enclave_t.h", "a/b/Enclave_t.c"}),
        (
            ["--untrusted", "--header-only", "--untrusted-dir", "u"],
            {"u/Enclave_u.h"},
        ),
    ],
)
def test_options_choose_the_files(folder: Path, options: list[str], expected: set[str]) -> None:
    assert run(*options, "Enclave.edl") == 0
    assert made(folder) == expected


def test_prefix_names_the_proxies(folder: Path) -> None:
    assert run("--use-prefix", "Enclave.edl") == 0
    assert "sgx_status_t Enclave_f(sgx_enclave_id_t eid" in (folder / "Enclave_u.h").read_text()


def test_search_path_finds_the_file_and_its_imports(folder: Path) -> None:
    (folder / "one").mkdir()
    (folder / "two").mkdir()
    (folder / "one" / "Lib.edl").write_text("enclave { untrusted { void o(); }; };")
    (folder / "two" / "Root.edl").write_text(
        'enclave { from "Lib.edl" import *; trusted { public void f(); }; };'
    )
    assert run("--search-path", "one:two", "Root.edl") == 0
    assert "o" in (folder / "Root_t.h").read_text()
    assert run("Root.edl") == 1


def test_header_only_needs_no_public_ecall(folder: Path) -> None:
    (folder / "Lib.edl").write_text("enclave { untrusted { void o(); }; };")
    assert run("Lib.edl") == 1
    assert run("--header-only", "Lib.edl") == 0


def test_refused_file_leaves_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "Bad.edl").write_text("enclave { trusted { public void f(int *p); }; };")
    assert run("Bad.edl") == 1
    assert made(folder) == set()
    assert "Bad.edl:1:35: error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["--frobnicate"], ["--search-path"], ["-D1", "Enclave.edl"], ["none.edl"]]
)
def test_wrong_usage_ends_with_one(arguments: list[str]) -> None:
    assert run(*arguments) == 1


@pytest.mark.parametrize("side, other", [("t", "u"), ("u", "t")])
def test_nothing_is_written_when_one_side_cannot_be(folder: Path, side: str, other: str) -> None:
    (folder / side).write_text("a file, not a directory")
    assert run("--trusted-dir", "t", "--untrusted-dir", "u", "Enclave.edl") == 1
    assert made(folder) == set()
    (folder / side).unlink()
    (folder / side / f"Enclave_{side}.c").mkdir(parents=True)
    assert run("--trusted-dir", "t", "--untrusted-dir", "u", "Enclave.edl") == 1
    assert made(folder) == {f"{side}/Enclave_{side}.c"}
    assert not list(folder.rglob(".hotcalls-*"))
    (folder / side / f"Enclave_{side}.c").rmdir()
    assert run("--trusted-dir", "t", "--untrusted-dir", "u", "Enclave.edl") == 0
    assert made(folder) >= {f"{other}/Enclave_{other}.h", f"{side}/Enclave_{side}.c"}


def test_include_directory_has_the_headers(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--print-include") == 0
    assert (Path(capsys.readouterr().out.strip()) / "hotcalls" / "lane.h").is_file()
