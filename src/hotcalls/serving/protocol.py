# SPDX-License-Identifier: Apache-2.0
"""What passes over the socket between a server and its clients: one message, with descriptors.

A client says nothing: that it connected is all, and the kernel says who it is. The server answers
with a :class:`Welcome` and four descriptors, or with a :class:`Refusal`. The connection stays open
while the client uses the enclave; either side ends it by closing.
"""

from __future__ import annotations

import os
import pwd
import socket
import struct
from contextlib import suppress

import msgspec

from hotcalls.errors import ConnectError
from hotcalls.wire.pack import pack

#: Changes with anything here that both sides must agree on.
VERSION = 1
MESSAGE_MAX = 4096
#: The channel, the eventfd of answered calls, a pidfd of the enclave, its description.
DESCRIPTORS = 4
DESCRIPTION_MAX = 8 << 20

_CREDENTIALS = struct.Struct("3i")


class Welcome(msgspec.Struct, tag="welcome"):
    """The client has a channel.

    Attributes
    ----------
    version
        :data:`VERSION`.
    name
        Of the module.
    pid
        Of the enclave, for people.
    threads
        That run the client's calls.
    place, generation
        Which channel, and the how many'th of the server's clients it is.
    """

    version: int
    name: str
    pid: int
    threads: int
    place: int
    generation: int


class Refusal(msgspec.Struct, tag="refusal"):
    """The client has none; why, in a sentence."""

    text: str


_decoder: msgspec.msgpack.Decoder[Welcome | Refusal] = msgspec.msgpack.Decoder(Welcome | Refusal)


def send(to: socket.socket, message: Welcome | Refusal, descriptors: list[int]) -> None:
    """Send the message. Does not block: a buffer that has no room for it is an error."""
    socket.send_fds(to, [pack(message)], descriptors, socket.MSG_DONTWAIT)


def receive(connection: socket.socket, path: str) -> tuple[Welcome, list[int]]:
    """Return the server's answer and its descriptors, close-on-exec and the caller's to close.

    Raises
    ------
    ConnectError
        The server refuses, or is none.
    """
    try:
        data, descriptors, flags, _ = socket.recv_fds(
            connection, MESSAGE_MAX, DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
        )
    except TimeoutError:
        raise ConnectError(f"{path}: the server does not answer") from None
    except OSError as error:
        raise ConnectError(f"{path}: {error.strerror}") from None
    try:
        return _checked(data, descriptors, flags, path), descriptors
    except BaseException:
        for descriptor in descriptors:
            os.close(descriptor)
        raise


def _checked(data: bytes, descriptors: list[int], flags: int, path: str) -> Welcome:
    if not data:
        raise ConnectError(f"{path}: the server closed the connection")
    message: Welcome | Refusal | None = None
    with suppress(msgspec.DecodeError, UnicodeDecodeError):
        message = _decoder.decode(data)
    if isinstance(message, Refusal):
        text = "".join(c if c.isprintable() else "?" for c in message.text)
        raise ConnectError(f"{path}: {text}")
    broken = flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
    if message is None or broken or len(descriptors) != DESCRIPTORS:
        raise ConnectError(f"{path}: this is not a server of `hotcalls serve`, or another version")
    if message.version != VERSION:
        raise ConnectError(f"{path}: the server is another version of hotcalls")
    return message


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Process and user at the other end, as the kernel knows them; the process 0: not known."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    return pid, uid


def user_name(uid: int) -> str:
    """For errors: the name of a user, or its number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
