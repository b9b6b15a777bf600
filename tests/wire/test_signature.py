# SPDX-License-Identifier: Apache-2.0
"""Signatures made of annotations: calls as messages, and what is refused when a module loads."""

from __future__ import annotations

from typing import Any

import pytest

from hotcalls.wire import MessageError, Signature


def signature(function: Any) -> Signature:
    return Signature.from_function(function)


def sign(digest: bytes) -> bytes: ...


def store(number: int, text: str, data: bytes) -> dict: ...  # type: ignore[type-arg]


def test_bytes_function_is_raw_and_sends_the_very_object() -> None:
    made = signature(sign)
    data = b"x" * 100
    assert made.raw
    assert made.encode_arguments((data,), {}) is data
    assert made.decode_arguments(data) == (data,)
    assert made.encode_result(data) is data
    assert made.decode_result(data) is data


def test_typed_call_arrives_as_it_was_made() -> None:
    made = signature(store)
    message = made.encode_arguments((1, "a"), {"data": b"b"})
    assert made.decode_arguments(message) == (1, "a", b"b")
    assert made.decode_result(made.encode_result({"a": [1, {"b": None}]})) == {
        "a": [1, {"b": None}]
    }


def test_wrong_argument_is_refused_by_function_and_parameter() -> None:
    with pytest.raises(TypeError, match=r"^sign\(digest=…\): expected bytes, got int$"):
        signature(sign).encode_arguments((1,), {})


def test_trailing_bytes_are_no_message() -> None:
    made = signature(store)
    with pytest.raises(MessageError):
        made.decode_arguments(made.encode_arguments((1, "a", b""), {}) + b"\0")
