# SPDX-License-Identifier: Apache-2.0
"""The Python enclave of `make demo`. Runs inside."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass

import hotcalls


@dataclass
class Payment:
    """What the vault signs: nothing but payments, and no large ones."""

    to: str
    cents: int


@hotcalls.startup
def start() -> None:
    """Make the key: inside, before the lock-down."""
    global _key
    _key = secrets.token_bytes(32)


@hotcalls.ecall
def sign(message: bytes) -> bytes:
    """Return the tag of a message."""
    return hmac.digest(_key, message, "sha256")


@hotcalls.ecall
def echo(message: bytes) -> bytes:
    """Return what came in: what a call costs by itself."""
    return message


@hotcalls.ecall
def pay(payment: Payment) -> bytes:
    """Sign a payment, if it is a small one."""
    if not 0 < payment.cents <= 100_00:
        raise ValueError(f"{payment.cents} cents are too many")
    return sign(f"{payment.cents} to {payment.to}".encode())


@hotcalls.ecall
def steal(path: str) -> str:
    """Do what somebody tries who has taken the enclave over."""
    with open(path, encoding="utf-8") as file:
        return file.read()
