# SPDX-License-Identifier: Apache-2.0
"""The functions of an enclave as Python objects: what both kinds of enclave have in common.

Host side. A subclass says how arguments become a message and an answer a result; how the message
is sent, waited for, and what its failures are called, is here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from hotcalls import _native
from hotcalls.errors import HotcallsError, error_for
from hotcalls.futures import Future, check_number

if TYPE_CHECKING:
    from hotcalls.enclave import Enclave

#: Modes that one call may have.
CALL_MODES = ("hot", "switch")

Self = TypeVar("Self", bound="Function")


class Function(_native.Function):
    """An ecall. Call it like a function; options of the call hang on it.

    Examples
    --------
    ``vault.sign(b"…")``, ``vault.sign.options(mode="switch", timeout=0.5)(b"…")``,
    ``vault.sign.submit(b"…").result()``, ``await vault.sign.aio(b"…")``,
    ``list(vault.sign.map(digests))``, ``vault.log.oneway("…")``.
    """

    def __init__(
        self,
        enclave: Enclave,
        name: str,
        id_: int,
        signature: inspect.Signature,
        doc: str | None = None,
    ) -> None:
        self._enclave = enclave
        self._mode = "default"
        self._timeout: float | None = None
        self.__name__ = name
        self.__qualname__ = f"{enclave.name}.{name}"
        self.__signature__ = signature
        self.__doc__ = doc
        self.bind(enclave._native, id_, _native.MODES["default"], -1.0, enclave.window_size)

    def __repr__(self) -> str:
        """Name, parameters and options."""
        options = []
        if self._mode != "default":
            options.append(f"mode={self._mode!r}")
        if self._timeout is not None:
            options.append(f"timeout={self._timeout:g}")
        more = f".options({', '.join(options)})" if options else ""
        return f"<ecall {self.__name__}{self.__signature__}{more}>"

    def __get__(self: Self, instance: object, owner: type | None = None) -> Self:  # noqa: PYI019
        """Stay the same function as an attribute of a class; help() knows it as a function."""
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"ecall {self.__name__} belongs to the enclave of this process and cannot be pickled"
        )

    # ---- options --------------------------------------------------------------------------

    def options(  # noqa: PYI019 -- Self came with Python 3.11
        self: Self, *, mode: str | None = None, timeout: float | None = None
    ) -> Self:
        """Return the same function, called differently.

        Parameters
        ----------
        mode : {"hot", "switch"}, optional
            How each call is made that is waited for in place; as the enclave was launched, if not
            given.
        timeout : float, optional
            Seconds after which a call fails with :class:`CallTimeout`. The enclave may go on
            with it; what it lies in is not used again before it is done.
        """
        if mode is not None and mode not in CALL_MODES:
            raise ValueError(f"mode is one of {', '.join(CALL_MODES)}, got {mode!r}")
        native_timeout = seconds(timeout)
        other = type(self).__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._mode = mode or "default"
        other._timeout = None if native_timeout < 0 else timeout
        other.bind(
            self._enclave._native,
            self.id,
            _native.MODES[other._mode],
            native_timeout,
            self._enclave.window_size,
        )
        other._bind_codec()
        other.expect(self.room)
        return other

    def set_mode(self, mode: str) -> None:
        """Set how all threads call this function from here on: ``"hot"`` or ``"switch"``."""
        if mode not in CALL_MODES:
            raise ValueError(f"mode is one of {', '.join(CALL_MODES)}, got {mode!r}")
        self._enclave._guard(self._enclave._native.set_mode, self.id, mode)

    # ---- calls ----------------------------------------------------------------------------

    def submit(self, *args: Any, **kwargs: Any) -> Future:
        """Post the call and return at once.

        Never blocks and is never refused for want of room: what does not fit waits. Calls are
        dealt to the threads of the enclave in the order in which they were submitted; with one
        thread they run in that order. They run beside what is called in place meanwhile.

        Returns
        -------
        Future
            A :class:`concurrent.futures.Future`: any thread may wait for it.
        """
        future = Future(self, self._encode(args, kwargs))
        self._enclave._post([future])
        return future

    async def aio(self, *args: Any, **kwargs: Any) -> Any:
        """Call it from asyncio: ``await vault.sign.aio(…)``.

        No thread is used: a descriptor that the event loop watches says when the answer is there.
        Cancelling the task takes the call back if nobody has begun it; else its result is lost.
        """
        import asyncio

        context = self._encode(args, kwargs)
        answer = await self._enclave._watch(asyncio.get_running_loop()).call(self, context)
        return self._result(context, *answer)

    def map(self, *iterables: Iterable[Any], return_exceptions: bool = False) -> Iterator[Any]:
        """Call it with the items of one or more iterables: many calls, one hand-over.

        Makes all the calls and waits for them; then yields the results in order.

        Parameters
        ----------
        *iterables
            One for each argument; the shortest ends it.
        return_exceptions : bool
            Yield what a call raised in the place of its result, as :func:`asyncio.gather`. If
            not, it is raised when its turn comes, and that is the end, as with
            :meth:`concurrent.futures.Executor.map`.
        """
        contexts = [self._encode(args, {}) for args in zip(*iterables)]  # noqa: B905
        return in_turn(self._many(contexts), return_exceptions)

    def oneway(self, *args: Any, **kwargs: Any) -> None:
        """Post the call; nobody waits for it. Errors are reported by :meth:`Enclave.flush`.

        Blocks only while the thread's lane is full.
        """
        context = self._encode(args, kwargs)
        if self._returns(context):
            raise TypeError(f"{self.__name__}(): a one-way call cannot return anything")
        ms, buffers = self._parts(context)
        try:
            self._enclave._native.oneway(self.id, ms, buffers)
        except _native.NativeError as error:
            raise self._public_error(error) from self._enclave._settle()
        self._enclave._settle()

    def _many(self, contexts: list[Any]) -> Iterator[Callable[[], Any]]:
        """Make many calls; yields for each what returns or raises what became of it."""
        futures = [Future(self, context) for context in contexts]
        self._enclave._post(futures)
        for future in futures:
            future.exception()
        return (future.result for future in futures)

    # ---- what a subclass says -------------------------------------------------------------

    def _bind_codec(self) -> None:
        """After :meth:`options`: what the native part knows of the messages."""

    def _encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what `_parts`, `_posted` and `_result` take; refuse wrong arguments."""
        raise NotImplementedError

    def _parts(self, context: Any) -> tuple[bytes, bytes]:
        """Return the fixed part of a message and what follows it."""
        raise NotImplementedError

    def _posted(self, context: Any, done: Callable[..., None]) -> _native.Posted:
        """Return a call that can be posted."""
        raise NotImplementedError

    def _result(
        self, context: Any, error: BaseException | None, kind: int, ms: bytes, buffers: bytes
    ) -> Any:
        """Return or raise what became of a call that was posted."""
        raise NotImplementedError

    def _returns(self, context: Any) -> bool:
        """Whether there is anything to return."""
        raise NotImplementedError

    def _size(self, context: Any) -> int:
        """Bytes of arguments, for an error."""
        return sum(len(part) for part in self._parts(context))

    # ---- failures -------------------------------------------------------------------------

    def _failed(self, error: _native.NativeError, posted: bool, size: int) -> None:
        """Raise what a call ended with; return if it was not made and can be made again now."""
        cause = self._enclave._settle()
        if not posted and self._enclave._restarted(error):
            self._rebind(self._enclave._native)
            return
        raise self._public_error(error, size) from cause

    def _timed_out(self) -> HotcallsError:
        """Return the error of a call whose own timeout is over."""
        text = _native.STATUS_TEXTS["HC_ERR_TIMEOUT"]
        return self._public_error(_native.NativeError("HC_ERR_TIMEOUT", text))

    def _rebind(self, native: _native.Enclave) -> None:
        """Call the enclave that was started in the place of the one that was lost."""
        self.bind(native, self.id, self.mode, seconds(self._timeout), self._enclave.window_size)

    def _settle(self) -> None:
        """After a call during which an ocall raised something: an interrupt goes on from here."""
        self._enclave._settle()

    def _public_error(self, error: _native.NativeError, size: int = 0) -> HotcallsError:
        text = error.text
        if error.status == "HC_ERR_TOO_LARGE":
            given = f"{size} bytes of " if size else ""
            text = f"{given}arguments do not fit the data window of a slot"
            text += f" ({self._enclave.window_size} bytes): launch with window= larger"
        elif error.status == "HC_ERR_NO_SLOT":
            text += ": launch with callers= larger"
        elif error.status == "HC_ERR_TIMEOUT" and self._timeout is not None:
            text = f"not answered within {self._timeout:g} s"
        return error_for(
            error.status,
            text,
            function=self.__name__,
            errno=error.errno,
            signal=error.signal,
            exit_status=error.exit_status,
            timeout=self._timeout,
        )


def in_turn(outcomes: Iterator[Callable[[], Any]], return_exceptions: bool) -> Iterator[Any]:
    """Yield what calls returned; an exception in its turn, as a value or by raising it."""
    for outcome in outcomes:
        try:
            value = outcome()
        except Exception as error:
            if not return_exceptions:
                raise
            value = error
        yield value


def seconds(timeout: float | None) -> float:
    """Check a timeout; return what the native calls take: negative for none."""
    if timeout is None or timeout == float("inf"):
        return -1.0
    check_number(timeout)
    if not timeout >= 0:
        raise ValueError(f"timeout is in seconds from now, got {timeout}")
    return min(float(timeout), 1e9)
