# SPDX-License-Identifier: Apache-2.0
"""Reads an EDL file and everything it imports, from where it may import.

Called by :mod:`hotcalls.edl.check`.  The files and the paths in them are untrusted: an import stays
inside the directory of the first file and the search path, links included; only regular files of
bounded size are read, a bounded number of them, and each file is visited once per set of names
asked of it, so that no arrangement of imports takes exponential time.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hotcalls.edl.diagnostics import Diagnostic, EdlError, Findings, Source, Span
from hotcalls.edl.dialect import Dialect
from hotcalls.edl.parser import MAX_TEXT_CHARACTERS, read_syntax
from hotcalls.edl.preprocess import preprocess
from hotcalls.edl.syntax import BlockSyntax, FileSyntax, FunctionSyntax, ImportSyntax, Name

MAX_FILES = 256
"""Files that one interface may be made of."""

_MAX_BYTES = 4 * MAX_TEXT_CHARACTERS
_MAX_DEPTH = 64


@dataclass
class LoadedFile:
    """One file of an interface.

    Attributes
    ----------
    identity
        Its resolved path, or its name when it was given as text.
    wanted
        Names of the functions that are taken from it, or None for all.
    """

    identity: str
    syntax: FileSyntax
    directory: Path | None
    wanted: set[str] | None = field(default_factory=set)

    def functions(self) -> dict[str, FunctionSyntax]:
        """All functions that the file declares itself."""
        return {
            entry.name.text: entry
            for item in self.syntax.items
            if isinstance(item, BlockSyntax)
            for entry in item.entries
            if isinstance(entry, FunctionSyntax)
        }

    def imports(self) -> list[ImportSyntax]:
        """Its import statements."""
        return [item for item in self.syntax.items if isinstance(item, ImportSyntax)]


def load_file(
    path: str | os.PathLike[str],
    search_path: Sequence[str | os.PathLike[str]],
    findings: Findings,
    dialect: Dialect,
    macros: dict[str, str],
) -> list[LoadedFile]:
    """Read a file and what it imports; see :func:`load_text`."""
    name = os.fspath(path)
    try:
        source = read_source(Path(name), name)
    except EdlError as error:
        for diagnostic in error.diagnostics:
            findings.add(diagnostic)
        return []
    resolved = Path(os.path.realpath(name))
    loader = _Loader(resolved.parent, search_path, findings, dialect, macros)
    return loader.load(source, str(resolved))


def load_text(
    text: str,
    name: str,
    search_path: Sequence[str | os.PathLike[str]],
    findings: Findings,
    dialect: Dialect,
    macros: dict[str, str],
) -> list[LoadedFile]:
    """Read a text and what it imports from `search_path`.

    Returns
    -------
    list of LoadedFile
        The first file, then the imported ones in the order of first mention, depth first; empty
        after a syntax error.
    """
    source = Source(name, text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}"))
    return _Loader(None, search_path, findings, dialect, macros).load(source, name)


def read_source(path: Path, shown: str) -> Source:
    """Read one EDL file.

    Raises
    ------
    EdlError
        It cannot be read, is not a regular file, is too large or is not UTF-8.
    """
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise _unreadable(shown, getattr(error, "strerror", None) or str(error)) from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _unreadable(shown, "not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise _unreadable(shown, error.strerror or str(error)) from None
    finally:
        os.close(descriptor)
    if len(data) > _MAX_BYTES:
        raise EdlError(
            [
                Diagnostic(
                    shown,
                    1,
                    1,
                    1,
                    "error",
                    "too-large",
                    f"the file has more than {_MAX_BYTES} bytes",
                )
            ]
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        source = Source(shown, data.decode("utf-8", "replace"))
        offset = len(data[: error.start].decode("utf-8"))
        raise EdlError(
            [
                Diagnostic.at(
                    Span(source, offset),
                    "encoding",
                    f"byte 0x{data[error.start]:02x} is not UTF-8",
                    "save the file as UTF-8",
                )
            ]
        ) from None
    return Source(shown, text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}"))


def _unreadable(shown: str, reason: str) -> EdlError:
    return EdlError(
        [Diagnostic(shown, 1, 1, 1, "error", "unreadable", f"cannot read the file: {reason}")]
    )


class _Loader:
    def __init__(
        self,
        root: Path | None,
        search_path: Iterable[str | os.PathLike[str]],
        findings: Findings,
        dialect: Dialect,
        macros: dict[str, str],
    ) -> None:
        self._findings = findings
        self._dialect = dialect
        self._macros = macros
        self._search = [Path(os.path.realpath(directory)) for directory in search_path]
        self._roots = [*([root] if root else []), *self._search]
        self._files: dict[str, LoadedFile] = {}
        self._broken: set[str] = set()
        self._stack: list[str] = []
        self._done: dict[tuple[str, frozenset[str] | None], set[str]] = {}
        self._root = root
        self._characters = 0

    def load(self, source: Source, identity: str) -> list[LoadedFile]:
        syntax = self._parse(source)
        if syntax is None:
            return []
        first = LoadedFile(identity, syntax, self._root)
        self._files[identity] = first
        self._take(first, None)
        return list(self._files.values())

    def _parse(self, source: Source) -> FileSyntax | None:
        text = preprocess(source, self._macros, self._findings, full=self._dialect.macros)
        return None if text is None else read_syntax(text, self._findings, self._dialect)

    def _take(self, file: LoadedFile, wanted: frozenset[str] | None) -> set[str]:
        """Take functions from a file, None for all; returns the names that were not found."""
        key = (file.identity, wanted)
        if key in self._done:
            return self._done[key]
        self._done[key] = missing = self._take_own(file, wanted)
        self._stack.append(file.identity)
        found: set[str] = set()
        lost: set[str] = set()
        for statement in file.imports():
            child = self._open(file, statement)
            if child is None:
                found |= missing  # The failed import is reported; names it may hold are not.
            elif wanted is not None:
                without = self._take(child, frozenset(missing))
                found |= missing - without
                lost |= without
            elif statement.names is None:
                self._take(child, None)
            else:
                names = {name.text for name in statement.names}
                self._report_missing(statement, self._take(child, frozenset(names)), child)
        self._stack.pop()
        missing -= found
        if self._dialect.name == "intel":
            # It looks for a name in every file that the named one imports, and wants it in each.
            missing |= lost
        return missing

    def _take_own(self, file: LoadedFile, wanted: frozenset[str] | None) -> set[str]:
        if wanted is None:
            file.wanted = None
            return set()
        own = file.functions().keys() & wanted
        if file.wanted is not None:
            file.wanted |= own
        return set(wanted - own)

    def _report_missing(
        self, statement: ImportSyntax, missing: set[str], child: LoadedFile
    ) -> None:
        for written in statement.names or ():
            if written.text in missing:
                self._findings.error(
                    written.span,
                    "import",
                    f"{child.syntax.source.path} declares no function `{written.text}`",
                    "import a function that it declares, or `*` for all"
                    if self._dialect.name != "intel" or not child.imports()
                    else "Intel's compiler wants it there, or in each file that it imports",
                )

    def _open(self, importer: LoadedFile, statement: ImportSyntax) -> LoadedFile | None:
        path = self._resolve(importer, statement.path)
        if path is None:
            return None
        identity = str(path)
        if identity in self._stack:
            self._findings.error(
                statement.path.span,
                "import-cycle",
                f"`{statement.path.text}` imports this file again, directly or through others",
                "move what both need into a third file",
            )
            return None
        if identity in self._broken:
            return None
        if identity in self._files:
            return self._files[identity]
        if len(self._files) >= MAX_FILES or len(self._stack) >= _MAX_DEPTH:
            self._findings.error(
                statement.path.span,
                "import-limit",
                f"more than {MAX_FILES} files, or imports more than {_MAX_DEPTH} deep",
                "join some of the files",
            )
            return None
        syntax = None
        try:
            source = read_source(path, _shown(path))
        except EdlError as error:
            for diagnostic in error.diagnostics:
                self._findings.add(diagnostic)
        else:
            self._characters += len(source.text)
            if self._characters > _MAX_BYTES:
                self._findings.error(
                    statement.path.span,
                    "import-limit",
                    f"the imported files have more than {_MAX_BYTES} characters in all",
                    "import less",
                )
            else:
                syntax = self._parse(source)
        if syntax is None:
            self._broken.add(identity)
            return None
        file = LoadedFile(identity, syntax, path.parent)
        self._files[identity] = file
        return file

    def _resolve(self, importer: LoadedFile, name: Name) -> Path | None:
        text = name.text
        absolute = os.path.isabs(text) and self._dialect.confined
        if not text or not text.isprintable() or absolute:
            self._findings.error(
                name.span,
                "import-path",
                "an import names a file by a relative path",
                "give the directory with --search-path",
            )
            return None
        bases = [*([importer.directory] if importer.directory else []), *self._search]
        for base in bases:
            try:
                path = Path(os.path.realpath(base / text))
                exists = path.exists()
            except (OSError, ValueError):
                continue
            if not exists:
                continue
            if self._dialect.confined and not any(
                path.is_relative_to(root) for root in self._roots
            ):
                self._findings.error(
                    name.span,
                    "import-escape",
                    f"`{text}` lies outside of the directory of the first file and of the search "
                    "path",
                    "name its directory with --search-path",
                )
                return None
            return path
        self._findings.error(
            name.span,
            "import",
            f"there is no file `{text}`",
            "looked beside the importing file and in the search path",
        )
        return None


def _shown(path: Path) -> str:
    try:
        relative = os.path.relpath(path)
    except (OSError, ValueError):
        return str(path)
    return str(path) if relative.startswith("..") else relative
