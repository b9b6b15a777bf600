# SPDX-License-Identifier: Apache-2.0
"""Threads of the runtime: they start, or the caller is told and nothing runs later."""

from __future__ import annotations

import threading

import pytest

import hotcalls
from hotcalls import background
from hotcalls.background import Background


def test_thread_runs_and_can_be_waited_for() -> None:
    done = threading.Event()
    thread = Background(done.set, "test")
    thread.join(10)
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


def test_start_is_waited_for_with_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "START_SECONDS", 0.01)
    assert not background._Bounded().wait()
