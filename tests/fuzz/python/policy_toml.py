# SPDX-License-Identifier: Apache-2.0
"""Any file as a policy: lines that H reads to the end, or a PolicyError that says where."""

from __future__ import annotations

import os
from pathlib import Path

from hotcalls.apps.policy import load
from hotcalls.errors import PolicyError

_FILE = os.memfd_create("policy")
_PATH = Path(f"/proc/self/fd/{_FILE}")


def run(data: bytes) -> None:
    """Read it."""
    os.ftruncate(_FILE, 0)
    os.pwrite(_FILE, data, 0)
    try:
        policy = load(_PATH)
    except PolicyError as error:
        assert str(_PATH) in str(error), "the error does not say in which file"
        return
    lines = policy.compiled().split("\n")
    assert lines[0] == "hotcalls-policy 1"
    assert lines[-2:] == ["end", ""]
    for line in lines[1:-2]:
        assert line.split(" ")[0] in ("call", "path", "address", "#"), line
