# SPDX-License-Identifier: Apache-2.0
"""The peers whose servers are ours: pipe, unix socket, pyzmq, iceoryx2.

Host side. Each does what its package offers for speed: bytes go unpickled where that is possible,
large ones without a copy more than needed.
"""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hotcalls.bench.errors import BenchError
from hotcalls.bench.python.functions import HANDLERS, describe, empty, over_bytes
from hotcalls.bench.python.peers import CONTEXT, STOP, Jobs, Served, installed

# --- multiprocessing.Pipe -------------------------------------------------------------------------


def _serve_pipe(pipe: Connection, jobs: Jobs) -> None:
    functions: dict[str, Callable[..., Any]] = {"empty": empty, "describe": describe}
    while (job := jobs()) is not None:
        if job == "echo":
            while (data := pipe.recv_bytes()) != STOP:
                pipe.send_bytes(HANDLERS["echo"](data))
            continue
        function = functions[job]
        while (arguments := pipe.recv()) != STOP:
            pipe.send(function(*arguments))


class Pipe(Served):
    """``multiprocessing.Pipe``: pickled calls, and bytes as bytes."""

    name = "pipe"
    title = "multiprocessing.Pipe"
    serve = staticmethod(_serve_pipe)

    def address(self) -> Connection:
        self.pipe, self._theirs = CONTEXT.Pipe()
        self.ends.callback(self.pipe.close)
        return self._theirs

    def greet(self) -> None:
        self._theirs.close()

    def connect(self) -> None:
        send, recv = self.pipe.send, self.pipe.recv
        send_bytes, recv_bytes = self.pipe.send_bytes, self.pipe.recv_bytes

        def call(*arguments: Any) -> Any:
            send(arguments)
            return recv()

        def echo(data: bytes) -> bytes:
            send_bytes(data)
            return recv_bytes()

        self.calls = {"empty": call, "echo": echo, "describe": call}

    def prepare(self, function: str) -> None:
        super().prepare(function)
        self._raw = function == "echo"

    def send_stop(self) -> None:
        if self._raw:
            self.pipe.send_bytes(STOP)
        else:
            self.pipe.send(STOP)


# --- a unix stream socket -------------------------------------------------------------------------

_HEADER = 4
_AT_ONCE = 1 << 16


def _send(sock: socket.socket, data: bytes) -> None:
    header = len(data).to_bytes(_HEADER, "little")
    if len(data) <= _AT_ONCE:
        sock.sendall(header + data)
        return
    sock.sendall(header)
    sock.sendall(data)


def _receive(sock: socket.socket) -> bytes | bytearray:
    """Return one message. At most one is under way, so that nothing is read too far."""
    part = sock.recv(4096)
    while len(part) < _HEADER:
        more = sock.recv(4096)
        if not more:
            raise BenchError("the other end of the unix socket has gone")
        part += more
    size = int.from_bytes(part[:_HEADER], "little")
    if len(part) == _HEADER + size:
        return part[_HEADER:]
    whole = bytearray(size)
    got = len(part) - _HEADER
    whole[:got] = part[_HEADER:]
    view = memoryview(whole)
    while got < size:
        count = sock.recv_into(view[got:], 0, socket.MSG_WAITALL)
        if count == 0:
            raise BenchError("the other end of the unix socket has gone")
        got += count
    return whole


def _serve_unix(path: str, jobs: Jobs) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(1)
        job = jobs()
        with listener.accept()[0] as sock:
            while job is not None:
                handler = HANDLERS[job]
                while (data := _receive(sock)) != STOP:
                    _send(sock, handler(data))
                job = jobs()


class UnixSocket(Served):
    """A unix stream socket, with a length before each message."""

    name = "unix"
    title = "unix stream socket"
    serve = staticmethod(_serve_unix)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.ends.callback(self.sock.close)
        # No time-out: with one, Python polls before it reads. The watchdog sees what hangs.
        self.sock.connect(str(self.folder / self.name))
        sock = self.sock

        def call(data: bytes) -> Any:
            _send(sock, data)
            return _receive(sock)

        def empty_call() -> None:
            _send(sock, b"")
            _receive(sock)

        self.calls = over_bytes(empty_call, call, call)

    def send_stop(self) -> None:
        _send(self.sock, STOP)


# --- pyzmq over ipc -------------------------------------------------------------------------------


def _serve_zmq(address: str, jobs: Jobs) -> None:
    import zmq

    with zmq.Context() as context, context.socket(zmq.REP) as sock:
        sock.linger = 0
        sock.bind(address)
        while (job := jobs()) is not None:
            handler = HANDLERS[job]
            while (data := sock.recv()) != STOP:
                answer = handler(data)
                sock.send(answer, 0, len(answer) <= _AT_ONCE)
            sock.send(b"")


class Zmq(Served):
    """pyzmq, REQ and REP over ipc; large messages without pyzmq's own copy."""

    name = "zmq"
    title = "pyzmq over ipc"
    serve = staticmethod(_serve_zmq)

    @classmethod
    def missing(cls) -> str | None:
        return installed("zmq")

    def address(self) -> str:
        return f"ipc://{self.folder / self.name}"

    def connect(self) -> None:
        import zmq

        context = zmq.Context()
        self.ends.callback(context.term)
        self.sock = context.socket(zmq.REQ)
        self.ends.callback(self.sock.close)
        self.sock.linger = 0
        self.sock.connect(self.address())
        send, recv = self.sock.send, self.sock.recv

        def call(data: bytes) -> Any:
            send(data, 0, len(data) <= _AT_ONCE)
            return recv()

        def empty_call() -> None:
            send(b"")
            recv()

        self.calls = over_bytes(empty_call, call, call)

    def send_stop(self) -> None:
        self.sock.send(STOP)
        self.sock.recv()


# --- iceoryx2 -------------------------------------------------------------------------------------


def _iceoryx2_service(folder: str, prefix: str) -> tuple[Any, Any]:
    """Open the service; its files lie in our folder, so that nothing of a broken run stays."""
    import iceoryx2 as iox2

    iox2.set_log_level(iox2.LogLevel.Fatal)
    config = iox2.config.default()
    config.global_cfg.root_path = iox2.Path.new(folder)
    config.global_cfg.prefix = iox2.FileName.new(prefix)
    node = iox2.NodeBuilder.new().config(config).create(iox2.ServiceType.Ipc)
    octets = iox2.Slice[ctypes.c_uint8]
    service = (
        node.service_builder(iox2.ServiceName.new("hotcalls-bench"))
        .request_response(octets, octets)
        .open_or_create()
    )
    return node, service


def _fill(message: Any, data: Any) -> Any:
    """Copy `data` into a message that was borrowed for it."""
    ctypes.memmove(message.payload().as_ptr(), bytes(data), len(data))
    return message.assume_init()


def _bytes_of(message: Any) -> bytes:
    payload = message.payload()
    return ctypes.string_at(payload.as_ptr(), payload.len())


def _serve_iceoryx2(address: tuple[str, str], jobs: Jobs) -> None:
    _node, service = _iceoryx2_service(*address)
    server = service.server_builder().initial_max_slice_len(1 << 20).create()
    while (job := jobs()) is not None:
        handler = HANDLERS[job]
        while True:
            request = server.receive()
            if request is None:
                continue
            data = _bytes_of(request)
            answer = b"" if data == STOP else handler(data)
            # An empty slice cannot be borrowed: one byte stands for no answer.
            answer = answer or b"\0"
            _fill(request.loan_slice_uninit(len(answer)), answer).send()
            if data == STOP:
                break
        del request


class Iceoryx2(Served):
    """iceoryx2, request and response in shared memory, both ends polling."""

    name = "iceoryx2"
    title = "iceoryx2, polling"
    serve = staticmethod(_serve_iceoryx2)
    spins = True

    @classmethod
    def missing(cls) -> str | None:
        return installed("iceoryx2")

    @staticmethod
    def _prefix() -> str:
        return f"hotcalls-bench-{os.getpid()}-"

    def _sweep(self) -> None:
        """Take away what a node leaves for the next one of its prefix; there is none."""
        for left in Path("/dev/shm").glob(f"{self._prefix()}*"):  # noqa: S108
            left.unlink()

    def address(self) -> tuple[str, str]:
        folder = self.folder / self.name
        folder.mkdir()
        self._address = str(folder), self._prefix()
        self.ends.callback(self._sweep)
        return self._address

    def connect(self) -> None:
        node, service = _iceoryx2_service(*self._address)
        client = service.client_builder().initial_max_slice_len(1 << 20).create()

        def call(data: bytes) -> bytes:
            pending = _fill(client.loan_slice_uninit(len(data)), data).send()
            while True:
                response = pending.receive()
                if response is not None:
                    return _bytes_of(response)

        def empty_call() -> None:
            call(b"\0")

        self.calls = over_bytes(empty_call, call, call)
        # All that holds on to the node and its files, with `calls`.
        self._open = [node, service, client, call]
        self.ends.callback(self._open.clear)

    def send_stop(self) -> None:
        self._open[-1](STOP)
