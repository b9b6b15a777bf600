# SPDX-License-Identifier: Apache-2.0
"""What people call another Python process with today, each as a client and a server.

Host side; every server is a fresh process, ended with its client. Pickle occurs here because
these packages use it; nothing of this runs outside of the benchmark.

Between blocks no server uses a processor. One that spins, and one whose loop serves one function
at a time (so that a peer need not say in each message what it calls, which makes it faster than
an honest one), is told by a pipe of its own what comes next.
"""

from __future__ import annotations

import importlib.util
import multiprocessing as mp
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing.connection import Connection
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import Any

from hotcalls.bench.errors import BenchError
from hotcalls.bench.python import _floor
from hotcalls.bench.python.functions import Calls, describe, echo, empty

#: How long a server may take to start, to take up a job, or to end.
PATIENCE_S = 20.0
INSTALL = "not installed: pip install 'hotcalls[bench]'"

# Never fork: the client has threads.
CONTEXT = mp.get_context("spawn")


class Peer(ABC):
    """A way to call Python in another process.

    Attributes
    ----------
    name, title : str
        In the names of rows, and for people.
    spins : bool
        Whether the far end spins during a block: its CPU time is the wall time.
    crosses : bool
        Whether there is a far end.
    """

    name: str
    title: str
    spins = False
    crosses = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: Calls = {}
        #: What ends and closes what was begun, however far that went.
        self.ends = ExitStack()

    @classmethod
    def missing(cls) -> str | None:
        """Return why it cannot run here, or None."""
        return None

    def begin(self) -> None:  # noqa: B027 (a hook)
        """Begin to start the server, where that can go on while others start."""

    @abstractmethod
    def start(self) -> None:
        """Start the server, after `begin`; afterwards `calls` has the functions."""

    def prepare(self, function: str) -> None:  # noqa: B027 (a hook)
        """Have the far end ready for calls of `function`."""

    def rouse(self) -> None:  # noqa: B027 (a hook)
        """Have the far end spin, if it does, right before calls are timed."""

    def pause(self) -> None:  # noqa: B027 (a hook)
        """Have the far end sleep."""

    @abstractmethod
    def pids(self) -> list[int]:
        """Return the processes at the far end."""

    def stop(self) -> None:
        """End the server."""
        self.calls = {}
        self.ends.close()


class Direct(Peer):
    """The function itself: what the harness costs."""

    name = "direct"
    title = "function call in the same process"
    crosses = False

    def start(self) -> None:
        self.calls = {"empty": empty, "echo": echo, "describe": describe}

    def pids(self) -> list[int]:
        return []


class Executor(Peer):
    """``ProcessPoolExecutor`` with one worker."""

    name = "executor"
    title = "ProcessPoolExecutor"

    def begin(self) -> None:
        self.pool = ProcessPoolExecutor(
            1, CONTEXT, initializer=_floor.die_with_parent, initargs=(os.getpid(),)
        )
        self.ends.callback(self.pool.shutdown)
        self.pool.submit(empty)

    def start(self) -> None:
        submit = self.pool.submit

        def call(function: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *arguments: submit(function, *arguments).result(PATIENCE_S)

        self.calls = {"empty": call(empty), "echo": call(echo), "describe": call(describe)}
        self.calls["empty"]()

    def pids(self) -> list[int]:
        return list(self.pool._processes)


class _Service:
    """What the manager's server has."""

    def empty(self) -> None:
        empty()

    def echo(self, data: bytes) -> bytes:
        return echo(data)

    def describe(self, number: int, text: str, data: bytes) -> dict[str, int]:
        return describe(number, text, data)


class _Manager(BaseManager):
    pass


_Manager.register("Service", _Service)


class Manager(Peer):
    """A proxy of an object in the server of a ``multiprocessing`` manager."""

    name = "manager"
    title = "multiprocessing manager proxy"

    def start(self) -> None:
        self.manager = _Manager(ctx=CONTEXT)
        self.manager.start(initializer=_floor.die_with_parent, initargs=(os.getpid(),))
        self.ends.callback(self.manager.shutdown)
        proxy = self.manager.Service()  # type: ignore[attr-defined]
        self.calls = {"empty": proxy.empty, "echo": proxy.echo, "describe": proxy.describe}

    def pids(self) -> list[int]:
        return [self.manager._process.pid]  # type: ignore[attr-defined]


#: A message that no call sends.
STOP = b"stop"

#: What a server of ours is: given its address, it yields to `serve` for one job after the other.
Jobs = Callable[[], "str | None"]


def _next_job(control: Connection) -> str | None:
    """Say that the last job is done, and wait for the next; None when there is none."""
    try:
        control.send("ready")
        return str(control.recv())
    except (EOFError, ConnectionError):
        return None


def _server(
    control: Connection, parent: int, serve: Callable[[Any, Jobs], None], address: Any
) -> None:
    _floor.die_with_parent(parent)
    serve(address, lambda: _next_job(control))


class Served(Peer):
    """A peer whose server is a process of ours that serves one function at a time."""

    #: Runs in the server: calls its second argument for the name of a function to serve until it
    #: reads `STOP`.
    serve: Callable[[Any, Jobs], None]

    def address(self) -> Any:
        """Return what the server needs to find us; pickled."""
        return str(self.folder / self.name)

    def begin(self) -> None:
        self.control, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(
            target=_server,
            args=(theirs, os.getpid(), type(self).serve, self.address()),
            daemon=True,
        )
        self.process.start()
        self.ends.callback(self._end)
        theirs.close()
        self.greet()

    def start(self) -> None:
        self._await_ready()
        self.connect()

    def greet(self) -> None:
        """Give the server, which is about to start, what cannot be pickled."""

    @abstractmethod
    def connect(self) -> None:
        """Connect to the server, which has started, and set `calls`."""

    @abstractmethod
    def send_stop(self) -> None:
        """Have the server leave its job."""

    def _await_ready(self) -> None:
        try:
            if self.control.poll(PATIENCE_S) and self.control.recv() == "ready":
                return
        except (EOFError, ConnectionError):
            # It has closed its end: it ends, if it has not yet.
            self.process.join(PATIENCE_S)
        raise BenchError(
            f"the server of {self.title} does not answer (its exit code: {self.process.exitcode})"
        )

    def prepare(self, function: str) -> None:
        try:
            self.control.send(function)
        except OSError as error:
            self.process.join(PATIENCE_S)
            raise BenchError(
                f"the server of {self.title} has gone (its exit code: {self.process.exitcode})"
            ) from error

    def pause(self) -> None:
        self.send_stop()
        self._await_ready()

    def pids(self) -> list[int]:
        assert self.process.pid is not None
        return [self.process.pid]

    def _end(self) -> None:
        self.control.close()
        self.process.join(PATIENCE_S)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()


def installed(package: str) -> str | None:
    """Return None when `package` can be imported, else what to do."""
    return None if importlib.util.find_spec(package) is not None else INSTALL
