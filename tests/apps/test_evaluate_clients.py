# SPDX-License-Identifier: Apache-2.0
"""What the clients print, and what is made of it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotcalls.apps.evaluate import clients, footprint, memcached, modes
from hotcalls.apps.evaluate.errors import EvaluateError, WrongReplyError

AB = """
Concurrency Level:      5
Time taken for tests:   0.500 seconds
Complete requests:      1000
Failed requests:        0
Requests per second:    2000.00 [#/sec] (mean)
Time per request:       2.500 [ms] (mean)
Time per request:       0.500 [ms] (mean, across all concurrent requests)
"""
PING = """PING 10.78.0.1 (10.78.0.1) 56(84) bytes of data.
64 bytes from 10.78.0.1: icmp_seq=1 ttl=64 time=0.200 ms
64 bytes from 10.78.0.1: icmp_seq=2 ttl=64 time=0.100 ms
64 bytes from 10.78.0.1: icmp_seq=4 ttl=64 time=0.300 ms

--- 10.78.0.1 ping statistics ---
4 packets transmitted, 3 received, 25% packet loss, time 12ms
"""


def test_ab_is_read_in_its_own_units() -> None:
    seen = clients.ab_result(AB, {50: 2.0, 99: 9.0, 100: 11.0}, 0.25)
    assert (seen.count, seen.wall_s, seen.rate, seen.cpu_s) == (1000, 0.5, 2000, 0.25)
    assert seen.latency is not None
    assert (seen.latency.mean_us, seen.latency.p50_us, seen.latency.p99_us) == (2500, 2000, 9000)


@pytest.mark.parametrize(
    "text",
    [
        AB.replace("Failed requests:        0", "Failed requests:        3"),
        AB + "Non-2xx responses:      7\n",
        AB.replace("Complete requests:      1000", "Complete requests:      0"),
    ],
)
def test_a_failure_that_ab_saw_is_an_error(text: str) -> None:
    with pytest.raises(WrongReplyError):
        clients.ab_result(text, {}, 0.0)


def test_the_mean_of_wrk_is_that_of_a_closed_loop() -> None:
    text = 'x\nRESULT {"requests":1000,"us":500000,"wrong":0,"p50":3.0,"p99":4.0,"max":9.0}\n'
    seen = clients.wrk_result(text, "u", 50, 0.1)
    assert seen.rate == pytest.approx(2000)
    assert seen.latency is not None
    assert seen.latency.mean_us == pytest.approx(25_000)


@pytest.mark.parametrize(
    "text",
    [
        'RESULT {"requests":9,"us":5,"wrong":1,"p50":3,"p99":4,"max":9}',
        'RESULT {"requests":0,"us":5,"wrong":0,"p50":3,"p99":4,"max":9}',
        "nothing",
    ],
)
def test_what_wrk_saw_fail_is_an_error(text: str) -> None:
    with pytest.raises(EvaluateError):
        clients.wrk_result(text, "u", 1, 0.0)


def test_ab_that_prints_something_else_is_an_error() -> None:
    with pytest.raises(EvaluateError, match="Complete requests"):
        clients.ab_result("hello", {}, 0.0)


def test_pings_that_were_not_answered_are_lost_and_not_slow() -> None:
    seen = clients.ping_result(PING, 4, 0.0)
    assert seen.latency is not None
    assert (seen.count, seen.lost) == (3, 0.25)
    assert seen.latency.p50_us == pytest.approx(200)
    assert seen.latency.mean_us == pytest.approx(200)
    assert seen.rate == pytest.approx(5000)


def test_a_flood_without_an_answer_is_an_error() -> None:
    with pytest.raises(WrongReplyError, match="none of 4 pings"):
        clients.ping_result("4 packets transmitted, 0 received, time 12ms", 4, 0.0)


def test_iperf3_counts_what_was_received() -> None:
    total = {"bytes": 1e6, "seconds": 2.0, "bits_per_second": 4e6, "lost_percent": 25.0}
    tcp = clients.iperf3_result({"end": {"sum_received": total}}, 0.5, False)
    assert (tcp.rate, tcp.count, tcp.lost) == (4.0, 1e6, 0.0)
    udp = clients.iperf3_result({"end": {"sum": total}}, 0.5, True)
    assert (udp.rate, udp.count, udp.lost) == (3.0, 0.75e6, 0.25)


def test_memcapable_is_read_test_by_test() -> None:
    text = "ascii set    [pass]\nbinary getkq     [pass]\nascii mget  \t [FAIL]\nfoo\n"
    found = memcached.capable_result("hot", text, 1)
    assert (found.passed, found.failed, found.words) == (2, 1, "ascii mget")


def test_memcapable_that_ends_early_has_failed() -> None:
    found = memcached.capable_result("hot", "ascii set    [pass]\ncannot connect\n", 1)
    assert found.failed == 1
    assert "cannot connect" in found.words


@given(st.lists(st.integers(32, 10**9), min_size=1, max_size=200))
def test_a_percentile_of_a_histogram_is_within_a_bucket_of_the_truth(values: list[int]) -> None:
    counts: dict[float, int] = {}
    for value in values:
        octave = math.floor(math.log2(value))
        edge = 2.0**octave * (1 + math.floor((value / 2**octave - 1) * 32) / 32)
        counts[edge] = counts.get(edge, 0) + 1
    histogram = sorted(counts.items())
    for share in (0.5, 0.99):
        truth = sorted(values)[math.ceil(share * len(values)) - 1]
        assert clients.percentile(histogram, share) == pytest.approx(truth, rel=0.035)


def test_an_empty_histogram_has_no_latency() -> None:
    assert clients.latency_of([], 0) is None


def test_a_server_in_an_enclave_is_the_same_command_behind_another() -> None:
    command = ["memcached", "-t", "1"]
    assert modes.wrap(modes.find("native"), command) == command
    for mode in (*modes.MODES[1:], *modes.PEERS):
        assert modes.wrap(mode, command)[-3:] == command


def test_the_filter_for_bubblewrap_is_whole_instructions_with_jumps_inside() -> None:
    import struct

    program = list(struct.iter_unpack("=HBBI", modes.seccomp_filter()))
    for place, (code, true, false, _) in enumerate(program):
        if code == 0x15:
            assert place + 1 + max(true, false) < len(program)
            # Where a number matches, the last instruction refuses.
            if place > 2:
                assert place + 1 + true == len(program) - 1


def test_the_time_of_a_call_is_the_one_that_dd_tells() -> None:
    words = "4+0 records in\n4+0 records out\n4 bytes copied, 5.6e-05 s, 71.4 kB/s\n"
    assert footprint.dd_seconds(words) == pytest.approx(56e-6)
    with pytest.raises(EvaluateError, match="dd did not say how long it took: 'oh'"):
        footprint.dd_seconds("oh\n")
