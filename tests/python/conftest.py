# SPDX-License-Identifier: Apache-2.0
"""A small C enclave that speaks the messages of Python enclaves, honestly or not: peer.c."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hotcalls.python_enclave import PythonEnclave

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from peers import start_peer  # noqa: E402

import native  # noqa: E402


@pytest.fixture(scope="session")
def peer_path() -> Path:
    return native.build_enclave(HERE / "peer.c")


@pytest.fixture
def launch_peer(peer_path: Path) -> Iterator[Callable[..., PythonEnclave]]:
    """Launch peers that end with the test."""
    made: list[PythonEnclave] = []

    def launch(*args: Any, **options: Any) -> PythonEnclave:
        made.append(start_peer(peer_path, *args, **options))
        return made[-1]

    yield launch
    for enclave in made:
        enclave.close()


@pytest.fixture(scope="module", params=["hot", "switch"])
def peer(request: pytest.FixtureRequest, peer_path: Path) -> Iterator[PythonEnclave]:
    """One peer for the tests of a module that do not harm it."""
    with start_peer(
        peer_path,
        {"ask": lambda data: data[::-1], "tell": lambda value, text: {text: value}},
        mode=request.param,
        responders=2,
    ) as enclave:
        yield enclave
