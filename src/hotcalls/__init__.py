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
from hotcalls.launch import launch
from hotcalls.shared import SharedMemory

if TYPE_CHECKING:
    from hotcalls.declare import ecall, ocall, startup
    from hotcalls.secret_memory import SecretBytes, secret_bytes
    from hotcalls.serving.client import connect
    from hotcalls.wire.shared import SharedArray

#: Loaded when they are asked for: a program with a C enclave needs none of them.
_LATER = {
    "SecretBytes": "hotcalls.secret_memory",
    "SharedArray": "hotcalls.wire.shared",
    "connect": "hotcalls.serving.client",
    "ecall": "hotcalls.declare",
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
    "launch",
    "ocall",
    "secret_bytes",
    "startup",
]


def __getattr__(name: str) -> Any:
    """Load what is needed only by Python enclaves."""
    module = _LATER.get(name)
    if module is None:
        raise AttributeError(f"module 'hotcalls' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """What is public, loaded or not."""
    return sorted({*globals(), *__all__})
