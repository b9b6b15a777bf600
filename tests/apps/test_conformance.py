# SPDX-License-Identifier: Apache-2.0
"""System calls return in the enclave what they return outside: results, errnos, contents."""

from __future__ import annotations

from pathlib import Path

import enclosed
import pytest


@pytest.mark.parametrize("mode", enclosed.MODES)
@pytest.mark.parametrize("name", ["files", "sockets", "ends", "process", "signalfds", "mixed"])
def test_a_program_tells_the_same_in_the_enclave(name: str, mode: str, tmp_path: Path) -> None:
    path = enclosed.program(name)
    told = []
    for folder, command in (
        ("outside", [path]),
        ("inside", enclosed.inside(mode, path)),
    ):
        place = tmp_path / folder
        place.mkdir()
        done = enclosed.run([*command, str(place)])
        assert done.returncode == 0, done.stderr
        told.append(done.stdout.splitlines())
    outside, inside = told
    assert len(outside) > 70
    differences = [pair for pair in zip(outside, inside, strict=False) if pair[0] != pair[1]]
    assert not differences
    assert len(inside) == len(outside)
