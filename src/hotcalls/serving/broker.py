# SPDX-License-Identifier: Apache-2.0
"""The server: launches the enclave, gives its clients their channels, and watches them end.

Host side. Calls do not pass through it. It trusts none of its clients: it reads nothing from their
sockets and nothing from their channels.
"""

from __future__ import annotations

import errno
import logging
import os
import selectors
import signal
import socket
import stat
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hotcalls import _native
from hotcalls.errors import LaunchError, error_for
from hotcalls.monitor import registry
from hotcalls.pymodule import Module, Start
from hotcalls.serving import protocol
from hotcalls.serving.places import Place, Places
from hotcalls.serving.start import Served

#: Linux 6.5; the socket module does not know it.
_SO_PEERPIDFD = 77

#: Refusals are logged no more often.
WARNING_SECONDS = 1.0

log = logging.getLogger("hotcalls.serve")


@dataclass(eq=False)
class _Client:
    """A process that has a channel."""

    pid: int
    uid: int
    place: Place
    connection: socket.socket
    #: Readable when the process has ended; -1 where the kernel cannot say.
    process: int


class Broker:
    """A running enclave and a socket at which clients get their channels.

    Parameters
    ----------
    module, options, start
        As :func:`hotcalls.pylaunch.launch_module` takes them; `options` are those of the channels.
    path
        Of the socket.
    uids
        Users whose processes may be clients.
    clients
        How many of each.
    """

    def __init__(
        self,
        module: Module,
        options: dict[str, Any],
        start: Start,
        *,
        path: str,
        uids: list[int],
        clients: int,
    ) -> None:
        self._path = path
        self._uids = uids
        self._clients: set[_Client] = set()
        self._stopping = False
        self._next_warning = 0.0
        with ExitStack() as opened:
            self.places = Places(uids, clients, options)
            opened.callback(self.places.close)
            if not self.places.can_be_used_again():
                log.warning(
                    "this system grants no leases (sysctl fs.leases-enable=1), so no channel is "
                    "given to a second client: after %d clients of a user, its next is refused",
                    clients,
                )
            self._listener = _listen(path, uids)
            opened.callback(self._listener.close)
            opened.callback(_unlink, path, os.stat(path))
            self.served = Served(module, options, start, self.places)
            opened.callback(self.served.close)
            opened.callback(registry.forget, self._register())
            self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            opened.callback(os.close, self._wake_read)
            opened.callback(os.close, self._wake_write)
            self._selector = selectors.DefaultSelector()
            opened.callback(self._selector.close)
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
            self._selector.register(self._wake_read, selectors.EVENT_READ, self._woken)
            self._selector.register(self.served.process, selectors.EVENT_READ, self._lost)
            self._close = opened.pop_all()

    def _register(self) -> Path | None:
        """Be found by `hotcalls top`."""
        served = self.served
        return registry.register(
            served.name,
            served.native.pid,
            [served.native.channel, *(place.channel for place in self.places.all)],
            [each.name for each in served.ecalls],
            [each.name for each in served.ocalls],
        )

    def run(self) -> None:
        """Serve until :meth:`stop`.

        Raises
        ------
        EnclaveLost
            The enclave has ended by itself.
        """
        while not self._stopping:
            for key, _ in self._selector.select(self._patience()):
                key.data()
            self._look()

    def stop(self) -> None:
        """Have :meth:`run` return. May be called by a signal handler."""
        self._stopping = True
        with suppress(BlockingIOError):
            os.write(self._wake_write, b"\0")

    def close(self) -> None:
        """End the enclave and the connections; remove the socket."""
        for client in list(self._clients):
            self._forget(client)
        self._close.close()

    def __enter__(self) -> Broker:  # noqa: PYI034 -- Self came with Python 3.11
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    # ---- clients come ---------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            # Out of descriptors, or a client that gave up. Not again at once.
            log.error("accepting a client: %s", error.strerror)
            time.sleep(0.05)
            return
        try:
            client = self._welcome(connection)
        except OSError as error:
            log.error("welcoming a client: %s", error.strerror)
            client = None
        if client is None:
            connection.close()
            return
        self._clients.add(client)
        log.info(
            "client %d (%s) has place %d", client.pid, protocol.user_name(client.uid),
            client.place.index,
        )  # fmt: skip

    def _welcome(self, connection: socket.socket) -> _Client | None:
        """Give a channel to who has just connected; None: it was refused."""
        pid, uid = protocol.peer_of(connection)
        if uid not in self._uids:
            self._refuse(
                connection,
                f"user {protocol.user_name(uid)} may not use this enclave; its server allows "
                + ", ".join(map(protocol.user_name, self._uids))
                + " (serve --allow-uid)",
            )
            return None
        place = self.places.find(uid)
        if place is None:
            self._refuse(
                connection,
                f"all {self.places.each} places for clients of user {protocol.user_name(uid)} are "
                "taken; serve with --clients larger, or end a client",
            )
            return None
        with ExitStack() as opened:
            process = _process_of(connection, pid)
            if process >= 0:
                opened.callback(os.close, process)
            try:
                channel = place.give(self.served.native)
            except _native.NativeError as error:
                self._refuse(connection, f"the enclave takes no client: {error.text}")
                return None
            closing = ExitStack()
            closing.callback(os.close, channel)
            client = _Client(pid, uid, place, connection, process)
            with closing:
                try:
                    protocol.send(
                        connection,
                        protocol.Welcome(
                            version=protocol.VERSION,
                            name=self.served.name,
                            pid=self.served.native.pid,
                            threads=self.served.threads,
                            place=place.index,
                            generation=place.generation,
                        ),
                        [channel, place.done, self.served.process, self.served.description],
                    )
                    connection.setblocking(False)
                    self._selector.register(
                        connection, selectors.EVENT_READ, lambda: self._gone(client)
                    )
                    if process >= 0:
                        self._selector.register(
                            process, selectors.EVENT_READ, lambda: self._gone(client)
                        )
                except BaseException:
                    place.take_back()
                    raise
            opened.pop_all()
        return client

    def _refuse(self, connection: socket.socket, text: str) -> None:
        # Who is refused may try again as fast as it likes; the log is not its to fill.
        now = time.monotonic()
        if now >= self._next_warning:
            self._next_warning = now + WARNING_SECONDS
            log.warning("%s", text)
        with suppress(OSError):
            protocol.send(connection, protocol.Refusal(text), [])

    # ---- clients go -----------------------------------------------------------------------

    def _gone(self, client: _Client) -> None:
        """The process has ended, or closed the connection, or said something, which nobody does."""
        if client not in self._clients:
            return
        log.info("client %d has left place %d", client.pid, client.place.index)
        self._forget(client)
        client.place.take_back()

    def _forget(self, client: _Client) -> None:
        self._clients.discard(client)
        self._selector.unregister(client.connection)
        client.connection.close()
        if client.process >= 0:
            self._selector.unregister(client.process)
            os.close(client.process)

    def _patience(self) -> float | None:
        """How long to sleep: until a place that is not free yet is to be looked at."""
        due = [place.look_at for place in self.places.all if place.look_at is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _look(self) -> None:
        now = time.monotonic()
        for place in self.places.all:
            if place.look_at is not None and place.look_at <= now:
                try:
                    place.look(self.served.native)
                except _native.NativeError as error:
                    self._lost(error)

    # ---- the end --------------------------------------------------------------------------

    def _woken(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake_read, 64)

    def _lost(self, error: _native.NativeError | None = None) -> None:
        """The enclave has ended, or does not answer its host: nothing is left to serve."""
        status, text, number, exit_status = self.served.native.why()
        if status == "HC_OK":
            status, text = "HC_ERR_PEER_LOST", error.text if error else "the enclave has ended"
        raise error_for(status, text, signal=number, exit_status=exit_status)


def _process_of(connection: socket.socket, pid: int) -> int:
    """A pidfd of the client; -1 when there is none to be had: then its connection has to do."""
    try:
        return connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError:
        pass
    try:
        # Before Linux 6.5. Should the number be another process's by now, the connection, which
        # ends with the client, tells.
        return os.pidfd_open(pid) if pid > 0 else -1
    except OSError as error:
        if error.errno not in (errno.ESRCH, errno.EINVAL):
            raise
        return -1


def _listen(path: str, uids: list[int]) -> socket.socket:
    """A socket at `path` that the users may connect to; another server's is left alone."""
    _clear(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    others = any(uid != os.geteuid() for uid in uids)
    before = os.umask(0o177)
    try:
        listener.bind(path)
        if others:
            # Who may do what is decided by the kernel's word on who connected.
            os.chmod(path, 0o666)  # noqa: S103
        listener.listen(64)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise LaunchError(f"{path}: {error.strerror or error}", errno=error.errno or 0) from None
    finally:
        os.umask(before)
    return listener


def _clear(path: str) -> None:
    """Remove what a server that was killed left behind."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise LaunchError(f"{path}: exists, and is not a socket", errno=errno.EEXIST)
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            with suppress(FileNotFoundError):
                os.unlink(path)
            return
        except OSError as error:
            raise LaunchError(
                f"{path}: {error.strerror or error}", errno=error.errno or 0
            ) from None
    raise LaunchError(f"{path}: another server is running there", errno=errno.EADDRINUSE)


def _unlink(path: str, made: os.stat_result) -> None:
    """Remove our socket, unless somebody has put another one there."""
    with suppress(FileNotFoundError):
        if os.path.samestat(os.lstat(path), made):
            os.unlink(path)


def stop_at_signals(broker: Broker) -> None:
    """From here on SIGTERM and SIGINT have :meth:`Broker.run` return. For the main thread."""

    def stop(number: int, frame: object) -> None:
        broker.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    # Sent when somebody opens a channel in the instant in which a place is asked who has it; its
    # default would end us.
    signal.signal(signal.SIGIO, signal.SIG_IGN)
