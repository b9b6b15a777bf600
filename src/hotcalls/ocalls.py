# SPDX-License-Identifier: Apache-2.0
"""Serving what a Python enclave calls outside.

Host side. The messages come from the enclave and are hostile: what does not decode as the ocall
was declared is refused. A callable of the user's runs in whichever thread waits for the enclave,
or in one of the runtime's when none does.
"""

from __future__ import annotations

import inspect
import itertools
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from hotcalls import _native
from hotcalls.failure import MessageError

if TYPE_CHECKING:
    from hotcalls.wire import Access, Signature

_BROKEN_MESSAGE = _native.STATUS_NAMES.index("HC_ERR_MESSAGE")
_UNKNOWN = _native.STATUS_NAMES.index("HC_ERR_UNKNOWN_CALL")

#: Answers that wait to be fetched: an enclave that fetches none of them gets no more memory.
HELD_MAX = 64
HELD_BYTES_MAX = 256 << 20


class Caller(Protocol):
    """The enclave whose ocalls these are."""

    name: str

    def _note(self, error: BaseException) -> bool: ...


def check_ocalls(name: str, signatures: Mapping[str, Signature], given: Mapping[str, Any]) -> None:
    """Refuse ocalls that the enclave does not make, or that cannot be served.

    Raises
    ------
    ValueError, TypeError
        Names the ocall.
    """
    for ocall, function in given.items():
        if ocall not in signatures:
            raise ValueError(
                f"ocalls: enclave {name!r} makes no ocall {ocall!r}; "
                f"it makes {', '.join(signatures) or 'none'}"
            )
        if not callable(function):
            raise TypeError(f"ocalls: {ocall!r} is not callable, but {type(function).__name__}")
        if inspect.iscoroutinefunction(function):
            raise TypeError(
                f"ocalls: {ocall!r} is a coroutine function, and an ocall is answered in the "
                "thread that waits for the enclave, which may be the event loop's own: give a "
                "plain function, e.g. one that hands over to the loop with "
                "loop.call_soon_threadsafe()"
            )


class OcallServer:
    """Runs the callables that :func:`hotcalls.launch` was given.

    Parameters
    ----------
    signatures
        By id.
    functions
        By name; an ocall without one raises inside.
    debug
        Exceptions go inside with their tracebacks.
    """

    def __init__(
        self,
        signatures: Sequence[Signature],
        functions: Mapping[str, Callable[..., Any]],
        *,
        debug: bool = False,
    ) -> None:
        self._entries = tuple((each, functions.get(each.name)) for each in signatures)
        self._debug = debug
        self._held: OrderedDict[bytes, tuple[int, bytes]] = OrderedDict()
        self._held_bytes = 0
        self._lock = threading.Lock()
        self._numbers = itertools.count(secrets.randbits(62))
        self.caller: Caller | None = None

    def serve_for(self, caller: Caller, access: Access) -> None:
        """Say whose ocalls these are, and where the arrays lie that they are given."""
        self.caller = caller
        self._entries = tuple(
            (signature.with_access(access), function) for signature, function in self._entries
        )

    def serve(self, id_: int, data: bytes) -> tuple[int, bytes] | int:
        """Run one ocall; return the kind and bytes of its answer, or the number of a status."""
        from hotcalls.wire import encode_exception

        if id_ >= len(self._entries):
            return _UNKNOWN
        signature, function = self._entries[id_]
        try:
            arguments = (data,) if signature.raw else signature.decode_arguments(data)
        except MessageError:
            return _BROKEN_MESSAGE
        try:
            if function is None:
                raise NotImplementedError(f"launch() was given no ocall {signature.name!r}")
            result = function(*arguments)
            if signature.raw and type(result) is bytes:
                return _native.VALUE, result
            return _native.VALUE, signature.encode_result(result)
        except BaseException as error:
            if self.caller is not None and not self.caller._note(error):
                _report(error, signature.name, self.caller.name)
            return _native.EXCEPTION, encode_exception(error, self._debug)

    def hold(self, kind: int, message: bytes) -> int:
        """Keep an answer until it is fetched; return its token."""
        with self._lock:
            token = next(self._numbers) & ((1 << 64) - 1)
            self._held[token.to_bytes(8, "little")] = (kind, message)
            self._held_bytes += len(message)
            while self._held and (len(self._held) > HELD_MAX or self._held_bytes > HELD_BYTES_MAX):
                _, (_, dropped) = self._held.popitem(last=False)
                self._held_bytes -= len(dropped)
        return token

    def forget(self) -> None:
        """Drop what is held: the process that could fetch it was lost."""
        with self._lock:
            self._held.clear()
            self._held_bytes = 0

    def fetch(self, token: bytes) -> tuple[int, bytes] | int:
        """Give an answer out, once."""
        with self._lock:
            held = self._held.pop(token, None)
            if held is None:
                return _BROKEN_MESSAGE
            self._held_bytes -= len(held[1])
        return held


def _report(error: BaseException, ocall: str, enclave: str) -> None:
    """An exception of a thread of the runtime: the enclave is told, and nobody else would be."""
    if not isinstance(error, NotImplementedError):
        _native.report_unraisable(error, f"ocall {ocall} of enclave {enclave}")
