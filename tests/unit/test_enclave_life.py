# SPDX-License-Identifier: Apache-2.0
"""From launch to close: what is left over, what a closed or lost enclave answers, who is harmed."""

from __future__ import annotations

import gc
import os
import re
import signal
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hotcalls


def test_closed_enclave_leaves_nothing_behind(
    calls_path: Path, footprint: Any, gone: Callable[..., bool]
) -> None:
    with hotcalls.launch(calls_path, ocalls={"twice": lambda v: v}) as enclave:
        enclave.ask_twice(1)
        with enclave.shared(1 << 20) as view:
            enclave.sum_shared(view)
        pid = enclave.pid
    assert gone(pid)


def test_collected_enclave_leaves_nothing_behind(
    calls_path: Path, footprint: Any, gone: Callable[..., bool]
) -> None:
    enclave = hotcalls.launch(calls_path)
    enclave.i32(1)
    pid = enclave.pid
    reference = weakref.ref(enclave)
    del enclave
    gc.collect()
    assert reference() is None
    assert gone(pid)


def test_function_keeps_its_enclave(calls_path: Path) -> None:
    function = hotcalls.launch(calls_path).i32
    gc.collect()
    assert function(4) == 4
    function._enclave.close()


def test_close_twice_is_once(calls_path: Path) -> None:
    enclave = hotcalls.launch(calls_path)
    enclave.close()
    enclave.close()
    assert enclave.closed
    assert "closed" in repr(enclave)


USES: dict[str, Callable[[Any], Any]] = {
    "call": lambda e: e.i32(1),
    "call with buffers": lambda e: e.sum(b"123"),
    "submit": lambda e: e.i32.submit(1),
    "oneway": lambda e: e.tell.oneway(1),
    "flush": lambda e: e.flush(),
    "batch": lambda e: e.batch().__enter__(),
    "shared": lambda e: e.shared(10),
    "stats": lambda e: e.stats(),
    "wake": lambda e: e.wake(),
    "set_mode": lambda e: e.i32.set_mode("hot"),
    "check": lambda e: e.check(),
}


@pytest.fixture(scope="module")
def closed(calls_path: Path) -> Any:
    enclave = hotcalls.launch(calls_path)
    enclave.close()
    return enclave


@pytest.mark.parametrize("use", USES)
def test_use_after_close_says_that_it_was_closed(closed: Any, use: str) -> None:
    with pytest.raises(hotcalls.EnclaveLost, match="closed") as caught:
        USES[use](closed)
    assert caught.value.closed is True


def test_submitted_call_after_close_says_that_it_was_closed(calls_path: Path) -> None:
    enclave = hotcalls.launch(calls_path)
    pending = enclave.nap.submit(5000)
    enclave.close()
    assert pending.done()
    with pytest.raises(hotcalls.EnclaveLost, match="closed") as caught:
        pending.result()
    assert caught.value.closed


def test_view_of_shared_memory_outlives_its_enclave(calls_path: Path) -> None:
    enclave = hotcalls.launch(calls_path)
    view = enclave.shared(4096).view
    part = view[100:200]
    enclave.close()
    view[:] = b"\x01" * 4096
    del enclave, view
    gc.collect()
    assert sum(part) in (0, 100)


def test_shared_memory_is_given_back_after_close_without_harm(calls_path: Path) -> None:
    enclave = hotcalls.launch(calls_path)
    with enclave.shared(4096) as view:
        view[0] = 1
        enclave.close()


def test_exception_in_the_block_goes_on_and_the_enclave_ends(
    calls_path: Path, gone: Callable[..., bool]
) -> None:
    pids = []

    def run() -> None:
        with hotcalls.launch(calls_path) as enclave:
            pids.append(enclave.pid)
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        run()
    assert gone(pids[0])


def test_close_ends_calls_of_other_threads(calls_path: Path) -> None:
    enclave = hotcalls.launch(calls_path)
    started = threading.Event()
    errors: list[hotcalls.EnclaveLost] = []

    def run() -> None:
        enclave.i32(1)
        started.set()
        try:
            enclave.nap(10000)
        except hotcalls.EnclaveLost as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    started.wait()
    time.sleep(0.05)
    start = time.monotonic()
    enclave.close()
    thread.join(30)
    assert time.monotonic() - start < 30
    assert [error.closed for error in errors] == [True]


def test_two_enclaves_of_one_program_are_independent(
    calls_path: Path, gone: Callable[..., bool]
) -> None:
    seen: dict[str, list[int]] = {"a": [], "b": []}

    def ocalls(name: str) -> dict[str, Any]:
        return {"twice": lambda v: (seen[name].append(v), 2 * v)[1]}

    with (
        hotcalls.launch(calls_path, ocalls=ocalls("a")) as first,
        hotcalls.launch(calls_path, ocalls=ocalls("b"), mode="switch") as second,
    ):
        assert first.pid != second.pid
        first.tell(5)
        second.tell(7)
        assert (first.told(), second.told()) == (5, 7)
        assert first.ask_twice(1) == 2
        assert second.ask_twice(2) == 4
        assert seen == {"a": [1], "b": [2]}
        os.kill(first.pid, signal.SIGKILL)
        assert gone(first.pid)
        with pytest.raises(hotcalls.EnclaveLost):
            first.i32(1)
        assert second.ask_twice(3) == 6


def test_ocall_may_call_another_enclave(calls_path: Path) -> None:
    with hotcalls.launch(calls_path, ocalls={"twice": lambda v: v * 10}) as inner:
        with hotcalls.launch(calls_path, ocalls={"twice": inner.ask_twice}) as outer:
            assert outer.ask_twice(4) == 40


ENDS: dict[str, tuple[Callable[[Any], Any], int, int]] = {
    "crashes": (lambda e: e.crash(), signal.SIGSEGV, -1),
    "divides by zero": (lambda e: e.divide(0), signal.SIGFPE, -1),
    "aborts": (lambda e: e.give_up(), signal.SIGABRT, -1),
    "smashes its stack": (lambda e: e.smash(), signal.SIGABRT, -1),
    "overflows its stack": (lambda e: e.overflow_stack(100000), signal.SIGSEGV, -1),
    "exits": (lambda e: e.leave(7), 0, 7),
    "exits with 0": (lambda e: e.leave(0), 0, 0),
}


@pytest.mark.parametrize("mode", ["hot", "switch"])
@pytest.mark.parametrize("end", ENDS)
def test_enclave_that_ends_is_reported_with_how(faults_path: Path, end: str, mode: str) -> None:
    call, signal_, exit_status = ENDS[end]
    with hotcalls.launch(faults_path, mode=mode) as faults:
        assert faults.fine(1) == 2
        start = time.monotonic()
        with pytest.raises(hotcalls.EnclaveLost) as caught:
            call(faults)
        assert time.monotonic() - start < 20
        error = caught.value
        assert not error.closed
        # A crash tells itself, with stack left. Of anything else the kernel tells when init has
        # reaped it: late, or, before Linux 6.15, never.
        tells = signal_ != 0 and end != "overflows its stack"
        if tells or (error.signal, error.exit_status) != (0, -1):
            assert (error.signal, error.exit_status) == (signal_, exit_status)
            assert str(signal_ or f"exit status {exit_status}") in str(error)
        with pytest.raises(hotcalls.EnclaveLost):
            faults.fine(1)
        with pytest.raises(hotcalls.EnclaveLost):
            faults.check()


def test_crash_names_the_ecall_that_ran(faults: Any) -> None:
    with pytest.raises(hotcalls.EnclaveLost, match=r"crash") as caught:
        faults.crash()
    assert re.search(r"\(signal 11\) in crash$", str(caught.value))


def test_killed_enclave_is_reported_to_a_call_that_never_returns(faults: Any) -> None:
    errors: list[hotcalls.EnclaveLost] = []

    def run() -> None:
        try:
            faults.hang()
        except hotcalls.EnclaveLost as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.05)
    os.kill(faults.pid, signal.SIGKILL)
    thread.join(30)
    assert errors[0].signal in (signal.SIGKILL, 0)


def test_lost_enclave_leaves_nothing_behind(faults_path: Path, footprint: Any) -> None:
    for _ in range(3):
        with hotcalls.launch(faults_path) as faults:
            with pytest.raises(hotcalls.EnclaveLost):
                faults.crash()


def test_enclave_that_dies_during_an_ocall_is_reported_after_it(faults_path: Path) -> None:
    with hotcalls.launch(
        faults_path, ocalls={"die_in_ocall": lambda: os.kill(faults.pid, signal.SIGKILL) or 0}
    ) as faults:
        with pytest.raises(hotcalls.EnclaveLost) as caught:
            faults.shout()
        assert caught.value.signal in (signal.SIGKILL, 0)


def test_call_that_never_returns_times_out_and_the_enclave_can_be_closed(
    faults_path: Path, gone: Callable[..., bool]
) -> None:
    with hotcalls.launch(faults_path) as faults:
        with pytest.raises(hotcalls.CallTimeout, match="hang"):
            faults.hang.options(timeout=0.05)()
        assert faults.fine(1) == 2
        pid = faults.pid
        start = time.monotonic()
    assert time.monotonic() - start < 20
    assert gone(pid)


def test_stopped_enclave_times_out_and_goes_on(faults: Any) -> None:
    os.kill(faults.pid, signal.SIGSTOP)
    try:
        with pytest.raises(hotcalls.CallTimeout):
            faults.fine.options(timeout=0.1)(1)
    finally:
        os.kill(faults.pid, signal.SIGCONT)
    assert faults.fine(2) == 3


def test_output_of_the_enclave_goes_to_the_log(faults_path: Path, tmp_path: Path) -> None:
    with open(tmp_path / "log", "wb") as log:
        with hotcalls.launch(faults_path, log=log.fileno()) as faults:
            faults.say("said inside")
    assert (tmp_path / "log").read_text() == "said inside\n"


def test_check_passes_while_the_enclave_runs(faults: Any) -> None:
    faults.check()
    assert f"pid {faults.pid}" in repr(faults)
    assert "fine(v)" in repr(faults.fine)
