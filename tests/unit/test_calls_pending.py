# SPDX-License-Identifier: Apache-2.0
"""Calls that nobody waits for at once: submitted, batched, one-way; timeouts; many threads."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hotcalls

#: Milliseconds of a nap that the test ends, with rise(), and not the clock.
LONG_NAP = 60_000


def wait_for_nap(calls: Any) -> None:
    """Return when a nap has begun, and rise() ends it."""
    until = time.monotonic() + 60
    while calls.napping() == 0:
        assert time.monotonic() < until
        time.sleep(0.002)


def rise(calls: Any) -> None:
    """End the nap that this thread has submitted, behind which its own calls would wait."""

    def run() -> None:
        wait_for_nap(calls)
        calls.rise()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


@pytest.fixture(scope="module", params=["hot", "switch"])
def _launched(request: pytest.FixtureRequest, calls_path: Path) -> Iterator[Any]:
    ocalls = {"twice": lambda v: 2 * v}
    with hotcalls.launch(calls_path, mode=request.param, ocalls=ocalls) as enclave:
        yield enclave


@pytest.fixture
def calls(_launched: Any) -> Iterator[Any]:
    yield _launched
    # Whatever a test gave up is over by now.
    gc.collect()
    assert _launched.i32(1) == 1


class TestSubmit:
    def test_results_come_back_in_any_order(self, calls: Any) -> None:
        pending = [calls.i32.submit(n) for n in range(20)]
        assert [p.result() for p in reversed(pending)] == list(range(19, -1, -1))

    def test_result_asked_twice_is_the_same(self, calls: Any) -> None:
        pending = calls.sum.submit(b"\x01\x02")
        assert pending.result() == 3
        assert pending.result() == 3
        assert pending.done() is True

    def test_done_becomes_true_without_being_waited_for(self, calls: Any) -> None:
        pending = calls.nap.submit(LONG_NAP)
        assert pending.done() is False
        rise(calls)
        deadline = time.monotonic() + 30
        while not pending.done() and time.monotonic() < deadline:
            time.sleep(0.001)
        assert pending.done() is True
        assert pending.result() is None

    def test_buffers_of_submitted_calls_do_not_mix(self, calls: Any) -> None:
        pending = [calls.pattern.submit(100, seed) for seed in range(30)]
        for seed, call in enumerate(pending):
            assert call.result() == bytes(range(seed, seed + 100))

    def test_argument_may_change_after_submit(self, calls: Any) -> None:
        data = bytearray(b"\x01" * 100)
        pending = calls.sum.submit(data)
        data[:] = b"\xff" * 100
        assert pending.result() == 100

    def test_calls_start_in_the_order_of_submission(self, calls: Any) -> None:
        before = calls.told()
        seen = [calls.told.submit() for _ in range(1)]
        for _ in range(10):
            calls.tell.submit(1)
            seen.append(calls.told.submit())
        assert [p.result() - before for p in seen] == list(range(11))

    def test_more_calls_than_a_lane_holds_wait_and_nothing_is_lost(self, calls: Any) -> None:
        pending = [calls.i32.submit(n) for n in range(500)]
        assert [p.result() for p in pending] == list(range(500))

    def test_more_bytes_than_a_window_holds_wait_and_nothing_is_lost(self, calls: Any) -> None:
        pending = [calls.sum.submit(b"\x01" * 30000) for _ in range(20)]
        assert [p.result() for p in pending] == [30000] * 20

    def test_arguments_that_never_fit_are_refused_at_submit(self, calls: Any) -> None:
        with pytest.raises(hotcalls.CallError, match="window=") as caught:
            calls.sum.submit(bytes(1 << 20))
        assert caught.value.status == "HC_ERR_TOO_LARGE"
        assert calls.sum.submit(b"\x01").result() == 1

    def test_submitted_call_that_is_forgotten_gives_its_cell_back(self, calls: Any) -> None:
        for n in range(100):
            calls.i32.submit(n)
            if n % 10 == 0:
                time.sleep(0.002)
        assert calls.i32(7) == 7

    def test_result_is_for_any_thread(self, calls: Any) -> None:
        pending = calls.i32.submit(5)
        results: list[int] = []
        threads = [
            threading.Thread(target=lambda: results.append(pending.result())) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [5, 5, 5]

    def test_timeout_of_a_result_does_not_end_the_call(self, calls: Any) -> None:
        pending = calls.nap.submit(LONG_NAP)
        with pytest.raises(hotcalls.CallTimeout, match=r"nap\(\): not answered within 0.02 s"):
            pending.result(timeout=0.02)
        rise(calls)
        assert pending.result() is None

    def test_timeout_of_the_function_ends_the_call_of_a_future(self, calls: Any) -> None:
        pending = calls.nap.options(timeout=0.03).submit(LONG_NAP)
        with pytest.raises(hotcalls.CallTimeout, match=r"nap\(\): not answered within 0.03 s"):
            pending.result()
        assert isinstance(pending.exception(), hotcalls.CallTimeout)
        calls.rise()

    def test_ocall_of_a_submitted_call_is_answered(self, calls: Any) -> None:
        pending = [calls.ask_twice.submit(n) for n in range(10)]
        assert [p.result() for p in pending] == [2 * n for n in range(10)]

    def test_refused_argument_is_refused_at_submit(self, calls: Any) -> None:
        with pytest.raises(TypeError, match="i32"):
            calls.i32.submit("x")


class TestBatch:
    def test_batched_calls_are_all_answered(self, calls: Any) -> None:
        with calls.batch():
            pending = [calls.i32.submit(n) for n in range(32)]
        assert [p.result() for p in pending] == list(range(32))

    def test_nothing_is_posted_inside_the_block(self, calls: Any) -> None:
        before = calls.told()
        with calls.batch():
            pending = [calls.tell.submit(1) for _ in range(5)]
            time.sleep(0.01)
            assert not any(p.done() for p in pending)
            assert calls.told() == before
        for p in pending:
            p.result()
        assert calls.told() == before + 5

    def test_result_inside_the_block_posts_what_is_there(self, calls: Any) -> None:
        with calls.batch():
            assert calls.i32.submit(3).result() == 3
            assert calls.i32.submit(4).result() == 4

    def test_plain_call_inside_the_block_goes_behind_one_way_calls(self, calls: Any) -> None:
        before = calls.told()
        with calls.batch():
            for _ in range(3):
                calls.tell.oneway(1)
            assert calls.told() == before + 3

    def test_exception_in_the_block_still_posts(self, calls: Any) -> None:
        pending = None

        def run() -> None:
            nonlocal pending
            with calls.batch():
                pending = calls.i32.submit(8)
                raise LookupError

        with pytest.raises(LookupError):
            run()
        assert pending is not None
        assert pending.result() == 8

    def test_many_batches_after_each_other_lose_nothing(self, calls: Any) -> None:
        for start in range(0, 2000, 20):
            with calls.batch():
                pending = [calls.u32.submit(n) for n in range(start, start + 20)]
            assert [p.result() for p in pending] == list(range(start, start + 20))


class TestOneway:
    def test_flush_waits_for_all(self, calls: Any) -> None:
        before = calls.told()
        for _ in range(500):
            calls.tell.oneway(1)
        calls.flush()
        assert calls.told() == before + 500

    def test_oneway_of_a_function_with_a_result_is_refused(self, calls: Any) -> None:
        for function in (calls.i32, calls.told):
            with pytest.raises(TypeError, match="one-way"):
                function.oneway(*[1][: len(function._codec.signature.inputs)])
        with pytest.raises(TypeError, match="one-way"):
            calls.pattern.oneway(10, 1)

    def test_batched_oneway_calls_arrive(self, calls: Any) -> None:
        before = calls.told()
        with calls.batch():
            for _ in range(100):
                calls.tell.oneway(1)
        calls.flush()
        assert calls.told() == before + 100

    def test_flush_without_calls_returns_at_once(self, calls: Any) -> None:
        calls.flush()
        calls.flush()

    def test_failed_oneway_call_is_reported_once_by_flush(self, nest_path: Path) -> None:
        # A private ecall is refused inside; nobody waits for it.
        with hotcalls.launch(nest_path) as enclave:
            # At once: the failure of the first one would stop the second.
            with enclave.batch():
                for _ in range(3):
                    enclave._native.oneway(enclave.secret_door._codec.id, bytes(16), b"")
            with pytest.raises(hotcalls.OnewayError, match="3 one-way calls failed") as caught:
                enclave.flush()
            assert caught.value.count == 3
            assert caught.value.status == "HC_ERR_NOT_ALLOWED"
            enclave.flush()
            assert enclave.front_door(1) == 5

    def test_failed_oneway_call_is_reported_by_close(self, nest_path: Path) -> None:
        enclave = hotcalls.launch(nest_path)
        enclave._native.oneway(enclave.secret_door._codec.id, bytes(16), b"")
        with pytest.raises(hotcalls.OnewayError):
            enclave.close()
        assert enclave.closed


class TestTimeout:
    def test_call_that_takes_too_long_times_out(self, calls: Any) -> None:
        start = time.monotonic()
        with pytest.raises(
            hotcalls.CallTimeout, match=r"nap\(\): not answered within 0.05 s"
        ) as caught:
            calls.nap.options(timeout=0.05)(LONG_NAP)
        # Not before its time; nor after the answer, which would have been returned instead.
        assert time.monotonic() - start >= 0.05
        assert caught.value.function == "nap"
        assert caught.value.timeout == 0.05
        assert isinstance(caught.value, TimeoutError)
        calls.rise()

    def test_thread_goes_on_while_the_given_up_call_still_runs(self, calls: Any) -> None:
        with pytest.raises(hotcalls.CallTimeout):
            calls.nap.options(timeout=0.02)(LONG_NAP)
        assert calls.sum(b"\x01" * 1000) == 1000
        assert calls.ask_twice(4) == 8
        calls.rise()
        assert calls.sum(b"\x01" * 1000) == 1000

    def test_many_timeouts_in_a_row_do_not_use_the_slots_up(self, calls: Any) -> None:
        for _ in range(12):
            with pytest.raises(hotcalls.CallTimeout):
                calls.nap.options(timeout=0.002)(LONG_NAP)
            calls.rise()
        assert calls.ask_twice(4) == 8
        calls.tell.oneway(0)
        calls.flush()

    def test_timeout_shorter_than_a_slice_of_the_wait_is_kept(self, calls: Any) -> None:
        with pytest.raises(hotcalls.CallTimeout):
            calls.nap.options(timeout=0.002)(LONG_NAP)
        calls.rise()

    def test_timeout_zero_fails_unless_it_is_there(self, calls: Any) -> None:
        with pytest.raises(hotcalls.CallTimeout):
            calls.nap.options(timeout=0)(LONG_NAP)
        calls.rise()

    @pytest.mark.parametrize("timeout", [None, 1e30, float("inf"), 5])
    def test_timeout_that_is_long_enough_changes_nothing(self, calls: Any, timeout: Any) -> None:
        assert calls.i32.options(timeout=timeout)(3) == 3
        assert calls.i32.submit(4).result(timeout) == 4

    @pytest.mark.parametrize("timeout", [-1, float("nan"), -float("inf")])
    def test_timeout_that_means_nothing_is_refused(self, calls: Any, timeout: Any) -> None:
        with pytest.raises(ValueError, match="timeout"):
            calls.i32.options(timeout=timeout)
        pending = calls.i32.submit(1)
        with pytest.raises(ValueError, match="timeout"):
            pending.result(timeout)
        assert pending.result() == 1


class TestThreads:
    def test_eight_threads_get_their_own_answers(self, calls: Any) -> None:
        wrong: list[tuple[int, int]] = []

        def run(thread: int) -> None:
            for n in range(300):
                if calls.token(thread, n) != (thread * 1000003 & 0xFFFFFFFF) ^ n:
                    wrong.append((thread, n))
                if n % 50 == 0 and calls.sum(bytes([thread]) * 500) != 500 * thread:
                    wrong.append((thread, -n))

        threads = [threading.Thread(target=run, args=(t,)) for t in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []

    def test_other_python_threads_run_during_a_call(self, calls: Any) -> None:
        ran = threading.Event()

        def run() -> None:
            wait_for_nap(calls)
            ran.set()
            calls.rise()

        thread = threading.Thread(target=run)
        thread.start()
        calls.nap(LONG_NAP)
        assert ran.is_set()
        thread.join()

    def test_slots_of_ended_threads_are_used_again(self, calls: Any) -> None:
        for _ in range(120):
            thread = threading.Thread(target=calls.i32, args=(1,))
            thread.start()
            thread.join()
        assert calls.i32(1) == 1

    def test_more_threads_than_slots_are_refused_with_the_reason(self, calls_path: Path) -> None:
        with hotcalls.launch(calls_path, callers=2) as enclave:
            errors: list[hotcalls.CallError] = []
            # A thread has its slot until it ends.
            all_called = threading.Barrier(4)

            def run() -> None:
                try:
                    enclave.i32(1)
                except hotcalls.CallError as error:
                    errors.append(error)
                finally:
                    all_called.wait(60)

            threads = [threading.Thread(target=run) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert [error.status for error in errors] == ["HC_ERR_NO_SLOT"] * 2
            assert "threads" in str(errors[0])
            # Joined, a thread has not quite ended, and has its slot for a moment more.
            until = time.monotonic() + 60
            while True:
                try:
                    assert enclave.i32(1) == 1
                    break
                except hotcalls.CallError:
                    assert time.monotonic() < until
