# SPDX-License-Identifier: Apache-2.0
"""The enclave of the soak's Python half: counts what runs, answers, calls back."""

import os
import threading

import hotcalls

#: By requester: how often each of its tokens ran, since it last asked.
ran: dict[int, bytearray] = {}
lock = threading.Lock()

TOKENS = 1024


def note(requester: int, index: int) -> None:
    """Count a call."""
    with lock:
        ran.setdefault(requester, bytearray(TOKENS))[index] += 1


def answer(requester: int, index: int) -> int:
    """What nobody answers who has not seen the question."""
    return (requester * 1_000_003 + index * 7_919 + 1) % (1 << 61)


@hotcalls.ocall
def back(requester: int, index: int, level: int, depth: int) -> int: ...


@hotcalls.ecall
def one(requester: int, index: int, cheat: int) -> int:
    """Run once; or as a check of the check wants it, which knows that it is lied to."""
    for _ in range(1 + cheat):
        note(requester, index)
    return answer(requester, index)


@hotcalls.ecall
def copy(requester: int, index: int, data: bytes) -> bytes:
    """Give the bytes back in the other order."""
    note(requester, index)
    return data[::-1]


@hotcalls.ecall
def nest(requester: int, index: int, level: int, depth: int) -> int:
    """Call back, which calls in again, until it is deep enough."""
    if level == 0:
        note(requester, index)
    if level < depth:
        return back(requester, index, level, depth) + 1
    return answer(requester, index)


@hotcalls.ecall
def quiet(requester: int, index: int) -> None:
    """Nobody waits for it."""
    note(requester, index)


@hotcalls.ecall
def audit(requester: int) -> bytes:
    """How often each token ran; from here on they are counted anew."""
    with lock:
        return bytes(ran.pop(requester, bytes(TOKENS)))


@hotcalls.ecall
def die() -> None:
    """End without a word."""
    os._exit(9)
