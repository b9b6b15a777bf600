# SPDX-License-Identifier: Apache-2.0
"""A module run in the program itself, for unit tests: start-up, secrets, calls as in an enclave."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import hotcalls

MODULE = """
import os

@hotcalls.ocall
def audit(event: str) -> None: ...

@hotcalls.startup
def start(secrets, level=1):
    global KEY
    KEY = hotcalls.secret_bytes(9)
    secrets["key"].readinto(KEY)
    assert level == 2

@hotcalls.ecall
def key() -> bytes:
    audit("read")
    return bytes(KEY)

@hotcalls.ecall
def process() -> int:
    return os.getpid()
"""


def test_module_runs_here_with_its_secrets(write: Callable[..., Path]) -> None:
    events: list[str] = []
    path = write(MODULE)
    with hotcalls.launch(
        path,
        secrets={"key": b"swordfish"},
        args={"level": 2},
        ocalls={"audit": events.append},
        insecure_inline=True,
    ) as enclave:
        assert enclave.key() == b"swordfish"
        assert enclave.process() == os.getpid()
    assert events == ["read"]


def test_what_start_up_lacks_fails_here_too(write: Callable[..., Path]) -> None:
    path = write(MODULE)
    with pytest.raises(TypeError, match="'wrong', which no"):
        hotcalls.launch(
            path, secrets={"key": b"swordfish"}, args={"level": 2, "wrong": 1}, insecure_inline=True
        )


def test_c_enclave_is_not_run_inline(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="insecure_inline is for Python modules"):
        hotcalls.launch(tmp_path / "x.so", insecure_inline=True)


CLASSES = """
import dataclasses

@dataclasses.dataclass
class Point:
    x: "int"
    tags: "list[str]" = dataclasses.field(default_factory=list)

@hotcalls.ocall
def moved(point: Point) -> Point: ...

@hotcalls.ecall
def move(point: Point) -> Point:
    assert isinstance(point, Point)
    answer = moved(Point(point.x + 1, point.tags))
    assert isinstance(answer, Point)
    return answer
"""


@pytest.mark.parametrize("before", [True, False])
def test_classes_are_those_that_the_program_imports(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    path = write(CLASSES, "inline_points.py")
    monkeypatch.syspath_prepend(str(path.parent))
    seen = []

    def moved(point: object) -> object:
        seen.append(type(point))
        return point

    module = importlib.import_module("inline_points") if before else None
    try:
        with hotcalls.launch(path, insecure_inline=True, ocalls={"moved": moved}) as points:
            module = module or importlib.import_module("inline_points")
            assert points.move(module.Point(1, ["a"])) == module.Point(2, ["a"])
            assert seen == [module.Point]
            assert sys.modules["inline_points"] is module
    finally:
        sys.modules.pop("inline_points", None)
