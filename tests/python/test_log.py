# SPDX-License-Identifier: Apache-2.0
"""``launch(log=…)``: what an enclave prints, as records of a logger."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest

import hotcalls
from hotcalls.log_reader import LINE_MAX

TALKER = """
import os
import sys

import hotcalls

print("imported")


@hotcalls.ecall
def say(text: str) -> None:
    print(text, file=sys.stderr)


@hotcalls.ecall
def write(data: bytes) -> None:
    os.write(2, data)


@hotcalls.ecall
def die() -> None:
    os.write(2, b"last words")
    os._exit(3)
"""


class Lines(logging.Handler):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def lines(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def talker(tmp_path: Path) -> Path:
    path = tmp_path / "talker.py"
    path.write_text(TALKER)
    return path


@pytest.fixture
def heard() -> Lines:
    return Lines()


@pytest.fixture
def logger(heard: Lines) -> logging.Logger:
    made = logging.Logger("vault")
    made.addHandler(heard)
    return made


def test_lines_become_records_of_the_logger(
    talker: Path, logger: logging.Logger, heard: Lines
) -> None:
    with hotcalls.launch(talker, log=logger) as enclave:
        enclave.say("called")
    assert heard.lines == ["imported", "called"]
    assert {record.levelname for record in heard.records} == {"INFO"}
    assert {record.enclave for record in heard.records} == {"talker"}  # type: ignore[attr-defined]


def test_adapter_is_a_logger_too(talker: Path, logger: logging.Logger, heard: Lines) -> None:
    adapter = logging.LoggerAdapter(logger, {"enclave": "named"})
    with hotcalls.launch(talker, log=adapter):
        pass
    assert heard.lines == ["imported"]


def test_last_words_of_an_enclave_that_dies_are_logged(
    talker: Path, logger: logging.Logger, heard: Lines
) -> None:
    with hotcalls.launch(talker, log=logger) as enclave, pytest.raises(hotcalls.EnclaveLost):
        enclave.die()
    assert heard.lines == ["imported", "last words"]


def test_line_without_an_end_is_cut_in_pieces(
    talker: Path, logger: logging.Logger, heard: Lines
) -> None:
    with hotcalls.launch(talker, log=logger) as enclave:
        enclave.write(b"x" * (3 * LINE_MAX + 5))
    pieces = heard.lines[1:]
    assert "".join(pieces) == "x" * (3 * LINE_MAX + 5)
    assert max(map(len, pieces)) <= LINE_MAX


def test_control_characters_and_broken_text_are_escaped(
    talker: Path, logger: logging.Logger, heard: Lines
) -> None:
    with hotcalls.launch(talker, log=logger) as enclave:
        enclave.write(b"\x1b[2Jforged\rline\xff\t.\n")
    assert heard.lines[1:] == ["\\x1b[2Jforged\\rline\\xff\t."]


def test_module_that_fails_is_heard_before_the_launch_does(
    talker: Path, logger: logging.Logger, heard: Lines
) -> None:
    talker.write_text("print('as far as here')\n1 / 0\n")
    with pytest.raises(hotcalls.LaunchError, match="ZeroDivisionError"):
        hotcalls.launch(talker, log=logger)
    assert heard.lines == ["as far as here"]


def test_filter_that_raises_does_not_stop_the_enclave(
    talker: Path, logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(record: logging.LogRecord) -> bool:
        raise RuntimeError("this filter is broken")

    logger.addFilter(broken)
    with hotcalls.launch(talker, log=logger) as enclave:
        for _ in range(20):
            enclave.write(b"y" * LINE_MAX + b"\n")
    assert "this filter is broken" in caplog.text


def test_threads_and_descriptors_end_with_the_enclave(talker: Path, logger: logging.Logger) -> None:
    import threading

    def used() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    hotcalls.launch(talker, log=logger).close()
    before = used()
    for _ in range(3):
        hotcalls.launch(talker, log=logger).close()
    assert used() == before


@pytest.mark.parametrize("log", ["stderr", 1.5, True, logging])
def test_anything_else_is_refused(talker: Path, log: Any) -> None:
    with pytest.raises(TypeError, match="descriptor or a logger"):
        hotcalls.launch(talker, log=log)
