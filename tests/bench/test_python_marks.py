# SPDX-License-Identifier: Apache-2.0
"""Calls from Python on synthetic runs with known answers: ratios, marks, table, page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from hotcalls.bench import analysis, compare, measure, model, pages, table
from hotcalls.bench.command import bench_command
from hotcalls.bench.errors import BenchError
from hotcalls.bench.python import marks, rows

HZ = 2.6e9
FLOORS = {"S": 156.0, "N": 338.0, "F": 624.0}
#: Of the rows that are drawn: multiples of the class's bare mailbox.
MULTIPLES = {
    "empty_bare": 1.5,
    "empty_hotcalls": 2.0,
    "empty_iceoryx2": 80.0,
    "bytes_bare": 2.0,
    "bytes_hotcalls": 2.8,
    "bytes_iceoryx2": 70.0,
    "bytes_unix": 300.0,
    "bytes_pipe": 400.0,
    "bytes_hotcalls_unpinned": 2.8,
    "bytes_pipe_unpinned": 400.0,
    "typed_hotcalls": 6.0,
    "mib_bare": 700.0,
    "mib_hotcalls": 800.0,
    "mib_iceoryx2": 900.0,
    "mib_zmq": 4000.0,
    "shared_hotcalls": 4.0,
    "loop_hotcalls": 2.0,
    "map_hotcalls": 0.9,
}
#: Cycles of rows that are in no class.
HERE = {"bytes_direct": 100.0, "wake_hotcalls": 90_000.0, "wake_unix": 100_000.0}
VALUES = {
    "idle": {"cpu_percent": 0.1},
    "threads": {"four_to_one": 1.2},
    "launch_hotcalls": {"first_answer_ms": 90.0, "resident_mib": 20.0},
}

Makers = tuple[Callable[..., Any], Callable[..., Any]]


@pytest.fixture
def make_python_run(
    make_block: Callable[..., measure.Block], make_state: Callable[..., measure.State]
) -> Callable[..., measure.Run]:
    def make(classes: tuple[str, ...] = ("S", "N"), **changes: float) -> measure.Run:
        rng = np.random.default_rng(3)
        plan = measure.Plan(processes=2, rounds=6, block_us=1000, probe=100, seed=3, full=True)
        run = measure.Run(plan=plan, cpus=[0, 1], rows=[], duration_s=8.0)
        for name, cycles in (MULTIPLES | HERE | changes).items():
            info = rows.CASES[name].info
            run.rows.append(info)
            for process in range(plan.processes):
                for turn in range(plan.rounds):
                    floor = FLOORS[classes[turn % len(classes)]]
                    centre = cycles * (floor if info.cross else 1) * info.batch
                    samples = rng.gamma(40.0, centre / 40.0, 200)
                    run.blocks.setdefault(name, []).append(
                        make_block(
                            np.maximum(samples, 26).astype(np.uint32),
                            process=process,
                            round=turn,
                            probe_before=floor if info.cross else 0.0,
                            probe_after=floor if info.cross else 0.0,
                        )
                    )
        run.rows.append(rows.CASES["bytes_zmq"].info)
        run.skipped["bytes_zmq"] = "not installed: pip install 'hotcalls[bench]'"
        for name, values in VALUES.items():
            run.rows.append(rows.CASES[name].info)
            run.values[name] = [dict(values), dict(values)]
        for process in range(plan.processes):
            begin = process * 4_000_000_000
            end = begin + 4_000_000_000
            run.states.append(
                (
                    make_state(tsc=int(begin * HZ / 1e9), wall_ns=begin),
                    make_state(tsc=int(end * HZ / 1e9), wall_ns=end),
                )
            )
        return run

    return make


@pytest.fixture
def make_result(make_python_run: Callable[..., measure.Run]) -> Callable[..., model.Result]:
    def make(*classes: str, oversubscribed: str | None = None, **changes: float) -> model.Result:
        run = make_python_run(classes or ("S", "N"), **changes)
        return analysis.analyse(run, oversubscribed, marks.PYTHON)

    return make


def mark(result: model.Result, name: str) -> model.Mark:
    return next(found for found in result.marks if found.name == name)


def test_calls_are_compared_with_the_same_call_of_each_peer(
    make_result: Callable[..., model.Result],
) -> None:
    result = make_result()
    placed = result.placed("bytes_hotcalls", "N")
    assert placed is not None
    assert set(placed.ratios) == {"floor", "bare", "iceoryx2", "unix", "pipe"}
    assert placed.ratios["bare"].median == pytest.approx(1.4, rel=0.05)
    assert 1 / placed.ratios["pipe"].median == pytest.approx(400 / 2.8, rel=0.05)
    peer = result.placed("bytes_unix", "N")
    assert peer is not None
    assert peer.ratios["hotcalls"].median == pytest.approx(300 / 2.8, rel=0.05)
    unpinned = result.placed("bytes_hotcalls_unpinned", "N")
    assert unpinned is not None
    assert set(unpinned.ratios) == {"floor", "pipe"}
    many = result.placed("map_hotcalls", "S")
    assert many is not None
    assert many.ratios["single"].median == pytest.approx(0.45, rel=0.05)


@pytest.mark.parametrize("name", rows.CASES)
def test_every_row_is_compared_with_rows_that_there_are(name: str) -> None:
    compared = marks.bases(name, lambda _: None)
    # What nobody measures is compared with nothing: a peer has no typed call that is like bytes.
    for base in compared.values():
        assert base in rows.CASES, base


@pytest.mark.parametrize(
    ("name", "verdicts"),
    [
        ("empty call, to the bare extension", {"S": "met", "N": "met", "F": "not seen"}),
        ("empty call, to iceoryx2 polling", {"S": "met", "N": "met", "F": "not seen"}),
        ("64 bytes to bytes, to iceoryx2 polling", {"S": "missed", "N": "missed", "F": "not seen"}),
        (
            "64 bytes to bytes, unpinned, to multiprocessing.Pipe",
            {"S": "met", "N": "met", "F": "not seen"},
        ),
        (
            "empty call, unpinned, to multiprocessing.Pipe",
            {"S": "not seen", "N": "not seen", "F": "not seen"},
        ),
        ("typed call, to the bytes call", {"S": "met", "N": "met", "F": "not seen"}),
        ("1 MiB of bytes, to the bare extension", {"S": "met", "N": "met", "F": "not seen"}),
        ("1 MiB of bytes, to the best peer", {"S": "met", "N": "met", "F": "not seen"}),
        ("1 MiB in a SharedArray", {"S": "met", "N": "met", "F": "not seen"}),
        ("map over 100 empty calls", {"S": "met", "N": "met", "F": "not seen"}),
        ("4 threads that call an enclave with 4 threads", {"-": "met"}),
        ("idle Python enclave", {"-": "met"}),
        ("call that wakes a sleeping enclave", {"-": "met"}),
    ],
)
def test_verdict_follows_from_the_figures(
    make_result: Callable[..., model.Result], name: str, verdicts: dict[str, str]
) -> None:
    assert mark(make_result(), name).verdicts == verdicts


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"bytes_hotcalls": 3.2}, "64 bytes to bytes, to the bare extension"),
        ({"bytes_pipe_unpinned": 270.0}, "64 bytes to bytes, unpinned, to multiprocessing.Pipe"),
        ({"typed_hotcalls": 20.0}, "typed call, to the bytes call"),
        ({"mib_zmq": 780.0}, "1 MiB of bytes, to the best peer"),
        ({"shared_hotcalls": 90.0}, "1 MiB in a SharedArray"),
        ({"map_hotcalls": 1.1}, "map over 100 empty calls"),
        ({"wake_hotcalls": 110_000.0}, "call that wakes a sleeping enclave"),
    ],
)
def test_figure_beyond_its_bound_misses_the_mark(
    make_result: Callable[..., model.Result], changes: dict[str, float], name: str
) -> None:
    assert mark(make_result(**changes), name).verdict == "missed"


def test_far_class_has_bounds_of_its_own(make_result: Callable[..., model.Result]) -> None:
    result = make_result("F", map_hotcalls=0.8)
    # 70 / 2.8 is 25: enough there, and less than half is not.
    assert mark(result, "64 bytes to bytes, to iceoryx2 polling").verdicts["F"] == "met"
    assert mark(result, "map over 100 empty calls").verdicts["F"] == "missed"


def test_best_peer_is_named(make_result: Callable[..., model.Result]) -> None:
    found = mark(make_result(), "1 MiB of bytes, to the best peer")
    assert found.measured["N"].endswith("× iceoryx2")


def test_table_shows_times_peers_and_what_is_missing(
    make_result: Callable[..., model.Result],
) -> None:
    console = Console(record=True, width=180, file=None, quiet=True)
    console.quiet = False
    with console.capture() as capture:
        table.show(make_result(oversubscribed="the cgroup allows 1 CPU"), console)
    text = capture.get()
    assert "OVERSUBSCRIBED: the cgroup allows 1 CPU" in text
    assert "skipped: not installed: pip install" in text
    assert "to bare" in text
    assert "multiprocessing.Pipe: 64 bytes to bytes" in text
    # 2.8 times 338 cycles of 2.6 GHz.
    assert "364 ns" in text or "363 ns" in text or "365 ns" in text or "366 ns" in text


def test_page_has_every_figure_of_the_json(
    make_result: Callable[..., model.Result], tmp_path: Path
) -> None:
    result = make_result()
    files = pages.write(result, tmp_path / "python.html")
    stored = model.read(tmp_path / "python.json")
    assert stored == result
    assert stored.kind == "python"
    assert {path.name for path in files} >= {"python-python-bytes.png", "python.html"}
    page = files[-1].read_text(encoding="utf-8")
    for row in stored.rows:
        for placed in row.classes.values():
            assert f'data-key="median" data-value="{placed.cycles.median!r}"' in page
    for found in stored.marks:
        assert found.name in page
    assert "What a call from Python to Python costs" in page


def test_results_of_two_kinds_are_not_compared(
    make_result: Callable[..., model.Result], result: model.Result
) -> None:
    with pytest.raises(BenchError, match="about crossings and the second about python"):
        compare.compare(result, make_result())
    assert compare.compare(make_result(), make_result()).geometric_mean == pytest.approx(1.0)


def test_command_measures_the_named_rows_of_python() -> None:
    done = CliRunner().invoke(
        bench_command, ["--python", "--quick", "--json", "--rows=bytes_direct", "--seed=3"]
    )
    assert done.exit_code == 0, done.output
    assert '"kind": "python"' in done.stdout
    assert '"name": "bytes_direct"' in done.stdout
    done = CliRunner().invoke(bench_command, ["--python", "--list"])
    assert "bytes_hotcalls" in done.stdout
    done = CliRunner().invoke(bench_command, ["--python", "--rows=syscall"])
    assert isinstance(done.exception, BenchError)
    assert "no row is called `syscall`" in str(done.exception)
