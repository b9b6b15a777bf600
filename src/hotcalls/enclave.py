# SPDX-License-Identifier: Apache-2.0
"""A running enclave as a Python object: its functions, its shared memory, its statistics.

Host side. What the enclave sends is untrusted and passes :mod:`hotcalls.edl.marshal`, which
validates a private copy; nothing here reads the channel itself.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from hotcalls import _native
from hotcalls.edl.marshal import EcallCodec, Message, MessageError, OcallCodec, codecs
from hotcalls.errors import CallError, EnclaveLost, HotcallsError, OnewayError, error_for
from hotcalls.stats import Statistics, read_statistics

#: Options of one call, and the modes that it may have.
CALL_MODES = ("hot", "switch")

_CALLEE = _native.STATUS_NAMES.index("HC_ERR_CALLEE")
_BROKEN_MESSAGE = _native.STATUS_NAMES.index("HC_ERR_MESSAGE")


class SharedMemory:
    """Memory in the channel, for ``user_check`` parameters: both sides see every write at once.

    Give :attr:`view`, or a slice of it, to a function. What the enclave reads from it may change
    under its hands, so it is for bulk data that the enclave copies or does not have to trust.

    Attributes
    ----------
    view : memoryview
        Of the bytes; writable.
    """

    def __init__(self, owner: Enclave, size: int) -> None:
        if size <= 0:
            raise ValueError(f"shared memory has to have a size, got {size}")
        block = owner._guard(owner._native.shared_alloc, size)
        if block is None:
            raise CallError(
                f"{size} bytes of shared memory are not left; launch with shared_size= larger",
                status="HC_ERR_MEMORY",
            )
        self._block = block
        self.view = memoryview(block)

    def close(self) -> None:
        """Give the memory back now. Slices of the view must not be used any more.

        Without it the memory is given back when nothing refers to it any more.
        """
        self.view.release()
        self._block.free()

    def __enter__(self) -> memoryview:
        """Return :attr:`view`."""
        return self.view

    def __exit__(self, *_: object) -> None:
        """Give the memory back."""
        self.close()


class PendingCall:
    """A call that was submitted; collected by the thread that submitted it.

    One that is not kept becomes a one-way call: it runs, and :meth:`Enclave.flush` tells its error.
    """

    def __init__(self, function: Function, message: Message, native: _native.Pending) -> None:
        self._function = function
        self._message = message
        self._native = native
        self._result: Any = None
        self._error: BaseException | None = None

    def done(self) -> bool:
        """Whether the answer is there. Does not block, but serves ocalls that wait."""
        enclave = self._function._enclave
        done = bool(enclave._guard(self._native.done))
        enclave._settle()
        return done

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the answer and return it.

        Parameters
        ----------
        timeout : float, optional
            Seconds. When they are over the call is given up: it may still run, but its result
            is lost.

        Raises
        ------
        CallTimeout, EnclaveLost, CallError
            As of a plain call.
        """
        if not self._native.collected:
            enclave = self._function._enclave
            try:
                ms, buffers = self._native.collect(_seconds(timeout))
            except _native.NativeError as error:
                self._error = self._function._public_error(error, timeout)
                self._error.__cause__ = enclave._settle()
            else:
                try:
                    self._result = self._function._decode(self._message, ms, buffers)
                except HotcallsError as error:
                    self._error = error
                enclave._settle()
        if self._error is not None:
            raise self._error
        return self._result


class Function:
    """An ecall. Call it like a function; options of the call hang on it.

    Examples
    --------
    ``vault.sign(b"…")``, ``vault.sign.options(mode="switch", timeout=0.5)(b"…")``,
    ``vault.sign.submit(b"…").result()``, ``vault.log.oneway("…")``.
    """

    __slots__ = (
        "__name__",
        "_codec",
        "_enclave",
        "_mode",
        "_native_call",
        "_native_timeout",
        "_timeout",
    )

    def __init__(
        self,
        enclave: Enclave,
        codec: EcallCodec,
        mode: str = "default",
        timeout: float | None = None,
    ) -> None:
        self._enclave = enclave
        self._codec = codec
        self._mode = _native.MODES[mode]
        self._timeout = timeout
        self._native_timeout = _seconds(timeout)
        self._native_call = enclave._native.call
        self.__name__ = codec.name

    def __repr__(self) -> str:
        """Name and parameters."""
        return f"<ecall {self.__name__}({', '.join(self._codec.signature.inputs)})>"

    def options(self, *, mode: str | None = None, timeout: float | None = None) -> Function:
        """Return the same function, called differently.

        Parameters
        ----------
        mode : {"hot", "switch"}, optional
            How each call is made; as the enclave was launched, if not given.
        timeout : float, optional
            Seconds after which a call fails with :class:`CallTimeout`. The enclave may go on
            with it; its thread's slot is not used again before it is done.
        """
        if mode is not None and mode not in CALL_MODES:
            raise ValueError(f"mode is one of {', '.join(CALL_MODES)}, got {mode!r}")
        _seconds(timeout)
        return Function(self._enclave, self._codec, mode or "default", timeout)

    def set_mode(self, mode: str) -> None:
        """Set how all threads call this function from here on: ``"hot"`` or ``"switch"``."""
        if mode not in CALL_MODES:
            raise ValueError(f"mode is one of {', '.join(CALL_MODES)}, got {mode!r}")
        self._enclave._guard(self._enclave._native.set_mode, self._codec.id, mode)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it and wait for the result.

        Serves ocalls in this thread meanwhile. Other Python threads run.

        Raises
        ------
        TypeError, ValueError, OverflowError
            An argument does not fit; nothing was called.
        CallTimeout, EnclaveLost, CallError
            What became of the call.
        """
        codec = self._codec
        message = codec.encode(args, kwargs)
        try:
            ms, buffers = self._native_call(
                codec.id,
                message.ms,
                message.buffers if message.size else b"",
                bool(message.outs),
                self._mode,
                self._native_timeout,
            )
        except _native.NativeError as error:
            raise self._public_error(error, self._timeout) from self._enclave._settle()
        self._enclave._settle()
        return self._decode(message, ms, buffers)

    def submit(self, *args: Any, **kwargs: Any) -> PendingCall:
        """Post the call and return at once; collect it with :meth:`PendingCall.result`.

        Calls of one thread start in the order in which they were submitted. Raises
        :class:`CallError` (``HC_ERR_AGAIN``) when the thread's lane or window is full.
        """
        message = self._codec.encode(args, kwargs)
        try:
            native = self._enclave._native.submit(self._codec.id, message.ms, message.buffers)
        except _native.NativeError as error:
            raise self._public_error(error, None) from None
        return PendingCall(self, message, native)

    def oneway(self, *args: Any, **kwargs: Any) -> None:
        """Post the call; nobody waits for it. Errors are reported by :meth:`Enclave.flush`.

        Blocks only while the thread's lane is full.
        """
        message = self._codec.encode(args, kwargs)
        if message.outs or self._codec.signature.has_result:
            raise TypeError(f"{self.__name__}(): a one-way call cannot return anything")
        try:
            self._enclave._native.oneway(self._codec.id, message.ms, message.buffers)
        except _native.NativeError as error:
            raise self._public_error(error, None) from self._enclave._settle()
        self._enclave._settle()

    def _decode(self, message: Message, ms: bytes, buffers: bytes) -> Any:
        try:
            return self._codec.decode(message, ms, buffers)
        except MessageError as error:
            raise CallError(str(error), status="HC_ERR_MESSAGE", function=self.__name__) from None

    def _public_error(self, error: _native.NativeError, timeout: float | None) -> HotcallsError:
        text = error.text
        if error.status == "HC_ERR_TOO_LARGE":
            text += f" ({self._enclave.window_size} bytes): launch with window= larger"
        elif error.status == "HC_ERR_TIMEOUT" and timeout is not None:
            text = f"not answered within {timeout:g} s"
        return error_for(
            error.status,
            text,
            function=self.__name__,
            errno=error.errno,
            signal=error.signal,
            exit_status=error.exit_status,
            timeout=timeout,
        )


class Enclave:
    """A running enclave. Made by :func:`hotcalls.launch`; ends with ``with`` or :meth:`close`.

    Its ecalls are attributes. An ecall whose name is taken by one of the attributes documented
    here is found in :attr:`functions`.

    Attributes
    ----------
    name : str
        Of its interface.
    pid : int
        Of its process.
    functions : mapping of str to Function
        Every ecall. One that is not public may be called while an ocall runs that allows it.
    window_size : int
        Bytes that the arguments of a call may take.
    """

    def __init__(
        self,
        description: Mapping[str, Any],
        digest: bytes,
        image: bytes,
        loader: str,
        ocalls: Mapping[str, Callable[..., Any]],
        options: dict[str, Any],
    ) -> None:
        self._local = _ThreadNotes()
        self.name: str = description["name"]
        self.window_size: int = options["window_size"]
        tables = codecs(description, _SharedAccess(self))
        self._ocall_codecs = tables.ocalls
        self._ocall_functions = tuple(ocalls.get(codec.name) for codec in tables.ocalls)
        self._owner = os.getpid()
        try:
            self._native = _native.Enclave(
                image,
                os.fsencode(loader),
                self.name.encode(),
                [(codec.name.encode(), codec.flags) for codec in tables.ecalls],
                [(codec.name.encode(), codec.flags) for codec in tables.ocalls],
                self._serve_ocall,
                {**options, "digest": digest},
            )
        except _native.NativeError as error:
            raise error_for(
                error.status,
                error.text,
                errno=error.errno,
                signal=error.signal,
                exit_status=error.exit_status,
                launching=True,
            ) from None
        self.pid: int = self._native.pid
        self._codecs = tables
        self.functions: Mapping[str, Function] = {
            codec.name: Function(self, codec) for codec in tables.ecalls
        }
        for name, function in self.functions.items():
            if not hasattr(type(self), name) and name not in self.__dict__:
                setattr(self, name, function)

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

    # ---- ocalls ---------------------------------------------------------------------------

    def _serve_ocall(self, id_: int, payload: bytes, window: bytes) -> Any:
        """Run one ocall; called by the native runtime in whichever thread waits or responds.

        Returns what the runtime sends back, or the number of a status.
        """
        codec: OcallCodec = self._ocall_codecs[id_]
        function = self._ocall_functions[id_]
        size = codec.ms_size
        try:
            if size <= _native.INLINE_SIZE:
                ms, buffers, base = payload[:size], window, 0
            else:
                base = (size + 15) & ~15
                ms, buffers = window[:size], window[base:]
            arguments = codec.decode_arguments(ms, buffers)
        except MessageError:
            return _BROKEN_MESSAGE
        try:
            if function is None:
                raise NotImplementedError(f"launch() was given no ocall {codec.name!r}")
            errno = 0
            try:
                result = function(*arguments)
            except OSError as error:
                if not codec.propagate_errno or not error.errno:
                    raise
                result, errno = codec.failure, error.errno
            new_ms, replies = codec.encode_result(result, ms, len(buffers), errno, arguments)
        except BaseException as error:
            self._note_exception(codec.name, error)
            return _CALLEE
        return new_ms, [(base + position, bytes(data)) for position, data in replies]

    def _note_exception(self, name: str, error: BaseException) -> None:
        """Keep what an ocall raised for the call that this thread waits for, and report it."""
        if _native.calls_in_progress():
            # An interrupt is not forgotten over an exception that comes after it.
            if self._local.cause is None or isinstance(self._local.cause, Exception):
                self._local.cause = error
            if not isinstance(error, Exception):
                return
        if isinstance(error, NotImplementedError):
            return
        _native.report_unraisable(error, f"ocall {name} of enclave {self.name}")

    def _settle(self) -> BaseException | None:
        """What an ocall of the call that has just ended raised; an interrupt goes on from here."""
        notes = self._local
        cause = notes.cause
        if cause is not None:
            notes.cause = None
            if not isinstance(cause, Exception):
                raise cause
        return cause

    # ---- what the user calls --------------------------------------------------------------

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Hold back what this thread submits and post it all at once on leaving.

        One hand-over for up to a lane full of calls (32 unless launched with ``cells=``).
        """
        self._guard(self._native.batch, True)
        try:
            yield
        finally:
            if not self.closed:
                self._guard(self._native.batch, False)

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
        """Allocate memory in the channel, for ``user_check`` parameters."""
        return SharedMemory(self, size)

    def wake(self) -> None:
        """Wake the responders inside, ahead of a burst that should not begin with switch calls."""
        self._guard(self._native.wake_responders)

    def stats(self) -> Statistics:
        """Read the statistics of the channel, without stopping anything.

        The enclave can write them too: they are for people, not for decisions.
        """
        statistics: Statistics = self._guard(
            read_statistics,
            self._native,
            [codec.name for codec in self._codecs.ecalls],
            [codec.name for codec in self._codecs.ocalls],
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

        Calls in progress in other threads raise :class:`EnclaveLost`. One-way errors that nobody
        asked for are reported as :class:`OnewayError`, after the enclave was closed.
        """
        if self.closed:
            return
        error: OnewayError | None = None
        if os.getpid() == self._owner:
            try:
                self.flush()
            except OnewayError as oneway:
                error = oneway
            except HotcallsError:
                pass
        self._native.close()
        if error is not None:
            raise error

    def __del__(self) -> None:
        """End it while the native object is whole: threads of the runtime may be in an ocall."""
        native = self.__dict__.get("_native")
        if native is not None:
            native.close()

    def __enter__(self) -> Enclave:  # noqa: PYI034 -- Self came with Python 3.11
        """Return the enclave."""
        return self

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
    """What each thread has to remember until the call that it waits for is over."""

    cause: BaseException | None = None


def _seconds(timeout: float | None) -> float:
    """Check a timeout; return what the native calls take: negative for none."""
    if timeout is None or timeout == float("inf"):
        return -1.0
    if not timeout >= 0:
        raise ValueError(f"timeout is in seconds from now, got {timeout}")
    return min(float(timeout), 1e9)


class _SharedAccess:
    """What the codecs need of the channel's shared memory."""

    def __init__(self, enclave: Enclave) -> None:
        self._enclave = enclave

    def offset_of(self, view: memoryview) -> int:
        return int(self._enclave._guard(self._enclave._native.shared_offset_of, view))

    def view(self, offset: int, size: int) -> memoryview:
        return self._enclave._native.shared_at(offset, size)


__all__ = ["Enclave", "EnclaveLost", "Function", "PendingCall", "SharedMemory"]
