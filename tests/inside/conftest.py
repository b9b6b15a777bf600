# SPDX-License-Identifier: Apache-2.0
"""Python enclaves of modules that the tests write, and one that runs any code it is sent."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import hotcalls

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
ENCLAVES = HERE / "enclaves"

Writer = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    """Write a module into a fresh folder; `import hotcalls` is in front of what is given."""

    def make(text: str, name: str = "vault.py") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("import hotcalls\n" + textwrap.dedent(text))
        return path

    return make


@pytest.fixture
def start(write: Writer) -> Iterator[Callable[..., hotcalls.Enclave]]:
    """Launch what is written; ended after the test."""
    started: list[hotcalls.Enclave] = []

    def make(text: str, **options: Any) -> hotcalls.Enclave:
        started.append(hotcalls.launch(write(text), **options))
        return started[-1]

    yield make
    for enclave in started:
        enclave.close()


@pytest.fixture(scope="session")
def events() -> list[str]:
    """What the ocall `audit` of :func:`anything` was called with."""
    return []


# For every module, as what is started within one has to end with it: which test of it is the first
# in a worker is not known.
@pytest.fixture(scope="package", autouse=True)
def anything(events: list[str]) -> Iterator[hotcalls.Enclave]:
    """An enclave that runs the code that it is sent."""
    with hotcalls.launch(
        ENCLAVES / "anything.py",
        ocalls={"audit": events.append, "double": lambda data: data * 2, "fail": _fail},
        threads=2,
    ) as enclave:
        yield enclave


def _fail(text: str) -> None:
    raise ValueError(text)
