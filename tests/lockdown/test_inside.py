# SPDX-License-Identifier: Apache-2.0
"""From inside a running enclave nothing is in reach; what it needs to compute works."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Any

import pytest

from . import conftest

SOURCE = (Path(__file__).resolve().parent / "enclaves/inside.c").read_text(encoding="utf-8")
ATTEMPTS = re.findall(r'^    \{"([^"]+)", try_', SOURCE, re.M)


def test_source_has_attempts() -> None:
    assert len(ATTEMPTS) > 40


@pytest.mark.parametrize("name", [name for name in ATTEMPTS if name != "dlopen"])
@pytest.mark.claim("G-SYSCALLS", "G-CODE", "G-PROCESSES", "G-CHANNEL")
def test_attempt_from_inside_is_refused_by_the_filter(host: Any, name: str) -> None:
    # ESRMNT is what the filter answers and nothing else: it was the filter, and not chance.
    assert host.do(conftest.call, "attempt", name) == (-1, errno.ESRMNT)


def test_library_cannot_be_loaded_from_inside(host: Any) -> None:
    assert host.do(conftest.call, "attempt", "dlopen")[0] == -1


def test_threads_memory_time_and_randomness_work_inside(host: Any) -> None:
    assert host.do(conftest.call, "work", 8, 50) == 8


def test_environment_inside_is_empty(host: Any) -> None:
    assert host.do(conftest.call, "environment") == 0


def test_enclave_goes_on_after_all_attempts(host: Any) -> None:
    for name in ATTEMPTS:
        host.do(conftest.call, "attempt", name)
    assert host.do(conftest.call, "work", 2, 10) == 2
