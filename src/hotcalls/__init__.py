# SPDX-License-Identifier: Apache-2.0
"""Process enclaves and hot calls for Linux.

Code that keeps a secret, or that is not trusted, runs in a locked-down process of its own and is
called over shared memory at about the price of a function call::

    import hotcalls

    with hotcalls.launch("vault.enclave.so", ocalls={"audit": print}) as vault:
        tag = vault.sign(b"message")

A process enclave is not SGX: the kernel and root are trusted, and so is the host program until
:func:`launch` has returned.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if not sys.platform.startswith("linux"):
    raise ImportError(
        f"hotcalls runs on Linux only (this is {sys.platform}): it stands on memfd, pidfd, "
        "seccomp and Landlock"
    )

if TYPE_CHECKING:
    from hotcalls import errors
    from hotcalls.declare import ecall, ocall, startup
    from hotcalls.enclave import Enclave
    from hotcalls.errors import (
        CallError,
        CallTimeout,
        ChannelPoisoned,
        ConnectError,
        EdlError,
        EnclaveLocked,
        EnclaveLost,
        ForkedError,
        HotcallsError,
        InterfaceMismatch,
        LaunchError,
        LockdownError,
        NotRunning,
        OnewayError,
        RemoteError,
        SignatureError,
    )
    from hotcalls.functions import Function
    from hotcalls.futures import Future
    from hotcalls.launching import launch
    from hotcalls.secret_memory import SecretBytes, secret_bytes
    from hotcalls.serving.client import connect
    from hotcalls.shared import SharedMemory
    from hotcalls.wire.shared import SharedArray

#: Where each name is; loaded when it is asked for. What imports this package may need no enclave at
#: all, as `hotcalls run`, or only one kind of them.
_MODULES = {
    "CallError": "hotcalls.errors",
    "CallTimeout": "hotcalls.errors",
    "ChannelPoisoned": "hotcalls.errors",
    "ConnectError": "hotcalls.errors",
    "EdlError": "hotcalls.errors",
    "Enclave": "hotcalls.enclave",
    "EnclaveLocked": "hotcalls.errors",
    "EnclaveLost": "hotcalls.errors",
    "ForkedError": "hotcalls.errors",
    "Function": "hotcalls.functions",
    "Future": "hotcalls.futures",
    "HotcallsError": "hotcalls.errors",
    "InterfaceMismatch": "hotcalls.errors",
    "LaunchError": "hotcalls.errors",
    "LockdownError": "hotcalls.errors",
    "NotRunning": "hotcalls.errors",
    "OnewayError": "hotcalls.errors",
    "RemoteError": "hotcalls.errors",
    "SecretBytes": "hotcalls.secret_memory",
    "SharedArray": "hotcalls.wire.shared",
    "SharedMemory": "hotcalls.shared",
    "SignatureError": "hotcalls.errors",
    "connect": "hotcalls.serving.client",
    "ecall": "hotcalls.declare",
    "launch": "hotcalls.launching",
    "ocall": "hotcalls.declare",
    "secret_bytes": "hotcalls.secret_memory",
    "startup": "hotcalls.declare",
}

__all__ = [
    "CallError",
    "CallTimeout",
    "ChannelPoisoned",
    "ConnectError",
    "EdlError",
    "Enclave",
    "EnclaveLocked",
    "EnclaveLost",
    "ForkedError",
    "Function",
    "Future",
    "HotcallsError",
    "InterfaceMismatch",
    "LaunchError",
    "LockdownError",
    "NotRunning",
    "OnewayError",
    "RemoteError",
    "SecretBytes",
    "SharedArray",
    "SharedMemory",
    "SignatureError",
    "connect",
    "ecall",
    "errors",
    "launch",
    "ocall",
    "secret_bytes",
    "startup",
]


def __getattr__(name: str) -> Any:
    """Load what is asked for."""
    import importlib

    if name == "errors":
        return importlib.import_module("hotcalls.errors")
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'hotcalls' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """What is public, loaded or not."""
    return sorted({*globals(), *__all__})
