# SPDX-License-Identifier: Apache-2.0
"""Every status of the runtime becomes the right exception, with fields and not only text."""

from __future__ import annotations

import pickle
from concurrent.futures import BrokenExecutor

import pytest

import hotcalls
from hotcalls import _native
from hotcalls.errors import error_for

EXPECTED = {
    "HC_ERR_LOCKDOWN": hotcalls.LockdownError,
    "HC_ERR_ABI": hotcalls.InterfaceMismatch,
    "HC_ERR_INTERFACE": hotcalls.InterfaceMismatch,
    "HC_ERR_FORKED": hotcalls.ForkedError,
    "HC_ERR_PEER_LOST": hotcalls.EnclaveLost,
    "HC_ERR_CLOSED": hotcalls.EnclaveLost,
    "HC_ERR_POISONED": hotcalls.ChannelPoisoned,
    "HC_ERR_TIMEOUT": hotcalls.CallTimeout,
    "HC_ERR_CALLEE": hotcalls.RemoteError,
}
FAILURES = [name for name in _native.STATUS_NAMES if name != "HC_OK"]


@pytest.mark.parametrize("status", FAILURES)
def test_status_becomes_its_exception(status: str) -> None:
    error = error_for(status, _native.STATUS_TEXTS[status], function="sign")
    assert type(error) is EXPECTED.get(status, hotcalls.CallError)
    assert isinstance(error, hotcalls.HotcallsError)
    assert str(error).startswith("sign(): ")
    assert _native.STATUS_TEXTS[status] in str(error)
    if type(error) is hotcalls.CallError:
        assert error.status == status
        assert error.function == "sign"


@pytest.mark.parametrize("status", FAILURES)
def test_status_of_a_launch_is_a_launch_error(status: str) -> None:
    error = error_for(status, "why", errno=5, launching=True)
    if status not in ("HC_ERR_FORKED", "HC_ERR_ARGUMENT"):
        assert isinstance(error, hotcalls.LaunchError)
        assert error.status == status


def test_every_status_has_a_sentence() -> None:
    assert set(_native.STATUS_NAMES) == set(_native.STATUS_TEXTS)
    assert len(set(_native.STATUS_TEXTS.values())) == len(_native.STATUS_NAMES)


def test_lost_enclave_is_a_broken_executor_with_signal_and_exit_status() -> None:
    error = error_for("HC_ERR_PEER_LOST", "gone", signal=9)
    assert isinstance(error, BrokenExecutor)
    assert isinstance(error, hotcalls.EnclaveLost)
    assert (error.signal, error.exit_status, error.closed) == (9, -1, False)
    closed = error_for("HC_ERR_CLOSED", "closed")
    assert isinstance(closed, hotcalls.EnclaveLost)
    assert closed.closed is True


def test_timeout_is_a_timeout_error_with_function_and_seconds() -> None:
    error = error_for("HC_ERR_TIMEOUT", "late", function="nap", timeout=0.5)
    assert isinstance(error, TimeoutError)
    assert isinstance(error, hotcalls.CallTimeout)
    assert (error.function, error.timeout) == ("nap", 0.5)


def test_lockdown_error_is_a_launch_error_with_errno() -> None:
    error = error_for("HC_ERR_LOCKDOWN", "seccomp", errno=1, launching=True)
    assert isinstance(error, hotcalls.LaunchError)
    assert isinstance(error, hotcalls.LockdownError)
    assert error.errno == 1


def test_every_public_error_is_exported_and_documented() -> None:
    for name in hotcalls.__all__:
        value = getattr(hotcalls, name)
        assert value.__doc__, name
    errors = [
        v for v in vars(hotcalls).values() if isinstance(v, type) and issubclass(v, Exception)
    ]
    assert {error.__name__ for error in errors} <= set(hotcalls.__all__)


@pytest.mark.parametrize(
    "error",
    [
        hotcalls.LaunchError("a", status="HC_ERR_OS", errno=3),
        hotcalls.EnclaveLost("b", signal=9, exit_status=-1, closed=True),
        hotcalls.CallTimeout("c", function="f", timeout=1.5),
        hotcalls.CallError("d", status="HC_ERR_AGAIN", function="g"),
        hotcalls.OnewayError("e", status="HC_ERR_CALLEE", count=4),
        hotcalls.RemoteError("f", type_name="KeyError"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_pickling_with_their_fields(error: hotcalls.HotcallsError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
