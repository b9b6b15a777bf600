# SPDX-License-Identifier: Apache-2.0
"""An asyncio event loop that needs no descriptors.

Enclave side. The loops of asyncio wait on epoll and wake each other through a socket pair, neither
of which a locked-down enclave can make. Inside there is nothing to wait for but time and other
threads, so a lock will do. Coroutines, tasks, timers, locks, queues, ``to_thread`` and
``asyncio.run`` work; what needs sockets, pipes, processes or signal handlers does not.
"""

from __future__ import annotations

import asyncio
import threading
import warnings
from asyncio import events
from collections.abc import Coroutine
from typing import Any

from hotcalls.declare import run_coroutines_with


class _Selector:
    """Waits for a wake-up; what asyncio calls a selector is asked for events and has none."""

    def __init__(self) -> None:
        self._woken = threading.Event()

    def select(self, timeout: float | None) -> list[Any]:
        """Wait until :meth:`wake` or for so long."""
        self._woken.wait(timeout)
        self._woken.clear()
        return []

    def wake(self) -> None:
        """End the wait, the one in progress or the next."""
        self._woken.set()


class EnclaveEventLoop(asyncio.BaseEventLoop):
    """An event loop for code without files and sockets."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = _Selector()

    def _process_events(self, event_list: list[Any]) -> None:
        """Do nothing: there are none."""

    def _write_to_self(self) -> None:
        """Wake the loop, from whatever thread."""
        self._selector.wake()


class _Local(threading.local):
    """The loop of each thread that runs async ecalls."""

    loop: EnclaveEventLoop | None = None


_local = _Local()


def run(name: str, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run an async ecall to its end in the thread's loop.

    In a loop of its own when the thread is in the middle of one: an ecall that came in while a
    coroutine further out waits for an ocall.
    """
    outer = events._get_running_loop()
    if outer is None:
        if _local.loop is None:
            _local.loop = EnclaveEventLoop()
        return _local.loop.run_until_complete(coroutine)
    events._set_running_loop(None)
    inner = EnclaveEventLoop()
    try:
        return inner.run_until_complete(coroutine)
    finally:
        inner.close()
        events._set_running_loop(outer)


def install() -> None:
    """Make it the loop of async ecalls, ``asyncio.run`` and ``asyncio.new_event_loop``."""
    run_coroutines_with(run)
    with warnings.catch_warnings():
        # Python 3.14 announces the end of policies, and has no other way to say this yet.
        warnings.simplefilter("ignore", DeprecationWarning)

        class Policy(asyncio.DefaultEventLoopPolicy):
            """Every thread gets a loop of this kind."""

            _loop_factory = EnclaveEventLoop

        asyncio.set_event_loop_policy(Policy())
