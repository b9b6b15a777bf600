# SPDX-License-Identifier: Apache-2.0
"""Calls inside calls; which ecalls may come in while an ocall is out; threads inside that call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import hotcalls

NOT_ALLOWED = 5
DEPTH = 13


class Host:
    def __init__(self) -> None:
        self.enclave: Any = None
        self.visit: Callable[[int], int] = lambda _: 0
        self.threads: set[int] = set()
        self.errors: list[Exception] = []

    def up(self, depth: int) -> int:
        self.threads.add(threading.get_ident())
        return int(self.enclave.down(depth))

    def call(self, which: int) -> int:
        try:
            return self.visit(which)
        except hotcalls.CallError as error:
            self.errors.append(error)
            return -1


@pytest.fixture(scope="module", params=["hot", "switch"])
def _host(request: pytest.FixtureRequest, nest_path: Path) -> Iterator[Host]:
    host = Host()
    ocalls = {
        "up": host.up,
        "visit": host.call,
        "wander": host.call,
        "from_thread": lambda v: v + 1000,
    }
    with hotcalls.launch(nest_path, ocalls=ocalls, mode=request.param) as enclave:
        host.enclave = enclave
        yield host
    host.enclave = None


@pytest.fixture
def host(_host: Host) -> Iterator[Host]:
    yield _host
    _host.visit = lambda _: 0
    _host.errors.clear()
    _host.threads.clear()


@pytest.mark.parametrize("depth", range(9))
def test_calls_nest_to_depth_eight(host: Host, depth: int) -> None:
    assert host.enclave.down(depth) == depth + 1


def test_nested_calls_stay_in_one_thread(host: Host) -> None:
    host.enclave.down(8)
    assert host.threads == {threading.get_ident()}


def test_nesting_without_end_is_refused_inside(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.unraisablehook", lambda _: None)
    assert host.enclave.down(1000) < 1000
    assert host.enclave.down(3) == 4


def test_nested_calls_of_many_threads_do_not_deadlock(host: Host) -> None:
    results: list[int] = []

    def run() -> None:
        for _ in range(20):
            results.append(host.enclave.down(6))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [7] * 160


@pytest.mark.claim("H-REENTRY")
def test_private_ecall_from_outside_is_refused(host: Host) -> None:
    with pytest.raises(hotcalls.CallError, match="private") as caught:
        host.enclave.secret_door(1)
    assert caught.value.status == "HC_ERR_NOT_ALLOWED"
    assert caught.value.function == "secret_door"


def test_private_ecall_runs_while_an_ocall_allows_it(host: Host) -> None:
    host.visit = lambda _: int(host.enclave.secret_door(21))
    assert host.enclave.knock(1) == 42


@pytest.mark.claim("H-REENTRY")
def test_public_ecall_is_refused_while_the_ocall_does_not_allow_it(host: Host) -> None:
    host.visit = lambda _: int(host.enclave.front_door(1))
    assert host.enclave.knock(1) == 5
    assert host.enclave.knock(10) == -1
    assert [error.status for error in host.errors] == ["HC_ERR_NOT_ALLOWED"]  # type: ignore[attr-defined]


@pytest.mark.claim("H-REENTRY")
def test_private_ecall_that_another_ocall_allows_is_refused(host: Host) -> None:
    host.visit = lambda _: int(host.enclave.other_door(1))
    assert host.enclave.knock(1) == -1
    assert len(host.errors) == 1


def test_refused_ecall_leaves_the_enclave_usable(host: Host) -> None:
    host.visit = lambda _: int(host.enclave.other_door(1))
    for _ in range(50):
        assert host.enclave.knock(1) == -1
    assert host.enclave.front_door(2) == 10


def test_another_thread_may_call_while_an_ocall_is_out(host: Host) -> None:
    answers: list[int] = []

    def visit(_: int) -> int:
        thread = threading.Thread(target=lambda: answers.append(host.enclave.front_door(3)))
        thread.start()
        thread.join(30)
        return 1

    host.visit = visit
    assert host.enclave.knock(10) == 1
    assert answers == [15]


def test_threads_of_the_enclave_make_ocalls(host: Host) -> None:
    before = host.enclave.thread_answers()
    assert host.enclave.start_threads(4, 50) == 4
    assert host.enclave.thread_answers() - before == 200


class TestModes:
    def test_edl_mode_follows_transition_using_threads(self, nest_path: Path) -> None:
        with hotcalls.launch(nest_path, mode="edl") as enclave:
            enclave.wake()
            for value in range(200):
                assert enclave.cold_one(value) == value + 2
            counted = enclave.stats().ecalls
            assert (counted.switched, counted.hot, counted.fallen_back) == (200, 0, 0)
            for value in range(200):
                assert enclave.hot_one(value) == value + 1
            # On a busy machine some, or all, find the responder asleep; then they wake it.
            counted = enclave.stats().ecalls
            assert counted.hot + counted.fallen_back + counted.rang > 0

    def test_switch_mode_never_makes_hot_calls(self, nest_path: Path) -> None:
        with hotcalls.launch(nest_path, mode="switch") as enclave:
            for value in range(100):
                enclave.hot_one(value)
            assert enclave.stats().ecalls.switched == 100

    def test_mode_of_a_call_goes_before_all_others(self, nest_path: Path) -> None:
        with hotcalls.launch(nest_path, mode="hot") as enclave:
            switched = enclave.hot_one.options(mode="switch")
            for value in range(50):
                assert switched(value) == value + 1
            assert enclave.stats().ecalls.switched == 50

    def test_mode_of_a_function_holds_for_all_threads(self, nest_path: Path) -> None:
        with hotcalls.launch(nest_path, mode="hot") as enclave:
            enclave.hot_one.set_mode("switch")
            thread = threading.Thread(target=lambda: [enclave.hot_one(v) for v in range(20)])
            thread.start()
            thread.join()
            assert enclave.stats().ecalls.switched == 20
            enclave.hot_one.set_mode("hot")
            for value in range(500):
                enclave.hot_one(value)
            counted = enclave.stats().ecalls
            assert counted.hot + counted.fallen_back + counted.rang > 0

    @pytest.mark.parametrize("wrong", ["warm", "", "HOT", None, 1])
    def test_unknown_mode_is_refused_with_the_known_ones(self, nest_path: Path, wrong: Any) -> None:
        with pytest.raises(ValueError, match="hot, switch, edl"):
            hotcalls.launch(nest_path, mode=wrong)
        with hotcalls.launch(nest_path) as enclave:
            with pytest.raises(ValueError, match="hot, switch"):
                enclave.hot_one.set_mode(wrong)
            if wrong is not None:
                with pytest.raises(ValueError, match="hot, switch"):
                    enclave.hot_one.options(mode=wrong)
