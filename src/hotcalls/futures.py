# SPDX-License-Identifier: Apache-2.0
"""Calls that are waited for later: by futures, and by the tasks of an event loop.

Host side. Whoever looks completes whatever is answered, for everybody: a thread that waits for its
own future, the collector thread, an event loop. Who sleeps does so in poll, on a descriptor that
the enclave writes when nobody spins; nothing here runs while no call is out.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import heapq
import itertools
import os
import select
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from hotcalls import _native
from hotcalls.background import Background
from hotcalls.errors import CallTimeout

if TYPE_CHECKING:
    import asyncio

    from hotcalls.functions import Function

#: A call that nobody has begun, or an enclave that broke the protocol, is looked for so often.
LOOK_SECONDS = 1.0
#: Between two wake-ups that found nothing: the enclave can write the descriptor as it likes.
PATIENCE_SECONDS = 0.001


class Future(concurrent.futures.Future):  # type: ignore[type-arg]
    """What a submitted call returns; a :class:`concurrent.futures.Future` in every respect.

    It is completed by whichever thread sees the answer first: done callbacks run there.
    :meth:`cancel` takes back a call that the enclave has not begun, as long as nothing was
    submitted behind it.
    """

    def __init__(self, function: Function, context: Any) -> None:
        super().__init__()
        self._function = function
        self._context = context
        self._posted = function._posted(context, self._complete)

    def _complete(self, error: BaseException | None, kind: int, ms: bytes, buffers: bytes) -> None:
        try:
            value = self._function._result(self._context, error, kind, ms, buffers)
        except BaseException as raised:
            self._end(None, raised)
        else:
            self._end(value, None)

    def _end(self, value: Any, error: BaseException | None) -> None:
        try:
            if error is None:
                self.set_result(value)
            else:
                self.set_exception(error)
        except concurrent.futures.InvalidStateError:
            # It may have timed out just now: then what comes later is lost. Or there was no memory
            # to wake with who waits, and this is the second time.
            with self._condition:
                self._condition.notify_all()

    def _expire(self, error: BaseException) -> None:
        """Its own timeout is over."""
        _native.withdraw(self._posted)
        self._end(None, error)

    def _help(self) -> None:
        """Before sleeping: look for the answer, and make sure that it was asked for."""
        if self.done():
            return
        enclave = self._function._enclave
        enclave._post_held()
        enclave._guard(_native.collect_one, self._posted, True)
        if not self.done():
            _native.nudge(self._posted.native)
            _native.collect(self._posted.native)

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the answer and return it.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait. When they are over the call goes on, and may be waited for again.

        Raises
        ------
        CallTimeout
            It is not there yet.
        EnclaveLost, RemoteError, CallError
            As of a plain call.
        """
        timeout = self._patience(timeout)
        try:
            return super().result(timeout)
        except concurrent.futures.TimeoutError as error:
            raise self._late(error, timeout) from None

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the answer; return what the call raised, or None."""
        timeout = self._patience(timeout)
        try:
            return super().exception(timeout)
        except concurrent.futures.TimeoutError as error:
            raise self._late(error, timeout) from None

    def _patience(self, timeout: float | None) -> float | None:
        if timeout is not None:
            check_number(timeout)
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"timeout is in seconds from now, got {timeout}")
        self._help()
        return None if timeout is None or timeout > threading.TIMEOUT_MAX else timeout

    def _late(self, error: BaseException, timeout: float | None) -> BaseException:
        if self.done():
            return error
        name = self._function.__name__
        return CallTimeout(
            f"{name}(): not answered within {timeout:g} s; it goes on",
            function=name,
            timeout=timeout,
        )

    def cancel(self) -> bool:
        """Take the call back. False when it is done, has begun, or others are behind it."""
        if not self._function._enclave._forget_held(self) and not _native.withdraw(self._posted):
            return self.cancelled()
        super().cancel()
        self.set_running_or_notify_cancel()
        return True


class Collector:
    """The thread that completes futures which nobody waits for. It sleeps while none is done.

    Ends with the enclave. It has its own copies of the descriptors, as the enclave closes its own.
    """

    def __init__(self, native: _native.Enclave, name: str) -> None:
        # Asleep, it must not keep an enclave alive that nobody else knows any more.
        self._native = weakref.ref(native)
        self._lock = threading.Lock()
        # Whoever has it closes the descriptors: an interrupt may come here after the thread began.
        self._owner = threading.Lock()
        self._deadlines: list[tuple[float, int, weakref.ref[Future]]] = []
        self._numbers = itertools.count()
        self._descriptors = _native.descriptors(native)
        try:
            self._poll = select.poll()
            for descriptor in self._descriptors:
                self._poll.register(descriptor, select.POLLIN)
            self._thread = Background(self._run, name)
        except BaseException:
            if self._owner.acquire(blocking=False):
                self._close()
            raise

    def serves(self, native: _native.Enclave) -> bool:
        """Whether it collects for this process; not, when its thread had no memory to go on."""
        return self._native() is native and self._thread.is_alive()

    def expect(self, future: Future, timeout: float) -> None:
        """Give up a future that is not completed in time."""
        with self._lock:
            when = time.monotonic() + timeout
            heapq.heappush(self._deadlines, (when, next(self._numbers), weakref.ref(future)))
            first = self._deadlines[0][0] == when
        if first:
            _native.wake_collector(future._posted.native)

    def end(self) -> None:
        """Wait for the thread to end, after the enclave was closed."""
        if threading.current_thread() is not self._thread:
            self._thread.join(LOOK_SECONDS)

    def _run(self) -> None:
        owned, goes_on = False, True
        try:
            while goes_on:
                try:
                    if not owned:
                        owned = self._owner.acquire(blocking=False)
                    goes_on = owned and self._turn(self._poll.poll(self._patience_ms()))
                except (OSError, MemoryError, SystemError):
                    # Without this thread futures that nobody looks at would wait for ever.
                    # SystemError is what CPython 3.11 raises without memory for a frame.
                    time.sleep(PATIENCE_SECONDS)
        finally:
            if owned:
                self._close()

    def _close(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)

    def _turn(self, ready: list[tuple[int, int]]) -> bool:
        """After a sleep; False when there is nothing to collect any more."""
        native = self._native()
        if native is None or native.closed:
            return False
        lost = self._descriptors[1] in [descriptor for descriptor, _ in ready]
        if not ready:
            _native.nudge(native)
        if lost or not ready:
            _native.look(native)
        elif not drain(self._descriptors[0]):
            return True
        completed, _ = _native.collect(native)
        self._expire()
        if ready and completed == 0:
            time.sleep(PATIENCE_SECONDS)
        return not lost

    def _patience_ms(self) -> float:
        until = LOOK_SECONDS
        with self._lock:
            if self._deadlines:
                until = min(until, max(0.0, self._deadlines[0][0] - time.monotonic()))
        return until * 1000 + 1

    def _expire(self) -> None:
        now = time.monotonic()
        due = []
        with self._lock:
            while self._deadlines and self._deadlines[0][0] <= now:
                due.append(heapq.heappop(self._deadlines)[2]())
        for future in due:
            if future is not None and not future.done():
                future._expire(future._function._timed_out())


class Watch:
    """An event loop that has calls out. Its descriptors are watched while it has."""

    def __init__(self, native: _native.Enclave, loop: asyncio.AbstractEventLoop) -> None:
        self.native = native
        self._loop = weakref.ref(loop)
        self._descriptors = _native.descriptors(native)
        self._attached = False
        self._out = 0
        self._thread = threading.get_ident()

    def __del__(self) -> None:
        """Close what is its own; a closed loop has forgotten it."""
        for descriptor in self.__dict__.get("_descriptors", ()):
            os.close(descriptor)

    async def call(
        self, function: Function, context: Any
    ) -> tuple[BaseException | None, int, bytes, bytes]:
        """Make a call; return what it is completed with."""
        import asyncio

        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._thread = threading.get_ident()

        def settle(result: Any) -> None:
            if not answer.done():
                answer.set_result(result)

        def done(*result: Any) -> None:
            if threading.get_ident() == self._thread:
                settle(result)
                return
            # A loop that was closed meanwhile waits for nothing.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, result)

        posted = function._posted(context, done)
        if not function._enclave._post_one(posted, function):
            return await function._enclave._watch(loop).call(function, context)
        if _native.collect_one(posted, False) and answer.done():
            return answer.result()  # type: ignore[no-any-return]
        self._out += 1
        self._attach(loop)
        expiry = None
        if function._timeout is not None:
            expiry = loop.call_later(function._timeout, self._expire, posted, function, answer)
        try:
            _native.nudge(self.native)
            _native.collect(self.native)
            return await answer  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            _native.withdraw(posted)
            raise
        finally:
            self._out -= 1
            if expiry is not None:
                expiry.cancel()

    def _expire(
        self, posted: _native.Posted, function: Function, answer: asyncio.Future[Any]
    ) -> None:
        if not answer.done():
            _native.withdraw(posted)
            answer.set_exception(function._timed_out())

    def _attach(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._attached:
            return
        self._attached = True
        for descriptor in self._descriptors:
            loop.add_reader(descriptor, self._ready, descriptor)
        loop.call_later(LOOK_SECONDS, self._look)

    def _detach(self) -> None:
        loop = self._loop()
        if self._attached and loop is not None:
            self._attached = False
            for descriptor in self._descriptors:
                loop.remove_reader(descriptor)

    def _ready(self, descriptor: int) -> None:
        if descriptor == self._descriptors[1] or self.native.closed:
            _native.look(self.native)
            self._detach()
        elif not drain(descriptor):
            return
        _native.collect(self.native)

    def _look(self) -> None:
        """Every now and then while calls are out; the last one of a quiet loop detaches it."""
        loop = self._loop()
        if loop is None or not self._attached:
            return
        if self._out == 0 or self.native.closed:
            self._detach()
            return
        _native.look(self.native)
        _native.nudge(self.native)
        _native.collect(self.native)
        loop.call_later(LOOK_SECONDS, self._look)


def drain(descriptor: int) -> bool:
    """Make an eventfd unreadable; False when somebody else has."""
    try:
        os.read(descriptor, 8)
    except BlockingIOError:
        return False
    return True


def check_number(timeout: object) -> None:
    """Refuse a timeout that is no number at all."""
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout: expected seconds as a number, got {type(timeout).__name__}")
