# SPDX-License-Identifier: Apache-2.0
"""The root of all errors of hotcalls, in a module that imports nothing else of it.

Modules that :mod:`hotcalls.errors` itself re-exports from derive from it.
"""

from __future__ import annotations

from typing import Any


class HotcallsError(Exception):
    """Everything that hotcalls raises on purpose derives from this."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by fields: worker processes hand errors on, and not all take just a message."""
        return _rebuild, (type(self), self.args, dict(self.__dict__))


class MessageError(Exception):
    """Bytes of the other side do not follow the interface.

    Never reaches a user as such: the host makes a :class:`hotcalls.errors.CallError` of it, an
    enclave refuses the call.
    """


def _rebuild(
    kind: type[HotcallsError], args: tuple[Any, ...], fields: dict[str, Any]
) -> HotcallsError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(fields)
    return error
