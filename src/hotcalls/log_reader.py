# SPDX-License-Identifier: Apache-2.0
"""The enclave's output as records of a logger: ``launch(log=logging.getLogger("vault"))``.

Host side. What comes out of an enclave is untrusted text: a line is bounded in length, and what
could move a terminal's cursor or forge a line is escaped. What an enclave prints is its own
decision; nothing here knows a secret from anything else.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
from typing import Any

from hotcalls.background import Background

#: Longer lines become several records.
LINE_MAX = 8192
#: What is left in the pipe when the enclave ends is waited for so long.
PATIENCE_SECONDS = 1.0

Loggers = (logging.Logger, logging.LoggerAdapter)


class LogReader:
    """A pipe for an enclave to write to, and the thread that logs what comes out of it.

    Parameters
    ----------
    logger
        Gets a record of level INFO for each line.
    name
        Of the enclave, for the thread and as ``record.enclave``.

    Attributes
    ----------
    descriptor
        The end to write to; stays open until :meth:`end`.
    """

    def __init__(self, logger: logging.Logger | logging.LoggerAdapter[Any], name: str) -> None:
        self._logger = logger
        self._name = name
        self._read, self.descriptor = os.pipe2(os.O_CLOEXEC)
        self._owner = os.getpid()
        with contextlib.ExitStack() as opened:
            opened.callback(os.close, self._read)
            opened.callback(os.close, self.descriptor)
            # Only this end: the enclave's is to wait, as it would for a terminal.
            os.set_blocking(self._read, False)
            self._stop = os.eventfd(0, os.EFD_CLOEXEC)
            opened.callback(os.close, self._stop)
            self._thread = Background(self._run, f"log-{name}")
            opened.pop_all()

    def end(self) -> None:
        """Log what is left, and end; after the enclave. Twice is once."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor < 0:
            return
        os.close(descriptor)
        if os.getpid() == self._owner:
            os.eventfd_write(self._stop, 1)
            if threading.current_thread() is not self._thread:
                self._thread.join(PATIENCE_SECONDS)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._read, select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        rest = b""
        try:
            while True:
                ready = {descriptor for descriptor, _ in poll.poll()}
                try:
                    piece = os.read(self._read, LINE_MAX)
                except BlockingIOError:
                    piece = b""
                if not piece and self._stop in ready:
                    break
                rest = self._lines(rest + piece)
            if rest:
                self._log(rest)
        finally:
            os.close(self._read)
            os.close(self._stop)

    def _lines(self, data: bytes) -> bytes:
        """Log the lines that are complete; return the rest."""
        *lines, rest = data.split(b"\n")
        for line in lines:
            for at in range(0, len(line) or 1, LINE_MAX):
                self._log(line[at : at + LINE_MAX])
        while len(rest) >= LINE_MAX:
            self._log(rest[:LINE_MAX])
            rest = rest[LINE_MAX:]
        return rest

    def _log(self, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace")
        text = "".join(
            c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text
        )
        try:
            self._logger.info("%s", text, extra={"enclave": self._name})
        except Exception:
            # A filter of the user's that raises: the next line may do better, and an enclave whose
            # output nobody takes would stop.
            logging.getLogger("hotcalls").exception("logging what an enclave printed")
