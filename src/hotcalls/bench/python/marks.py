# SPDX-License-Identifier: Apache-2.0
"""What a run of ``hotcalls bench --python`` compares, and the marks it is held to.

Host side; pure. A class that did not occur is "not seen", as is a mark whose peer is not
installed.
"""

from __future__ import annotations

from collections.abc import Callable

from hotcalls.bench.marks import Finding, by_class, limit, mark, ratio_at_most
from hotcalls.bench.model import CLASSES, HERE, Mark, Placed, Result
from hotcalls.bench.subjects import Fastest, Subject

KINDS = ("empty", "bytes", "typed", "mib")
#: What a call of an enclave is compared with; `bare` is the floor and not a rival.
RIVALS = ("iceoryx2", "unix", "pipe", "manager", "zmq", "executor")
_UNPINNED = "_unpinned"


def bases(name: str, fastest: Fastest) -> dict[str, str]:
    """Return the rows that row `name` is compared with, by the name of the ratio."""
    del fastest  # every rival is compared with, not the best of them
    kind, _, rest = name.partition("_")
    if kind in ("map", "loop"):
        return {"single": "loop_hotcalls"}
    if kind == "wake":
        return {"unix": "wake_unix", "hotcalls": "wake_hotcalls"}
    if name == "shared_hotcalls":
        return {"copied": "mib_hotcalls"}
    if kind not in KINDS:
        return {}
    peer = rest.removesuffix(_UNPINNED)
    suffix = rest[len(peer) :]
    others = ("bare", *RIVALS) if peer == "hotcalls" else ("bare", "hotcalls")
    found = {other: f"{kind}_{other}{suffix}" for other in others}
    if kind == "typed":
        found["bytes"] = f"bytes_{rest}"
    return found


def _times_below(peer: str, near: float, far: float) -> Callable[[str, Placed], Finding]:
    def judge(place: str, placed: Placed) -> Finding:
        ratio = placed.ratios.get(peer)
        if ratio is None:
            return None
        times = 1 / ratio.median
        return f"{times:.0f} ×", times >= (far if place == "F" else near)

    return judge


def _by_place(key: str, near: float, far: float) -> Callable[[str, Placed], Finding]:
    def judge(place: str, placed: Placed) -> Finding:
        return ratio_at_most(key, far if place == "F" else near)(place, placed)

    return judge


def _more_than_bytes(result: Result, most_ns: float) -> Callable[[str, Placed], Finding]:
    def judge(_: str, placed: Placed) -> Finding:
        ratio = placed.ratios.get("bytes")
        if ratio is None:
            return None
        # The ratio is of pairs, so it says better than two medians what the difference is.
        more = result.ns(placed.cycles.median * (1 - 1 / ratio.median))
        return f"{more:+.0f} ns", more <= most_ns

    return judge


def _best_rival(_: str, placed: Placed) -> Finding:
    """Judge against the rival that comes nearest."""
    found = {name: placed.ratios[name].median for name in RIVALS if name in placed.ratios}
    if not found:
        return None
    best = max(found, key=lambda name: found[name])
    return f"{found[best]:.2f} × {best}", found[best] <= 1


def evaluate(result: Result) -> list[Mark]:
    """Return every mark with what `result` says of it."""
    found = []
    for kind, words in (("empty", "empty call"), ("bytes", "64 bytes to bytes")):
        pinned, unpinned = f"{kind}_hotcalls", f"{kind}_hotcalls{_UNPINNED}"
        found += [
            mark(
                f"{words}, to the bare extension",
                "median ≤ 1.5 × it, in each class",
                by_class(result, pinned, CLASSES, ratio_at_most("bare", 1.5)),
            ),
            mark(
                f"{words}, to iceoryx2 polling",
                "median ≥ 30 × below it in the near classes, ≥ 15 × in the far one",
                by_class(result, pinned, CLASSES, _times_below("iceoryx2", 30, 15)),
            ),
            mark(
                f"{words}, unpinned, to multiprocessing.Pipe",
                "median ≥ 100 × below it in the near classes, ≥ 50 × in the far one",
                by_class(result, unpinned, CLASSES, _times_below("pipe", 100, 50)),
            ),
        ]
    large = "mib_hotcalls"
    return [
        *found,
        mark(
            "typed call, to the bytes call",
            "median ≤ 1 µs more, in each class",
            by_class(result, "typed_hotcalls", CLASSES, _more_than_bytes(result, 1000)),
        ),
        mark(
            "1 MiB of bytes, to the bare extension",
            "median ≤ 1.2 × it, in each class",
            by_class(result, large, CLASSES, ratio_at_most("bare", 1.2)),
        ),
        mark(
            "1 MiB of bytes, to the best peer",
            "median no more than its, in each class",
            by_class(result, large, CLASSES, _best_rival),
        ),
        mark(
            "1 MiB in a SharedArray",
            "no copy: median ≤ a tenth of 1 MiB of bytes, in each class",
            by_class(result, "shared_hotcalls", CLASSES, ratio_at_most("copied", 0.1)),
        ),
        mark(
            "map over 100 empty calls",
            "≤ a half of 100 single hot calls in the near classes, ≤ a third in the far one",
            by_class(result, "map_hotcalls", CLASSES, _by_place("single", 1 / 2, 1 / 3)),
        ),
        mark(
            "4 threads that call an enclave with 4 threads",
            "no slower in total than one thread",
            limit(result, "threads", "four_to_one", "×", 1, "least"),
        ),
        mark(
            "idle Python enclave",
            "≤ 0.5 % of a CPU, host and enclave together",
            limit(result, "idle", "cpu_percent", "%", 0.5, "most"),
        ),
        mark(
            "call that wakes a sleeping enclave",
            "no slower than over the unix stream socket",
            by_class(result, "wake_hotcalls", (HERE,), ratio_at_most("unix", 1)),
        ),
    ]


#: ``hotcalls bench --python``.
PYTHON = Subject(
    kind="python",
    bases=bases,
    alone=lambda row: row.name.endswith("_direct"),
    marks=evaluate,
)
