# SPDX-License-Identifier: Apache-2.0
"""Starting an enclave that runs a Python module.

Host side, trusted by the enclave until the launch has returned. What the enclave says about
itself is untrusted and passes :func:`hotcalls.wire.decode_interface`.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import signal
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from types import ModuleType
from typing import Any

import msgspec

from hotcalls import _native, declare, pymodule
from hotcalls.errors import InterfaceMismatch, LaunchError, SignatureError, error_for
from hotcalls.inline import InlineEnclave, launch_inline
from hotcalls.inside import secrets, startup
from hotcalls.ocalls import OcallServer, check_ocalls
from hotcalls.pymodule import Module, Start
from hotcalls.python_enclave import PythonEnclave
from hotcalls.shared import SharedAccess
from hotcalls.wire import Signature, decode_interface
from hotcalls.wire.codec import printable

#: Descriptors that one process can be handed, without the runtime's own.
SECRETS_MAX = 20

#: Characters of a traceback that are shown.
TRACEBACK_MAX = 1 << 16

_PUBLIC = 1


class _Paper(msgspec.Struct):
    """What the enclave leaves for its host: one of the two."""

    described: bytes | None = None
    failed: _Failed | None = None


class _Failed(msgspec.Struct):
    """Why it did not start."""

    type: str
    message: str
    text: str


_read_paper = msgspec.msgpack.Decoder(_Paper).decode


def launch_module(
    module: Module,
    ocalls: dict[str, Callable[..., Any]],
    options: dict[str, Any],
    how: Start,
    *,
    restart: bool = False,
) -> PythonEnclave:
    """Start an enclave and return when it is locked down and serves."""
    conversation = _Conversation(module, ocalls, how.debug)
    native = _start(module, conversation, options, how)
    server = conversation.server
    assert server is not None

    def start_again() -> _native.Enclave:
        server.forget()
        # Same ids, same types: anything else is not the enclave that was launched.
        repeated = _Conversation(module, ocalls, how.debug, server, conversation)
        return _start(module, repeated, options, dataclasses.replace(how, again=True))

    try:
        enclave = PythonEnclave(
            module.name,
            native,
            conversation.ecalls,
            conversation.ocalls,
            server,
            window_size=options["window_size"],
            responders=options["responders"],
            start_again=start_again if restart else None,
        )
        conversation.access.memory = SharedAccess(enclave)
        declare.bind(declare.module_key(module.file), enclave)
    except BaseException:
        # No memory, an interrupt: nobody gets it, who could close it.
        native.close()
        raise
    return enclave


class _Access:
    """The shared memory of an enclave that is only being launched."""

    memory: SharedAccess | None = None

    def offset_of(self, view: memoryview) -> int:
        """Return where a view begins."""
        assert self.memory is not None
        return self.memory.offset_of(view)

    def view(self, offset: int, size: int) -> memoryview:
        """Return a view."""
        assert self.memory is not None
        return self.memory.view(offset, size)


def launch_here(
    module: Module, ocalls: dict[str, Callable[..., Any]], how: Start, threads: int
) -> InlineEnclave:
    """Run the module in this process, with start-up functions as in an enclave."""

    def start(loaded: ModuleType) -> None:
        with ExitStack() as opened:
            given = _descriptors(how.secrets, opened)
            own = [os.dup(descriptor) for descriptor in given.values()]
            arguments = msgspec.msgpack.decode(pymodule.packed(how.arguments))
            startup.run(loaded, secrets.from_descriptors(list(given), own), arguments)

    for name in how.preload:
        importlib.import_module(name)
    enclave = launch_inline(
        module.name,
        module.file,
        module.source,
        ocalls,
        start,
        debug=how.debug,
        threads=threads,
        imported=lambda: _imported(module),
    )
    declare.bind(declare.module_key(module.file), enclave)
    return enclave


class _Conversation:
    """What the enclave says about itself while it is launched, and what the host makes of it."""

    def __init__(
        self,
        module: Module,
        given: dict[str, Callable[..., Any]],
        debug: bool,
        server: OcallServer | None = None,
        like: _Conversation | None = None,
    ) -> None:
        self._module, self._given, self._debug, self._like = module, given, debug, like
        self.server = server
        self.access = _Access()
        #: It ended before the interpreter had come as far as this package.
        self.silent = False
        self.ecalls: list[Signature] = []
        self.ocalls: list[Signature] = []

    def hear(self, ready: bool, data: bytes | None) -> Any:
        """Take in the paper; return the tables and what serves ocalls."""
        name = self._module.name
        try:
            paper = _read_paper(data if data is not None else b"")
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.silent = data is None
            paper = _Paper()
        if not ready:
            if paper.failed is not None:
                raise LaunchError(_why(self._module, paper.failed), status="HC_ERR_CALLEE")
            return None
        if paper.described is None:
            raise SignatureError(
                f"{name}: the enclave does not describe itself", status="HC_ERR_MESSAGE"
            )
        ecalls, ocalls = decode_interface(paper.described)
        ecalls, ocalls = self._classes(ecalls, ocalls)
        if self._like is not None and _digests(ecalls, ocalls) != _digests(
            self._like.ecalls, self._like.ocalls
        ):
            raise SignatureError(
                f"{name}: started again, it has other functions than before",
                status="HC_ERR_INTERFACE",
            )
        for each in ecalls:
            if each.name in declare.RESERVED_NAMES:
                raise SignatureError(
                    f"{name}: ecall {each.name}() has the name of something that every enclave has",
                    status="HC_ERR_INTERFACE",
                )
        ecalls = [each.with_access(self.access) for each in ecalls]
        ocalls = [each.with_access(self.access) for each in ocalls]
        check_ocalls(name, {each.name: each for each in ocalls}, self._given)
        self.ecalls, self.ocalls = ecalls, ocalls
        if self.server is None:
            self.server = OcallServer(ocalls, self._given, debug=self._debug)
        server = self.server
        messages = _native.Messages(server.serve, server.hold, server.fetch, len(ocalls))
        return _table(ecalls), _table(ocalls), messages

    def _classes(
        self, ecalls: list[Signature], ocalls: list[Signature]
    ) -> tuple[list[Signature], list[Signature]]:
        """Replace signatures by those that know the classes of the user's, if there are any."""
        if any(each.needs_classes for each in (*ecalls, *ocalls)):
            return _with_classes(self._module, ecalls, ocalls)
        return ecalls, ocalls


def _digests(ecalls: list[Signature], ocalls: list[Signature]) -> list[bytes]:
    return [each.digest() for each in ecalls] + [b""] + [each.digest() for each in ocalls]


def _with_classes(
    module: Module, ecalls: list[Signature], ocalls: list[Signature]
) -> tuple[list[Signature], list[Signature]]:
    """Take the signatures of this program's own import of the module: they have the classes.

    What the enclave says only serves to compare: no class is looked up by a name from there.
    """
    mine = declare.declarations(_imported(module))

    def own(theirs: Signature, known: Mapping[str, declare.Declaration]) -> Signature:
        declaration = known.get(theirs.name)
        if declaration is None or declaration.signature.digest() != theirs.digest():
            raise InterfaceMismatch(
                f"{module.name}: {theirs.name}() is another one in the enclave than in the module "
                "that this program has imported; was the file changed since?",
                status="HC_ERR_INTERFACE",
            )
        return declaration.signature

    return (
        [own(each, mine.ecalls) for each in ecalls],
        [own(each, mine.ocalls) for each in ocalls],
    )


def _imported(module: Module) -> ModuleType:
    """The module in this program: decorators record, start-up functions do not run."""
    known = sys.modules.get(module.name)
    if known is not None and _same_file(known, module):
        return known
    if "." in module.name:
        return importlib.import_module(module.name)
    main = sys.modules.get("__main__")
    if main is not None and _same_file(main, module):
        return main
    spec = importlib.util.spec_from_file_location(
        module.name,
        module.file,
        submodule_search_locations=None if module.package is None else list(module.package),
    )
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    # Dataclasses look themselves up there. An unrelated module of that name stays what it is.
    if known is None:
        sys.modules[module.name] = loaded
    try:
        spec.loader.exec_module(loaded)
    except BaseException:
        if known is None:
            del sys.modules[module.name]
        raise
    return loaded


def _same_file(known: ModuleType, module: Module) -> bool:
    file = getattr(known, "__file__", None)
    return file is not None and os.path.realpath(file) == os.path.realpath(module.file)


def _start(
    module: Module,
    conversation: _Conversation,
    options: dict[str, Any],
    how: Start,
    *,
    words: Sequence[bytes] = (),
    descriptors: Sequence[int] = (),
) -> _native.Enclave:
    """Start the process. `words` and `descriptors` are handed to it besides the usual ones."""
    file, name = pymodule.interpreter(how.python)
    with ExitStack() as opened:
        given = {} if how.again else _descriptors(how.secrets, opened)
        try:
            return _native.Enclave(
                pymodule.image(module, how),
                os.fsencode(file),
                module.name.encode(),
                [],
                [],
                None,
                {
                    **options,
                    "digest": bytes(32),
                    "python": {
                        "argv": [*pymodule.command(name), b"secrets=%d" % len(given), *words],
                        "fds": [*given.values(), *descriptors],
                        "described": conversation.hear,
                        "by_path": _must_start_by_path(file),
                    },
                },
            )
        except _native.NativeError as error:
            text = f"{module.name}: {error.text.replace('the loader ', 'the interpreter ', 1)}"
            # SIGKILL is nobody's mistake in a set-up: the text says whose it may be.
            killed = error.signal == signal.SIGKILL
            if error.status == "HC_ERR_PEER_LOST" and conversation.silent and not killed:
                text += (
                    f"; {name} did not come as far as loading hotcalls (what it printed is in the "
                    f"log): it has to be Python {sys.version_info.major}.{sys.version_info.minor}, "
                    "and the user that the enclave runs as has to be able to read its files"
                )
            raise error_for(
                error.status,
                text,
                errno=error.errno,
                signal=error.signal,
                exit_status=error.exit_status,
                launching=True,
            ) from None


def _must_start_by_path(file: str) -> bool:
    if not pymodule.finds_itself(file):
        return False
    warnings.warn(
        f"{file} finds its library by its own place ($ORIGIN), so the enclave cannot be started "
        "from a sealed copy of it: a process of the same user that is quick enough could look into "
        "it during its first milliseconds, before it is hardened. Other builds of Python do not "
        "have this; see launch(python=…)",
        RuntimeWarning,
        stacklevel=5,
    )
    return True


def _why(module: Module, failed: _Failed) -> str:
    # It goes to terminals: what the module put into an exception is only text.
    text = printable(failed.text, TRACEBACK_MAX, keep="\n\t").rstrip()
    return f"{module.file} did not start inside the enclave:\n\n{text}"


def _table(signatures: list[Signature]) -> list[tuple[bytes, int]]:
    return [(each.name.encode(), _PUBLIC) for each in signatures] + [(b"fetch", _PUBLIC)]


def _descriptors(secrets: Mapping[str, Any], opened: ExitStack) -> dict[str, int]:
    """A descriptor for each secret; those made here are closed with `opened`."""
    if len(secrets) > SECRETS_MAX:
        raise ValueError(f"secrets: at most {SECRETS_MAX}, got {len(secrets)}")
    found = {}
    for name, value in secrets.items():
        if not isinstance(name, str):
            raise TypeError(f"secrets: a name is a str, got {type(name).__name__}")
        found[name] = _descriptor(name, value, opened)
    return found


def _descriptor(name: str, value: Any, opened: ExitStack) -> int:
    where = f"secrets: {name!r}"
    if isinstance(value, bool) or value is None:
        raise TypeError(f"{where} is a descriptor, a file or bytes, got {type(value).__name__}")
    if isinstance(value, (str, os.PathLike)):
        raise TypeError(
            f"{where} is a descriptor, a file or bytes, not a path: open it here, so that the "
            "enclave gets what it was when you did"
        )
    if isinstance(value, (bytes, bytearray, memoryview)):
        descriptor = os.memfd_create("hotcalls-secret", os.MFD_CLOEXEC)
        opened.callback(os.close, descriptor)
        with memoryview(value).cast("B") as data:
            written = 0
            while written < len(data):
                written += os.write(descriptor, data[written:])
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor
    descriptor = value if isinstance(value, int) else _file_descriptor(where, value)
    try:
        os.fstat(descriptor)
    except (OSError, OverflowError):
        raise ValueError(f"{where}: {descriptor} is not an open descriptor") from None
    return descriptor


def _file_descriptor(where: str, value: Any) -> int:
    try:
        return int(value.fileno())
    except (AttributeError, OSError):
        raise TypeError(
            f"{where} is a descriptor, a file or bytes, got {type(value).__name__}"
        ) from None
