# SPDX-License-Identifier: Apache-2.0
"""Every row of the worker, briefly, for correctness only: no figure decides a test."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from hotcalls.bench import measure
from hotcalls.bench.errors import BenchError, WrongResultError

BRIEF = measure.Plan(processes=1, rounds=1, block_us=200, probe=60, seed=11, full=False)
#: What a machine may lack without a fault of ours, and the row that shows it.
MAY_LACK = ("kvm_exit", "kvm_exit_user", "_secret")


def brief(worker: Path, rows: list[measure.RowInfo], cpus: list[int]) -> measure.Run:
    return measure.measure(worker, BRIEF, rows, cpus, measure.enclave_path(), lambda _: None)


def cpus() -> list[int]:
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        pytest.skip("one CPU: nothing can cross cores")
    return allowed[:2]


@pytest.mark.parametrize(
    "group", ["basic", "kernel", "mailbox", "memory", "call", "payload", "load", "cost"]
)
def test_rows_return_right_results(worker: Path, group: str) -> None:
    rows = measure.select(measure.list_rows(worker), [group])
    run = brief(worker, rows, cpus())
    for row in rows:
        if row.name in run.skipped:
            assert any(word in row.name for word in MAY_LACK), run.skipped[row.name]
        elif row.values:
            assert run.values[row.name][0]
            assert run.checked[row.name] > 0
        else:
            (block,) = run.blocks[row.name]
            assert len(block.samples) >= 8
            assert block.checked >= len(block.samples)
            assert block.samples.min() > 0
            if row.cross:
                assert block.probe_before > 0
                assert block.probe_after > 0
            if row.reference:
                assert block.reference_before > 0
    assert run.states[0][1].tsc > run.states[0][0].tsc


def test_every_row_is_described_once(worker: Path) -> None:
    rows = measure.list_rows(worker)
    names = [row.name for row in rows]
    assert len(names) == len(set(names))
    assert len(names) > 90
    for row in rows:
        assert row.reference is None or row.reference in names
        assert row.batch >= 1
        if row.name.endswith("_cold"):
            assert row.cold


def test_same_seed_gives_the_same_order(worker: Path) -> None:
    rows = measure.select(measure.list_rows(worker), ["basic"])
    orders = []
    for _ in range(2):
        order: list[str] = []
        measure.measure(worker, BRIEF, rows, cpus(), None, order.append)
        orders.append(order)
    assert orders[0] == orders[1]


def test_one_cpu_skips_what_crosses_cores_with_the_reason(worker: Path) -> None:
    rows = measure.select(measure.list_rows(worker), ["mailbox", "eventfd_same"])
    run = brief(worker, rows, [min(os.sched_getaffinity(0))])
    assert "needs two CPUs" in run.skipped["mailbox"]
    assert len(run.blocks["eventfd_same"]) == 1


def test_without_an_enclave_its_rows_are_skipped_with_the_reason(worker: Path) -> None:
    rows = measure.select(measure.list_rows(worker), ["ecall_switch", "launch"])
    run = measure.measure(worker, BRIEF, rows, cpus(), None, lambda _: None)
    assert set(run.skipped) == {"ecall_switch", "launch"}
    assert "enclave" in run.skipped["launch"]


def test_unknown_row_lists_what_there_is(worker: Path) -> None:
    with pytest.raises(BenchError, match=r"no row is called `nonsense`.*groups basic.*ecall_hot"):
        measure.select(measure.list_rows(worker), ["nonsense"])


def test_rows_are_selected_by_name_group_and_beginning(worker: Path) -> None:
    rows = measure.list_rows(worker)
    assert [row.name for row in measure.select(rows, ["syscall"])] == ["syscall"]
    assert {row.group for row in measure.select(rows, ["memory"])} == {"memory"}
    assert all(row.name.startswith("pipe") for row in measure.select(rows, ["pipe*"]))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--rows=nonsense", "--out=.", "--cpus=0"], "no row is called `nonsense`"),
        (["--cpus=0"], "usage:"),
        (["--cpus=x", "--out=."], "`x` is not a number"),
    ],
)
def test_wrong_command_line_says_what_is_wrong(
    worker: Path, arguments: list[str], expected: str
) -> None:
    done = subprocess.run([worker, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert expected in done.stderr


def impostor(folder: Path, script: str) -> Path:
    """Write a program that stands for the worker."""
    path = folder / "worker"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_wrong_result_is_an_error_and_not_a_figure(tmp_path: Path, worker: Path) -> None:
    line = '{"type":"block","row":"syscall","round":0,"offset":0,"count":0,"wrong":3,"checked":40}'
    rows = measure.select(measure.list_rows(worker), ["syscall"])
    fake = impostor(tmp_path, f"echo '{line}'; sleep 60")
    with pytest.raises(WrongResultError, match="3 of 40 results were wrong") as caught:
        brief(fake, rows, [0])
    assert (caught.value.row, caught.value.wrong, caught.value.checked) == ("syscall", 3, 40)


def test_dead_worker_is_named_with_its_last_words(tmp_path: Path, worker: Path) -> None:
    rows = measure.select(measure.list_rows(worker), ["syscall"])
    with pytest.raises(BenchError, match="exited with status 7: out of luck"):
        brief(impostor(tmp_path, "echo out of luck >&2; exit 7"), rows, [0])
    with pytest.raises(BenchError, match="killed by signal 9"):
        brief(impostor(tmp_path, "kill -9 $$"), rows, [0])


def test_silent_worker_is_killed_and_what_it_did_is_told(
    tmp_path: Path, worker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "SILENCE_S", 0.2)
    rows = measure.select(measure.list_rows(worker), ["syscall"])
    told = r"nothing for 0\.2 s and was killed, before its first row; its threads: sleep S 0\.0 s$"
    with pytest.raises(BenchError, match=told):
        brief(impostor(tmp_path, "exec sleep 60"), rows, [0])
