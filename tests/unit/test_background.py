# SPDX-License-Identifier: Apache-2.0
"""Threads of the runtime: they start, or the caller is told and nothing runs later."""

from __future__ import annotations

import functools
import itertools
import operator
import sys
import threading

import pytest

import hotcalls
from hotcalls import background
from hotcalls.background import Background


def test_thread_runs_and_can_be_waited_for() -> None:
    done = threading.Event()
    thread = Background(done.set, "test")
    thread.join(60)
    assert done.is_set()
    assert (thread.name, thread.daemon) == ("hotcalls-test", True)


def test_thread_that_the_system_refuses_is_a_readable_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(hotcalls.CallError, match="can't start new thread; raise the limit"):
        Background(lambda: None, "test")


def test_thread_that_comes_too_late_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """CPython waits for ever for a thread that has no memory for its first call."""
    begun: list[threading.Thread] = []
    ran: list[bool] = []

    def start(self: threading.Thread) -> None:
        begun.append(self)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(hotcalls.CallError, match="it has no memory"):
            Background(lambda: ran.append(True), "test")
    begun[0].run()
    assert ran == []


def test_thread_behind_a_start_that_failed_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for a thread to run can itself have no memory, while the thread runs already."""
    begun: list[threading.Thread] = []
    ran: list[bool] = []
    start = threading.Thread.start

    def started(self: threading.Thread) -> None:
        start(self)
        begun.append(self)
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", started)
        with pytest.raises(hotcalls.CallError, match="no memory"):
            Background(lambda: ran.append(True), "test")
    begun[0].join(60)
    assert not begun[0].is_alive()
    assert ran == []


def test_thread_that_is_counted_on_begins_when_there_is_memory() -> None:
    ran: list[bool] = []

    class Begun:
        def __mul__(self, _: object) -> None:
            ran.append(True)

    # Like the frame of a function, b"x" * sys.maxsize has no memory before anything of it runs.
    tries = itertools.starmap(operator.mul, [(b"x", sys.maxsize), (Begun(), 1)])
    Background(functools.partial(next, tries), "test").join(60)
    assert ran == [True]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_thread_that_had_begun_is_not_begun_again() -> None:
    ran: list[bool] = []

    def run() -> None:
        ran.append(True)
        raise MemoryError

    Background(run, "test").join(60)
    assert ran == [True]


def test_start_is_waited_for_with_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "START_SECONDS", 0.01)
    assert not background._Started().wait()
