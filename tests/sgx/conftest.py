# SPDX-License-Identifier: Apache-2.0
"""Lets the tests of this folder import tests/native.py, and generates what they compile."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hotcalls.edl import parse_file
from hotcalls.edl.sgx import emit_sgx

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both sides of shapes.edl."""
    folder = tmp_path_factory.mktemp("sgx")
    for name, text in emit_sgx(parse_file(HERE / "shapes.edl")).items():
        (folder / name).write_text(text)
    return folder
