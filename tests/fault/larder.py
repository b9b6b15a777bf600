# SPDX-License-Identifier: Apache-2.0
"""An enclave whose interpreter can be told to have no memory (nomemory.c). Enclave side.

A file `starve` beside it says so from its import on, for the n-th allocation of its own start.
"""

import contextlib
import importlib
import time
from pathlib import Path

import nomemory

import hotcalls


def starve() -> None:
    """Have no memory for the n-th allocation of what follows."""
    n = int(Path(__file__).with_name("starve").read_text())
    # Reading these takes 14,000 allocations, which are the interpreter's affair.
    from hotcalls.inside import locked

    for name in locked.LATECOMERS:
        importlib.import_module(name)
    nomemory.arm(n)


with contextlib.suppress(FileNotFoundError):
    starve()


@hotcalls.ocall
def ask(question: str) -> str:
    """Ask the host."""


@hotcalls.startup
def start(greeting: str) -> None:
    """Take what greetings begin with."""
    global word
    word = greeting


@hotcalls.ecall
def greet(name: str) -> str:
    """Call back."""
    return f"{word} {ask(name)}"


@hotcalls.ecall
def length(text: str) -> int:
    """Take and return what fits into a message."""
    return len(text)


@hotcalls.ecall
def repeat(data: bytes) -> bytes:
    """Return what does not."""
    return data * 100_000


@hotcalls.ecall
def nap(seconds: float) -> None:
    """Keep the thread that serves it."""
    time.sleep(seconds)


@hotcalls.ecall
def refuse(name: str) -> None:
    """Raise."""
    raise ValueError(f"no {name} here, and this takes more room than what is there at first")


@hotcalls.ecall
def arm(n: int) -> None:
    """Have no memory for the n-th allocation from here on."""
    nomemory.arm(n)


@hotcalls.ecall
def disarm() -> bool:
    """Return whether it came to that."""
    return bool(nomemory.disarm()[1])
