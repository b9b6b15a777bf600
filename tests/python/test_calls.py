# SPDX-License-Identifier: Apache-2.0
"""Plain calls of a Python enclave: values, sizes, options, errors, what they look like."""

from __future__ import annotations

import inspect
import pickle
import pydoc
import threading
from collections.abc import Callable
from typing import Any

import pytest
from peers import LONG_NAP, number, rise_after, wait_for_naps

import hotcalls
from hotcalls import declare
from hotcalls.enclave import RESERVED_NAMES
from hotcalls.shared import SharedAccess
from hotcalls.wire import SharedArray, Signature, encode_exception

SIZES = [0, 1, 31, 32, 33, 64, 4095, 65536, 1 << 20]


@pytest.mark.parametrize("size", SIZES)
def test_bytes_of_any_size_come_back(peer: Any, size: int) -> None:
    data = bytes(i * 3 & 0xFF for i in range(size))
    assert peer.echo(data) == data
    assert peer.echo(data) == data


@pytest.mark.parametrize("size", SIZES)
def test_answer_larger_than_was_reserved_is_fetched(launch_peer: Any, size: int) -> None:
    enclave = launch_peer()
    expected = bytes(i * 7 & 0xFF for i in range(size))
    for _ in range(3):
        assert enclave.grow(number(size)) == expected


def test_room_for_answers_follows_what_they_need(launch_peer: Any) -> None:
    enclave = launch_peer()
    assert enclave.grow.room == 0
    enclave.grow(number(1000))
    assert enclave.grow.room == 1024
    enclave.grow(number(10))
    assert enclave.grow.room == 1024
    assert enclave.grow.options(timeout=5).room == 1024


def test_answer_larger_than_the_window_is_refused_with_what_to_do(launch_peer: Any) -> None:
    enclave = launch_peer()
    with pytest.raises(hotcalls.CallError, match=r"grow\(\): .*window=") as caught:
        enclave.grow(number((1 << 20) + 1))
    assert caught.value.status == "HC_ERR_TOO_LARGE"
    with pytest.raises(hotcalls.CallError, match="window="):
        enclave.echo(bytes((1 << 20) + 1))
    with pytest.raises(hotcalls.CallError, match="window="):
        enclave.echo.submit(bytes((1 << 20) + 1))
    assert enclave.echo(b"fine") == b"fine"


@pytest.mark.parametrize("data", [bytearray(b"abc"), "abc", None, 5])
def test_raw_function_takes_bytes_and_nothing_else(peer: Any, data: Any) -> None:
    with pytest.raises(TypeError, match=r"echo\(data=…\): expected bytes, got"):
        peer.echo(data)


def test_subclass_of_bytes_arrives_as_bytes(peer: Any) -> None:
    class Mine(bytes):
        pass

    assert type(peer.echo(Mine(b"abc"))) is bytes


def test_arguments_are_bound_as_python_binds_them(peer: Any) -> None:
    assert peer.typed(1) == (1, "b", b"c")
    assert peer.typed(a=1, c=b"x") == (1, "b", b"x")
    assert peer.echo(data=b"keyword") == b"keyword"
    for wrong in [(), (1, 2, 3, 4)]:
        with pytest.raises(TypeError, match=r"typed\(\)"):
            peer.typed(*wrong)
    with pytest.raises(TypeError, match="unexpected keyword"):
        peer.echo(b"", timeout=5)
    with pytest.raises(TypeError, match=r"typed\(a=…\): expected int, got str"):
        peer.typed("1")
    with pytest.raises(TypeError, match=r"note\(\)"):
        peer.note(1)


def test_function_without_arguments_returns_none(peer: Any) -> None:
    before = peer.notes(b"")
    assert peer.note() is None
    assert peer.notes(b"") != before


class TestErrors:
    @pytest.mark.parametrize("text", ["short", "long " * 50])
    def test_exception_inside_comes_out_as_remote_error(self, peer: Any, text: str) -> None:
        with pytest.raises(hotcalls.RemoteError) as caught:
            peer.fail(encode_exception(KeyError(text)))
        assert caught.value.type_name == "KeyError"
        assert text.strip() in str(caught.value)
        assert caught.value.__cause__ is None

    @pytest.mark.parametrize("data", [b"", b"x", b"\xc1" * 100, b"\x93" + b"\xc0" * 3])
    def test_exception_that_is_none_is_a_broken_message(self, peer: Any, data: bytes) -> None:
        with pytest.raises(hotcalls.CallError) as caught:
            peer.fail(data)
        assert caught.value.status == "HC_ERR_MESSAGE"
        assert caught.value.function == "fail"

    def test_unknown_function_names_those_there_are(self, peer: Any) -> None:
        with pytest.raises(AttributeError, match=r"no ecall 'nothing'; it has .*echo"):
            _ = peer.nothing


class TestOptions:
    def test_options_are_of_the_copy_only(self, peer: Any) -> None:
        quick = peer.nap.options(timeout=0.03, mode="switch")
        assert "timeout=0.03" in repr(quick)
        assert "mode='switch'" in repr(quick)
        assert "options" not in repr(peer.nap)
        with pytest.raises(hotcalls.CallTimeout, match=r"nap\(\): not answered within 0.03 s"):
            quick(LONG_NAP)
        assert len(peer.nap(number(40))) == 4
        peer.rise()

    def test_call_after_a_timeout_is_answered_at_once(self, peer: Any) -> None:
        with pytest.raises(hotcalls.CallTimeout):
            peer.nap.options(timeout=0.02)(LONG_NAP)
        assert peer.echo(b"x" * 100) == b"x" * 100
        peer.rise()

    @pytest.mark.parametrize("mode", ["hot", "switch"])
    def test_mode_holds_for_the_call(self, launch_peer: Any, mode: str) -> None:
        enclave = launch_peer(mode="switch" if mode == "hot" else "hot")
        enclave.wake()
        function = enclave.echo.options(mode=mode)
        before = enclave.stats().ecalls
        for _ in range(20):
            function(b"")
        after = enclave.stats().ecalls
        if mode == "switch":
            assert after.switched - before.switched == 20
        else:
            assert after.calls - before.calls == 20

    @pytest.mark.parametrize("wrong", [-1, float("nan"), "5"])
    def test_wrong_timeout_is_refused(self, peer: Any, wrong: Any) -> None:
        with pytest.raises((ValueError, TypeError)):
            peer.echo.options(timeout=wrong)


class TestMap:
    def test_results_come_in_order(self, peer: Any) -> None:
        items = [b"%d" % n * (n % 50) for n in range(300)]
        assert list(peer.echo.map(items)) == items

    def test_one_thread_gets_one_lane(self, launch_peer: Any) -> None:
        enclave = launch_peer()
        items = [b"%d" % n * (n % 50) for n in range(1000)]
        for _ in range(3):
            assert list(enclave.echo.map(iter(items))) == items
        assert list(enclave.grow.map([number(n * 100) for n in range(20)])) == [
            enclave.grow(number(n * 100)) for n in range(20)
        ]

    @pytest.mark.parametrize("responders", [1, 2])
    def test_several_iterables_are_arguments_and_the_shortest_ends(
        self, launch_peer: Any, responders: int
    ) -> None:
        enclave = launch_peer(responders=responders)
        mapped = enclave.typed.map(range(10), ["a", "b", "c"], [b""] * 5)
        assert list(mapped) == [(0, "a", b""), (1, "b", b""), (2, "c", b"")]
        assert list(enclave.echo.map([])) == []

    @pytest.mark.parametrize("responders", [1, 2])
    def test_error_is_raised_in_its_turn_or_returned(
        self, launch_peer: Any, responders: int
    ) -> None:
        enclave = launch_peer(responders=responders)
        failing = [encode_exception(ValueError(str(n))) for n in range(3)]
        results = enclave.fail.map(failing)
        with pytest.raises(hotcalls.RemoteError, match="ValueError: 0"):
            next(results)
        assert list(results) == []
        returned = list(enclave.fail.map(failing, return_exceptions=True))
        assert [str(each) for each in returned] == [f"ValueError: {n}" for n in range(3)]
        mixed = list(enclave.echo.map([b"1", bytes(2 << 20), b"3"], return_exceptions=True))
        assert mixed[0] == b"1"
        assert mixed[2] == b"3"
        assert mixed[1].status == "HC_ERR_TOO_LARGE"

    def test_wrong_argument_is_refused_before_anything_is_called(self, peer: Any) -> None:
        before = peer.notes(b"")
        with pytest.raises(TypeError, match="echo"):
            peer.echo.map([b"1", "2"])
        assert peer.notes(b"") == before

    def test_slow_calls_run_beside_each_other(self, launch_peer: Any) -> None:
        enclave = launch_peer(responders=4)
        rising = rise_after(enclave, 4)
        naps = list(enclave.nap.map([LONG_NAP] * 4 + [number(1)] * 4))
        rising.join()
        assert max(int.from_bytes(nap, "little") for nap in naps) >= 4

    def test_timeout_ends_one_call_and_not_the_others(self, launch_peer: Any) -> None:
        enclave = launch_peer()
        quick = enclave.nap.options(timeout=3)
        results = list(quick.map([number(1), LONG_NAP, number(1)], return_exceptions=True))
        assert len(results[0]) == 4
        assert isinstance(results[1], hotcalls.CallTimeout)
        enclave.rise()
        assert enclave.echo(b"1") == b"1"


class TestOneway:
    def test_flush_waits_for_all(self, launch_peer: Any) -> None:
        enclave = launch_peer()
        for _ in range(300):
            enclave.note.oneway()
        enclave.flush()
        assert enclave.notes(b"") == (300).to_bytes(8, "little")

    def test_function_with_a_result_is_refused(self, peer: Any) -> None:
        with pytest.raises(TypeError, match="one-way"):
            peer.echo.oneway(b"1")


class TestLook:
    def test_signature_and_help_are_those_of_the_function(self, peer: Any) -> None:
        assert str(inspect.signature(peer.typed)) == (
            "(a: int, b: str = 'b', c: bytes = b'c') -> tuple[int, str, bytes]"
        )
        assert peer.echo.__doc__ == "Give the bytes back."
        assert peer.echo.__name__ == "echo"
        text = pydoc.plain(pydoc.render_doc(peer.echo))
        assert "echo(data: bytes) -> bytes" in text
        assert "Give the bytes back." in text

    def test_repr_says_what_it_is(self, peer: Any) -> None:
        assert repr(peer.echo) == "<ecall echo(data: bytes) -> bytes>"
        assert repr(peer).startswith("<Enclave 'peer' pid ")

    def test_function_is_not_pickled(self, peer: Any) -> None:
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(peer.echo)

    def test_reserved_names_are_those_of_the_class(self) -> None:
        assert RESERVED_NAMES == declare.RESERVED_NAMES


class TestShared:
    def test_array_lies_in_the_memory_of_the_enclave(self, launch_peer: Any) -> None:
        enclave = launch_peer()

        def total(values: SharedArray) -> float: ...

        signature = Signature.from_function(total).with_access(SharedAccess(enclave))
        memory = enclave.shared(800)
        array = SharedArray(memory.view, "float64", (100,))
        (seen,) = signature.decode_arguments(signature.encode_arguments((array,), {}))
        array[3] = 5.0
        assert seen[3] == 5.0
        elsewhere = SharedArray(memoryview(bytearray(800)), "float64", (100,))
        with pytest.raises(ValueError, match="not memory of"):
            signature.encode_arguments((elsewhere,), {})

    def test_functions_of_an_enclave_know_its_memory(self, launch_peer: Any) -> None:
        enclave = launch_peer()
        array = SharedArray(enclave.shared(800).view, "float64", (100,))
        (back,) = enclave.functions["arrays"](array)
        array[3] = 5.0
        assert back[3] == 5.0


def test_four_threads_call_four_responders(launch_peer: Callable[..., Any]) -> None:
    enclave = launch_peer(responders=4)
    wrong: list[Any] = []

    def run(thread: int) -> None:
        for n in range(500):
            data = b"%d %d" % (thread, n) * (1 + n % 20)
            if enclave.echo(data) != data:
                wrong.append((thread, n))

    threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_other_python_threads_run_during_a_call(peer: Any) -> None:
    ran = threading.Event()

    def run() -> None:
        wait_for_naps(peer)
        ran.set()
        peer.rise()

    thread = threading.Thread(target=run)
    thread.start()
    peer.nap(LONG_NAP)
    assert ran.is_set()
    thread.join()
