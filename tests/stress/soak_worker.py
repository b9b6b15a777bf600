# SPDX-License-Identifier: Apache-2.0
"""One process of the soak's Python half: requesters, and the accounts of their calls.

    soak_worker.py launch|connect SECONDS REQUESTERS WHERE FIRST SEED COUNTERS [lose|double]

WHERE is the module to launch, or the socket of the server to connect to, again and again: when it
is lost, and when this process has ended or left it. FIRST is the number of the first requester.
COUNTERS is a file of counters that outlives this process when it is killed. A line of JSON about
each enclave goes to standard output.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import mmap
import os
import random
import signal
import struct
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import soak_vault

import hotcalls

TOKENS = soak_vault.TOKENS
FIELDS = ("sent", "answered", "errors", "lost", "doubled", "wrong", "unaudited")
REQUESTERS_MAX = 8
#: What a caller may be told when an enclave or a server ends under it.
LOST = (hotcalls.EnclaveLost, hotcalls.CallTimeout, hotcalls.ConnectError, hotcalls.OnewayError)
HANG_SECONDS = 60.0
COMPLAINTS_MAX = 20

UNUSED, FAILED, ANSWERED = range(3)


class Requester:
    """Makes calls of every kind, and knows what became of each."""

    def __init__(self, number: int, place: int, memory: mmap.mmap, seed: int, cheat: int) -> None:
        self.number = number
        self.counts = dict.fromkeys(FIELDS, 0)
        self._at = place * len(FIELDS) * 8
        self._memory = memory
        self._chance = random.Random(seed)
        self._cheat = cheat
        self._state = bytearray(TOKENS)
        self._next = 0
        self.stop = False
        #: Calls back, by token: they are counted where they run.
        self.backs: dict[int, int] = {}

    def _add(self, name: str, count: int = 1) -> None:
        self.counts[name] += count
        struct.pack_into(
            f"<{len(FIELDS)}Q", self._memory, self._at, *(self.counts[each] for each in FIELDS)
        )

    def _wrong(self, what: str) -> None:
        print(f"requester {self.number}: {what}", file=sys.stderr)
        self._add("wrong")

    def _tokens(self, count: int) -> list[int]:
        found = list(range(self._next, self._next + count))
        self._next += count
        self._add("sent", count)
        return found

    def _settle(self, index: int, answer: object, expected: object) -> None:
        self._state[index] = ANSWERED
        self._add("answered")
        if answer != expected:
            self._wrong(f"token {index} has the answer to another one")

    def _right(self, index: int) -> int:
        return soak_vault.answer(self.number, index)

    # ---- kinds of calls -------------------------------------------------------------------

    def _plain(self, enclave: Any) -> None:
        for _ in range(20):
            (index,) = self._tokens(1)
            answer = enclave.one(self.number, index, self._cheat)
            self._settle(index, answer, self._right(index))

    def _copy(self, enclave: Any) -> None:
        largest = self._chance.choice((64, 2_000, 300_000))
        data = self._chance.randbytes(self._chance.randrange(largest))
        (index,) = self._tokens(1)
        self._settle(index, enclave.copy(self.number, index, data), data[::-1])

    def _nest(self, enclave: Any) -> None:
        (index,) = self._tokens(1)
        depth = self._chance.randrange(1, 4)
        self.backs[index] = 0
        found = enclave.nest(self.number, index, 0, depth)
        self._settle(index, found, self._right(index) + depth)
        if self.backs.pop(index) != depth:
            self._wrong(f"token {index} called back another number of times")

    def _submit(self, enclave: Any) -> None:
        indices = self._tokens(16)
        futures = []
        for index in indices:
            futures.append(enclave.one.submit(self.number, index, 0))
        together = list(zip(indices, futures, strict=True))
        self._chance.shuffle(together)
        lost = None
        for index, future in together:
            try:
                self._settle(index, future.result(HANG_SECONDS), self._right(index))
            except LOST as error:
                lost = error
        if lost is not None:
            raise lost

    def _map(self, enclave: Any) -> None:
        indices = self._tokens(32)
        found = enclave.one.map([self.number] * 32, indices, [0] * 32)
        for index, answer in zip(indices, found, strict=True):
            self._settle(index, answer, self._right(index))

    def _await(self, enclave: Any) -> None:
        indices = self._tokens(8)

        async def all_of_them() -> list[Any]:
            calls = [enclave.one.aio(self.number, index, 0) for index in indices]
            return await asyncio.gather(*calls, return_exceptions=True)

        lost = None
        for index, answer in zip(indices, asyncio.run(all_of_them()), strict=True):
            if isinstance(answer, LOST):
                lost = answer
            elif isinstance(answer, BaseException):
                raise answer
            else:
                self._settle(index, answer, self._right(index))
        if lost is not None:
            raise lost

    def _oneway(self, enclave: Any) -> None:
        indices = self._tokens(self._chance.randrange(1, 30))
        for index in indices:
            enclave.quiet.oneway(self.number, index)
        enclave.flush()
        for index in indices:
            self._settle(index, None, None)

    # ---- accounts -------------------------------------------------------------------------

    def _audit(self, enclave: Any) -> None:
        """Compare what was answered with what ran."""
        ran = enclave.audit(self.number)
        for index in range(self._next):
            if self._state[index] == UNUSED:
                self._lose(index, "has neither an answer nor an error")
            elif self._state[index] == ANSWERED and ran[index] == 0:
                self._lose(index, "was answered and did not run")
            elif ran[index] > 1:
                self._complain(f"token {self.number}.{index} ran {ran[index]} times")
                self._add("doubled")
        self._forget()

    def _lose(self, index: int, what: str) -> None:
        self._complain(f"token {self.number}.{index} {what}")
        self._add("lost")

    def _complain(self, what: str) -> None:
        if self.counts["lost"] + self.counts["doubled"] < COMPLAINTS_MAX:
            print(what, file=sys.stderr)

    def _forget(self) -> None:
        self._state = bytearray(TOKENS)
        self._next = 0
        self.backs.clear()

    def run(self, enclave: Any) -> None:
        """Call until it is lost, or everybody is to stop."""
        kinds = (
            self._plain, self._plain, self._copy, self._nest, self._submit, self._map,
            self._await, self._oneway, self._oneway,
        )  # fmt: skip
        try:
            while not self.stop:
                self._chance.choice(kinds)(enclave)
                if self._next > TOKENS - 64:
                    self._audit(enclave)
            self._audit(enclave)
        except LOST:
            # What its caller was told about is settled; how often the rest ran went with it.
            out = sum(1 for state in self._state[: self._next] if state == UNUSED)
            self._add("errors", out)
            self._add("unaudited", self._next - out)
            self._forget()
        except BaseException as error:
            self._wrong(f"{type(error).__name__}: {error}")
            self._forget()


def resident_kb() -> int:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") // 1024


class Worker:
    """Enclave after enclave."""

    def __init__(
        self, requesters: list[Requester], begin: Callable[[], Any], chance: random.Random
    ):
        self._requesters = {each.number: each for each in requesters}
        self._begin = begin
        self._chance = chance
        self.lived = False
        self.enclave: Any = None

    def back(self, requester: int, index: int, level: int, depth: int) -> int:
        """What the enclave calls."""
        caller = self._requesters[requester]
        caller.backs[index] = caller.backs.get(index, 0) + 1
        return int(self.enclave.nest(requester, index, level + 1, depth))

    def live(self, seconds: float, launched: bool) -> None:
        """One enclave, from its beginning to its end."""
        self.enclave = enclave = self._begin()
        threads = []
        for each in self._requesters.values():
            each.stop = False
            threads.append(threading.Thread(target=each.run, args=(enclave,)))
        for thread in threads:
            thread.start()
        until = time.monotonic() + seconds
        while time.monotonic() < until and any(thread.is_alive() for thread in threads):
            time.sleep(0.02)
        # The first is left to finish, so that each worker has compared once at least.
        ways = ("killed", "died", "closed", "left") if launched and self.lived else ("left",)
        self.lived = True
        how = self._chance.choice(ways)
        if how == "killed":
            os.kill(enclave.pid, signal.SIGKILL)
        elif how == "died":
            with contextlib.suppress(hotcalls.EnclaveLost):
                enclave.die()
        elif how == "closed":
            enclave.close()
        for each in self._requesters.values():
            each.stop = True
        for thread in threads:
            thread.join(HANG_SECONDS)
            if thread.is_alive():
                print("a requester hangs", file=sys.stderr)
                os._exit(3)
        enclave.close()
        self.enclave = enclave = None
        gc.collect()
        sample = {
            "how": how,
            "rss_kb": resident_kb(),
            "fds": len(os.listdir("/proc/self/fd")),
            "threads": len(os.listdir("/proc/self/task")),
        }
        print(json.dumps(sample), flush=True)


def main() -> None:
    """As above."""
    warnings.simplefilter("ignore", RuntimeWarning)
    how, seconds, count, where, first, seed, counters, *rest = sys.argv[1:]
    chance = random.Random(int(seed))
    with open(counters, "r+b") as file:
        memory = mmap.mmap(file.fileno(), 0)
    cheat = {"lose": -1, "double": 1}[rest[0]] if rest else 0
    requesters = [
        Requester(int(first) + i, i, memory, chance.getrandbits(32), cheat)
        for i in range(int(count))
    ]
    until = time.monotonic() + float(seconds)

    def begin() -> Any:
        if how == "launch":
            return hotcalls.launch(where, ocalls={"back": worker.back}, threads=2, window=1 << 20)
        while True:
            try:
                return hotcalls.connect(where, ocalls={"back": worker.back})
            except hotcalls.ConnectError:
                if time.monotonic() > until + HANG_SECONDS:
                    raise
                time.sleep(0.05)

    worker = Worker(requesters, begin, chance)
    while not worker.lived or time.monotonic() < until:
        life = chance.uniform(0.3, 4.0) if how == "launch" else chance.uniform(2.0, 10.0)
        worker.live(max(0.1, min(life, until - time.monotonic())), how == "launch")


if __name__ == "__main__":
    main()
