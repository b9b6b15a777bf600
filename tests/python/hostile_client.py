# SPDX-License-Identifier: Apache-2.0
"""A client of `hotcalls serve` that means harm: hostile_client.py PATH SEED scribble|handshake.

Goes on until its standard input ends. After each attack it prints how often it did what so far, as
a line of JSON.
"""

from __future__ import annotations

import array
import json
import os
import random
import select
import socket
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import hotcalls
from region import CELL_WORDS, CONTROL_WORDS, Region, mappings

CALL_SECONDS = 0.02
ROUND_SECONDS = 0.05
WHOLE = (1 << 64) - 1


def told_to_end() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


# ---- its own channel --------------------------------------------------------------------------


def scribble(
    region: Region, chance: random.Random, stop: threading.Event, done: Counter[str]
) -> None:
    """Rewrite words of everything that the server's enclave looks at."""
    while not stop.wait(chance.random() * 0.001):
        for _ in range(chance.choice([1, 30])):
            slot = chance.choice([0, 1, 2, region.slots - 1])
            lane = chance.randrange(3)
            cell = region.cell(slot, lane, chance.randrange(min(region.cells, 4)))
            index = chance.choice(
                [
                    cell,
                    cell + chance.randrange(1, CELL_WORDS),
                    chance.randrange(96),
                    region.control(slot) + chance.randrange(CONTROL_WORDS),
                    region.window(slot, lane) + chance.randrange(400),
                ]
            )
            now = region.words[index]
            # A call's number and state, near those that stand there; or anything.
            number, state = now >> 5, chance.randrange(32)
            near = (number + chance.choice([-1, 0, 1, 32])) << 5 | state
            region.words[index] = (
                chance.choice([near, now + 1, 0, WHOLE, chance.getrandbits(64)]) & WHOLE
            )
            done["rewrites of a hostile client's channel"] += 1


def call(enclave: Any, stop: threading.Event, done: Counter[str]) -> None:
    """Make calls whose arguments and answers are rewritten."""
    echo, asked = (each.options(timeout=CALL_SECONDS) for each in (enclave.echo, enclave.asked))
    while not stop.is_set():
        for function, argument in ((echo, b"x" * 3000), (asked, "who?"), (echo, b"y")):
            done["calls of a hostile client"] += 1
            try:
                function(argument)
            except (hotcalls.HotcallsError, ValueError):
                if stop.wait(0.001):
                    return


def attack_channel(path: str, chance: random.Random, done: Counter[str]) -> None:
    """Be a client for a moment, and leave the channel as it has become."""
    before = mappings()
    with hotcalls.connect(path, ocalls={"ask": lambda question: question}) as enclave:
        region = Region(before)
        stop = threading.Event()
        threads = [
            threading.Thread(target=call, args=(enclave, stop, done), daemon=True) for _ in range(2)
        ]
        threads.append(
            threading.Thread(target=scribble, args=(region, chance, stop, done), daemon=True)
        )
        for thread in threads:
            thread.start()
        time.sleep(ROUND_SECONDS * chance.random())
        stop.set()
        for thread in threads:
            thread.join()
        del region
    done["channels destroyed"] += 1


# ---- its handshake ----------------------------------------------------------------------------


def descriptors(chance: random.Random) -> list[int]:
    return [os.memfd_create("yours") for _ in range(chance.choice([1, 4, 64]))]


def malformed(path: str, chance: random.Random) -> None:
    """Connect, and say what nobody says."""
    kinds = [socket.SOCK_SEQPACKET] * 6 + [socket.SOCK_STREAM, socket.SOCK_DGRAM]
    with socket.socket(socket.AF_UNIX, chance.choice(kinds)) as connection, suppress(OSError):
        connection.settimeout(1)
        connection.connect(path)
        for _ in range(chance.randrange(4)):
            data = os.urandom(chance.choice([0, 1, 7, 4096, 100_000]))
            passed = descriptors(chance) if chance.random() < 0.5 else []
            try:
                ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", passed))]
                connection.sendmsg([data], ancillary if passed else [])
            finally:
                for each in passed:
                    os.close(each)
        what = chance.randrange(4)
        if what == 0:
            connection.shutdown(chance.choice([socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR]))
        elif what == 1:
            connection.recv(1)  # the rest, with the descriptors, is thrown away
        elif what == 2:
            time.sleep(0.01)


def attack_handshake(path: str, chance: random.Random, done: Counter[str]) -> None:
    """Many at a time, so that the server has several half-begun clients."""
    threads = [
        threading.Thread(target=malformed, args=(path, random.Random(chance.getrandbits(64))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done["malformed handshakes"] += len(threads)


def main() -> None:
    path, seed, what = sys.argv[1:]
    chance = random.Random(int(seed))
    done: Counter[str] = Counter()
    attack = {"scribble": attack_channel, "handshake": attack_handshake}[what]
    while not told_to_end():
        try:
            attack(path, chance, done)
        except hotcalls.HotcallsError:
            # No place yet: the last one is being taken back from us.
            time.sleep(0.002)
        print(json.dumps(done), flush=True)


if __name__ == "__main__":
    main()
