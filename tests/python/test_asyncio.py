# SPDX-License-Identifier: Apache-2.0
"""Awaiting calls: no thread, no busy loop; cancellation, timeouts, several loops, the end."""

from __future__ import annotations

import asyncio
import os
import selectors
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from peers import LONG_NAP, PATIENCE_SECONDS, number, rise_after, wait_for_naps

import hotcalls
from hotcalls import futures


def test_awaited_call_returns_its_result(peer: Any) -> None:
    async def main() -> Any:
        return await peer.echo.aio(b"1"), await peer.typed.aio(1, c=b"2"), await peer.note.aio()

    assert asyncio.run(main()) == (b"1", (1, "b", b"2"), None)


def test_coroutine_may_be_a_task(peer: Any) -> None:
    async def main() -> Any:
        task = asyncio.create_task(peer.echo.aio(b"task"))
        return await asyncio.wait_for(task, PATIENCE_SECONDS)

    assert asyncio.run(main()) == b"task"


def test_wrong_argument_is_raised_where_it_is_awaited(peer: Any) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match=r"echo\(data=…\): expected bytes, got str"):
            await peer.echo.aio("text")

    asyncio.run(main())


def test_many_awaited_at_once_get_their_own_answers(peer: Any) -> None:
    async def main() -> list[bytes]:
        return await asyncio.gather(*[peer.echo.aio(b"%d" % n * 30) for n in range(200)])

    assert asyncio.run(main()) == [b"%d" % n * 30 for n in range(200)]


class CountingSelector(selectors.DefaultSelector):
    """Counts how often an event loop comes round."""

    rounds = 0

    def select(self, timeout: float | None = None) -> Any:
        self.rounds += 1
        return super().select(timeout)


def test_loop_runs_other_tasks_and_sleeps_meanwhile(launch_peer: Callable[..., Any]) -> None:
    enclave = launch_peer()
    ticks = 0
    selector = CountingSelector()

    async def tick() -> None:
        nonlocal ticks
        for ticks in range(1, 41):  # noqa: B007
            await asyncio.sleep(0.01)
        wait_for_naps(enclave)
        enclave.rise()

    async def main() -> None:
        ticker = asyncio.create_task(tick())
        await enclave.nap.aio(LONG_NAP)
        assert ticks == 40
        await ticker

    threads = set(threading.enumerate())
    loop = asyncio.SelectorEventLoop(selector)
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    # A loop that polled would come round as often as it can.
    assert selector.rounds < 3 * ticks + 20
    assert set(threading.enumerate()) - threads == set()


def test_answer_wakes_the_loop_once(launch_peer: Callable[..., Any]) -> None:
    enclave = launch_peer()
    wakes = 0

    async def main() -> None:
        nonlocal wakes
        await enclave.nap.aio(number(5))
        watch = enclave._watch(asyncio.get_running_loop())
        original = watch._ready

        def ready(descriptor: int) -> None:
            nonlocal wakes
            wakes += 1
            original(descriptor)

        watch._detach()
        watch._ready = ready
        for _ in range(5):
            await enclave.nap.aio(number(20))

    asyncio.run(main())
    assert 5 <= wakes <= 10


class TestCancel:
    def test_cancelled_task_takes_back_what_has_not_begun(
        self, launch_peer: Callable[..., Any]
    ) -> None:
        enclave = launch_peer()

        async def main() -> None:
            first = asyncio.create_task(enclave.nap.aio(LONG_NAP))
            await asyncio.sleep(0.02)
            second = asyncio.create_task(enclave.note.aio())
            await asyncio.sleep(0.02)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            rise_after(enclave, 1).join()
            await first

        asyncio.run(main())
        assert enclave.notes(b"") == bytes(8)

    def test_cancelled_task_does_not_wait_for_what_runs(
        self, launch_peer: Callable[..., Any]
    ) -> None:
        enclave = launch_peer()

        async def main() -> float:
            start = time.monotonic()
            runs = asyncio.create_task(enclave.nap.aio(LONG_NAP))
            await asyncio.sleep(0)
            wait_for_naps(enclave)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(runs, 0.05)
            return time.monotonic() - start

        assert asyncio.run(main()) < 30  # of 60 s
        enclave.rise()
        assert enclave.echo.submit(b"goes on").result() == b"goes on"


def test_timeout_of_the_function_holds(launch_peer: Callable[..., Any]) -> None:
    enclave = launch_peer()

    async def main() -> None:
        with pytest.raises(hotcalls.CallTimeout, match=r"nap\(\): not answered within 0.05 s"):
            await enclave.nap.options(timeout=0.05).aio(LONG_NAP)

    asyncio.run(main())


def test_loops_of_several_threads_get_their_own_answers(peer: Any) -> None:
    wrong: list[Any] = []

    async def main(thread: int) -> None:
        for round_ in range(30):
            mine = [b"%d %d %d" % (thread, round_, n) for n in range(10)]
            if await asyncio.gather(*[peer.echo.aio(each) for each in mine]) != mine:
                wrong.append((thread, round_))
            await peer.nap.aio(number(1))

    threads = [threading.Thread(target=lambda n=n: asyncio.run(main(n))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_futures_and_awaits_share_an_enclave(peer: Any) -> None:
    async def main() -> None:
        futures = [peer.echo.submit(b"%d" % n) for n in range(20)]
        awaited = asyncio.gather(*[peer.nap.aio(number(2)) for _ in range(4)])
        wrapped = await asyncio.wrap_future(peer.nap.submit(number(10)))
        await awaited
        assert [future.result() for future in futures] == [b"%d" % n for n in range(20)]
        assert len(wrapped) == 4

    asyncio.run(main())


@pytest.mark.parametrize("end", ["kill", "close"])
def test_lost_enclave_ends_what_is_awaited(launch_peer: Callable[..., Any], end: str) -> None:
    enclave = launch_peer()

    async def main() -> float:
        tasks = [asyncio.create_task(enclave.nap.aio(number(60_000))) for _ in range(3)]
        await asyncio.sleep(0.05)
        start = time.monotonic()
        if end == "kill":
            os.kill(enclave.pid, signal.SIGKILL)
        else:
            enclave.close()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(result, hotcalls.EnclaveLost)
        with pytest.raises(hotcalls.EnclaveLost):
            await enclave.echo.aio(b"")
        return time.monotonic() - start

    assert asyncio.run(main()) < 30  # of 60 s; alone it takes some ms


def test_closed_enclave_leaves_a_loop_no_descriptors(
    launch_peer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though both live on: a server may open and close enclaves for years."""
    monkeypatch.setattr(futures, "LOOK_SECONDS", 0.01)
    launch_peer().close()

    async def main() -> None:
        before = len(os.listdir("/proc/self/fd"))
        enclave = launch_peer()
        assert await enclave.echo.aio(b"1") == b"1"
        enclave.close()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(os.listdir("/proc/self/fd")) > before and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        # Fewer, if something else was closed meanwhile.
        assert len(os.listdir("/proc/self/fd")) <= before
        assert enclave.closed

    asyncio.run(main())
