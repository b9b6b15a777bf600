# SPDX-License-Identifier: Apache-2.0
"""An enclave's module run in the program itself: for unit tests of the code that goes in.

Host side, and nothing else: no process, no lock-down, no secret is safe. Everything passes the
same codecs as with an enclave, so that what would be refused at the boundary is refused here.
"""

from __future__ import annotations

import contextlib
import linecache
import os
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from hotcalls import _native
from hotcalls.declare import Declaration, Declarations, declarations, running_inside
from hotcalls.enclave import Enclave
from hotcalls.errors import (
    CallError,
    CallTimeout,
    EnclaveLost,
    HotcallsError,
    OnewayError,
    RemoteError,
)
from hotcalls.failure import MessageError
from hotcalls.functions import CALL_MODES, Function, seconds
from hotcalls.ocalls import check_ocalls
from hotcalls.wire import Signature, decode_exception, encode_exception


def launch_inline(
    name: str,
    file: str,
    source: bytes,
    ocalls: Mapping[str, Callable[..., Any]],
    start: Callable[[types.ModuleType], None],
    *,
    debug: bool = False,
    threads: int = 1,
    imported: Callable[[], types.ModuleType] | None = None,
) -> InlineEnclave:
    """Run a module in this process and return what looks like its enclave.

    Parameters
    ----------
    name, file, source
        The module. It is executed again for every launch, and is not in ``sys.modules``.
    ocalls
        As of :func:`hotcalls.launch`.
    start
        Calls the start-up functions of the module.
    debug
        Exceptions carry their tracebacks.
    threads
        How many calls that were submitted run at a time.
    imported
        Gives this program's own import of the module, whose classes the caller uses; asked when
        a signature has any.
    """
    module = types.ModuleType(name)
    module.__file__ = file
    linecache.cache[file] = (
        len(source),
        None,
        source.decode("utf-8", "replace").splitlines(True),
        file,
    )
    with running_inside(), _importing(name, module):
        exec(compile(source, file, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 -- an import
        declared = declarations(module)
    outside = _signatures(declared)
    if imported is not None and any(each.needs_classes for each in outside.values()):
        outside = {**outside, **_signatures(declarations(imported()))}
    check_ocalls(name, {each: outside[each] for each in declared.ocalls}, ocalls)
    enclave = InlineEnclave(name, list(declared.ecalls.values()), outside, threads, debug)
    for declaration in declared.ocalls.values():
        theirs = outside[declaration.name]
        function = ocalls.get(declaration.name)
        declaration.connect(_ocall(declaration.signature, theirs, function, debug))
    start(module)
    return enclave


@contextmanager
def _importing(name: str, module: types.ModuleType) -> Iterator[None]:
    """Have the module in ``sys.modules`` while it runs: dataclasses look themselves up there."""
    known = sys.modules.get(name)
    sys.modules[name] = module
    try:
        yield
    finally:
        if known is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = known


def _signatures(declared: Declarations) -> dict[str, Signature]:
    return {
        name: each.signature for name, each in (*declared.ecalls.items(), *declared.ocalls.items())
    }


def _ocall(
    signature: Signature, theirs: Signature, function: Callable[..., Any] | None, debug: bool
) -> Callable[..., Any]:
    """What the module calls: out through the codecs and back."""

    def missing(*_: Any) -> Any:
        raise NotImplementedError(f"launch() was given no ocall {signature.name!r}")

    def call(*args: Any, **kwargs: Any) -> Any:
        arguments = signature.encode_arguments(args, kwargs)
        return _across(theirs, signature, function or missing, arguments, debug)

    return call


def _across(
    serving: Signature,
    calling: Signature,
    function: Callable[..., Any],
    message: Any,
    debug: bool,
) -> Any:
    """Call a function as the other side would: its result, or its exception as RemoteError."""
    try:
        result = serving.encode_result(function(*serving.decode_arguments(bytes(message))))
    except Exception as error:
        raise decode_exception(encode_exception(error, debug)) from error
    try:
        return calling.decode_result(bytes(result))
    except MessageError as error:
        raise CallError(str(error), status="HC_ERR_MESSAGE", function=calling.name) from None


class InlineFunction(Function):
    """An ecall that runs in this process."""

    _enclave: InlineEnclave

    def __init__(
        self, enclave: InlineEnclave, declaration: Declaration, signature: Signature
    ) -> None:
        self._inner = declaration.signature
        self._enclave = enclave
        self._mode = "default"
        self._timeout = None
        self._signature = signature
        self._target = declaration.target
        self.__name__ = signature.name
        self.__qualname__ = f"{enclave.name}.{signature.name}"
        self.__signature__ = signature.inspect()
        self.__annotations__ = signature.annotations
        self.__doc__ = signature.doc

    def options(self, *, mode: str | None = None, timeout: float | None = None) -> InlineFunction:
        """As of an enclave; a timeout holds for calls that are submitted or awaited."""
        if mode is not None and mode not in CALL_MODES:
            raise ValueError(f"mode is one of {', '.join(CALL_MODES)}, got {mode!r}")
        other = type(self).__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._mode = mode or "default"
        other._timeout = None if seconds(timeout) < 0 else timeout
        return other

    def set_mode(self, mode: str) -> None:
        """Check the mode, and do nothing."""
        if mode not in CALL_MODES:
            raise ValueError(f"mode is one of {', '.join(CALL_MODES)}, got {mode!r}")

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._run(self._encode(args, kwargs))

    def _encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        return bytes(self._signature.encode_arguments(args, kwargs))

    def _run(self, message: bytes) -> Any:
        self._enclave._check_open(self.__name__)
        return _across(self._inner, self._signature, self._target, message, self._enclave._debug)

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:  # type: ignore[override]
        """Run it in a thread of this process."""
        message = self._encode(args, kwargs)
        return self._enclave._pool_of(self.__name__).submit(self._run, message)

    async def aio(self, *args: Any, **kwargs: Any) -> Any:
        """Run it in a thread of this process, and await it."""
        import asyncio

        message = self._encode(args, kwargs)
        pool = self._enclave._pool_of(self.__name__)
        running = asyncio.get_running_loop().run_in_executor(pool, self._run, message)
        try:
            return await asyncio.wait_for(running, self._timeout)
        except asyncio.TimeoutError:
            raise CallTimeout(
                f"{self.__name__}(): not answered within {self._timeout:g} s",
                function=self.__name__,
                timeout=self._timeout,
            ) from None

    def oneway(self, *args: Any, **kwargs: Any) -> None:
        """Run it; what it raises is reported by :meth:`Enclave.flush`."""
        if self._signature.annotations["return"] is not None:
            raise TypeError(f"{self.__name__}(): a one-way call cannot return anything")
        try:
            self._call(args, kwargs)
        except (RemoteError, CallError):
            self._enclave._oneway_errors += 1

    def _many(self, contexts: list[bytes]) -> Iterator[Callable[[], Any]]:
        self._enclave._check_open(self.__name__)
        outcomes: list[Future[Any]] = []
        for context in contexts:
            outcome: Future[Any] = Future()
            try:
                outcome.set_result(self._run(context))
            except Exception as error:
                outcome.set_exception(error)
            outcomes.append(outcome)
        return (outcome.result for outcome in outcomes)


_native.call_directly(InlineFunction)


class InlineEnclave(Enclave):
    """Looks like an enclave, and is the module in this very process."""

    def __init__(
        self,
        name: str,
        ecalls: list[Declaration],
        outside: Mapping[str, Signature],
        threads: int,
        debug: bool,
    ) -> None:
        self._debug = debug
        self._is_closed = False
        self._oneway_errors = 0
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self.name = name
        self._responders = threads
        self.window_size = 1 << 30
        self.functions = {}
        self._name_functions(
            {each.name: InlineFunction(self, each, outside[each.name]) for each in ecalls}, []
        )

    def __repr__(self) -> str:
        """Say that it protects nothing."""
        return f"<Enclave {self.name!r} {'closed' if self.closed else 'inline: not protected'}>"

    def __del__(self) -> None:
        """Nothing to end."""

    @property
    def pid(self) -> int:
        """Of this process."""
        return os.getpid()

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._is_closed

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Do nothing: calls are not held back."""
        self._check_open()
        yield

    def flush(self) -> None:
        """Report one-way calls that failed, as :meth:`Enclave.flush`."""
        self._check_open()
        count, self._oneway_errors = self._oneway_errors, 0
        if count:
            raise OnewayError(f"{count} one-way calls failed", status="HC_ERR_CALLEE", count=count)

    def shared(self, size: int) -> Any:
        """Refuse: there is no channel whose memory it could be."""
        raise CallError(
            "there is no shared memory with insecure_inline=True: test this with a real launch",
            status="HC_ERR_MEMORY",
        )

    def wake(self) -> None:
        """Do nothing."""
        self._check_open()

    def stats(self) -> Any:
        """Refuse: there is no channel to count anything."""
        raise CallError(
            "there are no statistics with insecure_inline=True: no channel is used",
            status="HC_ERR_ARGUMENT",
        )

    def check(self) -> None:
        """Raise what a call would."""
        self._check_open()

    def close(self) -> None:
        """Refuse calls from here on; wait for those that run."""
        if self._is_closed:
            return
        error: HotcallsError | None = None
        try:
            self.flush()
        except OnewayError as oneway:
            error = oneway
        self._is_closed = True
        if self._pool is not None:
            with contextlib.suppress(RuntimeError):
                self._pool.shutdown(cancel_futures=True)
        if error is not None:
            raise error

    def _check_open(self, function: str = "") -> None:
        if self._is_closed:
            where = f"{function}(): " if function else ""
            raise EnclaveLost(f"{where}the enclave was closed", closed=True)

    def _pool_of(self, function: str) -> ThreadPoolExecutor:
        with self._lock:
            self._check_open(function)
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._responders, f"hotcalls-{self.name}")
            return self._pool

    def _settle(self) -> None:
        """Nothing is noted: exceptions of ocalls go their own way here."""


__all__ = ["InlineEnclave", "launch_inline"]
