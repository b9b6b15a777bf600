# SPDX-License-Identifier: Apache-2.0
"""Running programs natively and in the enclave of ``hotcalls run``, for the tests."""

from __future__ import annotations

import contextlib
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import native

HERE = Path(__file__).resolve().parent
MODES = ("hot", "switch")
#: Programs that are compared with themselves want neither checks of the compiler nor of libc.
FLAGS = ("-O1", "-D_FORTIFY_SOURCE=0", "-w")


def inside(mode: str, *command: str) -> list[str]:
    """Return the command line that runs `command` in an enclave."""
    return [str(Path(sys.executable).parent / "hotcalls"), "run", "--mode", mode, "--", *command]


def program(name: str) -> str:
    """Return the compiled tests/apps/programs/NAME.c."""
    return str(native.build(name, [HERE / "programs" / f"{name}.c"], FLAGS))


def run(command: Sequence[str], **options: object) -> subprocess.CompletedProcess[str]:
    """Run to the end; text in and out."""
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        command, capture_output=True, text=True, timeout=240, check=False, **options
    )


def free_port() -> int:
    """Return a TCP port that nobody uses now, nor will be given by the kernel.

    Of those that it gives out, one may be another test's connection by the time a server wants it.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(min(10000, first - 1000), first)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextlib.contextmanager
def server(mode: str, *command: str, port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in an enclave until the block ends; it has to accept connections by itself."""
    log = folder / "server.log"
    with log.open("wb") as file:
        process = subprocess.Popen(inside(mode, *command), stdout=file, stderr=file, cwd=folder)
    try:
        until = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"{command[0]} does not listen: {log.read_text()}")
            time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
