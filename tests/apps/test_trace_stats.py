# SPDX-License-Identifier: Apache-2.0
"""Statistics and traces: what is counted, what it costs, and what is printed."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotcalls.apps import stats, syscalls, trace, trace_cost
from hotcalls.apps.stats import Call, Stats, StatsError
from hotcalls.bench import model
from hotcalls.cli import main

#: The paper's sum: 200,000 calls a second of 8,200 cycles are 41 % of a core of 4 GHz.
PAPER = trace_cost.Prices(switch=13_000, hot=650, hz=4e9, source="x", per_call=8200)


def test_the_share_of_a_core_is_that_of_the_paper() -> None:
    assert PAPER.share(200_000 * 8200, 1.0) == pytest.approx(0.41)


def test_the_summary_has_the_cost_by_switch_hot_and_by_another_interface() -> None:
    counted = Stats({"read": Call(150_000, errors=2), "sendmsg": Call(50_000)}, wall_s=1.0)
    lines = trace_cost.summary(counted, PAPER).splitlines()
    head = "call calls errors calls/s bytes switch: cycles of a core hot: cycles of a core"
    assert " ".join(lines[0].split()) == f"{head} 8,200 cycles of a core"
    assert lines[1].split() == ["read", "150,000", "2", "150,000", "1,950,000,000", "48.8%",
                                "97,500,000", "2.4%", "1,230,000,000", "30.8%"]  # fmt: skip
    assert lines[3].split()[-1] == "41.0%"
    assert "13,000 cycles by switch, 650 hot" in lines[4]


def test_copying_is_priced_at_the_mean_size_of_a_call() -> None:
    prices = trace_cost.Prices(
        switch=10_000, hot=400, hz=4e9, source="x", per_call=8200,
        switch_copies=[(0, 0), (1024, 100), (4096, 400)], hot_copies=[(0, 0), (4096, 1000)],
    )  # fmt: skip
    # 2,500 bytes a call lie between two sizes that were measured.
    each = [10_000 + 100 + 300 * (2500 - 1024) / 3072, 400 + 1000 * 2500 / 4096, 8200]
    assert prices.of(Call(1000, bytes=2_500_000)) == pytest.approx([1000 * cost for cost in each])
    assert prices.of(Call(1000)) == [10_000_000, 400_000, 8_200_000]
    counted = Stats({"read": Call(1000, bytes=4_096_000), "close": Call(1000)}, wall_s=1.0)
    lines = trace_cost.summary(counted, prices).splitlines()
    rows = {line.split()[0]: line.split() for line in lines[1:4]}
    assert rows["read"][3:8] == ["3.9", "MiB", "10,400,000", "0.3%", "1,400,000"]
    assert rows["total"][5] == "20,400,000"
    assert "at the mean size of each call" in lines[-1]


def test_copying_beyond_what_was_measured_goes_on_as_the_last_piece_did() -> None:
    points = [(0.0, 0.0), (1000.0, 100.0), (2000.0, 300.0)]
    for size, cycles in ((0, 0), (500, 50), (1500, 200), (2000, 300), (10_000, 1900)):
        assert trace_cost.copying(points, size) == pytest.approx(cycles)
    assert trace_cost.copying([], 10_000) == 0


def test_prices_of_copying_come_from_the_result_and_never_fall(repository: Path) -> None:
    result = model.read(repository / "results" / "bench.json")
    prices = trace_cost.prices(result, "x", None)
    assert prices is not None
    for copies in (prices.hot_copies, prices.switch_copies):
        sizes, cycles = zip(*copies, strict=True)
        assert sizes[0] == 0
        assert sizes[-1] >= 1 << 20
        assert list(sizes) == sorted(sizes)
        assert list(cycles) == sorted(cycles)
        # A byte is copied: that is neither nothing nor ten cycles.
        assert 0.01 < cycles[-1] / sizes[-1] < 10


def test_the_summary_shows_chosen_calls_only() -> None:
    counted = Stats({"read": Call(5), "close": Call(3)}, wall_s=1.0)
    lines = trace_cost.summary(counted, None, ["close"]).splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["close", "3"], ["total", "3"]]


@given(st.integers(32, 10**9))
def test_a_bucket_holds_its_cycles(cycles: int) -> None:
    octave = cycles.bit_length() - 1
    bucket = (octave - 5) * 4 + ((cycles >> (octave - 2)) & 3)
    assert stats.bucket_end(bucket - 1) <= cycles < stats.bucket_end(bucket)


def test_a_percentile_is_the_end_of_its_bucket() -> None:
    call = Call(100, histogram=[0, 90, 0, 10])
    assert call.cycles(0.5) == stats.bucket_end(1)
    assert call.cycles(0.99) == stats.bucket_end(3)
    assert Call(5).cycles(0.5) == 0


def test_statistics_that_nobody_wrote_are_an_error() -> None:
    for data in (b"", b"\0\0", b"{", b'{"calls": 3}'):
        with pytest.raises(StatsError):
            stats.decode(data)


@pytest.mark.usefixtures("small_table")
class TestChosen:
    def test_nothing_means_everything(self) -> None:
        assert trace.chosen(()) == ()

    def test_names_groups_and_strace_classes_are_understood(self) -> None:
        assert trace.chosen(("trace=read,close",)) == ("close", "read")
        assert trace.chosen(("t=%network",)) == ("socket",)
        assert trace.chosen(("@basic-io",)) == ("close", "read", "write")

    def test_a_call_made_of_another_is_seen_as_that_one(self) -> None:
        assert trace.chosen(("open",)) == ("openat",)

    def test_an_exclamation_mark_means_all_others(self) -> None:
        assert trace.chosen(("trace=!read,write,close",)) == ("ioctl", "openat", "socket")

    @pytest.mark.parametrize("word", ["nosuch", "@nosuch", "signal=read", "futex"])
    def test_what_is_not_understood_is_wrong_usage(self, word: str) -> None:
        with pytest.raises(click.UsageError):
            trace.chosen((word,))


@pytest.mark.usefixtures("small_table")
def test_the_table_of_calls_is_printed_and_filtered(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    for words, names in (
        (["--how", "refused"], ["ptrace"]),
        (["read", "open"], ["open", "read"]),
        (["@basic-io"], ["close", "read", "write"]),
    ):
        with pytest.raises(SystemExit):
            main(["syscalls", "--json", *words])
        printed = json.loads(capsysbinary.readouterr().out)
        assert [call["name"] for call in printed] == names


@pytest.mark.usefixtures("small_table")
def test_a_call_that_is_not_in_the_table_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["syscalls", "nosuch"])
    assert left.value.code == 1
    assert "no system call is called `nosuch`" in capsys.readouterr().err


def test_the_installed_table_says_something_of_every_call() -> None:
    table = syscalls.table()
    assert {call.how for call in table} <= set(syscalls.HOW)
    assert {"read", "execve", "ptrace", "io_uring_setup"} <= {call.name for call in table}
    for call in table:
        assert call.reaches_host() or call.why


def test_costs_without_counting_are_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["trace", "--cycles-per-call", "8200", "--", "true"])
    assert left.value.code == 2
    assert "belong to -c" in capsys.readouterr().err
