# SPDX-License-Identifier: Apache-2.0
"""Enclaves of C code: functions and ocalls as their EDL describes them.

Host side. What the enclave sends is untrusted and passes :mod:`hotcalls.edl.marshal`, which
validates a private copy; nothing here reads the channel itself.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any

from hotcalls import _native
from hotcalls.edl.marshal import EcallCodec, Message, MessageError, OcallCodec, codecs
from hotcalls.enclave import Enclave
from hotcalls.errors import CallError, error_for
from hotcalls.functions import Function
from hotcalls.shared import SharedAccess

_CALLEE = _native.STATUS_NAMES.index("HC_ERR_CALLEE")
_BROKEN_MESSAGE = _native.STATUS_NAMES.index("HC_ERR_MESSAGE")


class CFunction(Function):
    """An ecall of a C enclave."""

    def __init__(self, enclave: Enclave, codec: EcallCodec) -> None:
        super().__init__(enclave, codec.name, codec.id, _signature(codec))
        self._codec = codec

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        codec = self._codec
        message = codec.encode(args, kwargs)
        while True:
            try:
                ms, buffers = self.native.call(
                    self.id,
                    message.ms,
                    message.buffers if message.size else b"",
                    bool(message.outs),
                    self.mode,
                    seconds_of(self._timeout),
                )
            except _native.NativeError as error:
                self._failed(error, error.posted, len(message.buffers))
            else:
                break
        self._enclave._settle()
        return self._decoded(message, ms, buffers)

    def _encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Message:
        return self._codec.encode(args, kwargs)

    def _parts(self, context: Message) -> tuple[bytes, bytes]:
        return context.ms, context.buffers

    def _posted(self, context: Message, done: Callable[..., None]) -> _native.Posted:
        return _native.Posted.call(self.native, self.id, context.ms, context.buffers, done)

    def _result(
        self, context: Message, error: BaseException | None, kind: int, ms: bytes, buffers: bytes
    ) -> Any:
        if error is not None:
            if isinstance(error, _native.NativeError):
                raise self._public_error(error, len(context.buffers))
            raise error
        return self._decoded(context, ms, buffers)

    def _returns(self, context: Message) -> bool:
        return bool(context.outs) or self._codec.signature.has_result

    def _decoded(self, message: Message, ms: bytes, buffers: bytes) -> Any:
        try:
            return self._codec.decode(message, ms, buffers)
        except MessageError as error:
            raise CallError(str(error), status="HC_ERR_MESSAGE", function=self.__name__) from None


_native.call_directly(CFunction)


def seconds_of(timeout: float | None) -> float:
    """A checked timeout as the native calls take it."""
    return -1.0 if timeout is None else min(float(timeout), 1e9)


def _signature(codec: EcallCodec) -> inspect.Signature:
    return inspect.Signature(
        [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)
            for name in codec.signature.inputs
        ]
    )


class CEnclave(Enclave):
    """A running enclave that ``hotcalls build`` made."""

    def __init__(
        self,
        description: Mapping[str, Any],
        digest: bytes,
        image: bytes,
        loader: str,
        ocalls: Mapping[str, Callable[..., Any]],
        options: dict[str, Any],
        *,
        restart: bool = False,
    ) -> None:
        name: str = description["name"]
        tables = codecs(description, SharedAccess(self))
        self._ocall_codecs = tables.ocalls
        self._ocall_functions = tuple(ocalls.get(codec.name) for codec in tables.ocalls)
        self._codecs = tables

        def start() -> _native.Enclave:
            return start_native(
                image,
                os.fsencode(loader),
                name.encode(),
                [(codec.name.encode(), codec.flags) for codec in tables.ecalls],
                [(codec.name.encode(), codec.flags) for codec in tables.ocalls],
                self._serve_ocall,
                {**options, "digest": digest},
            )

        native = start()
        try:
            super().__init__(name, native, options["window_size"], start if restart else None)
            self._responders = options["responders"]
            self._name_functions(
                {codec.name: CFunction(self, codec) for codec in tables.ecalls},
                [codec.name for codec in tables.ocalls],
            )
        except BaseException:
            # No memory, an interrupt: nobody gets it, who could close it.
            native.close()
            raise

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
        if self._note(error) and not isinstance(error, Exception):
            return
        if not isinstance(error, NotImplementedError):
            _native.report_unraisable(error, f"ocall {name} of enclave {self.name}")


def start_native(*arguments: Any) -> _native.Enclave:
    """Start the process; what keeps it from starting is raised as a public error."""
    try:
        return _native.Enclave(*arguments)
    except _native.NativeError as error:
        raise error_for(
            error.status,
            error.text,
            errno=error.errno,
            signal=error.signal,
            exit_status=error.exit_status,
            launching=True,
        ) from None
