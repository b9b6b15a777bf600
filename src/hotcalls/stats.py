# SPDX-License-Identifier: Apache-2.0
"""Statistics of a channel, as the two sides count them in shared memory.

Host side. The numbers are read while calls go on, and either side could forge them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hotcalls import _native


@dataclass(frozen=True)
class Counters:
    """Calls in one direction since the launch.

    Attributes
    ----------
    hot : int
        Taken by a spinning responder, or by the thread that waited.
    switched : int
        Made by a switch call at once: by mode, or because the responders slept.
    fallen_back : int
        Posted hot, withdrawn, made by a switch call.
    withdrawn : int
        Taken back unclaimed, for whatever reason.
    oneway, slept, rang : int
        One-way calls; waits that outlasted the spin bound; bursts that woke a responder.
    bytes_out, bytes_in : int
        Of messages that did not fit a cell.
    errors : int
        Calls that came back with an error.
    """

    hot: int
    switched: int
    fallen_back: int
    withdrawn: int
    oneway: int
    slept: int
    rang: int
    bytes_out: int
    bytes_in: int
    errors: int

    @property
    def calls(self) -> int:
        """All of them."""
        return self.hot + self.switched + self.fallen_back


@dataclass(frozen=True)
class SideStatistics:
    """What one side's threads did: responders awake now, sleeps and wake-ups, calls served."""

    awake: int
    responders: int
    companions: int
    sleeps: int
    wakes: int
    stolen: int
    served: int
    switched: int


@dataclass(frozen=True)
class Latency:
    """Latency of one function: of one call in 64, in cycles of the time-stamp counter."""

    name: str
    samples: int
    max_cycles: int
    buckets: tuple[int, ...]

    def percentile(self, share: float) -> float:
        """Cycles below which `share` (0 to 1) of the samples lie; upper edge of the bucket."""
        total = sum(self.buckets)
        if total == 0:
            return float("nan")
        seen = 0
        for index, count in enumerate(self.buckets):
            seen += count
            if seen >= share * total:
                return min(float(self.max_cycles), bucket_edge(index + 1))
        return float(self.max_cycles)


def bucket_edge(index: int) -> float:
    """Lower edge of a bucket, in cycles: four per octave from 2**5 on (``hc_bucket_of``)."""
    octave, quarter = divmod(index, 4)
    return float((4 + quarter) << (_native.BUCKET_FIRST_SHIFT + octave - 2))


@dataclass(frozen=True)
class Statistics:
    """A reading of a channel."""

    ecalls: Counters
    ocalls: Counters
    host: SideStatistics
    enclave: SideStatistics
    ecall_latency: tuple[Latency, ...]
    ocall_latency: tuple[Latency, ...]


def read_statistics(
    native: _native.Enclave, ecalls: Sequence[str], ocalls: Sequence[str]
) -> Statistics:
    """Read the statistics of a running enclave."""
    raw = native.counters()
    raw["latency"] = tuple(
        [(id_, *found) for id_ in range(len(names)) if (found := native.histogram(side, id_))[0]]
        for side, names in enumerate((ecalls, ocalls))
    )
    return statistics_of(raw, ecalls, ocalls)


def statistics_of(
    raw: Mapping[str, Any], ecalls: Sequence[str], ocalls: Sequence[str]
) -> Statistics:
    """Make statistics of what the native part has read (``read_channel``).

    A function whose number has no name, as of the runtime itself, is left out.
    """

    def latency(side: int, names: Sequence[str]) -> tuple[Latency, ...]:
        return tuple(
            Latency(names[id_], count, worst, tuple(buckets))
            for id_, count, worst, buckets in raw["latency"][side]
            if id_ < len(names)
        )

    def counters(direction: str) -> Counters:
        values = dict(raw[direction])
        # The channel counts what was posted hot; a call that fell back is not a hot call.
        values["hot"] = max(0, values["hot"] - values["fallen_back"])
        return Counters(**values)

    return Statistics(
        ecalls=counters("ecalls"),
        ocalls=counters("ocalls"),
        host=SideStatistics(**raw["host"]),
        enclave=SideStatistics(**raw["enclave"]),
        ecall_latency=latency(0, ecalls),
        ocall_latency=latency(1, ocalls),
    )
