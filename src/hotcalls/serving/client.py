# SPDX-License-Identifier: Apache-2.0
""":func:`hotcalls.connect`: calling an enclave that ``hotcalls serve`` runs.

Host side. The server is believed in what a host is believed: which module it runs. What the enclave
says about its functions passes :func:`hotcalls.wire.decode_interface` here as well.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from types import ModuleType
from typing import Any

from hotcalls import _native, declare, pylaunch, pymodule
from hotcalls.errors import ConnectError, InterfaceMismatch, error_for
from hotcalls.launching import _count, _flag, _mapping, _microseconds
from hotcalls.pymodule import Module
from hotcalls.python_enclave import PythonEnclave
from hotcalls.serving import protocol
from hotcalls.shared import SharedAccess
from hotcalls.wire import Signature
from hotcalls.wire.pack import pack


def connect(
    path: str | os.PathLike[str],
    *,
    ocalls: Mapping[str, Callable[..., Any]] | None = None,
    module: str | os.PathLike[str] | ModuleType | None = None,
    mode: str = "hot",
    ocall_threads: int = 1,
    idle: float | None = None,
    spin: float | None = None,
    timeout: float = 10.0,
    server: str | int | None = None,
    reconnect: bool = False,
    debug: bool = False,
) -> ConnectedEnclave:
    """Call an enclave that another process serves (``hotcalls serve``).

    The enclave is shared with the server's other clients, and so is what its module keeps in
    globals. The calls of this process go over a channel of its own. A forked child needs a
    connection of its own.

    Parameters
    ----------
    path : path-like
        Of the server's socket.
    ocalls : mapping of str to callable
        What calls of this process may call back, here.
    module : path-like, str or module, optional
        The module that is served: needed when its functions take or return classes of its own,
        which are then this program's. Calls of its functions go to this enclave.
    mode, ocall_threads, idle, spin, debug
        As of :func:`hotcalls.launch`.
    timeout : float
        Seconds to wait for the server's answer.
    server : str or int, optional
        The user that the server runs as. If not given: this process's own, or root.
    reconnect : bool
        What a call does that finds the enclave's process ended: connect again, to the server that
        was started in its place, or raise :class:`EnclaveLost`.

    Raises
    ------
    ConnectError
        Nobody serves there, or no channel is free, or this user is not allowed.
    InterfaceMismatch
        The functions are not those of `module`.
    """
    if mode not in ("hot", "switch"):
        raise ValueError(f"mode is one of hot, switch, got {mode!r}")
    options = {
        "mode": mode,
        "insecure_debug": False,
        "insecure_user_namespace": False,
        "digest": bytes(32),
        "ocall_responders": _count("ocall_threads", ocall_threads, least=0),
        "idle_us": _microseconds("idle", idle),
        "spin_us": _microseconds("spin", spin),
    }
    seconds = (_microseconds("timeout", timeout) or 0) / 1e6
    client = _Client(os.fspath(path), _user(server), seconds, options)
    known = None if module is None else pymodule.find(module)
    given = _mapping("ocalls", ocalls, "a function")
    native = client.attach(
        lambda like: _Conversation(client.welcome.name, known, given, debug, like)
    )
    heard = client.heard
    assert heard is not None
    assert heard.server is not None
    enclave = ConnectedEnclave(
        client.welcome.name,
        native,
        heard.ecalls,
        heard.ocalls,
        heard.server,
        window_size=native.window_size,
        responders=client.welcome.threads,
        start_again=client.again if _flag("reconnect", reconnect) else None,
    )
    heard.access.memory = SharedAccess(enclave)
    enclave._client = client
    if known is not None:
        declare.bind(declare.module_key(known.file), enclave)
    return enclave


class ConnectedEnclave(PythonEnclave):
    """An enclave that another process runs. Made by :func:`hotcalls.connect`.

    Closing it gives the channel back; the enclave goes on.
    """

    _client: _Client

    def close(self) -> None:
        """Give the channel back. Calls in progress raise :class:`EnclaveLost`. Twice is once."""
        try:
            super().close()
        finally:
            if os.getpid() == self._owner:
                self._client.hang_up()


class _Conversation(pylaunch._Conversation):
    """What the enclave says about itself by way of its server, and what is made of it here."""

    def __init__(
        self,
        name: str,
        module: Module | None,
        given: dict[str, Callable[..., Any]],
        debug: bool,
        like: _Conversation | None = None,
    ) -> None:
        stands_for = module or Module(name, name, None, "", b"")
        super().__init__(stands_for, given, debug, like.server if like else None, like)
        self._known = module is not None

    def _classes(
        self, ecalls: list[Signature], ocalls: list[Signature]
    ) -> tuple[list[Signature], list[Signature]]:
        """Take classes from the module that this program named, and from no other."""
        if self._known:
            return pylaunch._with_classes(self._module, ecalls, ocalls)
        for each in (*ecalls, *ocalls):
            if each.needs_classes:
                raise InterfaceMismatch(
                    f"{self._module.name}: {each.name}() has classes of the module's own in its "
                    "annotations: connect(…, module=…) says which module they are taken from",
                    status="HC_ERR_INTERFACE",
                )
        return ecalls, ocalls


class _Client:
    """The connection to the server."""

    def __init__(
        self, path: str, server: int | None, timeout: float, options: dict[str, Any]
    ) -> None:
        self._path, self._server, self._timeout = path, server, timeout
        self._options = options
        self._connection: socket.socket | None = None
        self._owner = os.getpid()
        self.welcome: protocol.Welcome
        self.heard: _Conversation | None = None
        self._converse: Callable[[_Conversation | None], _Conversation]

    def attach(self, converse: Callable[[_Conversation | None], _Conversation]) -> _native.Enclave:
        """Connect, hear what the enclave offers, and map the channel."""
        self._converse = converse
        with ExitStack() as opened:
            connection = opened.enter_context(self._connect())
            self.welcome, descriptors = protocol.receive(connection, self._path)
            for descriptor in descriptors:
                opened.callback(os.close, descriptor)
            channel, done, process, description = descriptors
            heard = converse(self.heard)
            tables = heard.hear(True, pack({"described": _read(description)}))
            native = self._map(tables, [channel, done, process, self.welcome.pid])
            self._connection = connection.dup()
        # What the calls of this enclave are bound to stays the first one's.
        self.heard = self.heard or heard
        return native

    def again(self) -> _native.Enclave:
        """Connect to what was started in the place of the enclave that was lost."""
        self.hang_up()
        return self.attach(self._converse)

    def hang_up(self) -> None:
        """Tell the server that the channel is free. Also when a forked child has a copy of this."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if os.getpid() == self._owner:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        connection.close()

    def __del__(self) -> None:
        """Forgotten without close(): the channel is free all the same."""
        self.hang_up()

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            connection.settimeout(self._timeout)
            connection.connect(self._path)
            _, uid = protocol.peer_of(connection)
        except OSError as error:
            connection.close()
            what = {
                FileNotFoundError: "no such socket; is `hotcalls serve` running?",
                ConnectionRefusedError: "nobody serves there any more",
                TimeoutError: "the server does not answer",
            }.get(type(error), error.strerror or str(error))
            raise ConnectError(f"{self._path}: {what}") from None
        wanted = (os.geteuid(), 0) if self._server is None else (self._server,)
        if uid not in wanted:
            connection.close()
            raise ConnectError(
                f"{self._path}: the server runs as user {protocol.user_name(uid)}, who would see "
                f"every call; connect(server={protocol.user_name(uid)!r}) says that this is meant"
            )
        return connection

    def _map(
        self,
        tables: tuple[list[tuple[bytes, int]], list[tuple[bytes, int]], _native.Messages],
        attached: list[int],
    ) -> _native.Enclave:
        ecalls, ocalls, messages = tables
        try:
            return _native.Enclave(
                b"",
                b"",
                self.welcome.name.encode(),
                ecalls,
                ocalls,
                messages,
                {**self._options, "attached": attached},
            )
        except _native.NativeError as error:
            raise error_for(
                error.status, f"{self._path}: {error.text}", errno=error.errno
            ) from None


def _read(description: int) -> bytes:
    """The description: as much of it as may be, read once."""
    pieces = []
    size = 0
    while size <= protocol.DESCRIPTION_MAX and (piece := os.pread(description, 1 << 20, size)):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


def _user(server: str | int | None) -> int | None:
    if server is None or (isinstance(server, int) and not isinstance(server, bool)):
        return server
    import pwd

    if not isinstance(server, str):
        raise TypeError(f"server: expected a name or a uid, got {type(server).__name__}")
    try:
        return pwd.getpwnam(server).pw_uid
    except KeyError:
        raise ConnectError(f"server: there is no user {server!r}") from None
