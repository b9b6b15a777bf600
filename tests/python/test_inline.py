# SPDX-License-Identifier: Apache-2.0
"""A module run in the program itself, through the codecs of the boundary."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

import hotcalls
from hotcalls.inline import launch_inline

VAULT = '''
import hotcalls

KEY = b""

@hotcalls.startup
def start():
    global KEY
    KEY = b"key"

@hotcalls.ocall
def audit(event: str) -> int: ...

@hotcalls.ecall
def sign(digest: bytes) -> bytes:
    """Sign it."""
    return KEY + digest

@hotcalls.ecall
def audited(event: str) -> int:
    return audit(event)

@hotcalls.ecall
def fail(text: str) -> None:
    raise LookupError(text)

@hotcalls.ecall
def wrong(x: int) -> int:
    return "text"

@hotcalls.ecall
def same(values: list[int]) -> list[int]:
    values.append(1)
    return values
'''


@pytest.fixture
def vault() -> Any:
    from hotcalls.declare import declarations

    def launch(**ocalls: Callable[..., Any]) -> Any:
        def start(module: Any) -> None:
            for function in declarations(module).startups:
                function()

        source = textwrap.dedent(VAULT).encode()
        return launch_inline("vault", "/nowhere/vault.py", source, ocalls, start, threads=2)

    return launch


def test_functions_run_here_and_look_like_an_enclaves(vault: Any) -> None:
    with vault() as enclave:
        assert isinstance(enclave, hotcalls.Enclave)
        assert "inline: not protected" in repr(enclave)
        assert repr(enclave.sign) == "<ecall sign(digest: bytes) -> bytes>"
        assert enclave.sign(b"1") == b"key1"
        assert enclave.sign.options(timeout=5, mode="switch")(b"2") == b"key2"
        assert enclave.sign.submit(b"3").result() == b"key3"
        assert list(enclave.sign.map([b"4", b"5"])) == [b"key4", b"key5"]
        assert asyncio.run(enclave.sign.aio(b"6")) == b"key6"
        enclave.check()
    assert "closed" in repr(enclave)


def test_types_are_refused_as_at_the_boundary(vault: Any) -> None:
    with vault(audit=lambda event: "text") as enclave:
        with pytest.raises(TypeError, match=r"sign\(digest=…\): expected bytes, got str"):
            enclave.sign("text")
        with pytest.raises(hotcalls.RemoteError, match=r"wrong\(\): result"):
            enclave.wrong(1)
        with pytest.raises(hotcalls.RemoteError, match=r"audit\(\): result"):
            enclave.audited("event")


def test_arguments_are_copies(vault: Any) -> None:
    with vault() as enclave:
        values = [5]
        assert enclave.same(values) == [5, 1]
        assert values == [5]


def test_exceptions_come_out_as_remote_errors(vault: Any) -> None:
    with vault() as enclave:
        with pytest.raises(hotcalls.RemoteError, match="LookupError: x") as caught:
            enclave.fail("x")
        assert caught.value.type_name == "LookupError"
        enclave.fail.oneway("x")
        with pytest.raises(hotcalls.OnewayError):
            enclave.flush()


def test_ocalls_are_served_and_checked(vault: Any) -> None:
    with vault(audit=len) as enclave:
        assert enclave.audited("event") == 5
    with vault() as enclave:
        with pytest.raises(hotcalls.RemoteError, match="was given no ocall 'audit'"):
            enclave.audited("event")
    with pytest.raises(ValueError, match="makes no ocall 'other'; it makes audit"):
        vault(other=print)


def test_use_after_close_is_refused(vault: Any) -> None:
    enclave = vault()
    enclave.close()
    enclave.close()
    for use in (
        lambda: enclave.sign(b""),
        lambda: enclave.sign.submit(b""),
        lambda: enclave.sign.map([b""]),
        lambda: asyncio.run(enclave.sign.aio(b"")),
        lambda: enclave.flush(),
        lambda: enclave.check(),
    ):
        with pytest.raises(hotcalls.EnclaveLost, match="closed"):
            use()
