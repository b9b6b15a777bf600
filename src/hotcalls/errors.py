# SPDX-License-Identifier: Apache-2.0
"""Every error that a user of hotcalls meets. One hierarchy; each error carries fields.

Host side; nothing here trusts or touches the enclave.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from hotcalls.failure import HotcallsError as HotcallsError

if TYPE_CHECKING:
    from hotcalls.edl.diagnostics import EdlError as EdlError
if TYPE_CHECKING or "hotcalls._inside" not in sys.modules:
    from concurrent.futures import BrokenExecutor
else:
    # What it derives from. Inside, nobody meets a lost enclave, and importing the other would be
    # a tenth of a launch.
    BrokenExecutor = RuntimeError

__all__ = [
    "CallError",
    "CallTimeout",
    "ChannelPoisoned",
    "ConnectError",
    "EdlError",
    "EnclaveLocked",
    "EnclaveLost",
    "ForkedError",
    "HotcallsError",
    "InterfaceMismatch",
    "LaunchError",
    "LockdownError",
    "NotRunning",
    "OnewayError",
    "PolicyError",
    "RemoteError",
    "SignatureError",
    "error_for",
]


def __getattr__(name: str) -> Any:
    # Of the EDL compiler, which a program that only launches, and an enclave, need not load.
    if name == "EdlError":
        from hotcalls.edl.diagnostics import EdlError

        return EdlError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class LaunchError(HotcallsError):
    """An enclave could not be started.

    Attributes
    ----------
    status : str
        Name of the status, e.g. ``"HC_ERR_OS"``.
    errno : int
        Of the step that failed, or 0.
    """

    def __init__(self, message: str, *, status: str = "HC_ERR_OS", errno: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.errno = errno


class LockdownError(LaunchError):
    """This machine, or how the program was started, does not allow the lock-down."""


class InterfaceMismatch(LaunchError):
    """The enclave was built for another ABI or from another EDL file."""


class SignatureError(InterfaceMismatch):
    """What the other side says about its functions is not a description of functions."""


class EnclaveLocked(HotcallsError, PermissionError):
    """Raised inside: what the code asked for is over once its enclave is locked down."""


class EnclaveLost(HotcallsError, BrokenExecutor):
    """The enclave's process has ended, or was closed; launch a new one.

    Attributes
    ----------
    signal : int
        That ended it, or 0.
    exit_status : int
        With which it exited, or -1 when it did not or the kernel does not tell.
    closed : bool
        It was closed by this program.
    """

    def __init__(
        self, message: str, *, signal: int = 0, exit_status: int = -1, closed: bool = False
    ) -> None:
        super().__init__(message)
        self.signal = signal
        self.exit_status = exit_status
        self.closed = closed


class ConnectError(HotcallsError, ConnectionError):
    """There is no server of an enclave, or it gives this process no channel."""


class NotRunning(HotcallsError):
    """A function of an enclave's module was called where no one enclave could take the call."""


class ForkedError(EnclaveLost):
    """This is a forked child: the enclave belongs to its parent. Launch one here."""


class ChannelPoisoned(HotcallsError):
    """The enclave broke an invariant of the channel; nothing it says is believed any more."""


class CallTimeout(HotcallsError, TimeoutError):
    """A call was not answered in time. It may still be running.

    Attributes
    ----------
    function : str
        Whose call it was.
    timeout : float or None
        Seconds that it was given.
    """

    def __init__(self, message: str, *, function: str = "", timeout: float | None = None) -> None:
        super().__init__(message)
        self.function = function
        self.timeout = timeout


class CallError(HotcallsError):
    """A call was refused or failed on the way; the enclave is unharmed.

    Attributes
    ----------
    status : str
        Name of the status, e.g. ``"HC_ERR_TOO_LARGE"``.
    function : str
        Whose call it was.
    """

    def __init__(self, message: str, *, status: str, function: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.function = function


class PolicyError(HotcallsError):
    """A policy was refused; reads ``file:line: key: what is wrong; what is allowed``.

    Attributes
    ----------
    path : str
        The file.
    line : int
        In it, from 1; 0 when no line is to blame.
    key : str
        The key, or "" when it is none's fault.
    """

    def __init__(self, message: str, *, path: str, line: int = 0, key: str = "") -> None:
        where = f"{path}:{line}" if line else path
        super().__init__(f"{where}: {key}: {message}" if key else f"{where}: {message}")
        self.path = path
        self.line = line
        self.key = key


class OnewayError(CallError):
    """One-way calls failed since they were last asked for.

    Attributes
    ----------
    count : int
        How many.
    """

    def __init__(self, message: str, *, status: str, count: int) -> None:
        super().__init__(message, status=status)
        self.count = count


class RemoteError(HotcallsError):
    """An exception that was raised on the other side of the boundary.

    Attributes
    ----------
    type_name : str
        Its type over there.
    message : str
        Its text over there; the text of this error begins with the type.
    remote_traceback : str or None
        Only with ``debug=True``: a traceback can hold secrets.
    """

    def __init__(
        self,
        text: str,
        *,
        type_name: str = "Exception",
        message: str | None = None,
        remote_traceback: str | None = None,
    ) -> None:
        super().__init__(text)
        self.type_name = type_name
        self.message = text if message is None else message
        self.remote_traceback = remote_traceback


def error_for(
    status: str,
    text: str,
    *,
    function: str = "",
    errno: int = 0,
    signal: int = 0,
    exit_status: int = -1,
    timeout: float | None = None,
    launching: bool = False,
) -> HotcallsError:
    """Return the exception for a status of the native runtime: the only place that maps them."""
    where = f"{function}(): {text}" if function else text
    if status == "HC_ERR_LOCKDOWN":
        return LockdownError(where, status=status, errno=errno)
    if status in ("HC_ERR_ABI", "HC_ERR_INTERFACE"):
        return InterfaceMismatch(where, status=status)
    if status == "HC_ERR_FORKED":
        return ForkedError(where)
    if launching and status != "HC_ERR_ARGUMENT":
        return LaunchError(where, status=status, errno=errno)
    if status in ("HC_ERR_PEER_LOST", "HC_ERR_CLOSED"):
        return EnclaveLost(
            where, signal=signal, exit_status=exit_status, closed=status == "HC_ERR_CLOSED"
        )
    if status == "HC_ERR_POISONED":
        return ChannelPoisoned(where)
    if status == "HC_ERR_TIMEOUT":
        return CallTimeout(where, function=function, timeout=timeout)
    if status == "HC_ERR_CALLEE":
        return RemoteError(where)
    return CallError(where, status=status, function=function)
