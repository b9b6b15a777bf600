# SPDX-License-Identifier: Apache-2.0
"""What the enclave calls outside: arguments, results, errors and exceptions of Python callables."""

from __future__ import annotations

import errno
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hotcalls

CALLEE = 19
MESSAGE = 6
#: Milliseconds of a nap that the test ends, with rise(), and not the clock.
LONG_NAP = 60_000


def rung(call: Any, argument: int) -> Any:
    """Make a call that SIGALRM comes in the middle of, unless a loaded machine is late with it."""
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    return call(argument)


class Host:
    """The ocalls; a test replaces what it wants to see."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        self.threads: set[int] = set()
        self.do: dict[str, Any] = {}

    def ocalls(self) -> dict[str, Any]:
        return {
            "twice": lambda v: self._run("twice", lambda v: 2 * v, v),
            "text": lambda text, n: self._run("text", lambda t, n: (len(t), b"answer"), text, n),
            "errno_of": lambda number: self._run("errno_of", self._errno, number),
            "many_values": lambda values, p: self._run(
                "many_values", lambda values, p: (sum(values), (p.x, p.y * 10, p.z)), values, p
            ),
            "shared": lambda p, *n: self._run("shared", self._sum, p),
            "heard": lambda v: self._run("heard", self.heard.append, v),
        }

    def _run(self, name: str, default: Any, *args: Any) -> Any:
        self.threads.add(threading.get_ident())
        return self.do.get(name, default)(*args)

    @staticmethod
    def _errno(number: int) -> int:
        if number:
            raise OSError(number, "as asked")
        return 5

    @staticmethod
    def _sum(p: memoryview) -> int:
        total = sum(p)
        p[0] = 99
        return total


@pytest.fixture(scope="module")
def host() -> Host:
    return Host()


@pytest.fixture(scope="module", params=["hot", "switch"])
def _launched(request: pytest.FixtureRequest, host: Host, calls_path: Path) -> Iterator[Any]:
    with hotcalls.launch(calls_path, ocalls=host.ocalls(), mode=request.param) as enclave:
        yield enclave


@pytest.fixture
def calls(_launched: Any, host: Host) -> Iterator[Any]:
    yield _launched
    host.do.clear()


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What an ocall raised is reported here, as nothing else will."""
    seen: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", seen.append)
    return seen


def test_ocall_gets_and_returns_numbers(calls: Any) -> None:
    assert calls.ask_twice(21) == 42
    assert calls.ask_twice(-(1 << 40)) == -(1 << 41)


def test_ocall_gets_strings_and_fills_out_buffers(calls: Any) -> None:
    length, answer = calls.ask_text("ünï")
    assert length == 3
    assert answer == b"answer".ljust(64, b"\0")


def test_ocall_gets_sequences_and_structs(calls: Any) -> None:
    assert calls.ask_many([1, 2, 3]) == (0, 6 + 20)


def test_ocall_writes_into_shared_memory(calls: Any) -> None:
    with calls.shared(100) as view:
        view[:] = b"\x02" * 100
        assert calls.ask_shared(view) == 200
        assert view[0] == 99


def test_ocall_runs_in_the_thread_that_made_the_ecall(calls: Any, host: Host) -> None:
    host.threads.clear()
    calls.ask_twice(1)
    assert host.threads == {threading.get_ident()}


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EINTR])
def test_oserror_becomes_errno_inside(calls: Any, number: int) -> None:
    assert calls.ask_errno(number) == (-1, number)


def test_errno_is_untouched_without_an_error(calls: Any) -> None:
    assert calls.ask_errno(0) == (5, 0)


def test_missing_ocall_fails_inside_and_only_there(calls: Any, unraisable: list[Any]) -> None:
    assert calls.ask_missing() == CALLEE
    assert unraisable == []


def test_exception_of_an_ocall_is_a_status_inside_and_reported_outside(
    calls: Any, host: Host, unraisable: list[Any]
) -> None:
    def fail(_: int) -> int:
        raise LookupError("not there")

    host.do["twice"] = fail
    assert calls.ask_twice(1) == -1000 - CALLEE
    assert [type(report.exc_value) for report in unraisable] == [LookupError]
    assert "ocall twice" in unraisable[0].object
    host.do.clear()
    assert calls.ask_twice(1) == 2


@pytest.mark.parametrize("value", ["text", None, 1.5, (1, 2), 1 << 64])
def test_result_of_the_wrong_type_is_reported_with_what_was_expected(
    calls: Any, host: Host, unraisable: list[Any], value: Any
) -> None:
    host.do["twice"] = lambda _: value
    assert calls.ask_twice(1) == -1000 - CALLEE
    assert "twice() returned" in str(unraisable[0].exc_value)


@pytest.mark.parametrize("value", [(1, b"x" * 65), (1, "text"), 1, (1, b"a", b"b"), None])
def test_out_buffer_that_does_not_fit_is_reported(
    calls: Any, host: Host, unraisable: list[Any], value: Any
) -> None:
    host.do["text"] = lambda *_: value
    assert calls.ask_text("x")[0] == -1000 - CALLEE
    assert "text" in str(unraisable[0].exc_value)


def test_exception_of_one_ocall_is_not_the_cause_of_a_later_error(
    calls: Any, host: Host, unraisable: list[Any]
) -> None:
    def fail(_: int) -> int:
        raise LookupError("long ago")

    host.do["twice"] = fail
    calls.ask_twice(1)
    with pytest.raises(hotcalls.CallError) as caught:
        calls.sum(bytes(1 << 20))
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_keyboard_interrupt_in_an_ocall_goes_on_in_the_host(
    calls: Any, host: Host, kind: type[BaseException]
) -> None:
    def interrupt(_: int) -> int:
        raise kind("stop")

    host.do["twice"] = interrupt
    with pytest.raises(kind, match="stop"):
        calls.ask_twice(1)
    host.do.clear()
    assert calls.ask_twice(1) == 2


def test_ocall_is_for_the_thread_that_waits_for_its_enclave_however_late_it_comes(
    calls: Any, host: Host
) -> None:
    def late(*_: object) -> None:
        if calls.napping() == 0:  # it rang before the call was there
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            return
        calls.rise()
        # Meanwhile the ocall lies there, for many times as long as the enclave waits before it
        # rings for another thread.
        time.sleep(0.3)

    def interrupt(_: int) -> int:
        raise KeyboardInterrupt("stop")

    host.do["twice"] = interrupt
    before = signal.signal(signal.SIGALRM, late)
    try:
        with pytest.raises(KeyboardInterrupt, match="stop"):
            rung(calls.nap_and_ask, 1)
    finally:
        signal.signal(signal.SIGALRM, before)
    host.do.clear()
    assert calls.ask_twice(1) == 2


def test_exception_in_an_ocall_of_a_submitted_call_is_reported(
    calls: Any, host: Host, unraisable: list[Any]
) -> None:
    # It runs in a thread of the runtime: nobody is there to whom it could go on.
    def interrupt(_: int) -> int:
        raise KeyboardInterrupt("stop")

    host.do["twice"] = interrupt
    assert calls.ask_twice.submit(1).result() == -1000 - CALLEE
    assert [type(report.exc_value) for report in unraisable] == [KeyboardInterrupt]
    host.do.clear()
    assert calls.ask_twice(1) == 2


def test_exception_of_an_ocall_is_printed_with_its_traceback(
    run_script: Any, calls_path: Path
) -> None:
    done = run_script(
        """
        def twice(v):
            raise LookupError("not there")
        with hotcalls.launch(path, ocalls={"twice": twice}) as enclave:
            enclave.ask_twice(1)
        """,
        path=str(calls_path),
    )
    assert done.returncode == 0, done.stderr
    assert "ocall twice of enclave calls" in done.stderr
    assert "LookupError: not there" in done.stderr
    assert 'raise LookupError("not there")' in done.stderr
    assert "hotcalls" not in done.stderr.split("LookupError: not there")[1]


def test_signal_handler_runs_during_a_wait(calls: Any) -> None:
    seen: list[bool] = []

    def handler(*_: object) -> None:
        if calls.napping() == 0:  # it rang before the call was there
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            return
        seen.append(True)
        calls.rise()

    before = signal.signal(signal.SIGALRM, handler)
    try:
        rung(calls.nap, LONG_NAP)
        assert seen == [True]
    finally:
        signal.signal(signal.SIGALRM, before)


def test_keyboard_interrupt_ends_a_wait(calls: Any) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            rung(calls.nap, LONG_NAP)
        assert calls.ask_twice(4) == 8
    finally:
        signal.signal(signal.SIGALRM, before)
    calls.rise()


def test_any_exception_of_a_signal_handler_ends_a_wait(calls: Any) -> None:
    def alarm(*_: object) -> None:
        raise LookupError("rang")

    before = signal.signal(signal.SIGALRM, alarm)
    try:
        with pytest.raises(LookupError, match="rang"):
            rung(calls.nap, LONG_NAP)
    finally:
        signal.signal(signal.SIGALRM, before)
    calls.rise()


def test_ocall_of_a_oneway_call_is_served(calls: Any, host: Host) -> None:
    host.heard.clear()
    for value in range(5):
        calls.oneway_ask.oneway(value)
    calls.flush()
    deadline = time.monotonic() + 30
    while len(host.heard) < 5 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert host.heard == [0, 1, 2, 3, 4]


def test_ocall_may_close_the_enclave(calls_path: Path) -> None:
    enclave: Any = hotcalls.launch(calls_path, ocalls={"twice": lambda v: enclave.close() or v})
    with pytest.raises(hotcalls.EnclaveLost):
        enclave.ask_twice(1)
    assert enclave.closed


def test_ocall_of_a_oneway_call_may_close_the_enclave(calls_path: Path) -> None:
    closed = threading.Event()

    def close(_: int) -> None:
        enclave.close()
        closed.set()

    enclave: Any = hotcalls.launch(calls_path, ocalls={"heard": close})
    enclave.oneway_ask.oneway(1)
    assert closed.wait(30)
    assert enclave.closed
    with pytest.raises(hotcalls.EnclaveLost):
        enclave.i32(1)


def test_slow_ocall_does_not_hold_up_other_threads(calls: Any, host: Host) -> None:
    going = threading.Event()
    release = threading.Event()

    def slow(v: int) -> int:
        going.set()
        release.wait(30)
        return v

    host.do["twice"] = slow
    result: list[int] = []
    thread = threading.Thread(target=lambda: result.append(calls.ask_twice(7)))
    thread.start()
    assert going.wait(30)
    for value in range(50):
        assert calls.i32(value) == value
    release.set()
    thread.join()
    assert result == [7]
