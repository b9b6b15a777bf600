# SPDX-License-Identifier: Apache-2.0
"""Any bytes as a module's description of its functions: signatures, or a SignatureError."""

from __future__ import annotations

from hotcalls.errors import SignatureError
from hotcalls.wire.description import decode_interface, encode_interface


def run(data: bytes) -> None:
    """Read it; what was understood describes itself, and means the same then."""
    try:
        ecalls, ocalls = decode_interface(data)
    except SignatureError as error:
        assert str(error)
        return
    for signature in (*ecalls, *ocalls):
        assert signature.name.isidentifier()
        assert str(signature)
        assert len(signature.digest()) == 32
    again = decode_interface(encode_interface(ecalls, ocalls))
    assert [each.digest() for each in again[0]] == [each.digest() for each in ecalls]
