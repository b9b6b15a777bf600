# SPDX-License-Identifier: Apache-2.0
"""Running compilers and tools for SGX projects. Used by the other modules of this package."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence

from hotcalls.failure import HotcallsError

_TIMEOUT_S = 300


class SgxError(HotcallsError):
    """An SGX project could not be built; says which command failed, and what it said."""


def run(command: Sequence[str]) -> str:
    """Run a command and return what it wrote on standard error.

    Raises
    ------
    SgxError
        It is not there, fails, or takes more than five minutes.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise SgxError(f"`{command[0]}` is not there: install it, or set PATH") from error
    except subprocess.TimeoutExpired as error:
        raise SgxError(f"`{command[0]}` took more than {_TIMEOUT_S} s") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).rstrip()
        raise SgxError(f"{said}\nthis failed: {shlex.join(command)}")
    return done.stderr
