# SPDX-License-Identifier: Apache-2.0
"""The rows of ``hotcalls bench --python``: who is called, with what, and where. Host side."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from hotcalls.bench.measure import RowInfo
from hotcalls.bench.python import floor, functions, hot, peers, transports
from hotcalls.bench.python.functions import MANY

PEERS: dict[str, type[peers.Peer]] = {
    peer.name: peer
    for peer in (
        hot.Hotcalls,
        floor.Bare,
        transports.Iceoryx2,
        transports.UnixSocket,
        transports.Pipe,
        peers.Manager,
        transports.Zmq,
        peers.Executor,
        peers.Direct,
    )
}

#: Whom only one row calls.
OTHERS: dict[str, type[peers.Peer]] = {hot.Shared.name: hot.Shared}

#: Kind of call: what it is called, and the bytes that it carries each way.
KINDS = {
    "empty": ("empty call", 0),
    "bytes": ("64 bytes to bytes", functions.SMALL),
    "typed": ("(int, str, bytes) to dict", functions.SMALL),
    "mib": ("1 MiB bytes to bytes", functions.LARGE),
}
#: Who is launched as a program would, to see what that costs.
LAUNCHED = ("hotcalls", "executor", "pipe")
#: Whom a call wakes.
WOKEN = ("hotcalls", "unix", "pipe")


@dataclasses.dataclass(frozen=True)
class Case:
    """A row, and how to measure it.

    Parameters
    ----------
    info
        What the table says of it.
    peer
        Who is called; a name in `PEERS`.
    kind
        What is called: a name in `KINDS`, or what the row is called.
    pinned
        Whether caller and far end keep to a processor each.
    waits
        Whether the far end is left to fall asleep before each call.
    """

    info: RowInfo
    peer: str
    kind: str
    pinned: bool = True
    waits: bool = False


def _info(name: str, group: str, title: str, **more: object) -> RowInfo:
    blank = RowInfo(
        name=name,
        group=group,
        title=title,
        cold=None,
        reference=None,
        note=None,
        cross=False,
        once=False,
        enclave=False,
        values=False,
        cpu=False,
        batch=1,
        size=0,
    )
    return dataclasses.replace(blank, **more)  # type: ignore[arg-type]


def _value(name: str, title: str, note: str, peer: str, kind: str) -> Case:
    info = _info(name, "cost", title, note=note, once=True, values=True)
    return Case(info, peer, kind, pinned=False)


def _cases() -> Iterator[Case]:
    for kind, (words, size) in KINDS.items():
        for name, peer in PEERS.items():
            yield Case(
                _info(
                    f"{kind}_{name}",
                    kind,
                    f"{peer.title}: {words}",
                    cross=peer.crosses,
                    cpu=peer.crosses,
                    size=size,
                ),
                name,
                kind,
            )
    yield Case(
        _info(
            "shared_hotcalls",
            "mib",
            f"{hot.Shared.title}: 1 MiB, no copy",
            note="The function inside reads one element.",
            cross=True,
            cpu=True,
            size=functions.LARGE,
        ),
        hot.Shared.name,
        "shared",
    )
    for kind in ("empty", "bytes"):
        words, size = KINDS[kind]
        for name, peer in PEERS.items():
            if peer.crosses:
                yield Case(
                    _info(
                        f"{kind}_{name}_unpinned",
                        "unpinned",
                        f"{peer.title}: {words}, unpinned",
                        cross=True,
                        cpu=True,
                        size=size,
                    ),
                    name,
                    kind,
                    pinned=False,
                )
    many = {"cross": True, "cpu": True, "batch": MANY, "note": "Calls of one byte, one back."}
    yield Case(
        _info("loop_hotcalls", "map", f"hotcalls: {MANY} single calls in a loop", **many),
        "hotcalls",
        "loop",
    )
    yield Case(
        _info("map_hotcalls", "map", f"hotcalls: map over {MANY}", **many), "hotcalls", "map"
    )
    yield Case(
        _info("map_executor", "map", f"ProcessPoolExecutor: map over {MANY} in one chunk", **many),
        "executor",
        "map",
    )
    for name in WOKEN:
        yield Case(
            _info(
                f"wake_{name}",
                "wake",
                f"{PEERS[name].title}: empty call that finds the far end asleep",
                note="After a pause of 20 ms, unpinned.",
            ),
            name,
            "empty",
            pinned=False,
            waits=True,
        )
    for name in LAUNCHED:
        yield _value(
            f"launch_{name}",
            f"{PEERS[name].title}: launch to the first answer",
            "Resident: of its own and of files, without what is shared with us.",
            name,
            "launch",
        )
    yield _value(
        "idle", "an idle Python enclave", "After a burst, its threads asleep.", "hotcalls", "idle"
    )
    yield _value(
        "threads",
        "4 threads call an enclave with 4 threads",
        "64 bytes to bytes, unpinned, in turns with one thread that calls it.",
        "hotcalls",
        "threads",
    )
    for name, peer in PEERS.items():
        if peer.crosses:
            yield _value(
                f"cpu_{name}",
                f"{peer.title}: CPU time of 64-byte calls",
                "Sustained, one caller, unpinned.",
                name,
                "cpu",
            )


CASES: dict[str, Case] = {case.info.name: case for case in _cases()}


def infos() -> list[RowInfo]:
    """Return the rows, in the order of the table."""
    return [case.info for case in CASES.values()]
