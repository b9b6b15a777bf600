# SPDX-License-Identifier: Apache-2.0
"""Unit tests of the vault's own code.

With `insecure_inline` the module runs in this process, through the same checks of arguments and
results: a debugger and a coverage tool see it, and `monkeypatch` reaches its surroundings. One test
launches the real thing.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_pem_public_key

import hotcalls

VAULT = Path(__file__).resolve().parent / "vault.py"


@pytest.fixture
def vault() -> Iterator[hotcalls.Enclave]:
    """The vault in this process."""
    with hotcalls.launch(VAULT, insecure_inline=True) as enclave:
        yield enclave


def claims(token: str, key: bytes) -> Any:
    """Check a token and return what it says."""
    signed, _, signature = token.rpartition(".")
    load_pem_public_key(key).verify(decode(signature), signed.encode())
    return json.loads(decode(signed.split(".")[1]))


def decode(text: str) -> bytes:
    """Decode what a token is made of."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_token_says_who_and_what_and_until_when(
    vault: hotcalls.Enclave, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.5)
    assert claims(vault.issue("ann", "read", seconds=60), vault.public_key()) == {
        "sub": "ann",
        "scope": "read",
        "iat": 1000,
        "exp": 1060,
    }


@pytest.mark.parametrize("arguments", [("", "read"), ("x" * 65, "read"), ("ann", "read", 901)])
def test_value_beyond_its_limits_is_refused(
    vault: hotcalls.Enclave, arguments: tuple[Any, ...]
) -> None:
    with pytest.raises(ValueError):
        vault.issue(*arguments)


def test_scope_that_is_not_there_is_refused(vault: hotcalls.Enclave) -> None:
    with pytest.raises(TypeError, match="expected 'read' or 'write', got 'admin'"):
        vault.issue("ann", "admin")


def test_another_vault_has_another_key(vault: hotcalls.Enclave) -> None:
    with hotcalls.launch(VAULT, insecure_inline=True) as other:
        with pytest.raises(InvalidSignature):
            claims(other.issue("ann", "read"), vault.public_key())


def test_locked_down_it_does_the_same() -> None:
    """What an import that happens late would break is seen only here."""
    with hotcalls.launch(VAULT) as vault:
        assert claims(vault.issue("ann", "write"), vault.public_key())["scope"] == "write"
