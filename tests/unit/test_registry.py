# SPDX-License-Identifier: Apache-2.0
"""The list of running enclaves where it cannot be written, and what a killed host left in it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hotcalls.monitor import registry


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / registry.FOLDER


def no_room(file: int, data: bytes) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def some_room(file: int, data: bytes) -> int:
    return len(data) // 2


@pytest.mark.parametrize("write", [no_room, some_room])
def test_entry_that_does_not_fit_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[int, bytes], int]
) -> None:
    monkeypatch.setattr(os, "write", write)
    assert registry.register("vault", os.getpid(), [], [], []) is None
    assert list(folder.iterdir()) == []


def test_entry_that_was_never_finished_is_removed_after_a_while(folder: Path) -> None:
    path = registry.register("vault", os.getpid(), [], [], [])
    assert path is not None
    old, young = folder / "1-2.new", folder / "1-3.new"
    for draft in (old, young):
        draft.write_text("{")
    os.utime(old, (0, 0))
    assert [entry.name for entry in registry.entries()] == ["vault"]
    assert sorted(each.name for each in folder.iterdir()) == sorted([young.name, path.name])
