# SPDX-License-Identifier: Apache-2.0
"""The typed Python stub: what a type checker and a user see of an enclave."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hotcalls.edl import Interface, parse_file, parse_text
from hotcalls.edl.process import emit

DATA = Path(__file__).resolve().parent / "data"


def stub(text: str) -> str:
    return emit(parse_text(text, "my_vault.edl"))["my_vault_u.py"]


def test_stub_of_every_shape_is_the_golden_one(shapes: Interface) -> None:
    assert emit(shapes)["shapes_u.py"] == (DATA / "shapes_u.py.golden").read_text()


@pytest.mark.parametrize("edl", ["shapes.edl", "names.edl"])
def test_stub_passes_the_type_checker(tmp_path: Path, edl: str) -> None:
    pytest.importorskip("mypy")
    interface = parse_file(DATA / edl)
    path = tmp_path / f"{interface.name}_u.py"
    path.write_text(emit(interface)[path.name])
    # The stub is checked by itself: hotcalls is any module here.
    (tmp_path / "hotcalls.pyi").write_text(
        "from typing import Any\ndef launch(*a: Any, **k: Any) -> Any: ...\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--no-incremental",
            "--cache-dir=/dev/null",
            path.name,
        ],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode()


def test_private_ecall_says_when_it_may_be_called() -> None:
    text = stub(
        "enclave { trusted { public void a(); void b(); void never(); };"
        " untrusted { void o() allow(b); void p(); void q() allow(a, b); }; };"
    )
    assert "def a(self)" in text
    assert (
        "    def b(self) -> None:\n"
        '        """Call ``b`` in the enclave.\n\n'
        "        It is private: call it from within ``o`` or ``q``, during which it is allowed.\n"
    ) in text
    assert "never" not in text


def test_struct_that_is_copied_deep_leaves_out_its_sizes() -> None:
    text = stub(
        "enclave { struct line { int tag; size_t n; [count=n] int32_t *points; size_t w; size_t h;"
        " [size=w, count=h] uint8_t *cells; [size=8] void *key; };"
        " trusted { public void a([in, out] struct line *l, [in, count=k] struct line *m,"
        " size_t k); }; };"
    )
    assert (
        "    tag: int\n    points: Sequence[int] | Buffer | None\n    w: int\n    h: int\n"
        "    cells: Buffer | None\n    key: Buffer | None\n"
    ) in text
    assert "def a(self, l: Line | None, m: Sequence[Line] | None) -> Line | None:" in text
    compile(text, "stub.py", "exec")


def test_names_that_python_reserves_get_an_underscore() -> None:
    text = stub(
        "enclave { trusted { public void lambda(int None, int _x, int self); };"
        " untrusted { void yield_(int a); }; };"
    )
    assert "def lambda_(self, None_: int, x_x: int, self_: int) -> None:" in text


def test_ocalls_with_names_that_python_reserves_stay_usable() -> None:
    text = stub("enclave { trusted { public void a(); }; untrusted { void pass(); }; };")
    assert '"pass": "Callable[[], None]"' in text
    compile(text, "stub.py", "exec")


def test_enclave_without_ocalls_is_launched_without_them() -> None:
    text = stub("enclave { trusted { public void a(); }; };")
    assert "def launch(**options: Any) -> MyVault:" in text
    assert "Ocalls" not in text


def test_ecall_named_close_replaces_the_method() -> None:
    text = stub("enclave { trusted { public int close(int fd); }; };")
    assert text.count("def close(") == 1
    assert "def close(self, fd: int) -> int:" in text


def test_types_and_enclave_of_one_name_stay_apart() -> None:
    text = stub(
        "enclave { struct my_vault { int a; }; enum MyVault { X };"
        " trusted { public void a(struct my_vault v); }; };"
    )
    assert "class MyVault(Protocol)" in text
    assert "class MyVault_(NamedTuple)" in text
    assert "class MyVault__(IntEnum)" in text
