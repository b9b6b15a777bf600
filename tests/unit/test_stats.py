# SPDX-License-Identifier: Apache-2.0
"""Statistics add up to the calls that were made, in every mode and direction."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import hotcalls
from hotcalls import _native
from hotcalls.stats import Latency, bucket_edge


@pytest.mark.parametrize("mode", ["hot", "switch"])
def test_counts_of_both_directions_add_up(calls_path: Path, mode: str) -> None:
    with hotcalls.launch(calls_path, mode=mode, ocalls={"twice": lambda v: 2 * v}) as enclave:
        for value in range(500):
            enclave.i32(value)
        for value in range(100):
            enclave.ask_twice(value)
        stats = enclave.stats()
        assert stats.ecalls.calls == 600
        assert stats.ocalls.calls == 100
        if mode == "switch":
            assert (stats.ecalls.switched, stats.ecalls.hot) == (600, 0)
        assert stats.ecalls.errors == 0
        served = stats.enclave.served + stats.enclave.switched
        assert served == 600


def test_bytes_count_what_did_not_fit_a_cell(calls_path: Path) -> None:
    with hotcalls.launch(calls_path) as enclave:
        enclave.sum(bytes(1000))
        enclave.pattern(2000, 1)
        stats = enclave.stats()
        assert 3000 <= stats.ecalls.bytes_out < 3100
        assert 2000 <= stats.ecalls.bytes_in < 2100


def test_errors_and_oneway_calls_are_counted(nest_path: Path) -> None:
    with hotcalls.launch(nest_path) as enclave:
        for _ in range(3):
            with pytest.raises(hotcalls.CallError):
                enclave.secret_door(1)
        assert enclave.stats().ecalls.errors == 3


def test_oneway_calls_are_counted(calls_path: Path) -> None:
    with hotcalls.launch(calls_path) as enclave:
        for _ in range(40):
            enclave.tell.oneway(1)
        enclave.flush()
        assert enclave.stats().ecalls.oneway == 40


def test_latency_is_sampled_by_function(calls_path: Path) -> None:
    with hotcalls.launch(calls_path) as enclave:
        for value in range(_native.SAMPLE_EVERY * 20):
            enclave.i32(value)
        latency = {each.name: each for each in enclave.stats().ecall_latency}
        assert set(latency) <= {"i32"}
        samples = latency["i32"]
        assert 15 <= samples.samples <= 25
        assert sum(samples.buckets) == samples.samples
        assert 0 < samples.percentile(0.5) <= samples.percentile(0.99) <= samples.max_cycles


def test_percentile_of_nothing_is_nan() -> None:
    assert math.isnan(Latency("f", 0, 0, (0,) * _native.BUCKETS).percentile(0.5))


def test_percentile_is_the_upper_edge_of_its_bucket() -> None:
    buckets = [0] * _native.BUCKETS
    buckets[4], buckets[8] = 9, 1
    latency = Latency("f", 10, 10**9, tuple(buckets))
    assert latency.percentile(0.5) == bucket_edge(5)
    assert latency.percentile(1.0) == bucket_edge(9)


def test_bucket_edges_grow() -> None:
    edges = [bucket_edge(index) for index in range(_native.BUCKETS)]
    assert edges == sorted(set(edges))
    assert edges[4] == 2 * edges[0]


def test_statistics_do_not_stop_calls(calls_path: Path) -> None:
    import threading

    with hotcalls.launch(calls_path) as enclave:
        seen: list[int] = []
        stop = threading.Event()

        def read() -> None:
            while not stop.is_set():
                seen.append(enclave.stats().ecalls.calls)

        thread = threading.Thread(target=read)
        thread.start()
        function: Any = enclave.i32
        for value in range(2000):
            assert function(value) == value
        stop.set()
        thread.join()
        assert seen == sorted(seen)
        assert enclave.stats().ecalls.calls == 2000
