# SPDX-License-Identifier: Apache-2.0
"""The Python enclave, behind what every peer of the benchmark is behind. Host side."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import hotcalls
from hotcalls.bench.errors import BenchError
from hotcalls.bench.python.functions import LARGE, LETTERS, shared_bytes
from hotcalls.bench.python.peers import Peer, installed

#: What runs inside.
MODULE = Path(__file__).with_name("bench_enclave.py")
_SHARED_MODULE = Path(__file__).with_name("bench_shared_enclave.py")
#: A call above this was not answered by a spinning responder: between the dearest hot call of
#: Python, about 2 us, and the cheapest switch call, 4 us.
_HOT_NS = 3_000
_SLEEPS_WITHIN_S = 2.0


def launch(threads: int = 1, module: Path = MODULE) -> Any:
    """Launch a Python enclave of the benchmark's with `threads` threads inside."""
    return hotcalls.launch(module, threads=threads)


def await_asleep(enclave: Any) -> None:
    """Return when no thread of `enclave` spins any more.

    Raises
    ------
    BenchError
        When one still does after two seconds.
    """
    deadline = time.monotonic() + _SLEEPS_WITHIN_S
    while enclave.stats().enclave.awake:
        if time.monotonic() > deadline:
            raise BenchError(
                f"a responder of the enclave still spins {_SLEEPS_WITHIN_S:g} s after the last call"
            )
        time.sleep(0.0005)


class Hotcalls(Peer):
    """A Python enclave with one thread, called hot."""

    name = "hotcalls"
    title = "hotcalls"
    spins = True

    def start(self) -> None:
        self.enclave = launch()
        self.ends.callback(self.enclave.close)
        self.calls = {name: getattr(self.enclave, name) for name in ("empty", "echo", "describe")}
        self.ping = self.calls["empty"]
        echo, echo_all = self.enclave.echo, self.enclave.echo.map

        def call_many() -> list[bytes]:
            return [echo(letter) for letter in LETTERS]

        def map_many() -> list[bytes]:
            return list(echo_all(LETTERS))

        self.call_many, self.map_many = call_many, map_many

    def rouse(self) -> None:
        """Call until some calls in a row were answered by a spinning responder."""
        self.enclave.wake()
        fast = 0
        for _ in range(1000):
            begin = time.perf_counter_ns()
            self.ping()
            fast = fast + 1 if time.perf_counter_ns() - begin < _HOT_NS else 0
            if fast == 8:
                return

    def pause(self) -> None:
        await_asleep(self.enclave)

    def pids(self) -> list[int]:
        return [self.enclave.pid]


class Shared(Hotcalls):
    """A Python enclave that works on memory which the host shares with it.

    An enclave of its own: numpy makes it larger, and its launch longer.
    """

    name = "shared"
    title = "hotcalls, SharedArray"

    @classmethod
    def missing(cls) -> str | None:
        return installed("numpy")

    def start(self) -> None:
        import numpy as np

        self.enclave = launch(module=_SHARED_MODULE)
        self.ends.callback(self.enclave.close)
        self.memory = self.enclave.shared(LARGE)
        shared = hotcalls.SharedArray(self.memory.view, "uint8", LARGE)
        shared.array[:] = np.frombuffer(shared_bytes(), np.uint8)
        look_at: Callable[[hotcalls.SharedArray, int], int] = self.enclave.look_at

        def look(position: int) -> int:
            return look_at(shared, position)

        self.calls = {"look": look}
        self.ping = partial(look, 0)
        self.ping()
