# SPDX-License-Identifier: Apache-2.0
"""Either side ends, hangs, forks, jumps or runs out: a typed error soon, and nothing left behind.

Each TEST() of the C files is a test here, with a real enclave in a process of its own.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import native

HERE = Path(__file__).resolve().parent
PROGRAMS = [HERE / name for name in ("death_test.c", "lifetime_test.c")]
CASES = [(path, name) for path in PROGRAMS for name in native.tests_in(path)]


def host(path: Path) -> Path:
    return native.build(path.stem, [path, *native.sources(*native.HOST)], native.PLAIN)


def marked() -> list[object]:
    """Each as a parameter; that ends are noticed and timeouts hold are promises."""
    return [
        pytest.param(
            path,
            name,
            id=f"{path.stem}-{name.removeprefix('test_')}",
            marks=[
                *([pytest.mark.claim("P-DEATH")] if path.stem == "death_test" else []),
                *([pytest.mark.claim("E-BOUND", "H-BOUND")] if "timeout" in name else []),
            ],
        )
        for path, name in CASES
    ]


@pytest.mark.parametrize("path, name", marked())
def test_fault(path: Path, name: str) -> None:
    environment = {
        "FAULT_IMAGE": str(native.build_enclave(HERE / "fault_enclave.c")),
        "HOTCALLS_LOADER": str(native.build_loader()),
    }
    native.run([host(path), name], environment=environment)
