# SPDX-License-Identifier: Apache-2.0
"""What is refused once the enclave is locked down, in words that say what to do.

Enclave side. The kernel refuses (see ``native/sandbox_table.h``); nothing here is a protection.
These are the explanations: an import finder, an audit hook, and the translation of the errno that
only the lock-down produces.
"""

from __future__ import annotations

import errno
import importlib
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.machinery import BuiltinImporter, FrozenImporter, ModuleSpec
from types import ModuleType
from typing import Any

from hotcalls import _inside
from hotcalls.errors import EnclaveLocked

#: What Python itself imports when it is first needed; 2 ms together, mostly there already.
LATECOMERS = (
    "_strptime",
    "encodings.ascii",
    "encodings.idna",
    "encodings.latin_1",
    "encodings.utf_8",
    "linecache",
    "threading",
    "traceback",
    "warnings",
)

#: What a module imports when it is first used: of these, with the module that does.
LATE_OF = {
    "asyncio": ("concurrent.futures.thread",),
    "concurrent.futures": ("concurrent.futures.thread",),
    "numpy": ("numpy.linalg", "numpy.random"),
    "uuid": ("_uuid",),
}

_OPEN = (
    "the enclave is locked down and cannot open files: read {0!r} in @hotcalls.startup or while "
    "the module is imported, or hand it in with launch(secrets=…)"
)
_NETWORK = (
    "the enclave is locked down and reaches no network and no other process: let the host do it, "
    "with an @hotcalls.ocall function"
)
_PROCESS = (
    "the enclave is locked down and starts no processes: let the host do it, with an "
    "@hotcalls.ocall function"
)
_LIBRARY = (
    "the enclave is locked down and loads no code: import what needs {0!r} in the module, or name "
    "it in launch(preload=[…])"
)
_FILES = (
    "the enclave is locked down and sees no files: do this in @hotcalls.startup or while the "
    "module is imported"
)

#: Audited events that the kernel would refuse, and what to say about them.
REFUSED = {
    "open": _OPEN,
    "os.listdir": _FILES,
    "os.scandir": _FILES,
    "os.mkdir": _FILES,
    "os.remove": _FILES,
    "os.rename": _FILES,
    "os.rmdir": _FILES,
    "socket.__new__": _NETWORK,
    "socket.getaddrinfo": _NETWORK,
    "socket.gethostbyname": _NETWORK,
    "subprocess.Popen": _PROCESS,
    "os.exec": _PROCESS,
    "os.fork": _PROCESS,
    "os.forkpty": _PROCESS,
    "os.posix_spawn": _PROCESS,
    "os.spawn": _PROCESS,
    "os.system": _PROCESS,
    "pty.spawn": _PROCESS,
    "mmap.__new__": _FILES,
}


def prepare() -> None:
    """Import what could not be imported later; the last step before the lock-down."""
    for name in LATECOMERS:
        importlib.import_module(name)
    for name, late in LATE_OF.items():
        if name in sys.modules:
            for each in late:
                with suppress(ImportError):
                    importlib.import_module(each)
    if "asyncio" in sys.modules:
        from hotcalls.inside import loop

        loop.install()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def explain() -> None:
    """From here on imports and the like say why they do not work."""
    sys.meta_path[:] = [
        finder for finder in sys.meta_path if finder in (BuiltinImporter, FrozenImporter)
    ]
    sys.meta_path.append(Finder())
    _inside.audit(REFUSED, _refuse)


class Finder:
    """The last finder: nothing is found any more."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Say why, and how to have it."""
        raise ModuleNotFoundError(
            f"no module named {name!r} was imported before the enclave was locked down; import it "
            f"at the top of the module, or launch(preload=[{name!r}])",
            name=name,
        )


def _refuse(text: str, arguments: tuple[Any, ...]) -> None:
    """Raise the error for an audited event."""
    if text is _OPEN and isinstance(arguments[0], int):
        return  # an open descriptor: of what the lock-down left
    shown = arguments[0] if arguments else ""
    raise EnclaveLocked(_inside.DENIED_ERRNO, text.format(shown))


def in_words(error: BaseException) -> BaseException:
    """Replace what the kernel says about a refused system call; other errors stay as they are."""
    if (
        not isinstance(error, OSError)
        or isinstance(error, EnclaveLocked)
        or error.errno != _inside.DENIED_ERRNO
    ):
        return error
    what = f" ({error.filename!r})" if error.filename is not None else ""
    words = EnclaveLocked(
        error.errno,
        f"the enclave is locked down: the system call behind this is refused{what}; do it in "
        "@hotcalls.startup, or in the host with an @hotcalls.ocall function",
    )
    return words.with_traceback(error.__traceback__)


assert _inside.DENIED_ERRNO == errno.ESRMNT
