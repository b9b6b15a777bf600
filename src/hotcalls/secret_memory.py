# SPDX-License-Identifier: Apache-2.0
"""Bytes that are wiped when they are no longer needed.

Both sides; of use inside an enclave. Outside it is ordinary memory, so that code which is meant
for an enclave can be tested.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING or "hotcalls._inside" not in sys.modules:
    from hotcalls._native import SecretBytes
else:
    from hotcalls._inside import SecretBytes


def secret_bytes(size: int) -> SecretBytes:
    """Return so many zero bytes in memory for secrets.

    See :class:`SecretBytes` for what that protects from and what not. All that an enclave has of
    such memory are 64 KiB.

    Examples
    --------
    ``key = hotcalls.secret_bytes(32)`` and then, in a start-up function,
    ``secrets["key"].readinto(key)``; later ``hmac.digest(key, message, "sha256")``.

    Raises
    ------
    MemoryError
        There is not so much left.
    """
    return SecretBytes(size)


__all__ = ["SecretBytes", "secret_bytes"]
