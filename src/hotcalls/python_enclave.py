# SPDX-License-Identifier: Apache-2.0
"""Enclaves of Python code: functions and ocalls as their annotations describe them.

Host side. What the enclave sends is untrusted and passes :mod:`hotcalls.wire`, which validates a
private copy.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from hotcalls import _native
from hotcalls.enclave import Enclave
from hotcalls.errors import CallError, RemoteError
from hotcalls.failure import MessageError
from hotcalls.functions import Function, in_turn
from hotcalls.ocalls import OcallServer
from hotcalls.shared import SharedAccess

if TYPE_CHECKING:
    from hotcalls.wire import Signature


class PythonFunction(Function):
    """An ecall of a Python enclave."""

    def __init__(self, enclave: Enclave, id_: int, signature: Signature) -> None:
        super().__init__(enclave, signature.name, id_, signature.inspect(), signature.doc)
        self._signature = signature
        self.__annotations__ = signature.annotations
        self._bind_codec()

    def _bind_codec(self) -> None:
        signature = self._signature
        self.raw = signature.raw
        self.bind_codec(signature.encode_arguments, signature.decode_result)
        if not signature.parameters:
            self.bind_constants(signature.encode_arguments((), {}), _nothing(signature))

    def _decode(self, context: Any, data: bytes) -> Any:
        """Return the result that an answer stands for."""
        try:
            return self._signature.decode_result(data)
        except MessageError as error:
            raise self._broken(error) from None

    def _encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        return bytes(self._signature.encode_arguments(args, kwargs))

    def _parts(self, context: bytes) -> tuple[bytes, bytes]:
        size = len(context).to_bytes(4, "little")
        small = context if len(context) <= _native.PY_INLINE else b""
        head = (size + bytes(4) + small).ljust(_native.INLINE_SIZE, b"\0")
        return head, b"" if small else context

    def _posted(self, context: bytes, done: Callable[..., None]) -> _native.Posted:
        return _native.Posted.message(self, context, done)

    def _result(
        self, context: bytes, error: BaseException | None, kind: int, ms: bytes, buffers: bytes
    ) -> Any:
        if error is not None:
            if isinstance(error, _native.NativeError):
                raise self._public_error(error, len(context))
            raise error
        if kind == _native.EXCEPTION:
            raise self._remote(ms)
        self.expect(len(ms))
        return self._decode(context, ms)

    def _returns(self, context: bytes) -> bool:
        return _nothing(self._signature) is None

    def _many(self, contexts: list[bytes]) -> Iterator[Callable[[], Any]]:
        if self._enclave._responders > 1:
            return super()._many(contexts)
        return self._outcomes(self._transact_many(contexts))

    def _transact_many(self, messages: list[bytes]) -> list[Any]:
        try:
            return _native.transact_many(self, messages)
        except _native.NativeError as error:
            self._failed(error, False, 0)
            return _native.transact_many(self, messages)
        finally:
            self._enclave._settle()

    def _outcomes(self, answers: list[Any]) -> Iterator[Callable[[], Any]]:
        return (
            _Outcome(self, *answer) if type(answer) is tuple else _Outcome(self, None, 0, answer)
            for answer in answers
        )

    def map(self, *iterables: Iterable[Any], return_exceptions: bool = False) -> Iterator[Any]:
        """As :meth:`Function.map`; of bytes to bytes without a look at each."""
        if self.raw and len(iterables) == 1 and self._enclave._responders == 1:
            messages = list(iterables[0])
            if _native.all_bytes(messages):
                answers = self._transact_many(messages)
                if _native.all_bytes(answers):
                    return iter(answers)
                return in_turn(self._outcomes(answers), return_exceptions)
            iterables = (messages,)
        return super().map(*iterables, return_exceptions=return_exceptions)

    # ---- what goes wrong ------------------------------------------------------------------

    def _remote(self, data: bytes) -> RemoteError | CallError:
        """Return the error for an exception that was raised inside."""
        from hotcalls.wire import decode_exception

        try:
            return decode_exception(data)
        except MessageError as error:
            return self._broken(error)

    def _raised(self, data: bytes) -> NoReturn:
        error = self._remote(data)
        cause = self._enclave._settle()
        # An exception of an ocall that nobody caught inside comes out as the RemoteError that it
        # was there; of any other, what an ocall raised before is not the cause.
        through = isinstance(error, RemoteError) and error.type_name.endswith("RemoteError")
        raise error from cause if through else None

    def _too_large(self, size: int) -> NoReturn:
        raise CallError(
            f"{self.__name__}(): the result has {size} bytes and does not fit the data window of "
            f"a slot ({self._enclave.window_size} bytes): launch with window= larger",
            status="HC_ERR_TOO_LARGE",
            function=self.__name__,
        )

    def _broken(self, error: MessageError) -> CallError:
        return CallError(str(error), status="HC_ERR_MESSAGE", function=self.__name__)


_native.call_directly(PythonFunction)


class _Outcome:
    """What became of one call of many: its result, or its error, when called."""

    __slots__ = ("_data", "_error", "_function", "_kind")

    def __init__(
        self, function: PythonFunction, error: BaseException | None, kind: int, data: bytes
    ) -> None:
        self._function = function
        self._error = error
        self._kind = kind
        self._data = data

    def __call__(self) -> Any:
        return self._function._result(self._data, self._error, self._kind, self._data, b"")


def _nothing(signature: Signature) -> bytes | None:
    """The answer of a function that returns None; None for others, or when None is not all."""
    if str(signature.result) in ("None", "NoneType") or signature.annotations["return"] is None:
        return bytes(signature.encode_result(None))
    return None


class PythonEnclave(Enclave):
    """A running enclave that a Python module was launched as.

    Parameters
    ----------
    name
        Of the module.
    native
        The process, which serves `ocalls` by the methods of `server`.
    ecalls, ocalls
        By id.
    server
        Runs the ocalls.
    start_again
        Starts the process anew, after it was lost; None: a lost enclave stays lost.
    """

    def __init__(
        self,
        name: str,
        native: _native.Enclave,
        ecalls: Sequence[Signature],
        ocalls: Sequence[Signature],
        server: OcallServer,
        *,
        window_size: int,
        responders: int = 1,
        start_again: Callable[[], _native.Enclave] | None = None,
    ) -> None:
        super().__init__(name, native, window_size, start_again)
        self._responders = responders
        access = SharedAccess(self)
        server.serve_for(self, access)
        ecalls = [each.with_access(access) for each in ecalls]
        self._name_functions(
            {each.name: PythonFunction(self, id_, each) for id_, each in enumerate(ecalls)},
            [each.name for each in ocalls],
        )

    # ---- what `import vault; vault.sign(…)` in the host calls --------------------------------

    def call_declared(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call an ecall by its name."""
        return self.functions[name](*args, **kwargs)

    def await_declared(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Coroutine[Any, Any, Any]:
        """Call an ecall by its name; awaited."""
        return self.functions[name].aio(*args, **kwargs)
