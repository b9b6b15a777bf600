# SPDX-License-Identifier: Apache-2.0
"""What the far end offers, the same for everybody, and calls of it with known answers.

Runs in the host, in every peer's server and, imported by ``bench_enclave``, inside the enclave.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

SMALL = 64
LARGE = 1 << 20
#: Calls in one sample of the rows that make many.
MANY = 100


def empty() -> None:
    """Do nothing."""


def echo(data: bytes) -> bytes:
    """Return `data`."""
    return data


def describe(number: int, text: str, data: bytes) -> dict[str, int]:
    """Return something that depends on every argument."""
    return {"number": number + 1, "text": len(text), "data": data[0]}


_encode = msgspec.msgpack.Encoder().encode
_decode_arguments = msgspec.msgpack.Decoder(tuple[int, str, bytes]).decode
_decode_answer = msgspec.msgpack.Decoder(dict[str, int]).decode


def _serve_empty(_: bytes) -> bytes:
    empty()
    return b""


def _serve_describe(data: bytes) -> bytes:
    return _encode(describe(*_decode_arguments(data)))


#: What a server of bytes calls. Where a transport carries only bytes, msgspec's msgpack says what
#: they mean, as it does in a Python enclave.
HANDLERS: dict[str, Callable[[Any], Any]] = {
    "empty": _serve_empty,
    "echo": echo,
    "describe": _serve_describe,
}

Calls = dict[str, Callable[..., Any]]


def over_bytes(empty_call: Callable[[], Any], carry: Callable[[bytes], Any], echo: Any) -> Calls:
    """Return the three functions for a client of which each call carries bytes.

    Parameters
    ----------
    empty_call
        Calls `empty`.
    carry
        Calls `describe` with encoded arguments.
    echo
        Calls `echo`.
    """

    def described(number: int, text: str, data: bytes) -> dict[str, int]:
        return _decode_answer(carry(_encode((number, text, data))))

    return {"empty": empty_call, "echo": echo, "describe": described}


class Work(NamedTuple):
    """Arguments to take turns in, and what each must return."""

    function: str
    arguments: list[tuple[Any, ...]]
    answers: list[Any]


def _distinct(count: int, size: int) -> list[bytes]:
    """Return payloads that all differ at both ends: a stale answer is a wrong one."""
    return [i.to_bytes(2, "little") + bytes(size - 4) + i.to_bytes(2, "big") for i in range(count)]


#: What `map` and a loop of single calls send: one byte, so that order is checked too.
LETTERS = [bytes([i]) for i in range(MANY)]


def shared_bytes() -> bytes:
    """Return what is in the shared array: known, and not the same everywhere."""
    return bytes(i * i % 251 for i in range(1 << 12)) * (LARGE >> 12)


def work(kind: str) -> Work:
    """Return what a row of `kind` calls: a name in `rows.KINDS`, or ``shared``."""
    if kind == "shared":
        data = shared_bytes()
        positions = [i * 4099 % LARGE for i in range(256)]
        return Work("look", [(i,) for i in positions], [data[i] for i in positions])
    if kind == "empty":
        return Work("empty", [()], [None])
    if kind == "typed":
        arguments = [
            (i << 20, "event" * (1 + i % 5), data) for i, data in enumerate(_distinct(256, SMALL))
        ]
        return Work("describe", arguments, [describe(*given) for given in arguments])
    payloads = _distinct(251, SMALL) if kind == "bytes" else _distinct(4, LARGE)
    return Work("echo", [(data,) for data in payloads], payloads)
