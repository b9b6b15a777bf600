# SPDX-License-Identifier: Apache-2.0
"""An interpreter that an ordinary user can start, for programs that root starts and that drop."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import hotcalls

NOBODY = 65534
#: With what is installed here, for an interpreter that is not the one of this environment.
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(Path(hotcalls.__file__).parents[1]),
    "PYTHONWARNINGS": "ignore:this program runs as root",
}
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
CHECK = "import cryptography, hotcalls, sys; print(sys.implementation.cache_tag)"


def python_of_an_ordinary_user() -> str:
    """Return one; the test is skipped when there is none, as with a Python in root's home."""
    if os.geteuid() != 0:
        return sys.executable
    for python in (sys.executable, f"/usr/local/bin/{VERSION}", f"/usr/bin/{VERSION}"):
        try:
            done = subprocess.run(
                [python, "-c", CHECK], capture_output=True, text=True, check=False, cwd="/",
                user=NOBODY, group=NOBODY, extra_groups=[], env=ENVIRONMENT,
            )  # fmt: skip
        except OSError:
            continue
        if done.stdout.strip() == sys.implementation.cache_tag:
            return python
    pytest.skip(f"no {VERSION} that an ordinary user can start, with hotcalls and cryptography")
