# SPDX-License-Identifier: Apache-2.0
"""What people get wrong with launch() and its enclave: errors that say what, where, what to do."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hotcalls

Writer = Callable[..., Path]
#: It outlives this module, so it has to be there before what the module leaves behind is counted.
pytestmark = pytest.mark.usefixtures("anything")
EMPTY = """
@hotcalls.ecall
def nothing() -> None: ...
"""


@pytest.mark.parametrize("option", ["secrets", "ocalls"])
@pytest.mark.parametrize("value", [[1], 5, "key", b"key", [("key", 1)]])
def test_what_is_no_mapping_is_refused_by_the_name_of_the_option(
    write: Writer, option: str, value: Any
) -> None:
    with pytest.raises(TypeError, match=rf"^{option}: expected a mapping of name to .*, got "):
        hotcalls.launch(write(EMPTY), **{option: value})


@pytest.mark.parametrize("option", ["debug", "insecure_debug", "insecure_inline"])
def test_flag_that_is_no_bool_is_refused(write: Writer, option: str) -> None:
    with pytest.raises(TypeError, match=rf"^{option}: expected True or False, got str"):
        hotcalls.launch(write(EMPTY), **{option: "no"})


@pytest.mark.parametrize("option", ["timeout", "idle", "spin"])
def test_time_that_is_no_number_is_refused(write: Writer, option: str) -> None:
    with pytest.raises(TypeError, match=rf"^{option}: expected seconds as a number, got str"):
        hotcalls.launch(write(EMPTY), **{option: "1"})


@pytest.mark.parametrize("target", [5, None, b"vault.py", 1.5, print])
def test_target_that_is_no_name_is_refused_by_launch(target: Any) -> None:
    with pytest.raises(TypeError, match=r"launch\(\) takes the path of a \.py file"):
        hotcalls.launch(target)


def test_file_that_is_neither_python_nor_an_enclave_is_told_so(tmp_path: Path) -> None:
    other = tmp_path / "README.md"
    other.write_text("hello")
    with pytest.raises(hotcalls.InterfaceMismatch, match=r"README\.md: .* nor a \.py file"):
        hotcalls.launch(other)


def test_folder_and_empty_name_are_told_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(hotcalls.LaunchError, match=r"not a regular file; name a \.py file"):
        hotcalls.launch(tmp_path)
    with pytest.raises(hotcalls.LaunchError, match="an empty name"):
        hotcalls.launch("")


def test_interpreter_that_is_missing_is_called_an_interpreter(write: Writer) -> None:
    with pytest.raises(hotcalls.LaunchError, match="the interpreter /no/python: No such file"):
        hotcalls.launch(write(EMPTY), python="/no/python")


@pytest.mark.parametrize("timeout", ["1", True, b""])
def test_timeout_of_a_call_that_is_no_number_is_refused(
    start: Callable[..., hotcalls.Enclave], timeout: Any
) -> None:
    enclave = start(EMPTY)
    with pytest.raises(TypeError, match=r"^timeout: expected seconds as a number"):
        enclave.nothing.options(timeout=timeout)
    with pytest.raises(TypeError, match=r"^timeout: expected seconds as a number"):
        enclave.nothing.submit().result(timeout)


@pytest.mark.parametrize("use", [pickle.dumps, copy.copy, copy.deepcopy])
def test_enclave_is_neither_pickled_nor_copied(
    anything: hotcalls.Enclave, use: Callable[[Any], Any]
) -> None:
    with pytest.raises(TypeError, match="belongs to the process that launched it"):
        use(anything)
    assert anything.echo(b"still here") == b"still here"


def test_closed_enclave_is_not_entered(start: Callable[..., hotcalls.Enclave]) -> None:
    enclave = start(EMPTY)
    enclave.close()
    with pytest.raises(hotcalls.EnclaveLost, match="closed: launch a new one"), enclave:
        pass


def test_names_that_are_proposed_are_those_a_user_may_call(anything: hotcalls.Enclave) -> None:
    names = dir(anything)
    assert {"echo", "nothing", "close", "stats"} <= set(names)
    assert not [name for name in names if name.startswith("_") and not name.startswith("__")]


ENDS = """
import ctypes
import os

@hotcalls.ecall
def end(how: str) -> None:
    if how == "exit":
        os._exit(3)
    if how == "sys.exit":
        raise SystemExit(4)
    if how == "segfault":
        ctypes.string_at(0)
"""


async def awaited(function: Any, *args: Any) -> Any:
    return await function.aio(*args)


WAYS: dict[str, Callable[..., Any]] = {
    "call": lambda function, *args: function(*args),
    "future": lambda function, *args: function.submit(*args).result(),
    "await": lambda function, *args: asyncio.run(awaited(function, *args)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("how", "status", "number", "words"),
    [
        ("exit", 3, 0, "exit status 3"),
        ("sys.exit", 4, 0, "exit status 4"),
        ("segfault", -1, signal.SIGSEGV, "Segmentation fault"),
    ],
)
def test_end_of_the_process_says_how_it_ended(
    start: Callable[..., hotcalls.Enclave],
    way: str,
    how: str,
    status: int,
    number: int,
    words: str,
) -> None:
    enclave = start(ENDS)
    with pytest.raises(hotcalls.EnclaveLost, match=words) as caught:
        WAYS[way](enclave.end, how)
    assert (caught.value.exit_status, caught.value.signal) == (status, number)


def test_function_of_the_prompt_is_told_that_it_needs_a_file(tmp_path: Path) -> None:
    typed = """
import hotcalls
@hotcalls.ecall
def f(x: int) -> int:
    return x
f(1)
"""
    done = subprocess.run(
        [sys.executable], input=typed, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert "NotRunning" in done.stderr
    assert "write it to a .py file" in done.stderr
    assert "launch('__main__')" not in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="the warning is for root")
def test_warning_points_at_the_line_that_launches(write: Writer, tmp_path: Path) -> None:
    module = write(EMPTY)
    script = tmp_path / "app.py"
    script.write_text(f"import hotcalls\n\nhotcalls.launch({str(module)!r}).close()\n")
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert "app.py:3: RuntimeWarning: this program runs as root" in done.stderr


def test_more_threads_than_may_call_are_told_the_option(
    start: Callable[..., hotcalls.Enclave],
) -> None:
    enclave = start(EMPTY, callers=1)
    enclave.nothing()
    errors: list[BaseException] = []

    def call() -> None:
        try:
            enclave.nothing()
        except hotcalls.CallError as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert [str(error).rpartition(": ")[2] for error in errors] == ["launch with callers= larger"]
