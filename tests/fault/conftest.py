# SPDX-License-Identifier: Apache-2.0
"""What the tests of this folder share: tests/native.py, nth.py, and enclaves to launch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))

VAULT = """
import hotcalls


@hotcalls.ocall
def ask(question: str) -> str: ...


@hotcalls.startup
def start(greeting: str) -> None:
    global word
    word = greeting


@hotcalls.ecall
def greet(name: str) -> str:
    return f"{word} {ask(name)}"
"""
EDL = """
enclave {
    trusted   { public uint64_t add(uint64_t n); };
    untrusted { void audit([in, string] const char *event); };
};
"""
C = """
#include "adder_t.h"
static uint64_t total;
uint64_t add(uint64_t n) { audit("added something"); return total += n; }
"""


@pytest.fixture(scope="session")
def enclaves(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files of an enclave of each kind, in a folder of their own."""
    folder = tmp_path_factory.mktemp("enclaves")
    for name, text in (("vault.py", VAULT), ("adder.edl", EDL), ("adder.c", C)):
        (folder / name).write_text(text)
    subprocess.run(
        [Path(sys.executable).parent / "hotcalls", "build", "adder.edl", "adder.c"],
        cwd=folder,
        check=True,
    )
    return {"python": str(folder / "vault.py"), "c": str(folder / "adder.enclave.so")}
