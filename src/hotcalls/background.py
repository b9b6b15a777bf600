# SPDX-License-Identifier: Apache-2.0
"""Threads of the runtime's own: they keep no program from ending, and start or say why not.

Host side.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from hotcalls.errors import CallError

#: A thread that can start has started long before.
START_SECONDS = 5.0
#: So often one that is waited for is asked whether it still lives.
LOOK_SECONDS = 0.05


class _Started:
    """In place of the event by which a thread says that it runs; nobody waits for it without end.

    A thread that has no memory for the second half of ``Event.set`` leaves the event locked.
    """

    def __init__(self) -> None:
        self._set = False
        self._at_fork_reinit()

    def _at_fork_reinit(self) -> None:
        self._unset = threading.Lock()
        self._unset.acquire()

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        self._unset.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait as long as is sensible; only the thread that starts the other one does."""
        return self._set or self._unset.acquire(
            timeout=START_SECONDS if timeout is None else timeout
        )


class Background(threading.Thread):
    """A thread that has started when it has been made.

    Parameters
    ----------
    run
        What it does; never called when the constructor has raised `CallError`.
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
        self._wanted = False
        # Locks: a thread lets go of one without memory, which an event needs for those who wait.
        self._arrived, self._decided = threading.Lock(), threading.Lock()
        # CPython's start() waits for a thread to say that it runs, and a thread that has no memory
        # for its first call ends without a word: seen with 3.11, when the mmap of its stack fails.
        self.__dict__["_started"] = _Started()
        self._arrived.acquire()
        # start() may raise with the thread running behind it, which waits for what is decided here.
        with self._decided:
            try:
                self.start()
            except (RuntimeError, MemoryError) as error:
                raise self._not_started(str(error)) from error
            while not self._arrived.acquire(timeout=LOOK_SECONDS):
                if not self.is_alive():
                    raise self._not_started("it has no memory")
            self._wanted = True

    def run(self) -> None:
        """Run in the new thread."""
        self._arrived.release()
        while True:
            try:
                with self._decided:
                    wanted = self._wanted
                if wanted:
                    self._what()
                return
            except (MemoryError, SystemError) as error:
                # Others count on it now. SystemError: of CPython 3.11, without memory for a frame.
                if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
                    raise
            time.sleep(LOOK_SECONDS)

    def _not_started(self, why: str) -> CallError:
        return CallError(
            f"thread {self.name} does not start: {why or 'no memory'}; raise the limit of "
            "processes (ulimit -u) or of memory",
            status="HC_ERR_OS",
        )
