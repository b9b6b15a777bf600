# SPDX-License-Identifier: Apache-2.0
"""The Python enclave of ``hotcalls bench --python``. Runs inside; trusts its host."""

import hotcalls
from hotcalls.bench.python import functions


@hotcalls.ecall
def empty() -> None:
    """Do nothing."""


@hotcalls.ecall
def echo(data: bytes) -> bytes:
    """Return what came."""
    return data


@hotcalls.ecall
def describe(number: int, text: str, data: bytes) -> dict[str, int]:
    """Return something that depends on every argument."""
    return functions.describe(number, text, data)
