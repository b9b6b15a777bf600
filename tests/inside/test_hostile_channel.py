# SPDX-License-Identifier: Apache-2.0
"""A host that rewrites the channel while its Python enclave works on calls.

Whatever is rewritten: a right answer, a typed error or a lost enclave, within the time that a call
may take; and an enclave that ends does so on purpose, not by touching memory that is none of the
channel's. ``tests/hostile`` does the same to the C runtime, field by field; here it is what reads
messages inside: heads, sizes, kinds and tokens, in ecalls, ocalls and what is held.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import hotcalls
from region import CELL_WORDS, CONTROL_WORDS, Region, mappings

pytestmark = [
    pytest.mark.claim("H-MEMORY"),
    pytest.mark.claim("H-BOUND"),
]
#: The enclave was asked to work with what nobody should have read.
CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGABRT, signal.SIGFPE)
CALL_SECONDS = 0.1
#: A call that takes longer beyond its own timeout hangs; starved of the processor, none does.
PATIENCE_SECONDS = 60.0
SCRIBBLE_SECONDS = 0.25

MODULE = """
@hotcalls.ocall
def ask(data: bytes) -> bytes: ...

@hotcalls.ecall
def echo(data: bytes) -> bytes:
    return data

@hotcalls.ecall
def add(left: int, right: int) -> int:
    return left + right

@hotcalls.ecall
def zeros(size: int) -> bytes:
    return bytes(size)

@hotcalls.ecall
def through(data: bytes) -> bytes:
    return ask(data)
"""


@contextmanager
def launched(
    module: Path, ask: Callable[[bytes], bytes]
) -> Iterator[tuple[hotcalls.Enclave, Region]]:
    before = mappings()
    enclave = hotcalls.launch(module, ocalls={"ask": ask}, timeout=60)
    try:
        yield enclave, Region(before)
    finally:
        start = time.monotonic()
        enclave.close()
        assert time.monotonic() - start < PATIENCE_SECONDS


def outcome(function: Callable[..., Any], arguments: tuple[Any, ...], right: Any) -> str:
    """Make a call and name what became of it. Anything but what a user is told of fails."""
    start = time.monotonic()
    try:
        answer = function(*arguments)
        what = "right" if answer == right else "other"
    except hotcalls.HotcallsError as error:
        what = type(error).__name__
        if isinstance(error, hotcalls.EnclaveLost) and error.signal in CRASHES:
            pytest.fail(f"the enclave crashed: {error}")
    assert time.monotonic() - start < CALL_SECONDS + PATIENCE_SECONDS, (what, arguments)
    return what


def test_region_is_found_where_the_test_looks_for_it(
    write: Callable[..., Path],
) -> None:
    seen = []

    def ask(data: bytes) -> bytes:
        seen.append([region.words[region.cell(0, lane, 0)] for lane in range(3)])
        return data

    with launched(write(MODULE), ask) as (enclave, region):
        assert enclave.through(b"x" * 5000) == b"x" * 5000
        assert region.window_size == 4 << 20
        assert region.words[region.window(0, 0)].to_bytes(8, "little") == b"x" * 8
    assert any(seen[0])


VALUES: list[Callable[[int], int]] = [
    lambda now: now + 1,
    lambda now: now ^ (1 << 63),
    lambda now: now ^ 0xFFFFFFFF,
    lambda now: 0,
    lambda now: (1 << 64) - 1,
    lambda now: now ^ (0xFFFF << 32),
]


@pytest.mark.parametrize("size", [16, 3000])
@pytest.mark.parametrize("lane", range(2))
def test_cell_rewritten_while_an_ocall_is_out_is_survived(
    write: Callable[..., Path], lane: int, size: int
) -> None:
    module = write(MODULE)
    found: Counter[str] = Counter()
    steps = [(number, word) for number in range(2) for word in range(CELL_WORDS)]
    plan = list(enumerate(steps))
    data = os.urandom(size)
    current = plan[0]

    def rewrite(given: bytes) -> bytes:
        step, (number, word) = current
        index = region.cell(0, lane, number) + word
        value = VALUES[step % len(VALUES)]
        region.words[index] = value(region.words[index]) & ((1 << 64) - 1)
        return given

    while plan:
        with launched(module, rewrite) as (enclave, region):
            what = "right"
            while plan and what == "right":
                current = plan.pop(0)
                what = outcome(enclave.through.options(timeout=CALL_SECONDS), (data,), data)
                found[what] += 1
    print(dict(found))
    assert found.total() == len(steps)
    assert "other" not in found
    assert found["right"] < len(steps)


def scribble(region: Region, over: str, chance: random.Random, stop: threading.Event) -> None:
    """Rewrite words, now and then."""
    # A word that no call can have ends the channel: time for some calls before that.
    while not stop.wait(chance.random() * (0.01 if over == "words" else 0.0002)):
        for _ in range(1 if over == "words" else 30):
            scribble_once(region, over, chance)


def scribble_once(region: Region, over: str, chance: random.Random) -> None:
    """Rewrite a word of something that is in use."""
    slot = chance.choice([0, 1, 2, region.slots - 1, region.slots - 2])
    lane = chance.randrange(3)
    cell = region.cell(slot, lane, chance.randrange(region.cells))
    index = {
        "words": cell,
        "heads": cell + chance.randrange(1, CELL_WORDS),
        "boards": 32 + chance.randrange(64),
        "controls": region.control(slot) + chance.randrange(CONTROL_WORDS),
        "windows": region.window(slot, lane) + chance.randrange(400),
    }[over]
    if region.words[cell] == 0 and over != "boards":
        return  # nobody uses it
    value = chance.choice([*VALUES, lambda _: chance.getrandbits(64)])
    region.words[index] = value(region.words[index]) & ((1 << 64) - 1)


@pytest.mark.parametrize("over", ["words", "heads", "boards", "controls", "windows"])
def test_channel_that_is_scribbled_over_ends_no_other_way(
    write: Callable[..., Path], over: str
) -> None:
    seed = int(os.environ.get("HOTCALLS_SEED", time.time_ns()))
    print(f"HOTCALLS_SEED={seed}")
    found: Counter[str] = Counter()
    failures: list[BaseException] = []
    data, large = bytes(range(24)), os.urandom(3000)
    with launched(write(MODULE), lambda given: given) as (enclave, region):
        stop = threading.Event()
        calls = [
            (enclave.echo, (data,), data),
            (enclave.echo, (large,), large),
            (enclave.add, (40, 2), 42),
            (enclave.through, (data,), data),
            (enclave.through, (large,), large),
            (enclave.zeros, (100_000,), bytes(100_000)),
        ]
        bounded = [(call.options(timeout=CALL_SECONDS), *rest) for call, *rest in calls]

        def caller(first: int) -> None:
            try:
                for number in range(first, 1 << 30):
                    if stop.is_set():
                        return
                    found[outcome(*bounded[number % len(bounded)])] += 1
            except BaseException as error:  # of whatever kind: shown by the test
                failures.append(error)

        threads = [
            threading.Thread(target=caller, args=(first,), daemon=True) for first in range(2)
        ]
        threads.append(
            threading.Thread(target=scribble, args=(region, over, random.Random(seed), stop))
        )
        for thread in threads:
            thread.start()
        time.sleep(SCRIBBLE_SECONDS)
        until = time.monotonic() + PATIENCE_SECONDS
        while not (found or failures) and time.monotonic() < until:
            time.sleep(SCRIBBLE_SECONDS)
        stop.set()
        for thread in threads:
            thread.join(CALL_SECONDS + 2 * PATIENCE_SECONDS)
            assert not thread.is_alive()
        assert not failures, failures
        status, text, number, _ = enclave._native.why()
        assert number not in CRASHES, (status, text)
    print(dict(found))
    assert found.total() > 0
    with launched(write(MODULE), lambda given: given) as (fresh, _):
        assert fresh.echo(b"unharmed") == b"unharmed"


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What an ocall that nobody waits for raises is not the matter here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
