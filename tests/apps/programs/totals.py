# SPDX-License-Identifier: Apache-2.0
"""Moves bytes by every family of calls until it is stopped; prints what each call said, as JSON.

    python3 -I -S -B totals.py reads|writes FOLDER
    python3 -I -S -B totals.py network PORTS

Each call has a file of its own in FOLDER, or a port of its own of 127.0.0.1, so that each has a
total of its own. Sizes are 7: a total of 10 ends in the middle of the second.
"""

import ctypes
import errno
import json
import os
import socket
import sys

PIECE = 7
LIBC = ctypes.CDLL(None, use_errno=True)


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_char_p), ("size", ctypes.c_size_t)]


class Head(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p), ("name_size", ctypes.c_uint32),
        ("iov", ctypes.POINTER(Iovec)), ("iov_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p), ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]  # fmt: skip


class Message(ctypes.Structure):
    _fields_ = [("head", Head), ("moved", ctypes.c_uint32)]


def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def mmsg(call, connection):
    """One message, by sendmmsg or recvmmsg."""
    vector = Iovec(b"x" * PIECE, PIECE)
    message = Message(Head(iov=ctypes.pointer(vector), iov_count=1))
    checked(getattr(LIBC, call)(connection.fileno(), ctypes.byref(message), 1, 0, None))
    return message.moved


def until_refused(move):
    """What `move` returned each time, the errno at last."""
    said = []
    for _ in range(5):
        try:
            said.append(move())
        except OSError as error:
            return [*said, errno.errorcode[error.errno]]
    return said


def opened(folder, name):
    return os.open(f"{folder}/{name}", os.O_RDWR)


def reads(folder):
    def at(fd, read):
        position = 0

        def move():
            nonlocal position
            got = read(fd, position)
            position += got
            return got

        return move

    _, pipe = os.pipe()
    sink = os.open("/dev/null", os.O_WRONLY)
    fd = {name: opened(folder, name) for name in
          ("read", "readv", "pread64", "preadv", "preadv2", "sendfile", "splice",
           "copy_file_range")}  # fmt: skip
    target = opened(folder, "target")
    yield "read", lambda: len(os.read(fd["read"], PIECE))
    yield "readv", lambda: os.readv(fd["readv"], [bytearray(3), bytearray(4)])
    yield "pread64", at(fd["pread64"], lambda fd, to: len(os.pread(fd, PIECE, to)))
    yield "preadv", at(fd["preadv"], lambda fd, to: os.preadv(fd, [bytearray(PIECE)], to))
    yield "preadv2", at(fd["preadv2"], lambda fd, to: os.preadv(fd, [bytearray(PIECE)], to, 8))
    yield "sendfile", lambda: os.sendfile(sink, fd["sendfile"], None, PIECE)
    yield "splice", lambda: checked(LIBC.splice(fd["splice"], None, pipe, None, PIECE, 0))
    yield "copy_file_range", lambda: os.copy_file_range(fd["copy_file_range"], target, PIECE)


def writes(folder):
    data = b"." * PIECE
    fd = {name: opened(folder, name) for name in
          ("write", "writev", "pwrite64", "pwritev", "pwritev2", "sendfile_to", "splice_to",
           "copy_file_range_to")}  # fmt: skip
    source = opened(folder, "source")
    pipe, full = os.pipe()
    os.write(full, data * 4)
    yield "write", lambda: os.write(fd["write"], data)
    yield "writev", lambda: os.writev(fd["writev"], [data[:3], data[3:]])
    yield "pwrite64", lambda: os.pwrite(fd["pwrite64"], data, 0)
    yield "pwritev", lambda: os.pwritev(fd["pwritev"], [data], 0)
    yield "pwritev2", lambda: os.pwritev(fd["pwritev2"], [data], 0, os.RWF_SYNC)
    yield "sendfile_to", lambda: os.sendfile(fd["sendfile_to"], source, None, PIECE)
    yield "splice_to", lambda: checked(LIBC.splice(pipe, None, fd["splice_to"], None, PIECE, 0))
    yield "copy_file_range_to", lambda: os.copy_file_range(source, fd["copy_file_range_to"], PIECE)


def network(ports):
    data = b"." * PIECE

    def peer(name):
        return socket.create_connection(("127.0.0.1", ports[name]))

    to = {name: peer(name) for name in ports}
    yield "send", lambda: to["send"].send(data)
    yield "sendmsg", lambda: to["sendmsg"].sendmsg([data[:3], data[3:]])
    yield "sendmmsg", lambda: mmsg("sendmmsg", to["sendmmsg"])
    yield "socket_write", lambda: os.write(to["socket_write"].fileno(), data)
    yield "recv", lambda: len(to["recv"].recv(PIECE))
    yield "recvfrom", lambda: len(to["recvfrom"].recvfrom(PIECE)[0])
    yield "recvmsg", lambda: len(to["recvmsg"].recvmsg(PIECE)[0])
    yield "recvmmsg", lambda: mmsg("recvmmsg", to["recvmmsg"])
    yield "waitall", lambda: len(to["waitall"].recv(PIECE, socket.MSG_WAITALL))
    yield "peek", lambda: len(to["peek"].recv(PIECE, socket.MSG_PEEK))
    yield "socket_read", lambda: len(os.read(to["socket_read"].fileno(), PIECE))


def main():
    kind, where = sys.argv[1:]
    families = {
        "reads": lambda: reads(where),
        "writes": lambda: writes(where),
        "network": lambda: network(json.loads(where)),
    }
    print(json.dumps({name: until_refused(move) for name, move in families[kind]()}))


main()
