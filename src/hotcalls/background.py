# SPDX-License-Identifier: Apache-2.0
"""Threads of the runtime's own: they keep no program from ending, and start or say why not.

Host side.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from hotcalls.errors import CallError

#: A thread that can start has started long before.
START_SECONDS = 5.0


class _Bounded(threading.Event):
    """An event that nobody waits for without end."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(START_SECONDS if timeout is None else timeout)


class Background(threading.Thread):
    """A thread that has started when it has been made.

    Parameters
    ----------
    run
        What it does; never called when the constructor has raised.
    name
        Behind ``hotcalls-``.

    Raises
    ------
    CallError
        The system has no thread, or no memory for one.
    """

    def __init__(self, run: Callable[[], object], name: str) -> None:
        super().__init__(name=f"hotcalls-{name}", daemon=True)
        self._what = run
        self._claim = threading.Lock()
        # CPython's start() waits for a thread to say that it runs, and a thread that has no memory
        # for its first call ends without a word: seen with 3.11, when the mmap of its stack fails.
        self.__dict__["_started"] = _Bounded()
        try:
            self.start()
        except (RuntimeError, MemoryError) as error:
            raise self._not_started(str(error)) from error
        # Whoever claims it decides; a thread that comes too late does nothing.
        if self.ident is None and self._claim.acquire(blocking=False):
            raise self._not_started("it has no memory")

    def run(self) -> None:
        """Run in the new thread."""
        if self._claim.acquire(blocking=False):
            self._what()

    def _not_started(self, why: str) -> CallError:
        return CallError(
            f"thread {self.name} does not start: {why or 'no memory'}; raise the limit of "
            "processes (ulimit -u) or of memory",
            status="HC_ERR_OS",
        )
