# SPDX-License-Identifier: Apache-2.0
"""Writes generated files so that nobody sees half of them.

Used by ``hotcalls edl`` and ``hotcalls build``.  Everything is written and complete in a temporary
directory beside its destination before the first file gets its name.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path


@contextlib.contextmanager
def staging(directory: Path) -> Iterator[Path]:
    """A temporary directory on the file system of `directory`, which is created if needed."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".hotcalls-", dir=directory) as temporary:
        yield Path(temporary)


def publish(stage: Path, directory: Path, names: Mapping[str, Path] | list[str]) -> list[Path]:
    """Move complete files from `stage` to their names in `directory`."""
    named = names if isinstance(names, Mapping) else {name: directory / name for name in names}
    _refuse_directories(named.values())
    for name, target in named.items():
        os.replace(stage / name, target)
    return list(named.values())


def _refuse_directories(targets: Iterable[Path]) -> None:
    """Fail before the first file has its name, where a later one could not get it."""
    for target in targets:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))


def write_files(directory: Path, files: Mapping[str, str]) -> list[Path]:
    """Write texts by file name into `directory`.

    Returns
    -------
    list of Path
        What was written.
    """
    return write_directories({directory: files})


def write_directories(files: Mapping[Path, Mapping[str, str]]) -> list[Path]:
    """The same for several directories: nothing appears in one before all are complete."""
    with contextlib.ExitStack() as stack:
        stages = {directory: stack.enter_context(staging(directory)) for directory in files}
        for directory, texts in files.items():
            for name, text in texts.items():
                (stages[directory] / name).write_text(text, encoding="utf-8")
        for directory, texts in files.items():
            _refuse_directories(directory / name for name in texts)
        written = []
        for directory, texts in files.items():
            written += publish(stages[directory], directory, list(texts))
        return written
