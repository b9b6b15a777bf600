# SPDX-License-Identifier: Apache-2.0
"""A host that sends what no host would: the enclave refuses it and serves on."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hotcalls
from hotcalls import _native

pytestmark = [
    pytest.mark.claim("H-TYPES"),
    pytest.mark.claim("H-LEAK"),
]
HELD = 2


class Raw:
    """Calls made by hand: any head, any window."""

    def __init__(self, enclave: hotcalls.Enclave) -> None:
        self._enclave = enclave
        self._native: Any = enclave._native
        self._ids = {name: id_ for id_, name in enumerate(enclave.functions)}
        self.fetch = len(self._ids)

    def __call__(
        self, name: str | int, size: int, kind: int = 0, data: bytes = b"", window: bytes = b""
    ) -> tuple[int, int, bytes, bytes]:
        """Return size and kind of the answer, its inline bytes and its window."""
        id_ = self._ids[name] if isinstance(name, str) else name
        ms = struct.pack("<II32s", size, kind, data)
        answer, out = self._native.call(id_, ms, window, True, 0, 5.0)
        size, kind, data = struct.unpack("<II32s", answer)
        return size, kind, data, out


@pytest.fixture(scope="module")
def raw(anything: hotcalls.Enclave) -> Raw:
    return Raw(anything)


def status_of(call: Callable[..., object], *args: Any, **kwargs: Any) -> str:
    with pytest.raises(_native.NativeError) as caught:
        call(*args, **kwargs)
    return str(caught.value.status)


@pytest.mark.parametrize(
    ("size", "kind", "window"),
    [
        (33, 0, 0),
        (64, 0, 63),
        (0xFFFFFFFF, 0, 64),
        (0x80000000, 0, 4096),
        (1, 1, 0),
        (1, 2, 0),
        (1, 0x100, 0),
        (1, 0xFFFFFFFF, 0),
    ],
)
def test_head_that_no_request_has_is_refused(
    raw: Raw, anything: hotcalls.Enclave, size: int, kind: int, window: int
) -> None:
    for name in ("echo", "add", "nothing"):
        assert status_of(raw, name, size, kind, b"x", bytes(window)) == "HC_ERR_MESSAGE"
    assert anything.add(1) == 4


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x91\x01", b"\x93\x01\x02\x03", b"\x92\xa1x\x01"])
def test_arguments_that_do_not_decode_never_reach_the_function(raw: Raw, data: bytes) -> None:
    size, kind, answer, window = raw("add", len(data), 0, data, bytes(4096))
    text = (answer if size <= 32 else window)[:size]
    assert kind == 1
    assert b"MessageError" in text


def test_arguments_for_a_function_without_any_are_refused(raw: Raw) -> None:
    size, kind, answer, window = raw("nothing", 3, 0, b"abc", bytes(4096))
    assert kind == 1
    assert b"MessageError" in (answer if size <= 32 else window)


@pytest.mark.parametrize("size", [0, 4, 7, 9, 32])
def test_fetch_of_another_size_is_refused(raw: Raw, size: int) -> None:
    assert status_of(raw, raw.fetch, size) == "HC_ERR_MESSAGE"


@pytest.mark.parametrize("token", [0, 1 << 40, (1 << 64) - 1])
def test_fetch_of_what_is_not_held_is_refused(raw: Raw, token: int) -> None:
    data = struct.pack("<Q", token)
    assert status_of(raw, raw.fetch, 8, 0, data, bytes(4096)) == "HC_ERR_ARGUMENT"


def test_function_behind_the_last_does_not_exist(raw: Raw) -> None:
    assert status_of(raw, raw.fetch + 1, 0) == "HC_ERR_UNKNOWN_CALL"


def hold(raw: Raw, size: int) -> tuple[bytes, int]:
    """Have an answer held; its token and size."""
    request = b"\x91\xce" + struct.pack(">I", size)
    got, kind, data, _ = raw("zeros", 6, 0, request)
    assert kind == HELD
    assert got >= size
    return data[:8], got


def test_held_answer_is_given_out_once_and_only_with_room_for_it(raw: Raw) -> None:
    token, size = hold(raw, 1000)
    assert status_of(raw, raw.fetch, 8, 0, token, bytes(size - 1)) == "HC_ERR_ARGUMENT"
    got, kind, _, window = raw(raw.fetch, 8, 0, token, b"x" * size)
    assert (got, kind, window[-1000:]) == (size, 0, bytes(1000))
    assert status_of(raw, raw.fetch, 8, 0, token, bytes(size)) == "HC_ERR_ARGUMENT"


def test_answers_that_nobody_fetches_are_forgotten(raw: Raw, anything: hotcalls.Enclave) -> None:
    held = [hold(raw, 1000) for _ in range(300)]
    room = bytes(4096)
    assert status_of(raw, raw.fetch, 8, 0, held[0][0], room) == "HC_ERR_ARGUMENT"
    assert raw(raw.fetch, 8, 0, held[-1][0], room)[0] == held[-1][1]
    large = [hold(raw, 100 << 20) for _ in range(4)]
    assert status_of(raw, raw.fetch, 8, 0, held[-2][0], room) == "HC_ERR_ARGUMENT"
    status = Path(f"/proc/{anything.pid}/status").read_text()
    resident = int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1))  # type: ignore[union-attr]
    assert resident < 400 << 10
    assert status_of(raw, raw.fetch, 8, 0, large[0][0], room) == "HC_ERR_ARGUMENT"
    assert anything.echo(b"x" * 5000) == b"x" * 5000


def test_answer_shows_nothing_of_an_earlier_one(raw: Raw) -> None:
    raw("echo", 32, 0, b"s" * 32)
    size, kind, data, _ = raw("nothing", 0, 0, b"")
    assert (size, kind, data) == (0, 0, bytes(32))
