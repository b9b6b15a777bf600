# SPDX-License-Identifier: Apache-2.0
"""Writes generated files so that nobody sees half of them.

Used by ``hotcalls edl`` and ``hotcalls build``.  Everything is written and complete in a temporary
directory beside its destination before the first file gets its name.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path


@contextlib.contextmanager
def staging(directory: Path) -> Iterator[Path]:
    """A temporary directory on the file system of `directory`, which is created if needed."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".hotcalls-", dir=directory) as temporary:
        yield Path(temporary)


def publish(stage: Path, directory: Path, names: Mapping[str, Path] | list[str]) -> list[Path]:
    """Move complete files from `stage` to their names in `directory`."""
    written = []
    for name in names:
        target = names[name] if isinstance(names, Mapping) else directory / name
        os.replace(stage / name, target)
        written.append(target)
    return written


def write_files(directory: Path, files: Mapping[str, str]) -> list[Path]:
    """Write texts by file name into `directory`.

    Returns
    -------
    list of Path
        What was written.
    """
    with staging(directory) as stage:
        for name, text in files.items():
            (stage / name).write_text(text, encoding="utf-8")
        return publish(stage, directory, list(files))
