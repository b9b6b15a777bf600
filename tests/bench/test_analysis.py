# SPDX-License-Identifier: Apache-2.0
"""From blocks to a result: classes, pairs, noise, and a JSON that says the same when read again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hotcalls.bench import analysis, measure, model
from hotcalls.bench.errors import BenchError


def test_result_separates_classes_and_names_what_was_not_seen(result: model.Result) -> None:
    assert result.seen() == ["S", "N"]
    hot = result.row("ecall_hot")
    assert hot is not None
    assert set(hot.classes) == {"S", "N"}
    assert hot.classes["S"].cycles.median == pytest.approx(156 * 1.3, rel=0.05)
    assert hot.classes["N"].cycles.median == pytest.approx(338 * 1.3, rel=0.05)
    assert hot.classes["S"].blocks == hot.classes["N"].blocks == 12
    same_core = result.row("syscall")
    assert same_core is not None
    assert set(same_core.classes) == {model.HERE}


def test_ratios_are_to_the_probe_and_to_rows_of_the_same_round(result: model.Result) -> None:
    placed = result.placed("ecall_hot_2k_inout", "N")
    assert placed is not None
    assert placed.ratios["floor"].median == pytest.approx(3.4, rel=0.05)
    assert placed.ratios["reference"].median == pytest.approx(3.4 / 2.8, rel=0.05)
    assert 1 / placed.ratios["switch"].median == pytest.approx(13_000 / (338 * 3.4), rel=0.05)
    ocall = result.placed("ocall_hot", "N")
    assert ocall is not None
    assert 1 / ocall.ratios["switch"].median == pytest.approx(16_500 / (338 * 1.35), rel=0.05)
    switch = result.placed("ecall_switch")
    assert switch is not None
    # The best kernel primitive of the run is eventfd.
    assert switch.ratios["kernel"].median == pytest.approx(13 / 12, rel=0.05)
    batch = result.placed("ecall_batch", "S")
    assert batch is not None
    assert batch.ratios["single"].median == pytest.approx(0.3 / 1.3, rel=0.08)


def test_block_in_which_the_class_changed_is_dropped_and_counted(
    make_run: Callable[..., measure.Run],
) -> None:
    run = make_run(classes=("N",))
    blocks = run.blocks["ecall_hot"]
    run.blocks["ecall_hot"] = [
        dataclasses.replace(blocks[0], probe_after=156.0, samples=np.full(9, 9, dtype=np.uint32)),
        *blocks[1:],
    ]
    row = analysis.analyse(run, None).row("ecall_hot")
    assert row is not None
    assert row.dropped_blocks == 1
    assert row.classes["N"].blocks == len(blocks) - 1
    assert row.classes["N"].cycles.histogram[0][0] > 9


def test_pairs_of_two_crossing_rows_are_of_one_class(
    make_run: Callable[..., measure.Run],
) -> None:
    run = make_run(classes=("N",))
    # In round 0 the single call was far: its pair says nothing about batching.
    run.blocks["ecall_hot"] = [
        dataclasses.replace(b, probe_before=624.0, probe_after=624.0) if b.round == 0 else b
        for b in run.blocks["ecall_hot"]
    ]
    placed = analysis.analyse(run, None).placed("ecall_batch", "N")
    assert placed is not None
    assert placed.ratios["single"].pairs == 7 * 3


def test_quiet_run_has_no_complaint(result: model.Result) -> None:
    assert not result.noise.unstable
    assert result.machine.tsc_hz == pytest.approx(2.6e9, rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"spin_median": 600_000}, "fixed loop"),
        ({"steal_ticks": 40}, "hypervisor"),
    ],
)
def test_noise_is_told_from_the_state_of_the_machine(
    make_run: Callable[..., measure.Run], changes: dict[str, Any], word: str
) -> None:
    run = make_run()
    run.states = [(start, dataclasses.replace(end, **changes)) for start, end in run.states]
    noise = analysis.analyse(run, None).noise
    assert noise.unstable
    assert any(word in complaint for complaint in noise.complaints)


def test_preemption_and_load_are_told(make_run: Callable[..., measure.Run]) -> None:
    run = make_run()
    run.load = 3.0
    run.blocks["timer"] = [dataclasses.replace(b, involuntary=5) for b in run.blocks["timer"]]
    complaints = " ".join(analysis.analyse(run, None).noise.complaints)
    assert "preempted" in complaints
    assert "load average 3.00" in complaints


def test_hand_overs_on_one_core_do_not_count_as_preemptions(
    make_run: Callable[..., measure.Run],
) -> None:
    run = make_run()
    run.blocks["eventfd_same"] = [
        dataclasses.replace(b, involuntary=500) for b in run.blocks["eventfd_same"]
    ]
    assert not analysis.analyse(run, None).noise.unstable


def test_cpu_time_is_left_out_where_it_means_nothing(
    make_run: Callable[..., measure.Run],
) -> None:
    run = make_run()
    run.rows = [dataclasses.replace(r, cpu=r.name != "timer") for r in run.rows]
    found = analysis.analyse(run, None)
    timer, syscall = found.placed("timer"), found.placed("syscall")
    assert timer is not None
    assert timer.cpu_s_per_million is None
    assert syscall is not None
    assert syscall.cpu_s_per_million == pytest.approx(900_000 / 400 / 1e3)


def test_written_result_reads_back_the_same(result: model.Result, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(model.encode(result))
    assert model.read(path) == result


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", "missing required field `schema`"),
        ("not json", "not a result"),
        ('{"schema": 99}', "schema 99"),
        ('{"schema": 1, "created": 5}', "$.created"),
    ],
)
def test_foreign_file_is_refused_with_the_place(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(BenchError) as caught:
        model.read(path)
    assert expected in str(caught.value)
    assert str(path) in str(caught.value)


def test_raw_file_holds_every_sample(make_run: Callable[..., measure.Run], tmp_path: Path) -> None:
    run = make_run()
    path = tmp_path / "raw.npz"
    measure.save_raw(run, path)
    with np.load(path) as raw:
        records = raw["ecall_hot.blocks"]
        assert len(records) == len(run.blocks["ecall_hot"])
        for record, block in zip(records, run.blocks["ecall_hot"], strict=True):
            samples = raw["ecall_hot"][record["first"] : record["first"] + record["count"]]
            assert np.array_equal(samples, block.samples)
            assert record["probe_before"] == block.probe_before
