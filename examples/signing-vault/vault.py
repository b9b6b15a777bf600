# SPDX-License-Identifier: Apache-2.0
"""The vault: an Ed25519 key that signs tokens, and nothing else. Runs in the enclave.

The key is made here and leaves this process in no form. What the host can get signed is what this
module writes itself: a token of a known scope, for a quarter of an hour at most.
"""

from __future__ import annotations

import base64
import json
import time
from typing import Annotated, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import hotcalls

Subject = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Seconds = Annotated[int, msgspec.Meta(ge=1, le=900)]
#: None is for administrators: whoever takes the host over can have no such token signed.
Scope = Literal["read", "write"]


@hotcalls.startup
def start() -> None:
    """Make the key, inside and before the first call. An import elsewhere makes none."""
    global _key
    _key = Ed25519PrivateKey.generate()


@hotcalls.ecall
def issue(subject: Subject, scope: Scope, seconds: Seconds = 300) -> str:
    """Return a signed token: a JSON Web Token with the algorithm EdDSA."""
    now = int(time.time())
    claims = {"sub": subject, "scope": scope, "iat": now, "exp": now + seconds}
    signed = f"{_part({'alg': 'EdDSA', 'typ': 'JWT'})}.{_part(claims)}"
    return f"{signed}.{_base64(_key.sign(signed.encode()))}"


@hotcalls.ecall
def public_key() -> bytes:
    """Return the public key, in PEM. It is all that is needed to check a token."""
    return _key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _part(value: dict[str, object]) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
