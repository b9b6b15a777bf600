# SPDX-License-Identifier: Apache-2.0
"""The parser of hostile input: what its README shows is what happens, and the harm stays inside."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import hotcalls


@pytest.fixture(scope="module")
def folder(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example to work in."""
    made = tmp_path_factory.mktemp("example") / "hostile-parser"
    shutil.copytree(repository / "examples/hostile-parser", made)
    return made


def run(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::RuntimeWarning", "host.py", *arguments],
        cwd=folder, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def shown(folder: Path, command: str) -> str:
    """What the README says that a command prints."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"```console\n\$ {re.escape(command)}\n(.*?)```", text, re.DOTALL)
    assert found
    return found[1]


def test_each_attack_is_contained_and_the_next_drawing_is_read(folder: Path) -> None:
    assert run(folder) == shown(folder, "python host.py")


def test_same_parser_without_an_enclave_gives_the_file_away(folder: Path) -> None:
    secret = folder / "secret.txt"
    secret.write_text("the crown jewels")
    attack = (folder / "reads-a-file.svg").read_text()
    (folder / "reads-a-file.svg").write_text(attack.replace("/etc/hostname", str(secret)))
    expected = shown(folder, "python host.py --unprotected")
    try:
        printed = run(folder, "--unprotected")
    finally:
        (folder / "reads-a-file.svg").write_text(attack)
    assert printed == expected.replace("the-name-of-this-machine", "the crown jewels")


@pytest.mark.parametrize(
    "svg, text",
    [
        (b"", "no drawing: no element found"),
        (b"<svg><g></svg>", "no drawing: mismatched tag"),
        (b"<html/>", "a drawing begins with <svg>, not with <html>"),
        (b"<svg width='-1'/>", "result.width: expected float > 0.0"),
        (b"<svg width='wide'/>", "could not convert string to float"),
        (b"<svg><title>" + b"x" * 201 + b"</title></svg>", "expected str of length <= 200"),
        (b"<svg>&#0;</svg>", "no drawing"),
        (os.urandom(256), "no drawing"),
    ],
)
def test_input_that_is_no_drawing_is_refused_with_its_reason(
    reader: hotcalls.Enclave, svg: bytes, text: str
) -> None:
    with pytest.raises(hotcalls.RemoteError, match=re.escape(text)):
        reader.read(svg)


@pytest.fixture(scope="module")
def reader(folder: Path) -> object:
    with hotcalls.launch(folder / "drawing.py") as enclave:
        yield enclave


def test_reader_has_no_way_out(folder: Path) -> None:
    with pytest.raises(ValueError, match="it makes none"):
        hotcalls.launch(folder / "drawing.py", ocalls={"open": open})
