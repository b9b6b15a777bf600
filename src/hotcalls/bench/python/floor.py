# SPDX-License-Identifier: Apache-2.0
"""The bare extension, which a call of a Python enclave is measured against, and the probe.

Host side. One process is both: it serves Python functions over one mailbox in shared memory, or
it answers the bare mailbox by which placement classes are told (``native/bench_bare.h``, the very
code of ``hotcalls bench``).
"""

from __future__ import annotations

import mmap
import os
from array import array
from functools import partial
from multiprocessing import reduction
from multiprocessing.connection import Connection
from pathlib import Path

from hotcalls.bench.errors import WrongResultError
from hotcalls.bench.python import _floor
from hotcalls.bench.python.functions import HANDLERS, over_bytes
from hotcalls.bench.python.peers import CONTEXT, Jobs, Served


def _nothing(_: bytes) -> None:
    """Do nothing. One Python function, where a server of bytes needs two."""


_FUNCTIONS = {**HANDLERS, "empty": _nothing}
_NUMBERS = {name: number for number, name in enumerate(_FUNCTIONS)}
_PROBE = "probe"


def _serve_floor(pipe: Connection, jobs: Jobs) -> None:
    descriptor = reduction.recv_handle(pipe)
    mailbox = _floor.Mailbox(mmap.mmap(descriptor, _floor.SIZE))
    os.close(descriptor)
    while (job := jobs()) is not None:
        if job == _PROBE:
            mailbox.probe_serve()
        else:
            mailbox.serve(tuple(_FUNCTIONS.values()))


class Bare(Served):
    """A spinning extension that calls a Python function at the far end, and nothing else."""

    name = "bare"
    title = "bare extension (the floor)"
    serve = staticmethod(_serve_floor)
    spins = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        descriptor = os.memfd_create("hotcalls-bench", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, _floor.SIZE)
        self._descriptor = descriptor
        self._mailbox = _floor.Mailbox(mmap.mmap(descriptor, _floor.SIZE))

    def address(self) -> Connection:
        self._pipe, self._theirs = CONTEXT.Pipe()
        return self._theirs

    def greet(self) -> None:
        self._theirs.close()
        assert self.process.pid is not None
        reduction.send_handle(self._pipe, self._descriptor, self.process.pid)
        os.close(self._descriptor)
        # What was sent is still there to be received.
        self._pipe.close()

    def connect(self) -> None:
        call = self._mailbox.call
        self.calls = over_bytes(
            partial(self._mailbox.run, _NUMBERS["empty"]),
            partial(call, _NUMBERS["describe"]),
            partial(call, _NUMBERS["echo"]),
        )

    def send_stop(self) -> None:
        self._mailbox.stop()

    def probe(self, count: int) -> array[int]:
        """Return the cycles of `count` round trips of the bare mailbox.

        The first half again as many come before: the other end has just woken, and its core may
        still clock up.
        """
        samples = array("I", bytes(4 * count))
        self._mailbox.probe_begin()
        self.prepare(_PROBE)
        wrong = self._mailbox.probe(memoryview(samples)[: count // 2])
        wrong += self._mailbox.probe(samples)
        self._mailbox.probe_stop()
        self._await_ready()
        if wrong:
            raise WrongResultError("the bare mailbox", wrong, count)
        return samples
