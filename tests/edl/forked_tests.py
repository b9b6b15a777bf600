# SPDX-License-Identifier: Apache-2.0
"""Runs a test file again and again, for each line of stdin with that as HOTCALLS_TEST_SIDES.

Each time in a fork of this process, which has imported everything already: what is imported takes
longer than the tests. Prints the status of each run: 0 when all tests passed.
"""

from __future__ import annotations

import os
import signal
import sys

import pytest

SECONDS = 60


def main(arguments: list[str]) -> None:
    """Serve until stdin ends; `arguments` are those of pytest."""
    out = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    pytest.main([*arguments, "--collect-only"])
    os.write(out, b"ready\n")
    for line in iter(sys.stdin.readline, ""):
        child = os.fork()
        if child == 0:
            signal.alarm(SECONDS)
            os.environ["HOTCALLS_TEST_SIDES"] = line.rstrip("\n")
            os._exit(pytest.main(arguments))
        _, status = os.waitpid(child, 0)
        os.write(out, b"%d\n" % status)


main(sys.argv[1:])
