# SPDX-License-Identifier: Apache-2.0
"""What the tests of programs and servers share."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotcalls.apps import syscalls

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))

#: A small table of calls: of each kind some.
TABLE = [
    {"name": "read", "how": "passed", "why": ""},
    {"name": "write", "how": "passed", "why": ""},
    {"name": "close", "how": "passed", "why": ""},
    {"name": "openat", "how": "passed", "why": ""},
    {"name": "ioctl", "how": "by-hand", "why": "sizes by request"},
    {"name": "socket", "how": "passed", "why": ""},
    {"name": "open", "how": "emulated", "why": "openat"},
    {"name": "wait4", "how": "emulated", "why": "ECHILD: there are no children"},
    {"name": "futex", "how": "native", "why": "sleeping and waking"},
    {"name": "ptrace", "how": "refused", "why": "reaches other processes", "errno": "EPERM"},
]


@pytest.fixture
def small_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put `TABLE` in place of the one that the shim has."""
    file = tmp_path / "table.json"
    file.write_text(json.dumps(TABLE))
    monkeypatch.setattr(syscalls, "table_path", lambda: file)
    syscalls.table.cache_clear()
    yield
    syscalls.table.cache_clear()


@pytest.fixture(scope="session", autouse=True)
def _fonts() -> None:
    """Draw once: matplotlib keeps the fonts that it used open, and nothing may be left open."""
    import evaluation

    from hotcalls.apps.evaluate import plots

    plots.latency(evaluation.result("memcached-c50"), "memcached")
