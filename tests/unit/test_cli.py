# SPDX-License-Identifier: Apache-2.0
"""The command line: errors are one line with a documented exit code, never a traceback."""

from __future__ import annotations

import click
import pytest

from hotcalls import cli


def run(monkeypatch: pytest.MonkeyPatch, error: BaseException | None) -> int:
    @click.command("bench")
    def command() -> None:
        if error is not None:
            raise error

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda self, ctx, name: command)
    with pytest.raises(SystemExit) as caught:
        cli.main(["bench"])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def an_error(name: str, text: str) -> Exception:
    """Make an exception of the hierarchy by name, so that its fields do not matter here."""
    base = type("HotcallsError", (Exception,), {"__module__": "hotcalls.errors"})
    kind = base if name == "HotcallsError" else type(name, (base,), {})
    error: Exception = kind(text)
    return error


@pytest.mark.parametrize(
    "name, code",
    [
        ("HotcallsError", 1),
        ("RemoteError", 1),
        ("EdlError", 3),
        ("LockdownError", 4),
        ("EnclaveLost", 5),
        ("CallTimeout", 5),
        ("ChannelPoisoned", 5),
    ],
)
def test_error_of_ours_is_one_line_and_its_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, code: int
) -> None:
    monkeypatch.delenv("HOTCALLS_DEBUG", raising=False)
    assert run(monkeypatch, an_error(name, "what was wrong,\n  and where")) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    if name == "EdlError":
        assert printed.err == "what was wrong,\n  and where\n"
    else:
        assert printed.err == "hotcalls: what was wrong, and where\n"


def test_missing_file_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, FileNotFoundError(2, "No such file or directory", "a.edl")) == 1
    assert capsys.readouterr().err == "hotcalls: a.edl: No such file or directory\n"


def test_missing_numpy_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = ModuleNotFoundError("No module named 'numpy.core'", name="numpy.core")
    assert run(monkeypatch, error) == 1
    assert "pip install 'hotcalls[bench]'" in capsys.readouterr().err


def test_debug_variable_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOTCALLS_DEBUG", "1")
    error = an_error("EnclaveLost", "gone")
    with pytest.raises(type(error)):
        run(monkeypatch, error)


def test_error_that_is_not_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        run(monkeypatch, ZeroDivisionError("a defect"))


def test_interrupt_exits_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, KeyboardInterrupt()) == 130
    assert "interrupted" in capsys.readouterr().err


def test_success_exits_with_0(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, None) == 0


def test_unknown_command_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["nope"])
    assert caught.value.code == 2
    assert "No such command 'nope'" in capsys.readouterr().err


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("hotcalls ")


def test_real_error_classes_are_recognised() -> None:
    from hotcalls import errors

    known = {name for name in dir(errors) if name in cli.EXIT_CODES}
    assert {"EnclaveLost", "CallTimeout", "ChannelPoisoned", "LockdownError"} <= known
    assert issubclass(errors.EnclaveLost, errors.HotcallsError)
    assert errors.HotcallsError.__module__.startswith("hotcalls.")
