# SPDX-License-Identifier: Apache-2.0
"""Calls of a Python enclave: into it, out of it, into it again, and how it ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import hotcalls

Starter = Callable[..., hotcalls.Enclave]


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 64, 4096, 65536, 1 << 20, 4 << 20])
def test_bytes_come_back_as_they_went(anything: hotcalls.Enclave, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
    assert anything.echo(data) == data
    assert anything.echo(data) == data


def test_answer_larger_than_was_expected_is_fetched(anything: hotcalls.Enclave) -> None:
    for size in (10, 100_000, 40, 3_000_000, 33, 0):
        assert anything.zeros(size) == bytes(size)


def test_answer_larger_than_the_window_is_refused_and_the_next_call_works(
    anything: hotcalls.Enclave,
) -> None:
    with pytest.raises(hotcalls.CallError, match="window"):
        anything.zeros(5 << 20)
    assert anything.add(1) == 4


def test_call_without_arguments_returns_none(anything: hotcalls.Enclave) -> None:
    assert anything.nothing() is None


def test_typed_call_takes_defaults_and_keywords(anything: hotcalls.Enclave) -> None:
    assert [anything.add(1), anything.add(1, 1), anything.add(right=5, left=1)] == [4, 2, 6]


def test_result_of_another_type_is_an_error_inside(anything: hotcalls.Enclave) -> None:
    with pytest.raises(hotcalls.RemoteError, match=r"TypeError: not_bytes\(\): result"):
        anything.not_bytes(b"")


@pytest.mark.parametrize("switch", [False, True])
def test_many_threads_call_at_once(anything: hotcalls.Enclave, switch: bool) -> None:
    wrong: list[Any] = []
    echo = anything.echo.options(mode="switch") if switch else anything.echo

    def work(number: int) -> None:
        data = bytes([number]) * (number * 7)
        for _ in range(200):
            answer = echo(data)
            if answer != data:
                wrong.append((number, answer))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_calls_run_side_by_side_while_one_sleeps(anything: hotcalls.Enclave) -> None:
    anything.attempt("hotcalls.asleep, hotcalls.enough = threading.Event(), threading.Event()")
    sleep = "hotcalls.asleep.set(); r = hotcalls.enough.wait(60)"
    ended: list[str] = []
    thread = threading.Thread(target=lambda: ended.append(anything.attempt(sleep)))
    thread.start()
    assert anything.attempt("r = hotcalls.asleep.wait(60)") == "True"
    for _ in range(20):
        assert anything.add(1) == 4
    assert not ended
    anything.attempt("hotcalls.enough.set()")
    thread.join()
    assert ended == ["True"]


# ---- out ----------------------------------------------------------------------------------------


def test_ocall_reaches_the_host(anything: hotcalls.Enclave, events: list[str]) -> None:
    del events[:]
    anything.attempt("audit('signed'); audit('x' * 1000)")
    assert events == ["signed", "x" * 1000]


@pytest.mark.parametrize("size", [0, 16, 17, 100_000])
def test_ocall_brings_its_result(anything: hotcalls.Enclave, size: int) -> None:
    code = f"r = double(b'a' * {size}) == b'a' * {2 * size} == double(b'a' * {size})"
    assert anything.attempt(code) == "True"


def test_exception_of_an_ocall_is_a_remote_error_inside(anything: hotcalls.Enclave) -> None:
    code = "try:\n fail('too late')\nexcept hotcalls.RemoteError as e:\n r = e.type_name, str(e)"
    assert anything.attempt(code) == "('ValueError', 'ValueError: too late')"


def test_wrong_argument_of_an_ocall_never_leaves(
    anything: hotcalls.Enclave, events: list[str]
) -> None:
    del events[:]
    with pytest.raises(hotcalls.RemoteError, match=r"TypeError: audit\(event=…\): expected str"):
        anything.attempt("audit(5)")
    assert not events


def test_ocall_from_threads_of_the_module(anything: hotcalls.Enclave, events: list[str]) -> None:
    del events[:]
    code = (
        "ts = [threading.Thread(target=audit, args=(str(i),)) for i in range(8)]\n"
        "[t.start() for t in ts]; [t.join() for t in ts]"
    )
    anything.attempt(code)
    assert sorted(events) == list("01234567")


def test_ocall_from_coroutines(anything: hotcalls.Enclave, events: list[str]) -> None:
    del events[:]
    code = (
        "async def f(i):\n await asyncio.sleep(0.001)\n audit(str(i))\n"
        "async def g():\n await asyncio.gather(*(f(i) for i in range(4)))\n"
        "asyncio.run(g())"
    )
    anything.attempt(code)
    assert sorted(events) == list("0123")


def test_ecall_inside_an_ocall(start: Starter) -> None:
    depth: list[int] = []
    made: list[hotcalls.Enclave] = []

    def down(level: int) -> int:
        depth.append(level)
        return made[0].descend(level)  # type: ignore[no-any-return]

    made.append(
        start(
            """
            @hotcalls.ocall
            def down(level: int) -> int: ...

            @hotcalls.ecall
            def descend(level: int) -> int:
                return level + down(level - 1) if level else 0
            """,
            ocalls={"down": down},
        )
    )
    assert made[0].descend(5) == 15
    assert depth == [4, 3, 2, 1, 0]


def test_ocall_that_was_not_given_says_so(start: Starter) -> None:
    enclave = start(
        """
        @hotcalls.ocall
        def audit(event: str) -> None: ...

        @hotcalls.ecall
        def f() -> None:
            audit("x")
        """
    )
    with pytest.raises(hotcalls.RemoteError, match="launch\\(\\) was given no ocall 'audit'"):
        enclave.f()


def test_thread_of_the_module_calls_out_on_its_own(start: Starter) -> None:
    heard = threading.Event()
    start(
        """
        import threading, time

        @hotcalls.ocall
        def tick() -> None: ...

        @hotcalls.startup
        def start():
            threading.Thread(target=run, daemon=True).start()

        def run():
            while True:
                try:
                    tick()
                    return
                except hotcalls.CallError:
                    time.sleep(0.01)  # not serving yet

        @hotcalls.ecall
        def f() -> None: ...
        """,
        ocalls={"tick": heard.set},
    )
    assert heard.wait(30)


# ---- what goes wrong ----------------------------------------------------------------------------


def test_exception_comes_out_without_its_traceback(anything: hotcalls.Enclave) -> None:
    with pytest.raises(hotcalls.RemoteError, match="ZeroDivisionError: division by zero") as caught:
        anything.attempt("1 / 0")
    assert caught.value.type_name == "ZeroDivisionError"
    assert caught.value.remote_traceback is None


def test_exception_comes_out_with_its_traceback_when_debugging(start: Starter) -> None:
    enclave = start(
        "@hotcalls.ecall\ndef f() -> None:\n    secret_name = 1\n    secret_name / 0\n", debug=True
    )
    with pytest.raises(hotcalls.RemoteError) as caught:
        enclave.f()
    assert "secret_name / 0" in (caught.value.remote_traceback or "")


@pytest.mark.parametrize("code", ["raise KeyboardInterrupt", "raise GeneratorExit"])
def test_other_base_exception_is_only_an_error(anything: hotcalls.Enclave, code: str) -> None:
    with pytest.raises(hotcalls.RemoteError):
        anything.attempt(code)
    assert anything.add(1) == 4


@pytest.fixture
def null() -> Iterator[int]:
    """Where output goes that nobody wants."""
    descriptor = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize(
    "code",
    [
        "sys.exit(3)",
        "raise SystemExit('enough')",
        "os._exit(3)",
        "ctypes.string_at(8)",
        "os.abort()",
    ],
)
def test_end_of_the_process_is_the_loss_of_the_enclave(
    start: Starter, null: int, code: str
) -> None:
    enclave = start(
        f"import ctypes, os, sys\n@hotcalls.ecall\ndef f() -> None:\n    {code}\n", log=null
    )
    with pytest.raises(hotcalls.EnclaveLost):
        enclave.f()
    with pytest.raises(hotcalls.EnclaveLost):
        enclave.f()


def test_loss_reaches_every_caller_at_once(start: Starter) -> None:
    enclave = start(
        """
        import os, time

        @hotcalls.ecall
        def wait() -> None:
            time.sleep(30)

        @hotcalls.ecall
        def end() -> None:
            os._exit(1)
        """,
        threads=4,
    )
    errors: list[type[BaseException]] = []

    def call() -> None:
        try:
            enclave.wait()
        except hotcalls.HotcallsError as error:
            errors.append(type(error))

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    with pytest.raises(hotcalls.EnclaveLost):
        enclave.end()
    for thread in threads:
        thread.join(25)  # of 30 s
    assert errors == [hotcalls.EnclaveLost] * 3


def test_interrupt_of_the_terminal_does_not_reach_it(start: Starter) -> None:
    enclave = start("@hotcalls.ecall\ndef f() -> int:\n    return 1\n")
    for number in (signal.SIGINT, signal.SIGPIPE):
        os.kill(enclave.pid, number)
    assert enclave.f() == 1
    assert os.getsid(enclave.pid) == enclave.pid


def test_log_that_nobody_reads_does_not_end_it(start: Starter) -> None:
    read, write = os.pipe()
    enclave = start(
        "@hotcalls.ecall\ndef f() -> int:\n    try:\n        print('x' * 100)\n"
        "    except BrokenPipeError:\n        pass\n    return 1\n",
        log=write,
    )
    os.close(write)
    os.close(read)
    assert enclave.f() == 1
    enclave.close()


# ---- classes, restarts, and the interpreter's lock -----------------------------------------------

POINT = """
from dataclasses import dataclass
from enum import Enum

class Colour(Enum):
    RED = "red"

@dataclass
class Point:
    x: int
    y: int
    colour: Colour = Colour.RED

@hotcalls.startup
def start():
    raise_in_host = 1 / (1 if "hotcalls._inside" in __import__("sys").modules else 0)

@hotcalls.ecall
def flip(point: Point) -> Point:
    return Point(point.y, point.x, point.colour)
"""


def test_classes_of_the_module_are_those_of_the_hosts_own_import(
    start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another test of this process may have imported a module of that name.
    monkeypatch.delitem(sys.modules, "vault", raising=False)
    enclave = start(POINT)
    module = sys.modules["vault"]
    try:
        point = enclave.flip(module.Point(1, 2))
        assert type(point) is module.Point
        assert point == module.Point(2, 1, module.Colour.RED)
        with pytest.raises(TypeError, match=r"flip\(point=…\)"):
            enclave.flip((1, 2))
    finally:
        del sys.modules["vault"]


def test_lost_enclave_is_started_again_without_its_secrets(start: Starter) -> None:
    enclave = start(
        """
        import os

        @hotcalls.startup
        def start(secrets, args):
            global KEY
            try:
                KEY = secrets["key"].read().decode()
            except KeyError as error:
                KEY = str(error)

        @hotcalls.ecall
        def key() -> str:
            return KEY

        @hotcalls.ecall
        def end() -> None:
            os._exit(1)
        """,
        secrets={"key": b"swordfish"},
        args=1,
        restart="on-failure",
    )
    first = enclave.pid
    assert enclave.key() == "swordfish"
    with pytest.raises(hotcalls.EnclaveLost):
        enclave.end()
    assert "never handed over twice" in enclave.key()
    assert enclave.pid != first


def test_threads_of_the_module_go_on_while_calls_come_in(start: Starter) -> None:
    enclave = start(
        """
        import threading

        COUNT = 0

        def run():
            global COUNT
            while True:
                COUNT += 1

        @hotcalls.startup
        def start():
            threading.Thread(target=run, daemon=True).start()

        @hotcalls.ecall
        def count() -> int:
            return COUNT
        """
    )
    seen = [enclave.count() for _ in range(200)]
    assert seen == sorted(seen)
    # Calls are answered beside a thread that never waits, and it gets its share.
    until = time.monotonic() + 30
    while enclave.count() <= seen[0]:
        assert time.monotonic() < until
        time.sleep(0.05)
