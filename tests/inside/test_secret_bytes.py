# SPDX-License-Identifier: Apache-2.0
"""Secret bytes: where they lie, what they show, and when they are gone."""

from __future__ import annotations

import copy
import hashlib
import hmac
import io
import pickle
from collections.abc import Callable

import pytest

import hotcalls

Starter = Callable[..., hotcalls.Enclave]


@pytest.fixture
def secret() -> hotcalls.SecretBytes:
    secret = hotcalls.secret_bytes(9)
    io.BytesIO(b"swordfish").readinto(secret)
    return secret


def test_secret_bytes_are_zero_at_first() -> None:
    assert bytes(hotcalls.secret_bytes(5)) == bytes(5)


def test_secret_bytes_are_a_writable_buffer(secret: hotcalls.SecretBytes) -> None:
    with memoryview(secret) as view:
        assert (len(secret), view.nbytes, view.readonly, view.format) == (9, 9, False, "B")
        view[0] = ord("S")
    assert bytes(secret) == b"Swordfish"


def test_libraries_take_them(secret: hotcalls.SecretBytes) -> None:
    expected = hmac.digest(b"swordfish", b"message", "sha256")
    assert hmac.digest(secret, b"message", "sha256") == expected
    assert hashlib.sha256(secret).digest() == hashlib.sha256(b"swordfish").digest()
    assert hmac.compare_digest(secret, b"swordfish")


def test_nothing_of_them_is_printed(secret: hotcalls.SecretBytes) -> None:
    for text in (repr(secret), str(secret), f"{secret}"):
        assert text == "<SecretBytes, 9 bytes>"


def test_they_are_equal_to_themselves_only(secret: hotcalls.SecretBytes) -> None:
    other = hotcalls.secret_bytes(9)
    io.BytesIO(b"swordfish").readinto(other)
    assert secret == secret
    assert secret != other
    assert secret != b"swordfish"


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, pickle.dumps])
def test_they_are_not_copied(secret: hotcalls.SecretBytes, how: Callable[..., object]) -> None:
    with pytest.raises(TypeError, match="they stay where they are"):
        how(secret)


@pytest.mark.parametrize("size", [0, -1])
def test_they_have_a_size(size: int) -> None:
    with pytest.raises(ValueError, match="size of at least 1"):
        hotcalls.secret_bytes(size)


def test_release_ends_their_use(secret: hotcalls.SecretBytes) -> None:
    with secret as same:
        assert same is secret
    assert secret.released
    assert "released" in repr(secret)
    with pytest.raises(ValueError, match="were released"):
        bytes(secret)
    secret.release()


def test_release_waits_for_nobody(secret: hotcalls.SecretBytes) -> None:
    view = memoryview(secret)
    with pytest.raises(BufferError, match="still in use"):
        secret.release()
    view.release()
    secret.release()


def test_outside_an_enclave_they_are_ordinary_memory(secret: hotcalls.SecretBytes) -> None:
    assert not secret.hidden


INSIDE = """
import ctypes, gc, os

@hotcalls.ecall
def use_up() -> list[int]:
    held = []
    while True:
        try:
            held.append(hotcalls.secret_bytes(1024))
        except MemoryError as error:
            assert "not left" in str(error)
            break
    count = len(held)
    del held
    gc.collect()
    return [count, len(hotcalls.secret_bytes(60000))]

@hotcalls.ecall
def wiped() -> list[bytes]:
    secret = hotcalls.secret_bytes(9)
    memoryview(secret)[:] = b"swordfish"
    address = ctypes.addressof(ctypes.c_char.from_buffer(secret))
    gc.collect()
    before = ctypes.string_at(address, 9)
    secret.release()
    after = ctypes.string_at(address, 9)
    secret = hotcalls.secret_bytes(9)
    memoryview(secret)[:] = b"swordfish"
    del secret
    return [before, after, ctypes.string_at(address, 9)]

@hotcalls.ecall
def hidden() -> bool:
    return hotcalls.secret_bytes(1).hidden
"""


def test_inside_an_enclave_they_are_wiped_and_given_back(start: Starter) -> None:
    enclave = start(INSIDE)
    assert enclave.wiped() == [b"swordfish", bytes(9), bytes(9)]
    assert enclave.use_up() == [64, 60000]
    assert enclave.use_up() == [64, 60000]
    assert isinstance(enclave.hidden(), bool)
