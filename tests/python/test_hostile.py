# SPDX-License-Identifier: Apache-2.0
"""An enclave that was taken over answers what it likes: typed errors, no hang, no stray memory."""

from __future__ import annotations

import asyncio
import os
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
from peers import PATIENCE_SECONDS

import hotcalls
from hotcalls import _native

pytestmark = [
    pytest.mark.claim("E-ANSWER"),
    pytest.mark.claim("E-BOUND"),
]
VALUE, EXCEPTION, HELD = _native.VALUE, _native.EXCEPTION, _native.HELD


def head(kind: int, size: int, data: bytes = b"") -> bytes:
    return struct.pack("<II", size, kind) + data.ljust(32, b"\0")


#: What the answer says, while 40 bytes were sent and as many reserved for it.
LIES = {
    "size beyond what was reserved": head(VALUE, 49),
    "size beyond the window": head(VALUE, 1 << 21),
    "largest size": head(VALUE, 0xFFFFFFFF),
    "exception beyond what was reserved": head(EXCEPTION, 4000),
    "unknown kind": head(3, 4),
    "kind with a bit more": head(0x100, 4),
    "largest kind": head(0xFFFFFFFF, 4),
    "held, of no size": head(HELD, 0, b"\1"),
    "held, though it would have fit": head(HELD, 32, b"\1"),
    "held, larger than the window": head(HELD, 1 << 30, b"\1"),
    "held, with a token of nothing": head(HELD, 500, b"\3"),
    "held, fetched shorter than it said": head(HELD, 500, b"\1"),
    "held, and held again": head(HELD, 500, b"\2"),
    "exception that is none": head(EXCEPTION, 32, b"\xff" * 32),
}


@pytest.fixture(scope="module")
def liar(peer_path: Any) -> Any:
    from peers import start_peer

    with start_peer(peer_path) as enclave:
        yield enclave


def ways(enclave: Any) -> dict[str, Callable[[bytes], Any]]:
    async def await_it(data: bytes) -> Any:
        return await enclave.lie.aio(data)

    return {
        "call": enclave.lie,
        "submit": lambda data: enclave.lie.submit(data).result(),
        "map": lambda data: list(enclave.lie.map([data, data])),
        "aio": lambda data: asyncio.run(await_it(data)),
    }


@pytest.mark.parametrize("way", ["call", "submit", "map", "aio"])
@pytest.mark.parametrize("lie", LIES)
def test_forged_answer_is_an_error_and_harms_nothing(liar: Any, lie: str, way: str) -> None:
    start = time.monotonic()
    with pytest.raises(hotcalls.CallError) as caught:
        ways(liar)[way](LIES[lie])
    assert caught.value.status in ("HC_ERR_MESSAGE", "HC_ERR_TOO_LARGE")
    assert time.monotonic() - start < PATIENCE_SECONDS
    assert liar.echo(b"honest again") == b"honest again"
    assert liar.lie.room <= 1024


@pytest.mark.parametrize("way", ["call", "submit", "map", "aio"])
def test_answer_within_what_was_reserved_is_what_lies_there(liar: Any, way: str) -> None:
    # 40 bytes were reserved; the largest size that passes reads just those.
    answer = ways(liar)[way](head(VALUE, 40))
    assert answer in (LIES["unknown kind"][:0] + head(VALUE, 40), [head(VALUE, 40)] * 2)


def test_void_function_that_answers_something_is_refused(liar: Any) -> None:
    liar.note.bind(liar._native, liar.lie.id, 0, -1.0, liar.window_size)
    try:
        liar.note.bind_constants(head(VALUE, 5, b"extra"), b"")
        with pytest.raises(hotcalls.CallError, match=r"note\(\): .*expected no"):
            liar.note()
    finally:
        liar.note._rebind(liar._native)
        liar.note.bind(liar._native, 1, 0, -1.0, liar.window_size)
        liar.note._bind_codec()
    assert liar.note() is None


def test_result_of_the_wrong_type_is_refused(launch_peer: Callable[..., Any]) -> None:
    enclave = launch_peer()
    # typed() echoes its arguments: asked with other types, it answers other types.
    message = enclave.typed._signature.encode_arguments((1,), {})
    assert enclave.typed.transact(message) == message
    for wrong in (b"", b"\xc0", b"\x93\x01\x02\x03", message[:-1], message + b"\0", b"\xc1" * 40):
        with pytest.raises(hotcalls.CallError) as caught:
            enclave.typed._decode(None, enclave.typed.transact(wrong))
        assert caught.value.status == "HC_ERR_MESSAGE"
        assert "typed()" in str(caught.value)


@pytest.mark.parametrize("way", ["call", "submit", "aio"])
def test_overwritten_word_poisons_the_channel(launch_peer: Callable[..., Any], way: str) -> None:
    enclave = launch_peer()

    async def await_it() -> Any:
        return await enclave.scribble.aio(b"")

    uses = {
        "call": lambda: enclave.scribble(b""),
        "submit": lambda: enclave.scribble.submit(b"").result(),
        "aio": lambda: asyncio.run(await_it()),
    }
    start = time.monotonic()
    with pytest.raises(hotcalls.ChannelPoisoned):
        uses[way]()
    assert time.monotonic() - start < PATIENCE_SECONDS  # it never ends
    with pytest.raises(hotcalls.ChannelPoisoned):
        enclave.echo(b"")


def test_descriptor_that_is_written_without_end_costs_little(
    launch_peer: Callable[..., Any],
) -> None:
    enclave = launch_peer()
    future = enclave.nap.submit(struct.pack("<I", 500))
    done, lost = _native.descriptors(enclave._native)
    before = time.process_time()
    deadline = time.monotonic() + 0.3
    while time.monotonic() < deadline:
        os.write(done, (1).to_bytes(8, "little"))
        time.sleep(0.0002)
    spent = time.process_time() - before
    os.close(done)
    os.close(lost)
    assert len(future.result()) == 4
    assert spent < 0.25
