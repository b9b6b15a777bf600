# SPDX-License-Identifier: Apache-2.0
"""Exceptions that cross: type, text, and a traceback only if asked for."""

from __future__ import annotations

import decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotcalls import RemoteError
from hotcalls.wire import MessageError, decode_exception, encode_exception


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_exception_arrives_with_type_and_message() -> None:
    error = decode_exception(encode_exception(raised(ValueError("no such key"))))
    assert isinstance(error, RemoteError)
    assert str(error) == "ValueError: no such key"
    assert (error.type_name, error.message) == ("ValueError", "no such key")
    assert error.remote_traceback is None


def test_exception_of_a_module_is_named_with_it() -> None:
    error = decode_exception(encode_exception(decimal.InvalidOperation()))
    assert str(error) == "decimal.InvalidOperation"


def test_traceback_arrives_only_in_debug() -> None:
    error = decode_exception(encode_exception(raised(ValueError("x")), debug=True))
    assert error.remote_traceback is not None
    assert "raise error" in error.remote_traceback
    assert error.remote_traceback.endswith("ValueError: x\n")


def test_exception_whose_text_cannot_be_made_arrives() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    for debug in (False, True):
        error = decode_exception(encode_exception(raised(Mute()), debug))
        assert error.message == "<its str() raised RuntimeError>"
        assert error.type_name.endswith("Mute")


def test_text_is_bounded_and_has_no_control_characters() -> None:
    text = "\x1b]0;owned\x07\r\u202e\ud800 fine\n\ttoo" + "x" * 100_000
    error = decode_exception(encode_exception(raised(ValueError(text)), debug=True))
    assert error.message is not None
    assert error.message.startswith("\\x1b]0;owned\\x07\\r\\u202e\\ud800 fine\n\ttoo")
    assert len(error.message) < 5000
    assert len(error.remote_traceback or "") < 40_000


def test_hostile_text_is_cleaned_by_the_receiver_too() -> None:
    data = msgspec.msgpack.encode(["V\n\x1b[31m" + "x" * 9000, "\x1b[2J", "\x07"])
    error = decode_exception(data)
    assert "\x1b" not in str(error)
    assert "\n" not in error.type_name
    assert len(error.type_name) <= 240
    assert error.remote_traceback == "\\x07"


@given(st.binary(max_size=40))
def test_random_bytes_are_no_exception(data: bytes) -> None:
    try:
        error = decode_exception(data)
    except MessageError:
        return
    assert isinstance(error, RemoteError)


@pytest.mark.parametrize(
    "data", [b"", b"\x93\x01\x02\x03", b"\xc1", b"\x93" + b"\xa0" * 2, b"x" * 10**6]
)
def test_what_is_no_exception_is_refused(data: bytes) -> None:
    with pytest.raises(MessageError):
        decode_exception(data)


def test_error_that_crosses_again_and_again_says_so_once() -> None:
    error = decode_exception(encode_exception(KeyError("x")))
    for _ in range(5):
        error = decode_exception(encode_exception(error))
    assert str(error) == "hotcalls.errors.RemoteError: KeyError: 'x'"
    assert error.type_name == "hotcalls.errors.RemoteError"
