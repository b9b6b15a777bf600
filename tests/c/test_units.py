# SPDX-License-Identifier: Apache-2.0
"""The freestanding core, one behaviour at a time; each TEST() of the C files is a test here.

Compiled with AddressSanitizer and UBSan, because most of it reads and writes by computed offsets,
and once more as it is shipped.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import native

HERE = Path(__file__).resolve().parent
PROGRAMS = sorted(HERE.glob("*_test.c"))
CASES = [(path, name) for path in PROGRAMS for name in native.tests_in(path)]


def marked() -> list[object]:
    """Each as a parameter; what may come in, and when, is a promise (guard_test.c)."""
    promise = pytest.mark.claim("H-REENTRY")
    return [
        pytest.param(
            path,
            name,
            id=f"{path.stem}-{name.removeprefix('test_')}",
            marks=[promise] if path.stem == "guard_test" else [],
        )
        for path, name in CASES
    ]


@pytest.mark.parametrize("path, name", marked())
def test_c(path: Path, name: str) -> None:
    native.run([native.build(path.stem, [path], native.ADDRESS), name])


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_c_optimised_passes_too(path: Path) -> None:
    native.run([native.build(path.stem, [path], ["-O3"])])


@pytest.mark.claim("P-ORDERING")
@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_c_passes_on_emulated_aarch64(path: Path) -> None:
    emulator = native.emulator()
    program = native.build(f"{path.stem}-aarch64", [path], compiler=native.CROSS)
    assert "ok test_" in native.run([emulator, program]).stdout
