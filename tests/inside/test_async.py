# SPDX-License-Identifier: Apache-2.0
"""Coroutines as ecalls, in an event loop that needs no descriptors."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import hotcalls

Starter = Callable[..., hotcalls.Enclave]

MODULE = """
import asyncio

@hotcalls.ocall
def ask(level: int) -> int: ...

@hotcalls.ecall
async def later(value: int) -> int:
    await asyncio.sleep(0.001)
    return value + 1

@hotcalls.ecall
async def together(count: int) -> list[int]:
    return list(await asyncio.gather(*(later(i) for i in range(count))))

@hotcalls.ecall
async def nested(level: int) -> int:
    await asyncio.sleep(0)
    result = level + ask(level - 1) if level else 0
    await asyncio.sleep(0)
    return result

@hotcalls.ecall
async def failing() -> None:
    await asyncio.sleep(0)
    raise LookupError("nothing there")
"""


def test_async_ecall_runs_to_its_end(start: Starter) -> None:
    enclave = start(MODULE)
    assert [enclave.later(1), enclave.later(2), enclave.together(4)] == [2, 3, [1, 2, 3, 4]]


def test_async_ecall_raises_what_the_coroutine_raises(start: Starter) -> None:
    enclave = start(MODULE)
    with pytest.raises(hotcalls.RemoteError, match="LookupError: nothing there"):
        enclave.failing()
    assert enclave.later(1) == 2


def test_async_ecall_inside_the_ocall_of_another(start: Starter) -> None:
    made: list[hotcalls.Enclave] = []
    made.append(start(MODULE, ocalls={"ask": lambda level: made[0].nested(level)}))
    assert made[0].nested(4) == 10


def test_async_ecall_without_asyncio_waits_for_nothing(start: Starter) -> None:
    enclave = start(
        """
        class Never:
            def __await__(self):
                yield self

        async def half(value):
            return value // 2

        @hotcalls.ecall
        async def quarter(value: int) -> int:
            return await half(await half(value))

        @hotcalls.ecall
        async def never() -> None:
            await Never()
        """
    )
    assert enclave.quarter(20) == 5
    with pytest.raises(hotcalls.RemoteError, match="import asyncio at the top of the module"):
        enclave.never()
