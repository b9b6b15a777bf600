# SPDX-License-Identifier: Apache-2.0
"""What a Python enclave calls outside, and what its callables raise."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from peers import OCALLS

import hotcalls
from hotcalls.ocalls import HELD_MAX, OcallServer, check_ocalls

Launch = Callable[..., Any]


@pytest.mark.parametrize("size", [0, 32, 33, 5000, 1 << 19])
def test_ocall_gets_and_returns_bytes_of_any_size(launch_peer: Launch, size: int) -> None:
    enclave = launch_peer({"ask": lambda data: data[::-1]})
    data = bytes(i & 0xFF for i in range(size))
    assert enclave.ask(data) == data[::-1]


def test_answer_larger_than_was_reserved_is_fetched(launch_peer: Launch) -> None:
    enclave = launch_peer({"ask": lambda data: data * 1000})
    for _ in range(3):
        assert enclave.ask(b"abcd") == b"abcd" * 1000


def test_typed_ocall_gets_and_returns_values(launch_peer: Launch) -> None:
    enclave = launch_peer({"tell": lambda value, text: {text: value + 1}})
    assert enclave.tell(4, "four") == {"four": 5}


def test_ocall_runs_in_the_thread_that_made_the_ecall(launch_peer: Launch) -> None:
    threads: list[int] = []
    enclave = launch_peer({"ask": lambda data: (threads.append(threading.get_ident()), data)[1]})
    enclave.ask(b"1")
    assert threads == [threading.get_ident()]
    enclave.ask.submit(b"1").result()
    assert threads[1] != threading.get_ident()


def test_ocall_may_call_in_again(launch_peer: Launch) -> None:
    depth: list[int] = []

    def ask(data: bytes) -> bytes:
        depth.append(len(data))
        return enclave.ask(data[1:]) + b"." if data else b"end"

    enclave = launch_peer({"ask": ask})
    assert enclave.ask(b"12345") == b"end....."
    assert depth == [5, 4, 3, 2, 1, 0]


class TestErrors:
    def test_exception_goes_in_and_comes_out_with_its_cause(self, launch_peer: Launch) -> None:
        def ask(data: bytes) -> bytes:
            raise LookupError("not there")

        enclave = launch_peer({"ask": ask})
        # peer.c hands on what it got; a Python enclave raises it as a RemoteError.
        with pytest.raises(hotcalls.RemoteError, match="LookupError: not there"):
            enclave.ask(b"1")
        assert enclave._local.cause is None
        assert enclave.echo(b"1") == b"1"

    def test_cause_is_the_exception_that_was_raised_outside(
        self, launch_peer: Launch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class RemoteError(Exception):
            """As the enclave's side calls it."""

        def ask(data: bytes) -> bytes:
            raise RemoteError("as if through Python")

        enclave = launch_peer({"ask": ask})
        with pytest.raises(hotcalls.RemoteError) as caught:
            enclave.ask(b"1")
        assert type(caught.value.__cause__) is RemoteError

    def test_interrupt_goes_on_in_the_host(self, launch_peer: Launch) -> None:
        def ask(data: bytes) -> bytes:
            raise KeyboardInterrupt("stop")

        enclave = launch_peer({"ask": ask})
        with pytest.raises(KeyboardInterrupt, match="stop"):
            enclave.ask(b"1")
        assert enclave.echo(b"1") == b"1"

    def test_wrong_result_is_refused_by_name(self, launch_peer: Launch) -> None:
        enclave = launch_peer({"ask": lambda data: "text", "tell": lambda *_: {"x": "y"}})
        with pytest.raises(hotcalls.RemoteError, match=r"TypeError: ask\(\): result"):
            enclave.ask(b"1")
        with pytest.raises(hotcalls.RemoteError, match=r"TypeError: tell\(\): result"):
            enclave.tell(1, "x")

    def test_missing_ocall_says_so_inside(self, launch_peer: Launch) -> None:
        with pytest.raises(hotcalls.RemoteError, match="launch\\(\\) was given no ocall 'ask'"):
            launch_peer().ask(b"1")

    def test_exception_in_a_thread_of_the_runtime_is_reported(
        self, launch_peer: Launch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[Any] = []
        monkeypatch.setattr("sys.unraisablehook", seen.append)

        def ask(data: bytes) -> bytes:
            raise LookupError("not there")

        enclave = launch_peer({"ask": ask})
        assert isinstance(enclave.ask.submit(b"1").exception(), hotcalls.RemoteError)
        assert [type(each.exc_value) for each in seen] == [LookupError]


TABLE = {each.name: each for each in OCALLS}


class TestCheck:
    def test_unknown_ocall_is_refused_with_those_there_are(self) -> None:
        with pytest.raises(ValueError, match="makes no ocall 'x'; it makes ask, tell"):
            check_ocalls("peer", TABLE, {"x": print})

    def test_coroutine_function_is_refused_with_what_to_do(self) -> None:
        async def ask(data: bytes) -> bytes:
            return data

        with pytest.raises(TypeError, match=r"'ask' is a coroutine function.*call_soon"):
            check_ocalls("peer", TABLE, {"ask": ask})

    def test_what_cannot_be_called_is_refused(self) -> None:
        with pytest.raises(TypeError, match="'ask' is not callable, but int"):
            check_ocalls("peer", TABLE, {"ask": 5})


class TestHeld:
    def test_answer_is_given_out_once(self) -> None:
        server = OcallServer(OCALLS, {})
        token = server.hold(0, b"answer").to_bytes(8, "little")
        assert server.fetch(token) == (0, b"answer")
        assert isinstance(server.fetch(token), int)

    def test_answers_that_nobody_fetches_are_dropped(self) -> None:
        server = OcallServer(OCALLS, {})
        tokens = [server.hold(0, bytes(1 << 20)) for _ in range(HELD_MAX * 5)]
        assert len(server._held) <= HELD_MAX
        assert server._held_bytes <= HELD_MAX << 20
        assert isinstance(server.fetch(tokens[0].to_bytes(8, "little")), int)

    def test_process_that_follows_a_lost_one_fetches_nothing_of_it(self) -> None:
        server = OcallServer(OCALLS, {})
        token = server.hold(0, b"answer").to_bytes(8, "little")
        server.forget()
        assert isinstance(server.fetch(token), int)
        assert server._held_bytes == 0

    @pytest.mark.parametrize("token", [b"", b"1", bytes(8), bytes(1000)])
    def test_forged_token_is_refused(self, token: bytes) -> None:
        server = OcallServer(OCALLS, {})
        server.hold(0, b"answer")
        assert isinstance(server.fetch(token), int)
