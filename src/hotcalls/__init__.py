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

if not sys.platform.startswith("linux"):
    raise ImportError(
        f"hotcalls runs on Linux only (this is {sys.platform}): it stands on memfd, pidfd, "
        "seccomp and Landlock"
    )

from hotcalls.enclave import Enclave, Function, PendingCall, SharedMemory
from hotcalls.errors import (
    CallError,
    CallTimeout,
    ChannelPoisoned,
    EdlError,
    EnclaveLost,
    ForkedError,
    HotcallsError,
    InterfaceMismatch,
    LaunchError,
    LockdownError,
    OnewayError,
    RemoteError,
)
from hotcalls.launch import launch

__all__ = [
    "CallError",
    "CallTimeout",
    "ChannelPoisoned",
    "EdlError",
    "Enclave",
    "EnclaveLost",
    "ForkedError",
    "Function",
    "HotcallsError",
    "InterfaceMismatch",
    "LaunchError",
    "LockdownError",
    "OnewayError",
    "PendingCall",
    "RemoteError",
    "SharedMemory",
    "launch",
]
