# SPDX-License-Identifier: Apache-2.0
"""Each example builds and runs as its README says, and what it prints is right."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="not run from a source tree")


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The example in a directory of its own, built; and what `make run` printed."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    folder = tmp_path_factory.mktemp("example") / "vault"
    shutil.copytree(EXAMPLES / "vault", folder)
    done = subprocess.run(
        ["make", "run", f"PYTHON={sys.executable} -W ignore::RuntimeWarning",
         f"HOTCALLS={sys.executable} -m hotcalls.cli", "CFLAGS=-O2 -Wall -Wextra -Werror"],
        cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "MAKEFLAGS": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def test_python_host_signs_and_checks(vault: tuple[Path, str]) -> None:
    printed = vault[1]
    assert re.search(r"'pay 100 to Alice' is signed: [0-9a-f]{64}\n", printed)
    assert "the tag is right: True\n" in printed
    assert "for another message: False\n" in printed
    assert "after a new key: False\n" in printed
    assert "the vault reported: sign\n" in printed


def test_c_host_signs_and_checks(vault: tuple[Path, str]) -> None:
    printed = vault[1]
    assert "the vault reports: sign\n" in printed
    assert "the tag is right: yes\n" in printed
    assert "with a bit flipped: no\n" in printed


def test_tag_is_hmac_sha256_under_a_key_that_nobody_knows(vault: tuple[Path, str]) -> None:
    import hotcalls

    with hotcalls.launch(vault[0] / "vault.enclave.so") as first:
        with hotcalls.launch(vault[0] / "vault.enclave.so") as second:
            assert first.sign(b"m") == first.sign(b"m")
            assert first.sign(b"m") != second.sign(b"m")
            assert first.signed_count() == 3


@pytest.mark.parametrize(
    "file, text",
    [
        ("no.enclave.so", "No such file"),
        ("vault_u.h", "enclave"),
        ("other.enclave.so", "another EDL"),
    ],
)
def test_c_host_says_what_it_cannot_launch(vault: tuple[Path, str], file: str, text: str) -> None:
    import hotcalls
    from hotcalls.build import build

    folder = vault[0]
    if file.startswith("other"):
        (folder / "other.edl").write_text("enclave { trusted { public void f(void); }; };\n")
        (folder / "other.c").write_text('#include "other_t.h"\nvoid f(void) {}\n')
        build(folder / "other.edl", [folder / "other.c"], folder / "other.enclave.so")
    loader = Path(hotcalls.__file__).parent / "bin/hotcalls-enclave"
    done = subprocess.run(
        ["./host", "x", file], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "HOTCALLS_LOADER": str(loader)},
    )  # fmt: skip
    assert done.returncode == 1
    assert text in done.stderr


def test_c_host_without_loader_says_how_to_name_it(vault: tuple[Path, str]) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "HOTCALLS_LOADER"}
    done = subprocess.run(
        ["./host"], cwd=vault[0], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 1
    assert "HOTCALLS_LOADER" in done.stderr


def test_example_has_a_readme_that_names_its_files() -> None:
    for folder in EXAMPLES.iterdir():
        if folder.is_dir():
            text = (folder / "README.md").read_text(encoding="utf-8")
            for file in folder.iterdir():
                assert file.name in text or file.name in ("README.md", "Makefile")


def test_make_clean_leaves_what_was_there(vault: tuple[Path, str]) -> None:
    folder = vault[0]
    for extra in folder.glob("other*"):
        extra.unlink()
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    subprocess.run(["make", "clean", "-s"], cwd=folder, check=True, capture_output=True)
    kept = {p.name for p in (EXAMPLES / "vault").iterdir() if p.name != "__pycache__"}
    assert {path.name for path in folder.iterdir()} == kept
