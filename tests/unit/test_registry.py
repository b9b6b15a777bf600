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


@pytest.mark.claim("O-STATISTICS")
@pytest.mark.parametrize("mode", [0o770, 0o701, 0o755, 0o704, 0o777])
def test_list_that_others_may_use_is_not_used(folder: Path, mode: int) -> None:
    folder.mkdir()
    folder.chmod(mode)
    assert registry.register("vault", os.getpid(), [], [], []) is None
    assert registry.create_counters() is None
    assert "remove it" in registry.obstacle()
    assert list(folder.iterdir()) == []


@pytest.mark.claim("O-STATISTICS")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make what is another user's")
@pytest.mark.parametrize("kind", ["directory", "link"])
def test_list_of_another_user_is_not_used(folder: Path, tmp_path: Path, kind: str) -> None:
    """Anybody may make the name in /tmp first."""
    made = folder if kind == "directory" else tmp_path / "elsewhere"
    made.mkdir(mode=0o700)
    if kind == "link":
        folder.symlink_to(made)
    os.chown(folder, 65534, 65534, follow_symlinks=False)
    assert registry.register("vault", os.getpid(), [], [], []) is None
    assert registry.create_counters() is None
    assert registry.obstacle() != ""
    assert list(made.iterdir()) == []


@pytest.mark.claim("O-STATISTICS")
def test_nothing_in_the_list_is_open_to_others(folder: Path) -> None:
    before = os.umask(0)
    try:
        entry = registry.register("vault", os.getpid(), [], [], [])
        counters = registry.create_counters()
    finally:
        os.umask(before)
    assert entry is not None
    assert counters is not None
    os.close(counters.descriptor)
    for path in (folder, entry, counters.path):
        assert path.stat().st_mode & 0o077 == 0
