# SPDX-License-Identifier: Apache-2.0
"""Running the user's module from the bytes that the host handed over.

Enclave side. The file is not opened again: what runs is what the host read once.
"""

from __future__ import annotations

import importlib.util
import linecache
import sys
import traceback
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType, TracebackType
from typing import Any

from hotcalls.declare import running_inside


class Source:
    """The loader of the module, for what asks modules for their source."""

    def __init__(self, name: str, file: str, source: bytes) -> None:
        self._name, self._file, self._source = name, file, source

    def create_module(self, spec: ModuleSpec) -> None:
        """Return None: an ordinary module."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the source in the module."""
        exec(self.get_code(module.__name__), module.__dict__)  # noqa: S102 -- an import

    def get_code(self, name: str) -> CodeType:
        """Compile the source."""
        return compile(self._source, self._file, "exec", dont_inherit=True)

    def get_source(self, name: str) -> str:
        """Decode the source."""
        return importlib.util.decode_source(self._source)

    def is_package(self, name: str) -> bool:
        """Whether it is the ``__init__`` of a package."""
        return sys.modules[self._name].__spec__.submodule_search_locations is not None  # type: ignore[union-attr]


def run(name: str, file: str, package: list[str] | None, source: bytes) -> ModuleType:
    """Import the user's module under its name, and its parent packages before it."""
    parent, _, last = name.rpartition(".")
    if parent:
        importlib.import_module(parent)
    loader: Any = Source(name, file, source)
    spec = ModuleSpec(name, loader, origin=file, is_package=package is not None)
    spec.has_location = True
    if package is not None:
        spec.submodule_search_locations = package
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    # What a traceback shows are the lines that run, also where the file cannot be read.
    lines = source.decode("utf-8", "replace").splitlines(keepends=True)
    linecache.cache[file] = (len(source), None, lines, file)
    with running_inside():
        loader.exec_module(module)
    if parent:
        setattr(sys.modules[parent], last, module)
    return module


def preload(name: str) -> None:
    """Import what ``launch(preload=…)`` names."""
    try:
        importlib.import_module(name)
    except ImportError as error:
        error.msg = f"launch(preload=[{name!r}]): {error.msg}"
        raise


def traceback_text(error: BaseException) -> str:
    """Format a traceback without the frames of the machinery that ran the module."""
    return "".join(traceback.format_exception(type(error), error, _shown(error.__traceback__)))


def _shown(frames: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame that is not of this package."""
    ours = __file__.rpartition("/")[0] + "/"
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(ours):
        frames = frames.tb_next
    return frames
