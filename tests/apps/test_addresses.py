# SPDX-License-Identifier: Apache-2.0
"""Addresses that mean another one than they say: rules and totals hold for what is meant."""

from __future__ import annotations

import errno
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path

import enclosed
import pytest

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="hotcalls run needs x86-64")
#: Without threads of its own, site or bytecode: little that is not asked for.
PYTHON = [str(Path(sys.executable).resolve()), "-I", "-S", "-B", "-c"]


def run(*words: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    line = enclosed.inside("switch", *words)
    at = line.index("--")
    return enclosed.run([*line[:at], *options, *line[at:]])


def under(folder: Path, text: str) -> tuple[str, ...]:
    path = folder / "policy.toml"
    path.write_text(text)
    return ("--policy", str(path))


#: sendto and bind with the family AF_UNSPEC, which IPv4 sockets take for AF_INET.
UNSPEC = """
import ctypes, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def named(address, port):
    return struct.pack("=H", 0) + struct.pack("!H", port) + socket.inet_aton(address) + bytes(8)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if sys.argv[1] == "send":
    name = named(sys.argv[2], int(sys.argv[3]))
    done = libc.sendto(s.fileno(), b"hello", 5, 0, name, len(name))
else:
    name = named("0.0.0.0", int(sys.argv[3]))
    done = libc.bind(s.fileno(), name, len(name))
print(done, os.strerror(ctypes.get_errno()))
"""


CONNECT = """
import socket, sys
print(socket.socket(int(sys.argv[1])).connect_ex((sys.argv[2], int(sys.argv[3]))))
"""


@pytest.mark.claim("D-POLICY")
@pytest.mark.parametrize(
    "policy", ['IPAddressDeny = "localhost"', 'IPEgressBytesMax = "127.0.0.1 1"']
)
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_message_to_an_address_without_a_family_is_one_to_an_address(
    policy: str, address: str, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        port = str(server.getsockname()[1])
        command = (*PYTHON, UNSPEC, "send", address, port)
        assert run(*command).stdout.startswith("5 ")
        assert server.recv(16) == b"hello"
        refused = run(*command, options=under(tmp_path, policy + "\n"))
        assert refused.stdout.startswith("-1 ")
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recv(16)


@pytest.mark.claim("D-POLICY")
def test_a_port_is_not_bound_by_an_address_without_a_family(tmp_path: Path) -> None:
    port = enclosed.free_port()
    command = (*PYTHON, UNSPEC, "bind", "", str(port))
    assert run(*command).stdout.startswith("0 ")
    refused = run(*command, options=under(tmp_path, f'SocketBindDeny = "{port}"\n'))
    assert refused.stdout.startswith("-1 ")


@pytest.mark.claim("D-POLICY")
@pytest.mark.parametrize(
    ("family", "address"),
    [
        (socket.AF_INET, "0.0.0.0"),
        (socket.AF_INET6, "::"),
        (socket.AF_INET6, "::ffff:0.0.0.0"),
    ],
)
def test_no_address_at_all_is_this_machine(
    family: socket.AddressFamily, address: str, tmp_path: Path
) -> None:
    """As the kernel takes it: a connection there is one to 127.0.0.1 or ::1."""
    there = "::1" if address == "::" else "127.0.0.1"
    listens = socket.AF_INET6 if there == "::1" else socket.AF_INET
    with socket.create_server((there, 0), family=listens) as server:
        words = (str(int(family)), address, str(server.getsockname()[1]))
        command = (*PYTHON, CONNECT, *words)
        assert run(*command).stdout == "0\n"
        refused = run(*command, options=under(tmp_path, 'IPAddressDeny = "localhost"\n'))
        assert refused.stdout == f"{errno.EACCES}\n"
        allowed = under(tmp_path, 'IPAddressAllow = "localhost"\nIPAddressDeny = "any"\n')
        assert run(*command, options=allowed).stdout == "0\n"


#: Connects, is connected no longer, and connects elsewhere: as the C library does with each address
#: of a name, to put them in order.
AGAIN = """
import ctypes, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
s = socket.socket(int(sys.argv[1]), socket.SOCK_DGRAM)
for size in map(int, sys.argv[4:]):
    s.connect((sys.argv[2], int(sys.argv[3])))
    done = libc.connect(s.fileno(), struct.pack("=H", 0) + bytes([255] * 28), size)
    print(done, os.strerror(ctypes.get_errno()))
    try:
        print("peer", s.getpeername()[0])
    except OSError as failed:
        print(failed.errno)
"""


@pytest.mark.parametrize(
    ("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_a_connection_is_taken_back_where_families_are_listed(
    family: socket.AddressFamily, address: str, tmp_path: Path
) -> None:
    allowed = under(tmp_path, 'RestrictAddressFamilies = ["AF_INET", "AF_INET6"]\n')
    # The family alone; as most programs write it; longer than any address has to be.
    command = (*PYTHON, AGAIN, str(int(family)), address, "9", "2", "16", "30")
    told = run(*command, options=allowed)
    assert told.stdout == f"0 Success\n{errno.ENOTCONN}\n" * 3, told.stderr
    assert told.stderr == ""


@pytest.mark.claim("D-POLICY")
def test_an_address_too_short_for_a_family_is_of_none_that_is_listed(tmp_path: Path) -> None:
    allowed = under(tmp_path, 'RestrictAddressFamilies = "AF_INET"\n')
    command = (*PYTHON, AGAIN, str(int(socket.AF_INET)), "127.0.0.1", "9", "1")
    refused = run(*command, options=allowed)
    assert refused.stdout == f"-1 {os.strerror(errno.EACCES)}\npeer 127.0.0.1\n"
