# SPDX-License-Identifier: Apache-2.0
"""A running enclave as a Python object: its functions, its shared memory, its statistics, its end.

Host side. What both kinds of enclave have in common; :mod:`hotcalls.c_enclave` and
:mod:`hotcalls.python_enclave` say how their messages look.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from hotcalls import _native
from hotcalls.errors import EnclaveLost, HotcallsError, OnewayError, error_for
from hotcalls.functions import Function
from hotcalls.futures import Collector, Future, Watch
from hotcalls.monitor import registry
from hotcalls.shared import SharedMemory
from hotcalls.stats import Statistics, read_statistics

if TYPE_CHECKING:
    import asyncio

    from hotcalls.log_reader import LogReader

#: Statuses of calls that a fresh enclave could run. CLOSED: one that was lost is closed then.
_LOST = ("HC_ERR_PEER_LOST", "HC_ERR_POISONED", "HC_ERR_CLOSED")


class Enclave:
    """A running enclave. Made by :func:`hotcalls.launch`; ends with ``with`` or :meth:`close`.

    Its ecalls are attributes. An ecall whose name is taken by one of the attributes documented
    here is found in :attr:`functions`.

    Attributes
    ----------
    name : str
        Of its interface, or of its module.
    functions : mapping of str to Function
        Every ecall. One that is not public may be called while an ocall runs that allows it.
    window_size : int
        Bytes that the arguments of a call may take.
    """

    _entry: Path | None = None
    _owner = 0  # no process: not made yet
    _log: LogReader | None = None

    def __init__(
        self,
        name: str,
        native: _native.Enclave,
        window_size: int,
        start_again: Callable[[], _native.Enclave] | None = None,
    ) -> None:
        self._local = _ThreadNotes()
        self._native = native
        self._start_again = start_again
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._collector: Collector | None = None
        self._watches: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Watch] = (
            weakref.WeakKeyDictionary()
        )
        self._ocall_names: Sequence[str] = ()
        #: Threads that run calls inside.
        self._responders = 1
        self.name = name
        self.window_size = window_size
        self.functions: Mapping[str, Function] = {}

    def _name_functions(
        self, functions: Mapping[str, Function], ocall_names: Sequence[str]
    ) -> None:
        """Make functions attributes, where their names are free."""
        self.functions = functions
        self._ocall_names = ocall_names
        for name, function in functions.items():
            if not hasattr(type(self), name) and name not in self.__dict__:
                setattr(self, name, function)
        self._register()

    def _register(self) -> None:
        """Be found by `hotcalls top`. What another process launched is found by its host."""
        registry.forget(self._entry)
        native = self.__dict__.get("_native")
        if native is not None and native.channel >= 0:
            self._entry = registry.register(
                self.name, self.pid, [native.channel], list(self.functions), self._ocall_names
            )

    def _unregister(self) -> None:
        if os.getpid() == self._owner:
            registry.forget(self._entry)
        self._entry = None

    def __getattr__(self, name: str) -> Any:
        """Say which functions there are."""
        if name.startswith("_"):
            raise AttributeError(name)
        functions = self.__dict__.get("functions", {})
        raise AttributeError(
            f"enclave {self.__dict__.get('name', '?')!r} has no ecall {name!r}; "
            f"it has {', '.join(sorted(functions)) or 'none'}"
        )

    def __repr__(self) -> str:
        """Name, process and state."""
        state = "closed" if self.closed else f"pid {self.pid}"
        return f"<Enclave {self.name!r} {state}>"

    # ---- what the user calls --------------------------------------------------------------

    @property
    def pid(self) -> int:
        """Of its process."""
        return int(self._native.pid)

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Hold back what this thread submits and post it all at once on leaving.

        One hand-over for many calls. Waiting for one of them inside the block posts them too.
        """
        self._guard(self._native.batch, True)
        outer, self._local.held = self._local.held, []
        try:
            yield
        finally:
            held, self._local.held = self._local.held, outer
            if not self.closed:
                self._guard(self._native.batch, False)
            if held:
                self._post_or_fail(held)

    def flush(self) -> None:
        """Wait for this thread's one-way calls.

        Raises
        ------
        OnewayError
            Some failed since this was last asked.
        """
        count, first = self._guard(self._native.flush)
        self._settle()
        if count:
            raise OnewayError(
                f"{count} one-way calls failed, the first because {_native.STATUS_TEXTS[first]}",
                status=first,
                count=count,
            )

    def shared(self, size: int) -> SharedMemory:
        """Allocate memory in the channel, for ``user_check`` parameters and shared arrays."""
        return SharedMemory(self, size)

    def wake(self) -> None:
        """Wake the responders inside, ahead of a burst that should not begin with switch calls."""
        self._guard(self._native.wake_responders)

    def stats(self) -> Statistics:
        """Read the statistics of the channel, without stopping anything.

        The enclave can write them too: they are for people, not for decisions.
        """
        statistics: Statistics = self._guard(
            read_statistics, self._native, list(self.functions), list(self._ocall_names)
        )
        return statistics

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return bool(self._native.closed)

    def check(self) -> None:
        """Raise the error that a call would meet if the enclave has ended; else do nothing."""
        status, text, signal, exit_status = self._native.why()
        if status != "HC_OK":
            raise error_for(status, text, signal=signal, exit_status=exit_status)

    def close(self) -> None:
        """End the enclave; returns when its process is gone. Twice is once.

        Calls in progress in other threads, futures and awaiting tasks raise :class:`EnclaveLost`.
        One-way errors that nobody asked for are reported as :class:`OnewayError`, after the
        enclave was closed.
        """
        if self.closed:
            self._unregister()  # if there was no memory for it the first time
            return
        self._start_again = None
        error: OnewayError | None = None
        if os.getpid() == self._owner:
            try:
                self.flush()
            except OnewayError as oneway:
                error = oneway
            except HotcallsError:
                pass
        try:
            self._unregister()
        finally:
            self._native.close()
        # A loop that still watches lets go by itself; the others have descriptors for nothing.
        self._watches.clear()
        if self._collector is not None and os.getpid() == self._owner:
            self._collector.end()
        if self._log is not None:
            self._log.end()
        if error is not None:
            raise error

    def __del__(self) -> None:
        """End it while the native object is whole: threads of the runtime may be in an ocall."""
        native = self.__dict__.get("_native")
        if native is not None:
            try:
                self._unregister()
            finally:
                native.close()
                if self._log is not None:
                    self._log.end()

    def __enter__(self) -> Enclave:  # noqa: PYI034 -- Self came with Python 3.11
        """Return the enclave; EnclaveLost if it was closed."""
        if self.closed:
            raise EnclaveLost(f"enclave {self.name!r} was closed: launch a new one", closed=True)
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"enclave {self.name!r} belongs to the process that launched it: it can be neither "
            "pickled nor copied. Launch one in each process"
        )

    def __dir__(self) -> list[str]:
        """What users call: functions and documented attributes. Suggestions come from here too."""
        return [name for name in super().__dir__() if name[:1] != "_" or name[:2] == "__"]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it; an error of the block goes before one-way errors."""
        try:
            self.close()
        except OnewayError:
            if error is None:
                raise

    # ---- calls that are waited for later ----------------------------------------------------

    def _post(self, futures: list[Future]) -> None:
        """Post calls, or keep them until the batch of this thread is over."""
        held = self._local.held
        if held is None:
            self._post_now(futures)
        else:
            held.extend(futures)

    def _post_held(self) -> None:
        """Post what the batch of this thread holds back: somebody waits for it."""
        held = self._local.held
        if held:
            self._local.held = []
            self._post_or_fail(held)

    def _forget_held(self, future: Future) -> bool:
        """Forget a call that was not posted yet; False if it was."""
        held = self._local.held
        if not held or future not in held:
            return False
        held.remove(future)
        return True

    def _post_or_fail(self, futures: list[Future]) -> None:
        """Post calls; one that cannot be posted says so in its future."""
        try:
            self._post_now(futures)
        except HotcallsError as error:
            for future in futures:
                future._end(None, error)

    def _post_now(self, futures: list[Future]) -> None:
        native = self._native
        for future in futures:
            if future._posted.native is not native:
                # Made for a process that was lost since.
                future._function._rebind(native)
                future._posted = future._function._posted(future._context, future._complete)
        try:
            # Before: a call must not be out when its caller is told that it cannot be made.
            collector = self._collecting()
            _native.post(native, [future._posted for future in futures])
        except _native.NativeError as error:
            function = futures[0]._function
            if self._restarted(error):
                self._post_now(futures)
                return
            if len(futures) == 1:
                raise function._public_error(error, function._size(futures[0]._context)) from None
            # One of them cannot be posted: the others can.
            for future in futures:
                self._post_or_fail([future])
            return
        for future in futures:
            timeout = future._function._timeout
            if timeout is not None:
                collector.expect(future, timeout)
        _native.collect(self._native)

    def _post_one(self, posted: _native.Posted, function: Function) -> bool:
        """Post a call that is no future's; False: not made, there is a fresh enclave for it."""
        try:
            _native.post(posted.native, [posted])
        except _native.NativeError as error:
            if self._restarted(error):
                function._rebind(self._native)
                return False
            raise function._public_error(error) from None
        return True

    def _collecting(self) -> Collector:
        """The thread that completes futures: started at the first."""
        collector = self._collector
        if collector is None or not collector.serves(self._native):
            with self._lock:
                collector = self._collector
                if collector is None or not collector.serves(self._native):
                    collector = self._collector = Collector(self._native, self.name)
        return collector

    def _watch(self, loop: asyncio.AbstractEventLoop) -> Watch:
        """What an event loop knows of this enclave."""
        with self._lock:
            watch = self._watches.get(loop)
            if watch is None or watch.native is not self._native:
                watch = self._guard(Watch, self._native, loop)
                self._watches[loop] = watch
        return watch

    # ---- what goes wrong --------------------------------------------------------------------

    def _restarted(self, error: _native.NativeError) -> bool:
        """After a call that was not posted: whether there is a fresh enclave to make it in."""
        start = self._start_again
        if start is None or error.status not in _LOST:
            return False
        with self._lock:
            lost = self._native
            if lost.why()[0] == "HC_OK":
                return True  # another thread has just done it
            if self._start_again is None:
                return False
            native = start()
            self._native = native
            for function in self.functions.values():
                function._rebind(native)
            self._register()
        lost.close()
        return True

    def _note(self, error: BaseException) -> bool:
        """Keep what an ocall raised for the call that this thread waits for; False: for none."""
        if not _native.calls_in_progress():
            return False
        # An interrupt is not forgotten over an exception that comes after it.
        if self._local.cause is None or isinstance(self._local.cause, Exception):
            self._local.cause = error
            _native.note(True)
        return True

    def _settle(self) -> BaseException | None:
        """What an ocall of the call that has just ended raised; an interrupt goes on from here."""
        notes = self._local
        cause = notes.cause
        if cause is not None:
            notes.cause = None
            _native.note(False)
            if not isinstance(cause, Exception):
                raise cause
        return cause

    def _guard(self, function: Callable[..., Any], *args: Any) -> Any:
        try:
            return function(*args)
        except _native.NativeError as error:
            raise error_for(
                error.status,
                error.text,
                errno=error.errno,
                signal=error.signal,
                exit_status=error.exit_status,
            ) from None


class _ThreadNotes(threading.local):
    """What each thread has to remember about one enclave."""

    #: What an ocall of the call that it waits for raised.
    cause: BaseException | None = None
    #: The calls that its batch holds back.
    held: list[Future] | None = None


#: Names of attributes: an ecall that is called so would not be found as one.
RESERVED_NAMES = frozenset(
    [name for name in dir(Enclave) if not name.startswith("_")]
    + ["name", "functions", "window_size"]
)


__all__ = ["RESERVED_NAMES", "Enclave"]
