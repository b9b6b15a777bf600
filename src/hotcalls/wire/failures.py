# SPDX-License-Identifier: Apache-2.0
"""Exceptions as messages: type name, text and, only if asked for, the traceback.

Both sides. What is received is text of the other side: bounded, without control characters, and
never more than text; no class is looked up by its name.
"""

from __future__ import annotations

import traceback

import msgspec

from hotcalls.errors import RemoteError
from hotcalls.failure import MessageError
from hotcalls.wire.codec import printable
from hotcalls.wire.pack import pack

NAME_MAX = 200
MESSAGE_MAX = 4096
TRACEBACK_MAX = 32768
#: Whatever a character becomes when it is made printable.
BYTES_MAX = 12 * (NAME_MAX + MESSAGE_MAX + TRACEBACK_MAX)

_decode = msgspec.msgpack.Decoder(tuple[str, str, str | None]).decode


def encode_exception(error: BaseException, debug: bool = False) -> bytes:
    """Make the message of an exception.

    Parameters
    ----------
    error
        Its ``str()`` may itself raise.
    debug
        With the traceback, which shows source lines and can thereby show secrets.
    """
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = f"{kind.__module__}.{name}"
    try:
        message = str(error)
    except Exception as second:
        message = f"<its str() raised {type(second).__name__}>"
    if isinstance(error, RemoteError):
        # One that has crossed the boundary before says so once.
        message = message.removeprefix(f"{name}: ")
    trace: str | None = None
    if debug:
        try:
            trace = "".join(traceback.format_exception(error))
        except Exception as second:
            trace = f"<no traceback: formatting it raised {type(second).__name__}>"
        if len(trace) > TRACEBACK_MAX:
            # The end says what was raised, and where.
            trace = "…" + trace[-TRACEBACK_MAX + 1 :]
        trace = printable(trace, TRACEBACK_MAX, keep="\n\t")
    return pack(
        [
            printable(name, NAME_MAX),
            printable(message, MESSAGE_MAX, keep="\n\t"),
            trace,
        ]
    )


def decode_exception(data: bytes) -> RemoteError:
    """Return the error to raise for an exception of the other side.

    Raises
    ------
    MessageError
        It is not the message of an exception.
    """
    if len(data) > BYTES_MAX:
        raise MessageError(f"an exception of {len(data)} bytes")
    try:
        name, message, trace = _decode(data)
    except MemoryError:
        raise
    except Exception as error:
        raise MessageError(f"an exception: {printable(str(error), NAME_MAX)}") from None
    name = printable(name, NAME_MAX) or "Exception"
    message = printable(message, MESSAGE_MAX + 1, keep="\n\t")
    return RemoteError(
        f"{name}: {message}" if message else name,
        type_name=name,
        message=message,
        remote_traceback=(
            None if trace is None else printable(trace, TRACEBACK_MAX + 1, keep="\n\t")
        ),
    )
