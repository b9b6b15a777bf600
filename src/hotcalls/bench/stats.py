# SPDX-License-Identifier: Apache-2.0
"""Statistics of the benchmark: medians, intervals, ratios of pairs, placement classes.

Host side; pure functions of arrays, so that data with known answers tests them.

Samples are not normal and not independent: a block of calls shares a moment of the machine, and
a process shares an address layout. So intervals come from drawing processes and, within them,
blocks anew; and two variants are compared block by block within one breath.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hotcalls.bench.model import CLASSES, Distribution, Ratio

Samples = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float64]

#: Where the classes part, in nanoseconds: between the medians of the bare mailbox that
#: docs/benchmarking.md names (60, 130 and 240 ns): 230 and 480 cycles of a 2.596 GHz counter.
NOMINAL_CUTS_NS = (88.6, 184.9)
#: How far a run may move a cut, as a factor, to where its own probes leave the widest gap.
CUT_PLAY = 1.2
_BUCKETS_PER_OCTAVE = 16
_RESAMPLES = 600


def grouped_median(samples: Samples, step: int) -> float:
    """Return the median of samples that a timer has rounded to multiples of `step`.

    Interpolates within the step that holds the median, by rank. With a step of 26 cycles, two
    medians that differ by 8 % can otherwise look the same where a call takes 320.
    """
    value = float(np.partition(samples, len(samples) // 2)[len(samples) // 2])
    below = int(np.count_nonzero(samples < value))
    equal = int(np.count_nonzero(samples == value))
    return value + step * ((len(samples) / 2 - below) / equal - 0.5)


def histogram(samples: Samples) -> list[tuple[float, int]]:
    """Return ``(lower edge, count)`` of buckets 1/16 octave wide; empty ones are left out."""
    exponents = np.floor(np.log2(np.maximum(samples, 1)) * _BUCKETS_PER_OCTAVE + 1e-9)
    buckets, counts = np.unique(exponents.astype(np.int64), return_counts=True)
    return [
        (round(float(2.0 ** (bucket / _BUCKETS_PER_OCTAVE)), 2), int(count))
        for bucket, count in zip(buckets, counts, strict=True)
    ]


def bootstrap(
    values: Floats, processes: npt.NDArray[np.int64], rng: np.random.Generator
) -> tuple[float, float] | tuple[None, None]:
    """Return the 95 % interval of the median of `values`, one for each block.

    Draws processes with replacement and, within each, blocks with replacement. Fewer than three
    blocks say nothing about spread: ``(None, None)``.
    """
    if len(values) < 3:
        return None, None
    names = np.unique(processes)
    sizes = np.array([np.count_nonzero(processes == name) for name in names])
    table = np.zeros((len(names), sizes.max()))
    for i, name in enumerate(names):
        table[i, : sizes[i]] = values[processes == name]
    width = int(np.ceil(sizes.mean()))
    drawn = rng.integers(len(names), size=(_RESAMPLES, len(names)))
    within = rng.random((_RESAMPLES, len(names), width)) * sizes[drawn][:, :, None]
    medians = np.median(
        table[drawn[:, :, None], within.astype(np.int64)].reshape(_RESAMPLES, -1), axis=1
    )
    low, high = np.quantile(medians, (0.025, 0.975))
    return float(low), float(high)


def distribution(
    samples: Samples,
    block_medians: Floats,
    processes: npt.NDArray[np.int64],
    step: int,
    batch: int,
    rng: np.random.Generator,
) -> Distribution:
    """Describe `samples`, each of `batch` calls; the result is for one call."""
    quantiles = np.quantile(samples, (0.5, 0.9, 0.99, 0.999), method="inverted_cdf")
    p50, p90, p99, p999 = (float(value) for value in quantiles)
    low, high = bootstrap(block_medians, processes, rng)
    return Distribution(
        n=len(samples) * batch,
        p50=p50 / batch,
        p90=p90 / batch,
        p99=p99 / batch,
        p999=p999 / batch,
        max=float(samples.max()) / batch,
        median=grouped_median(samples, step) / batch,
        low=None if low is None else low / batch,
        high=None if high is None else high / batch,
        within_620=float(np.mean(samples <= 620 * batch)),
        within_1400=float(np.mean(samples <= 1400 * batch)),
        histogram=[(round(edge / batch, 3), count) for edge, count in histogram(samples)],
    )


def ratio(
    above: Floats, below: Floats, processes: npt.NDArray[np.int64], rng: np.random.Generator
) -> Ratio | None:
    """Return the median of the ratios of pairs; None when there is no pair."""
    if len(above) == 0:
        return None
    ratios = above / below
    low, high = bootstrap(ratios, processes, rng)
    return Ratio(median=float(np.median(ratios)), low=low, high=high, pairs=len(ratios))


def cuts(probes: Sequence[float], nominal: tuple[float, float]) -> tuple[float, float]:
    """Return where the classes part: near `nominal`, where these probes leave the widest gap."""
    found = []
    for cut in nominal:
        window = sorted(p for p in probes if cut / CUT_PLAY < p < cut * CUT_PLAY)
        edges = np.log(np.array([cut / CUT_PLAY, *window, cut * CUT_PLAY]))
        widest = int(np.argmax(np.diff(edges)))
        # Nothing near: the nominal cut stays exactly where it is.
        found.append(float(np.exp((edges[widest] + edges[widest + 1]) / 2)) if window else cut)
    return found[0], found[1]


def placement(probe: float, parted: tuple[float, float]) -> str:
    """Return the class of one probe."""
    return CLASSES[int(np.searchsorted(np.array(parted), probe, side="right"))]


def placement_of_block(before: float, after: float, parted: tuple[float, float]) -> str | None:
    """Return the class of a block, or None when it changed between its probes.

    A probe of 0 found no spinning responder, so that nothing is known: None, too.
    """
    if before <= 0 or after <= 0:
        return None
    first, second = placement(before, parted), placement(after, parted)
    return first if first == second else None
