# SPDX-License-Identifier: Apache-2.0
"""Futures: those of concurrent.futures in every respect, for any thread; their end."""

from __future__ import annotations

import concurrent.futures
import gc
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peers import (
    LONG_NAP,
    PATIENCE_SECONDS,
    ended,
    number,
    rise_after,
    start_peer,
    wait_for_naps,
)

import hotcalls
from hotcalls import futures


def test_future_is_one_of_concurrent_futures(peer: Any) -> None:
    future = peer.echo.submit(b"1")
    assert isinstance(future, concurrent.futures.Future)
    assert future.result() == b"1"
    assert future.done()
    assert future.exception() is None
    assert not future.cancel()
    assert not future.cancelled()


def test_done_callback_runs_without_anybody_waiting(peer: Any) -> None:
    done = threading.Event()
    seen: list[bytes] = []

    def callback(future: Any) -> None:
        seen.append(future.result())
        done.set()

    peer.echo.submit(b"callback").add_done_callback(callback)
    assert done.wait(PATIENCE_SECONDS)
    assert seen == [b"callback"]


def test_wait_and_as_completed_work(peer: Any) -> None:
    futures = {peer.echo.submit(b"%d" % n): b"%d" % n for n in range(50)}
    done, left = concurrent.futures.wait(futures, timeout=PATIENCE_SECONDS)
    assert not left
    assert all(future.result() == futures[future] for future in done)
    slow, quick = peer.nap.submit(LONG_NAP), peer.nap.submit(number(1))
    completed = concurrent.futures.as_completed([slow, quick], timeout=PATIENCE_SECONDS)
    assert next(completed) is quick
    rise_after(peer, 1).join()
    assert next(completed) is slow


def test_future_of_one_thread_is_waited_for_by_many(peer: Any) -> None:
    future = peer.nap.submit(number(30))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: future.result(), range(4)))
    assert len(set(results)) == 1


def test_exception_of_a_future_is_that_of_a_plain_call(peer: Any) -> None:
    from hotcalls.wire import encode_exception

    future = peer.fail.submit(encode_exception(ValueError("inside")))
    with pytest.raises(hotcalls.RemoteError, match="ValueError: inside"):
        future.result()
    assert isinstance(future.exception(), hotcalls.RemoteError)


@pytest.mark.parametrize("size", [0, 1, 32, 33, 5000, 200_000])
def test_answer_of_any_size_arrives(peer: Any, size: int) -> None:
    assert len(peer.grow.submit(number(size)).result()) == size
    assert peer.echo.submit(b"x" * size).result() == b"x" * size


def test_calls_run_in_parallel_as_far_as_the_enclave_has_threads(
    launch_peer: Callable[..., Any],
) -> None:
    enclave = launch_peer(responders=4)
    futures = [enclave.nap.submit(LONG_NAP) for _ in range(4)]
    rise_after(enclave, 4).join()
    assert max(int.from_bytes(future.result(), "little") for future in futures) == 4


class TestCancel:
    def test_call_that_waits_is_taken_back(self, launch_peer: Callable[..., Any]) -> None:
        enclave = launch_peer()
        first = enclave.nap.submit(LONG_NAP)
        second = enclave.note.submit()
        called: list[Any] = []
        second.add_done_callback(called.append)
        assert second.cancel()
        assert second.cancelled()
        assert called == [second]
        assert second.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            second.result()
        assert concurrent.futures.wait([second], timeout=1).done == {second}
        rise_after(enclave, 1).join()
        first.result()
        assert enclave.notes(b"") == bytes(8)

    def test_call_that_runs_is_not_taken_back(self, launch_peer: Callable[..., Any]) -> None:
        enclave = launch_peer()
        future = enclave.nap.submit(LONG_NAP)
        wait_for_naps(enclave)
        assert not future.cancel()
        enclave.rise()
        assert len(future.result()) == 4

    def test_call_of_an_open_batch_is_taken_back(self, peer: Any) -> None:
        before = peer.notes(b"")
        with peer.batch():
            future = peer.note.submit()
            assert future.cancel()
        assert peer.notes(b"") == before

    def test_call_of_a_batch_that_cannot_be_posted_fails_in_its_future(self, peer: Any) -> None:
        with peer.batch():
            fits = peer.echo.submit(b"1")
            large = peer.echo.submit(bytes(2 << 20))
        assert fits.result() == b"1"
        assert large.exception().status == "HC_ERR_TOO_LARGE"

    def test_cancelled_calls_free_their_place(self, launch_peer: Callable[..., Any]) -> None:
        enclave = launch_peer()
        first = enclave.nap.submit(LONG_NAP)
        waiting = [enclave.echo.submit(b"x" * 5000) for _ in range(300)]
        cancelled = [future.cancel() for future in reversed(waiting)]
        assert sum(cancelled) > 200
        rise_after(enclave, 1).join()
        first.result()
        for future in waiting:
            if not future.cancelled():
                assert future.result() == b"x" * 5000
        assert enclave.echo.submit(b"after").result() == b"after"


class TestEnd:
    def test_killed_enclave_ends_every_future_within_100_ms(
        self, launch_peer: Callable[..., Any]
    ) -> None:
        enclave = launch_peer()
        futures = [enclave.nap.submit(number(60_000))]
        futures += [enclave.echo.submit(b"behind") for _ in range(100)]
        time.sleep(0.05)
        os.kill(enclave.pid, signal.SIGKILL)
        start = time.monotonic()
        assert not concurrent.futures.wait(futures, timeout=30).not_done
        assert time.monotonic() - start < 20  # of 60 s; alone it takes some ms
        for future in futures:
            assert isinstance(future.exception(), hotcalls.EnclaveLost)

    def test_close_ends_every_future(self, launch_peer: Callable[..., Any]) -> None:
        enclave = launch_peer()
        futures = [enclave.nap.submit(number(60_000)) for _ in range(3)]
        enclave.close()
        for future in futures:
            error = future.exception(timeout=0)
            assert isinstance(error, hotcalls.EnclaveLost)
            assert error.closed

    def test_collected_enclave_leaves_no_thread(self, peer_path: Path) -> None:
        before = set(threading.enumerate())
        enclave = start_peer(peer_path)
        enclave.echo.submit(b"1").result()
        pid = enclave.pid
        del enclave
        gc.collect()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if ended(pid) and not set(threading.enumerate()) - before:
                break
            time.sleep(0.01)
        assert set(threading.enumerate()) - before == set()
        assert ended(pid)

    def test_interrupt_while_the_collector_starts_closes_no_descriptor_twice(
        self, launch_peer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begun = threading.Event()
        threads: list[threading.Thread] = []

        class Interrupted(futures.Background):
            def __init__(self, run: Callable[[], object], name: str) -> None:
                threads.append(self)
                super().__init__(lambda: (begun.set(), run()), name)
                begun.wait(PATIENCE_SECONDS)
                raise KeyboardInterrupt

        enclave = launch_peer()
        with monkeypatch.context() as patched:
            patched.setattr(futures, "Background", Interrupted)
            with pytest.raises(KeyboardInterrupt):
                enclave.echo.submit(b"")
        # They get the numbers of what was closed.
        others = [os.open("/dev/null", os.O_RDONLY) for _ in range(4)]
        assert enclave.echo.submit(b"goes on").result() == b"goes on"
        enclave.close()
        threads[0].join(PATIENCE_SECONDS)
        for other in others:
            os.close(other)

    def test_future_outlives_what_it_was_made_of(self, peer_path: Path) -> None:
        future = start_peer(peer_path).nap.submit(number(30))
        gc.collect()
        assert len(future.result()) == 4
        future._function._enclave.close()


def test_waiting_costs_no_processor_time(launch_peer: Callable[..., Any]) -> None:
    enclave = launch_peer()
    future = enclave.nap.submit(LONG_NAP)
    waiting = threading.Thread(target=future.result, daemon=True)
    waiting.start()

    def asleep() -> bool:
        time.sleep(0.01)
        text = Path(f"/proc/self/task/{waiting.native_id}/stat").read_text()
        return text.rpartition(")")[2].split()[0] == "S"

    # What spins is running, or would if it could; a sleeping thread wakes up now and then, and
    # needs the processor then, which others may have.
    until = time.monotonic() + PATIENCE_SECONDS
    while sum(asleep() for _ in range(40)) <= 20:
        assert time.monotonic() < until
    enclave.rise()
    waiting.join()


def test_four_threads_share_the_ports(launch_peer: Callable[..., Any]) -> None:
    enclave = launch_peer(responders=4)
    wrong: list[Any] = []

    def run(thread: int) -> None:
        for round_ in range(60):
            mine = [b"%d %d %d" % (thread, round_, n) * (1 + n % 3 * 40) for n in range(8)]
            futures = [enclave.echo.submit(each) for each in mine]
            plain = enclave.echo(mine[0])
            answers = [future.result() for future in futures]
            if answers != mine or plain != mine[0]:
                wrong.append((thread, round_))

    threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
