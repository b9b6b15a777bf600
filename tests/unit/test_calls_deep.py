# SPDX-License-Identifier: Apache-2.0
"""Structs that are copied deep, between Python and an enclave that runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import hotcalls


class Host:
    def __init__(self) -> None:
        self.answer: Callable[[Any], Any] = lambda line: (1, line)

    def show(self, line: Any) -> Any:
        return self.answer(line)


@pytest.fixture(scope="module", params=["hot", "switch"])
def drawing(
    request: pytest.FixtureRequest, build_enclave: Callable[..., Path]
) -> Iterator[tuple[Any, Host]]:
    host = Host()
    path = build_enclave("draw")
    with hotcalls.launch(path, ocalls={"show": host.show}, mode=request.param) as enclave:
        yield enclave, host


def test_structs_and_what_they_point_to_come_back(drawing: tuple[Any, Host]) -> None:
    enclave, _ = drawing
    count, lines = enclave.draw([{"points": [1, 2, 3], "colour": 7}, (None, 8), ([5], 2)])
    assert count == 4
    assert lines == [([7, 14], 7), (None, 8), ([10], 2)]
    assert lines[0].points == [7, 14]
    assert enclave.draw([]) == (0, [])
    assert enclave.draw(None) == (0, None)


def test_submitted_call_gives_them_when_it_is_collected(drawing: tuple[Any, Host]) -> None:
    enclave, _ = drawing
    pending = [enclave.draw.submit([([number, 9], 2)]) for number in range(3)]
    assert [call.result() for call in pending] == [(2, [([2 * n], 2)]) for n in range(3)]


def test_ocall_gets_a_struct_and_gives_it_back(drawing: tuple[Any, Host]) -> None:
    enclave, host = drawing
    seen = []

    def shorten(line: Any) -> Any:
        seen.append(line)
        return 6, line._replace(points=line.points[1:])

    host.answer = shorten
    assert enclave.outline() == 682
    assert seen == [([7, 8, 9], 5)]


def test_failed_ocall_leaves_the_struct_and_carries_errno(drawing: tuple[Any, Host]) -> None:
    enclave, host = drawing

    def fail(line: Any) -> Any:
        raise OSError(3, "no such line")

    host.answer = fail
    assert enclave.outline() == 3000 - 100 + 73


def test_what_is_too_large_names_the_window(drawing: tuple[Any, Host]) -> None:
    enclave, _ = drawing
    with pytest.raises(hotcalls.CallError, match="launch with window= larger"):
        enclave.draw([([0] * 100_000, 1)])
    assert enclave.draw([([3], 1)])[0] == 1
