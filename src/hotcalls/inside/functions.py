# SPDX-License-Identifier: Apache-2.0
"""What the module offers and what it calls, as the runtime and the host are told.

Enclave side.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from hotcalls import _inside
from hotcalls.declare import Declaration, declarations
from hotcalls.errors import CallError
from hotcalls.failure import MessageError
from hotcalls.inside.locked import in_words
from hotcalls.wire import Signature, decode_exception, encode_exception, encode_interface

_VALUE = 0


class _Access:
    """The channel's shared memory, which arrays lie in."""

    def offset_of(self, view: memoryview) -> int:
        """Return where a view begins."""
        return _inside.shared_offset_of(view)

    def view(self, offset: int, size: int) -> memoryview:
        """Return a view."""
        return _inside.shared_view(offset, size)


_ACCESS = _Access()


class Tables:
    """The functions of a module, in the order in which both sides number them."""

    def __init__(self, module: ModuleType) -> None:
        declared = declarations(module)
        self._ecalls = [each.signature for each in declared.ecalls.values()]
        self._ocalls = [each.signature for each in declared.ocalls.values()]
        #: As ``_inside.prepare`` takes them.
        self.ecalls = [_served(each) for each in declared.ecalls.values()]
        self.ocalls = [name.encode() for name in declared.ocalls]
        for number, each in enumerate(declared.ocalls.values()):
            each.connect(_caller(number, each.signature.with_access(_ACCESS)))

    def describe(self) -> bytes:
        """What the host is told."""
        return encode_interface(self._ecalls, self._ocalls)


def _served(declaration: Declaration) -> tuple[Any, ...]:
    """An entry for the table of ecalls."""
    signature = declaration.signature.with_access(_ACCESS)
    try:
        none = signature.encode_result(None)
    except (TypeError, ValueError):
        none = None
    return (
        signature.name.encode(),
        declaration.target,
        signature.raw,
        signature.decode_arguments,
        signature.encode_result,
        None if signature.parameters else signature.encode_arguments((), {}),
        none,
    )


def _caller(number: int, signature: Signature) -> Callable[..., Any]:
    """What an ocall does when it is called inside."""
    encode, decode, make = signature.encode_arguments, signature.decode_result, _inside.ocall

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            kind, answer = make(number, encode(args, kwargs))
        except _inside.CallFailed as failed:
            raise CallError(
                f"{signature.name}(): {failed}", status=failed.status, function=signature.name
            ) from None
        try:
            if kind == _VALUE:
                return decode(answer)
            error = decode_exception(answer)
        except MessageError as broken:
            raise CallError(
                f"{signature.name}(): the host did not answer as it should: {broken}",
                status="HC_ERR_MESSAGE",
                function=signature.name,
            ) from None
        raise error

    return call


def answer_error(error: BaseException, debug: bool = False) -> bytes:
    """Encode what an ecall raised; end the process for SystemExit, as a program would."""
    if isinstance(error, SystemExit):
        _leave(error.code)
    return encode_exception(in_words(error), debug)


def debug_error(error: BaseException) -> bytes:
    """The same with the traceback."""
    return answer_error(error, debug=True)


def _leave(code: Any) -> None:
    """End the process as ``sys.exit(code)`` ends a program."""
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
    status = code & 0xFF if isinstance(code, int) else int(code is not None)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)
