# SPDX-License-Identifier: Apache-2.0
"""Launching peer.c as a Python enclave is launched."""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hotcalls import _native
from hotcalls.c_enclave import start_native
from hotcalls.launching import loader_path
from hotcalls.ocalls import OcallServer
from hotcalls.python_enclave import PythonEnclave
from hotcalls.wire import SharedArray, Signature


class Peer:
    """The functions of peer.c, in its order."""

    @staticmethod
    def echo(data: bytes) -> bytes:
        """Give the bytes back."""

    @staticmethod
    def note() -> None: ...
    @staticmethod
    def notes(data: bytes) -> bytes: ...
    @staticmethod
    def fail(data: bytes) -> bytes: ...
    @staticmethod
    def grow(data: bytes) -> bytes: ...
    @staticmethod
    def nap(data: bytes) -> bytes: ...
    @staticmethod
    def ask(data: bytes) -> bytes: ...
    @staticmethod
    def tell(value: int, text: str) -> dict[str, int]: ...
    @staticmethod
    def leave() -> None: ...
    @staticmethod
    def crash() -> None: ...
    @staticmethod
    def lie(data: bytes) -> bytes: ...
    @staticmethod
    def scribble(data: bytes) -> bytes: ...
    @staticmethod
    def typed(a: int, b: str = "b", c: bytes = b"c") -> tuple[int, str, bytes]: ...

    @staticmethod
    def arrays(values: SharedArray) -> list[SharedArray]: ...
    @staticmethod
    def rise() -> None: ...
    @staticmethod
    def napping(data: bytes) -> bytes: ...


class Outside:
    """What peer.c calls."""

    @staticmethod
    def ask(data: bytes) -> bytes: ...
    @staticmethod
    def tell(value: int, text: str) -> dict[str, int]: ...


def signatures(table: type, kind: str) -> list[Signature]:
    functions = [getattr(table, name) for name in vars(table) if not name.startswith("_")]
    return [Signature.from_function(each, kind) for each in functions]


ECALLS = signatures(Peer, "ecall")
OCALLS = signatures(Outside, "ocall")
OPTIONS = {
    "digest": bytes(32),
    "mode": "hot",
    "insecure_debug": False,
    "insecure_user_namespace": False,
    "window_size": 1 << 20,
    "slots": 48,
    "enclave_slots": 16,
}


def number(value: int) -> bytes:
    """A uint32_t, as peer.c reads it."""
    return struct.pack("<I", value)


#: A nap that the test ends, with rise(), and not the clock.
LONG_NAP = number(60_000)
PATIENCE_SECONDS = 60


def wait_for_naps(enclave: PythonEnclave, count: int = 1) -> None:
    """Return when so many naps have begun, and rise() ends them."""
    until = time.monotonic() + PATIENCE_SECONDS
    while int.from_bytes(enclave.napping(b""), "little") < count:
        assert time.monotonic() < until
        time.sleep(0.002)


def rise_after(enclave: PythonEnclave, count: int) -> threading.Thread:
    """End the naps when there are so many; the caller joins the thread."""

    def run() -> None:
        try:
            wait_for_naps(enclave, count)
        finally:
            enclave.rise()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def start_peer(
    path: Path,
    ocalls: dict[str, Callable[..., Any]] | None = None,
    restart: bool = False,
    **options: Any,
) -> PythonEnclave:
    """Launch the peer as hotcalls.launch() launches a Python enclave."""
    server = OcallServer(OCALLS, ocalls or {})
    image = path.read_bytes()
    # Digest zero: any interface.
    chosen = {**OPTIONS, **options}

    @staticmethod
    def start() -> _native.Enclave:
        return start_native(
            image,
            os.fsencode(loader_path()),
            b"peer",
            [(each.name.encode(), 1) for each in ECALLS] + [(b"fetch", 1)],
            [(each.name.encode(), 0) for each in OCALLS] + [(b"fetch", 0)],
            _native.Messages(server.serve, server.hold, server.fetch, len(OCALLS)),
            chosen,
        )

    return PythonEnclave(
        "peer",
        start(),
        ECALLS,
        OCALLS,
        server,
        window_size=chosen["window_size"],
        responders=chosen.get("responders", 1),
        start_again=start if restart else None,
    )


def ended(pid: int) -> bool:
    """Whether a process has ended; init may not have reaped it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state in "ZX"
