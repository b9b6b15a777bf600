# SPDX-License-Identifier: Apache-2.0
"""Calls of Python functions as bytes: from annotations to messages that both sides check.

Pure Python on top of msgspec; knows nothing of channels and processes. The caller refuses what is
not of the annotated type before anything is sent; the receiver believes no byte of what arrives.
"""

from __future__ import annotations

from hotcalls.errors import SignatureError
from hotcalls.failure import MessageError
from hotcalls.wire.description import decode_interface, encode_interface
from hotcalls.wire.failures import decode_exception, encode_exception
from hotcalls.wire.shared import Access, SharedArray
from hotcalls.wire.signature import MISSING, Parameter, Signature

__all__ = [
    "MISSING",
    "Access",
    "MessageError",
    "Parameter",
    "SharedArray",
    "Signature",
    "SignatureError",
    "decode_exception",
    "decode_interface",
    "encode_exception",
    "encode_interface",
]
