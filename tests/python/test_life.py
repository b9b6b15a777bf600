# SPDX-License-Identifier: Apache-2.0
"""How a Python enclave ends, what its callers are told, and starting afresh."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peers import PATIENCE_SECONDS, ended, number

import hotcalls

Launch = Callable[..., Any]
HERE = Path(__file__).resolve().parent


@pytest.mark.parametrize("end", ["leave", "crash", "kill"], ids=["exits", "crashes", "is killed"])
def test_lost_enclave_is_reported_on_every_waiting_call(launch_peer: Launch, end: str) -> None:
    enclave = launch_peer(responders=2)
    errors: list[tuple[float, BaseException]] = []

    def wait() -> None:
        try:
            enclave.nap(number(60_000))
        except hotcalls.EnclaveLost as error:
            errors.append((time.monotonic(), error))

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    future = enclave.nap.submit(number(60_000))
    time.sleep(0.1)
    start = time.monotonic()
    if end == "kill":
        os.kill(enclave.pid, signal.SIGKILL)
    else:
        with pytest.raises(hotcalls.EnclaveLost):
            getattr(enclave, end).options(timeout=PATIENCE_SECONDS)()
    assert isinstance(future.exception(PATIENCE_SECONDS), hotcalls.EnclaveLost)
    assert time.monotonic() - start < 20  # of 60 s; alone it takes some ms
    thread.join(PATIENCE_SECONDS)
    assert errors[0][0] - start < 20
    for use in (enclave.echo, enclave.echo.submit, lambda data: enclave.echo.map([data])):
        with pytest.raises(hotcalls.EnclaveLost):
            use(b"")


def test_use_after_close_says_that_it_was_closed(launch_peer: Launch) -> None:
    enclave = launch_peer()
    enclave.echo(b"")
    enclave.close()

    async def await_it() -> None:
        await enclave.echo.aio(b"")

    for use in (
        lambda: enclave.echo(b""),
        lambda: enclave.note(),
        lambda: enclave.typed(1),
        lambda: enclave.echo.submit(b""),
        lambda: enclave.echo.map([b""]),
        lambda: enclave.note.oneway(),
        lambda: asyncio.run(await_it()),
        lambda: enclave.flush(),
    ):
        with pytest.raises(hotcalls.EnclaveLost, match="closed") as caught:
            use()
        assert caught.value.closed


class TestRestart:
    def test_call_after_the_loss_is_made_in_a_fresh_enclave(self, launch_peer: Launch) -> None:
        enclave = launch_peer(restart=True)
        function = enclave.echo
        enclave.note()
        pid = enclave.pid
        with pytest.raises(hotcalls.EnclaveLost):
            enclave.crash()
        assert function(b"again") == b"again"
        assert enclave.pid != pid
        assert enclave.notes(b"") == bytes(8)
        assert ended(pid)

    @pytest.mark.parametrize("way", ["typed", "submit", "map", "aio", "options"])
    def test_every_way_of_calling_starts_it(self, launch_peer: Launch, way: str) -> None:
        enclave = launch_peer(restart=True)
        kept = enclave.echo.options(timeout=PATIENCE_SECONDS)

        async def await_it() -> Any:
            return await enclave.echo.aio(b"1")

        ways: dict[str, Callable[[], Any]] = {
            "typed": lambda: enclave.typed(1)[2][:0] + b"1",
            "submit": lambda: enclave.echo.submit(b"1").result(),
            "map": lambda: next(enclave.echo.map([b"1"])),
            "aio": lambda: asyncio.run(await_it()),
            "options": lambda: kept(b"1"),
        }
        assert ways[way]() == b"1"
        with pytest.raises(hotcalls.EnclaveLost):
            enclave.crash()
        assert ways[way]() == b"1"

    def test_call_that_was_out_is_never_made_again(self, launch_peer: Launch) -> None:
        enclave = launch_peer(restart=True)
        future = enclave.nap.submit(number(60_000))
        time.sleep(0.05)
        os.kill(enclave.pid, signal.SIGKILL)
        assert isinstance(future.exception(PATIENCE_SECONDS), hotcalls.EnclaveLost)
        assert enclave.echo(b"1") == b"1"

    def test_threads_that_meet_the_loss_share_one_fresh_enclave(self, launch_peer: Launch) -> None:
        enclave = launch_peer(restart=True)
        with pytest.raises(hotcalls.EnclaveLost):
            enclave.crash()
        pids: set[int] = set()

        def run() -> None:
            assert enclave.echo(b"1") == b"1"
            pids.add(enclave.pid)

        threads = [threading.Thread(target=run) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(pids) == 1

    def test_closed_enclave_stays_closed(self, launch_peer: Launch) -> None:
        enclave = launch_peer(restart=True)
        enclave.close()
        with pytest.raises(hotcalls.EnclaveLost, match="closed"):
            enclave.echo(b"1")


def script(peer_path: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Run a program with `enclave` in it."""
    head = f"""\
        import asyncio, os, signal, sys, threading, time, warnings
        warnings.simplefilter("ignore", RuntimeWarning)
        sys.path[:0] = [{str(HERE)!r}]
        from pathlib import Path
        import hotcalls
        from peers import LONG_NAP, number, start_peer
        enclave = start_peer(Path({str(peer_path)!r}))
    """
    program = textwrap.dedent(head) + textwrap.dedent(text)
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=False
    )


def test_interpreter_exit_ends_the_enclave_though_calls_are_out(peer_path: Path) -> None:
    done = script(
        peer_path,
        """
        future = enclave.nap.submit(number(60_000))
        def wait():
            enclave.nap(number(60_000))
        threading.Thread(target=wait, daemon=True).start()
        async def await_it():
            asyncio.ensure_future(enclave.nap.aio(number(60_000)))
            await asyncio.sleep(0.05)
        asyncio.run(await_it())
        print(enclave.pid, flush=True)
        """,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not ended(int(done.stdout)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ended(int(done.stdout))


def test_forked_child_is_refused_every_way_and_the_parent_goes_on(peer_path: Path) -> None:
    done = script(
        peer_path,
        """
        future = enclave.nap.submit(number(400))
        enclave.echo(b"")
        async def await_it():
            await enclave.echo.aio(b"")
        uses = [
            lambda: enclave.echo(b""), lambda: enclave.note(), lambda: enclave.typed(1),
            lambda: enclave.echo.submit(b""), lambda: future.result(),
            lambda: enclave.echo.map([b""]), lambda: enclave.note.oneway(),
            lambda: asyncio.run(await_it()), lambda: enclave.echo.options(timeout=5)(b""),
        ]
        pid = os.fork()
        if pid == 0:
            wrong = 0
            for use in uses:
                try:
                    use()
                    wrong += 1
                except hotcalls.ForkedError as error:
                    wrong += "forked" not in str(error)
            enclave.close()
            os._exit(wrong)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), len(future.result()))
        """,
    )
    assert (done.stdout, done.stderr) == ("0 4\n", "")


def test_keyboard_interrupt_ends_every_wait(peer_path: Path) -> None:
    done = script(
        peer_path,
        """
        def interrupt(*_):
            raise KeyboardInterrupt
        signal.signal(signal.SIGALRM, interrupt)
        for use in (
            lambda: enclave.nap(LONG_NAP),
            lambda: enclave.nap.submit(LONG_NAP).result(),
            lambda: enclave.nap.map([LONG_NAP] * 3),
        ):
            start = time.monotonic()
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                use()
            except KeyboardInterrupt:
                print(time.monotonic() - start < 20)
        enclave.close()
        """,
    )
    assert (done.stdout, done.stderr) == ("True\n" * 3, "")
