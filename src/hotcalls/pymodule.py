# SPDX-License-Identifier: Apache-2.0
"""From what ``launch`` was given to a Python module that can run in an enclave.

Host side, trusted by the enclave until the launch has returned. Finds the module without running
it, reads its source once, and says how the interpreter is to be started.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from hotcalls.errors import LaunchError

#: Loads one extension by its path, before anything else can run, and hardens the process; then
#: the standard start (site), a package ``hotcalls`` whose own ``__init__`` is not run, and main().
#: The words: path of the extension, folder of the package, folder of what it needs itself should
#: that not be on the interpreter's own path (a user's site-packages), and what the runtime is told.
#: The collector of garbage is off until the user's module runs: imports leave it nothing to find.
BOOTSTRAP = """\
import gc
gc.disable()
import sys
from _frozen_importlib import ModuleSpec, _load
from _frozen_importlib_external import ExtensionFileLoader
name = "hotcalls._inside"
path = sys.argv[1]
inside = _load(ModuleSpec(name, ExtensionFileLoader(name, path), origin=path))
inside.harden(sys.argv)
package = type(sys)("hotcalls")
package.__path__ = [sys.argv[2]]
package._inside = inside
sys.modules["hotcalls"] = package
try:
    import site
    site.main()
    if sys.argv[3] not in sys.path:
        sys.path.append(sys.argv[3])
    import hotcalls.inside.lean
    from hotcalls.inside.main import main
except BaseException as error:
    inside.fail("Python does not start inside: " + type(error).__name__ + ": " + str(error))
main()
"""

FLAGS = (
    "-I",  # no PYTHON* variables, no folder of the script or of the user on sys.path
    "-S",  # site runs after hardening
    "-B",  # writes no .pyc files
    "-X",
    "utf8",
    "-c",
    BOOTSTRAP,
)


#: Bytes of an interpreter that is only a front for libpython; the others have some megabytes.
SMALL = 1 << 20


@dataclass(frozen=True)
class Module:
    """A module to run in an enclave.

    Attributes
    ----------
    name
        That it is imported under inside.
    file
        Where it is, for tracebacks.
    package
        When it is a package: where its submodules are.
    folder
        What has to be on ``sys.path`` for the modules beside it to be found.
    source
        The bytes that run.
    """

    name: str
    file: str
    package: tuple[str, ...] | None
    folder: str
    source: bytes


@dataclass(frozen=True)
class Start:
    """How the module is started; see :func:`hotcalls.launch`.

    Attributes
    ----------
    again
        After a loss: `secrets` are the names of what there was, and nothing is handed over.
    """

    preload: list[str]
    secrets: dict[str, Any]
    arguments: Any
    debug: bool
    python: str | os.PathLike[str] | None
    again: bool = False


def find(target: str | os.PathLike[str] | ModuleType) -> Module:
    """Find the module that is meant, and read it. Runs none of its code.

    Parameters
    ----------
    target
        Path of a ``.py`` file, dotted name of a module, or a module.

    Raises
    ------
    LaunchError
        There is none, or it has no source.
    """
    if isinstance(target, ModuleType):
        return _of_module(target)
    text = os.fspath(target)
    if isinstance(target, os.PathLike) or text.endswith(".py") or os.sep in text:
        return _of_file(Path(text))
    return _of_name(text)


def is_module(target: object) -> bool:
    """Whether ``launch`` is to run Python code: anything but the path of another file."""
    if isinstance(target, ModuleType):
        return True
    if not isinstance(target, (str, os.PathLike)) or isinstance(os.fspath(target), bytes):
        raise TypeError(
            "launch() takes the path of a .py file, the dotted name of a module, a module, or the "
            f"path of a C enclave; got {type(target).__name__}"
        )
    text: str = os.fspath(target)
    if not text:
        raise LaunchError("launch(''): an empty name", status="HC_ERR_ARGUMENT")
    if text.endswith(".py"):
        return True
    if (
        isinstance(target, os.PathLike)
        or os.sep in text
        or text.endswith(".so")
        or Path(text).is_file()
    ):
        return False
    return all(part.isidentifier() for part in text.split("."))


def _of_module(module: ModuleType) -> Module:
    spec = module.__spec__
    if spec is None or module.__name__ == "__main__":
        # A script: its `if __name__ == "__main__"` is for the host.
        file = getattr(module, "__file__", None)
        if file is None:
            raise LaunchError(
                f"module {module.__name__!r} has no file: what was typed into a shell or a "
                "notebook cannot run in an enclave; write it to a .py file",
                status="HC_ERR_ARGUMENT",
            )
        return _of_file(Path(file))
    return _of_spec(module.__name__, spec)


def _of_file(file: Path) -> Module:
    file = Path(os.path.abspath(file))
    name = file.stem
    if not name.isidentifier():
        raise LaunchError(
            f"{file}: {name!r} cannot be the name of a module; rename the file",
            status="HC_ERR_ARGUMENT",
        )
    return Module(name, str(file), None, str(file.parent), _read(file))


def _of_name(name: str) -> Module:
    parts = name.split(".")
    path: Sequence[str] | None = None
    spec: ModuleSpec | None = None
    # Not importlib.util.find_spec(): it imports the parents.
    for count in range(1, len(parts) + 1):
        # By the last part only: a namespace package would look for its parent among the imported
        # modules.
        spec = _find_top(parts[0]) if path is None else PathFinder.find_spec(parts[count - 1], path)
        if spec is None:
            raise LaunchError(
                f"there is no module {name!r}: {'.'.join(parts[:count])!r} is not found; name a "
                "module that this program could import, or the path of a .py file",
                status="HC_ERR_ARGUMENT",
            )
        path = spec.submodule_search_locations
        if path is None and count < len(parts):
            raise LaunchError(
                f"there is no module {name!r}: {'.'.join(parts[:count])!r} is not a package",
                status="HC_ERR_ARGUMENT",
            )
    assert spec is not None
    return _of_spec(name, spec)


def _find_top(name: str) -> ModuleSpec | None:
    for finder in sys.meta_path:
        find_spec = getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = find_spec(name, None) if find_spec is not None else None
        if spec is not None:
            return spec
    return None


def _of_spec(name: str, spec: ModuleSpec) -> Module:
    if not spec.has_location or spec.origin is None or not spec.origin.endswith(".py"):
        raise LaunchError(
            f"module {name!r} is no Python source ({spec.origin}): an enclave runs .py files",
            status="HC_ERR_ARGUMENT",
        )
    file = Path(os.path.abspath(spec.origin))
    package = spec.submodule_search_locations
    folder = file.parent if package is None else file.parent.parent
    for _ in range(name.count(".")):
        folder = folder.parent
    return Module(
        name,
        str(file),
        None if package is None else tuple(package),
        str(folder),
        _read(file),
    )


def _read(file: Path) -> bytes:
    from hotcalls.launching import read_regular

    return read_regular(file)


def interpreter(given: str | os.PathLike[str] | None) -> tuple[str, str]:
    """The interpreter's file, and the name to start it by: that of its virtual environment."""
    name = os.fspath(given) if given is not None else sys.executable
    if not name:
        raise LaunchError(
            "which Python interpreter runs this program is not known; name one with "
            "launch(python=…)",
            status="HC_ERR_ARGUMENT",
        )
    name = os.path.abspath(name)
    return os.path.realpath(name), name


def finds_itself(file: str) -> bool:
    """Whether the interpreter finds its own library by where its file lies ($ORIGIN).

    From a copy without a name it would not, so such a one is started from its path. It is small:
    all of Python is in the library.
    """
    try:
        if os.path.getsize(file) > SMALL:
            return False
        content = Path(file).read_bytes()
    except OSError:
        return False  # which starting it will report
    return b"$ORIGIN" in content or b"${ORIGIN}" in content


def command(name: str) -> list[bytes]:
    """The words to start the interpreter with."""
    extension = importlib.util.find_spec("hotcalls._inside")
    if extension is None or extension.origin is None:
        raise LaunchError("hotcalls is not installed whole: its extension _inside is missing")
    import msgspec

    needed = Path(msgspec.__file__).parent.parent
    words = [name, *FLAGS, extension.origin, str(Path(__file__).parent), str(needed)]
    return [os.fsencode(word) for word in words]


def packed(arguments: Any) -> bytes:
    """What ``launch(args=…)`` gave, as it travels."""
    from hotcalls.wire.pack import pack

    try:
        return pack(arguments)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(
            f"args: {error}; what an enclave is started with is made of None, bool, int, float, "
            "str, bytes, lists and dicts"
        ) from None


def image(module: Module, start: Start) -> bytes:
    """What the enclave finds in its descriptor 4: the host's wishes, and then the source."""
    import msgspec

    from hotcalls.wire.pack import pack

    arguments = packed(start.arguments)
    head = pack(
        {
            "name": module.name,
            "file": module.file,
            "package": None if module.package is None else list(module.package),
            "path": [module.folder],
            "preload": start.preload,
            "secrets": list(start.secrets),
            "again": start.again,
            "debug": start.debug,
            "arguments": msgspec.Raw(arguments),
        }
    )
    return len(head).to_bytes(8, "little") + head + module.source
