# SPDX-License-Identifier: Apache-2.0
"""Statistics on data whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from hotcalls.bench import stats
from hotcalls.bench.model import CLASSES


def test_grouped_median_finds_the_median_within_the_step_of_the_timer() -> None:
    rng = np.random.default_rng(3)
    true = rng.normal(333.0, 15.0, 20_000)
    # Two readings of a counter that moves in steps of 26, at a random phase.
    start = rng.uniform(0, 26, true.size)
    read = (np.floor((start + true) / 26) * 26).astype(np.uint32)
    assert stats.grouped_median(read, 26) == pytest.approx(333.0, abs=2.0)
    assert float(np.median(read)) in (312.0, 338.0)


def test_grouped_median_of_a_fine_timer_is_the_median() -> None:
    samples = np.arange(1, 1002, dtype=np.uint32)
    assert stats.grouped_median(samples, 1) == pytest.approx(501, abs=0.51)


def test_grouped_median_of_equal_samples_is_their_value() -> None:
    assert stats.grouped_median(np.full(7, 52, dtype=np.uint32), 26) == 52


def test_histogram_keeps_every_sample_in_the_right_bucket() -> None:
    samples = np.array([1, 100, 100, 1000, 2**31], dtype=np.uint32)
    buckets = stats.histogram(samples)
    assert sum(count for _, count in buckets) == 5
    for (edge, _), value in zip(buckets, (1, 100, 1000, 2**31), strict=True):
        assert edge <= value * 1.001
        assert value < edge * 2 ** (1 / 16) * 1.001


def test_distribution_of_a_batch_is_for_one_call() -> None:
    samples = np.full(100, 2560, dtype=np.uint32)
    medians, processes = np.full(4, 2560.0), np.array([0, 0, 1, 1])
    found = stats.distribution(samples, medians, processes, 1, 256, np.random.default_rng(0))
    assert (found.n, found.p50, found.max) == (25_600, 10.0, 10.0)
    assert found.median == pytest.approx(10.0)
    assert (found.low, found.high) == (10.0, 10.0)
    assert found.within_620 == 1.0


def test_percentiles_are_samples_that_occurred() -> None:
    samples = np.concatenate([np.full(999, 100), [50_000]]).astype(np.uint32)
    found = stats.distribution(
        samples, np.array([100.0]), np.array([0]), 26, 1, np.random.default_rng(0)
    )
    assert (found.p50, found.p99, found.p999, found.max) == (100, 100, 100, 50_000)
    assert found.within_620 == pytest.approx(0.999)


def test_bootstrap_covers_the_median_and_needs_three_blocks() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(60):
        values = rng.normal(100.0, 10.0, 40)
        low, high = stats.bootstrap(values, np.repeat(np.arange(5), 8), rng)
        assert low is not None
        assert high is not None
        covered += low <= 100.0 <= high
    assert covered >= 50
    assert stats.bootstrap(np.array([1.0, 2.0]), np.array([0, 0]), rng) == (None, None)


def test_bootstrap_widens_when_processes_differ() -> None:
    rng = np.random.default_rng(7)
    alike = np.tile([99.0, 100.0, 101.0], 5)
    apart = np.repeat([90.0, 95.0, 100.0, 105.0, 110.0], 3)
    processes = np.repeat(np.arange(5), 3)
    width = [
        high - low
        for low, high in (stats.bootstrap(v, processes, rng) for v in (alike, apart))
        if low is not None and high is not None
    ]
    assert width[0] <= 2.0 < 8.0 < width[1]


def test_ratio_of_pairs_is_right_where_the_ratio_of_medians_is_not() -> None:
    # Three quarters of the time the machine is fast for one row, slow for the other.
    below = np.array([100.0, 100.0, 100.0, 1000.0])
    above = below * 1.5
    found = stats.ratio(above, below, np.zeros(4, dtype=np.int64), np.random.default_rng(0))
    assert found is not None
    assert found.median == 1.5
    assert found.pairs == 4
    assert stats.ratio(np.array([]), np.array([]), np.array([]), np.random.default_rng(0)) is None


@pytest.mark.parametrize(
    ("probe", "expected"),
    [(100.0, "S"), (229.0, "S"), (230.0, "N"), (340.0, "N"), (480.0, "F"), (5000.0, "F")],
)
def test_placement_follows_the_cuts(probe: float, expected: str) -> None:
    assert stats.placement(probe, (230.0, 480.0)) == expected


def test_block_whose_placement_changed_has_none() -> None:
    cuts = (230.0, 480.0)
    assert stats.placement_of_block(156.0, 160.0, cuts) == "S"
    assert stats.placement_of_block(156.0, 338.0, cuts) is None
    assert stats.placement_of_block(0.0, 338.0, cuts) is None


def test_cuts_go_to_the_widest_gap_near_the_nominal_ones() -> None:
    first, second = stats.cuts([150.0] * 9 + [200.0] + [340.0] * 9 + [610.0] * 9, (230.0, 480.0))
    assert 200.0 < first < 276.0
    assert second == 480.0
    assert stats.placement(200.0, (first, second)) == "S"


def test_cuts_stay_nominal_without_probes_near_them() -> None:
    assert stats.cuts([], (230.0, 480.0)) == (230.0, 480.0)
    assert stats.cuts([156.0, 338.0], (230.0, 480.0)) == (230.0, 480.0)


def test_nominal_cuts_part_the_classes_of_the_development_machine() -> None:
    cuts = tuple(ns * 2.596 for ns in stats.NOMINAL_CUTS_NS)
    for name, floor in zip(CLASSES, (156.0, 338.0, 624.0), strict=True):
        assert stats.placement(floor, (cuts[0], cuts[1])) == name
