# SPDX-License-Identifier: Apache-2.0
"""``hotcalls bench --target sgx-sdk``: right results, and nothing is called SGX that is not."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hotcalls.bench import analysis, compare, marks, measure, model, sgx, subjects, words
from hotcalls.bench.command import bench_command
from hotcalls.bench.errors import BenchError

BRIEF = measure.Plan(processes=1, rounds=1, block_us=200, probe=60, seed=11, full=False)

#: Why a hot row may be missing, on a machine that leaves a responder no processor for seconds.
ASLEEP = "the responder stayed asleep: others use its processor"


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    # What a machine with the SDK runs is tests/sgx; here is what the benchmark makes of it.
    monkeypatch.delenv("SGX_SDK", raising=False)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sgx")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SGX_SDK", raising=False)
        assert sgx.build(folder) == "stand-in"
    return folder


def cpus() -> list[int]:
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        pytest.skip("one CPU: nothing can cross cores")
    return allowed[:2]


# Two threads that spin for each other, beside another worker of the tests.
@pytest.mark.timeout(400)
def test_rows_return_right_results(worker: Path, built: Path) -> None:
    rows = sgx.labelled(measure.list_rows(worker), "stand-in")
    run = measure.measure(worker, BRIEF, rows, cpus(), built, lambda _: None)
    for row in rows:
        if "_hot_" in row.name and row.name in run.skipped:
            assert run.skipped[row.name] == ASLEEP
            continue
        assert row.name not in run.skipped
        (block,) = run.blocks[row.name]
        assert len(block.samples) >= 8
        assert block.checked >= len(block.samples)
        if row.cross:
            assert block.probe_before > 0
        if row.reference:
            assert block.reference_before > 0


@pytest.fixture
def host_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, str], Path]:
    """Give a maker of enclaves whose host's part differs from ours in one place."""

    def make(ours: str, instead: str) -> Path:
        sources = Path(sgx.__file__).parent
        changed = tmp_path / "bench"
        changed.mkdir()
        for name in ("sgx_bench.edl", "sgx_bench.h", "sgx_bench_enclave.c", "sgx_bench_host.c"):
            text = (sources / name).read_text()
            if name == "sgx_bench_host.c":
                assert text.count(ours) == 1
                text = text.replace(ours, instead)
            (changed / name).write_text(text)
        monkeypatch.setattr(sgx, "_sources", lambda: changed)
        assert sgx.build(tmp_path) == "stand-in"
        return tmp_path

    return make


def test_responder_that_stays_asleep_skips_its_rows_and_no_others(
    worker: Path, host_part: Callable[[str, str], Path]
) -> None:
    folder = host_part("ecalls ? 1u : UINT32_MAX", "UINT32_MAX")
    names = ("sgx_ecall_hot_empty", "sgx_ecall_hot_echo", "sgx_ecall_ordinary_echo")
    rows = [row for row in measure.list_rows(worker) if row.name in names]
    run = measure.measure(worker, BRIEF, rows, cpus(), folder, lambda _: None)
    assert run.skipped == dict.fromkeys(names[:2], ASLEEP)
    assert len(run.blocks[names[2]][0].samples) >= 8


def test_responder_that_slept_before_it_was_looked_at_is_woken(
    worker: Path, host_part: Callable[[str, str], Path]
) -> None:
    looked = "uint64_t until ="
    # Five times as long as it waits for work.
    late = "(void)nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);"
    folder = host_part(looked, f"{late}\n{looked}")
    rows = [row for row in measure.list_rows(worker) if row.name == "sgx_ocall_hot_empty"]
    run = measure.measure(worker, BRIEF, rows, cpus(), folder, lambda _: None)
    assert run.skipped == {}


def test_every_way_size_and_mitigation_has_its_rows(worker: Path) -> None:
    names = {row.name for row in sgx.with_bare(measure.list_rows(worker))}
    shapes = [
        "empty",
        "echo",
        *(f"{n}_{way}" for n in ("64", "2k") for way in ("in", "out", "inout")),
    ]
    for kind in ("ecall", "ocall"):
        for shape in shapes:
            assert f"sgx_{kind}_ordinary_{shape}" in names
            assert f"sgx_{kind}_hot_{shape}" in names
            assert f"sgx_{kind}_hot_{shape}_off" in names
    assert "mailbox" in names


def test_the_targets_do_not_share_rows(worker: Path) -> None:
    known = measure.list_rows(worker)
    assert not any(row.name.startswith("sgx_") for row in sgx.without(known))
    assert len(sgx.without(known)) + sum(row.group == "sgx" for row in known) == len(known)


def test_enclave_that_is_not_there_skips_with_the_reason(worker: Path, tmp_path: Path) -> None:
    rows = [row for row in measure.list_rows(worker) if row.name == "sgx_ecall_ordinary_empty"]
    run = measure.measure(worker, BRIEF, rows, cpus(), tmp_path, lambda _: None)
    assert "host.so" in run.skipped["sgx_ecall_ordinary_empty"]


def bench(*arguments: str) -> Result:
    done = CliRunner().invoke(bench_command, ["--target=sgx-sdk", "--quick", *arguments])
    assert done.exit_code == 0, done.output
    return done


def test_everything_says_that_it_is_a_stand_in(tmp_path: Path) -> None:
    cpus()
    rows = "--rows=sgx_ecall_ordinary_empty,sgx_ecall_hot_empty*,mailbox"
    done = bench(rows, "-o", str(tmp_path / "r.html"), "--seed=5")
    label = words.SGX_MODES["stand-in"][0]
    assert label in done.stderr
    assert done.stdout.startswith(label)
    lines = [line for line in done.stdout.splitlines() if " ecall, empty" in line]
    assert lines
    # A line of the table may be folded in the title.
    assert all("STAND-IN" in line for line in lines if "stubs of" not in line)
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["sgx"] == "stand-in"
    for row in found["rows"]:
        assert (label in row["title"]) == (row["group"] == "sgx")
        for placed in row["classes"].values():
            assert "switch" not in placed["ratios"]
    ordinary = next(row for row in found["rows"] if "ordinary" in row["name"])
    assert "without EENTER" in ordinary["note"]
    page = (tmp_path / "r.html").read_text()
    assert page.count(label) > sum(row["group"] == "sgx" for row in found["rows"])
    assert "No ordinary call crossed EENTER or EEXIT" in page.replace("\n", " ")
    assert {mark["name"].split(",")[0] for mark in found["marks"]} == {"stubs of sgx-sdk"}
    assert model.read(tmp_path / "r.json").sgx == "stand-in"


def test_list_is_of_the_target() -> None:
    done = CliRunner().invoke(bench_command, ["--list", "--target=sgx-sdk"])
    assert "sgx_ocall_hot_64_inout_off" in done.stdout
    assert "ecall_switch" not in done.stdout
    assert "sgx_" not in CliRunner().invoke(bench_command, ["--list"]).stdout


def test_unusable_sdk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGX_SDK", "/nonexistent")
    done = CliRunner().invoke(bench_command, ["--target=sgx-sdk", "--quick"])
    assert isinstance(done.exception, BenchError)
    assert "SGX_SDK is /nonexistent" in str(done.exception)


def test_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CC", "/nonexistent/cc")
    with pytest.raises(BenchError, match="there is no such compiler"):
        sgx.build(tmp_path)


@pytest.fixture
def run_of_sgx(
    make_run: Callable[..., measure.Run], make_info: Callable[..., Any]
) -> Callable[[], measure.Run]:
    """Give a maker of runs whose hot rows take 1.3 floors, and 1.3 times the copies."""

    def make() -> measure.Run:
        run = make_run()
        for name, source in (
            ("sgx_ecall_hot_empty_off", "ecall_hot"),
            ("sgx_ecall_hot_empty", "ecall_hot"),
            ("sgx_ocall_hot_64_inout_off", "ocall_hot_2k_inout"),
            ("sgx_ecall_ordinary_empty", "syscall"),
        ):
            cross = "_hot_" in name
            reference = "mailbox_64" if "64" in name else None
            run.rows.append(make_info(name, group="sgx", cross=cross, reference=reference))
            run.blocks[name] = list(run.blocks[source])
        return run

    return make


def test_marks_are_those_of_the_target(run_of_sgx: Callable[[], measure.Run]) -> None:
    found = {
        m.name: m for m in analysis.analyse(run_of_sgx(), None, subjects.sgx_sdk("stand-in")).marks
    }
    assert all(name.startswith("stubs of sgx-sdk") for name in found)
    empty = found["stubs of sgx-sdk, empty hot ecall, mitigations off"]
    assert empty.verdicts == {"S": "met", "N": "met", "F": "not seen"}
    copies = found["stubs of sgx-sdk, hot ocall with 64 B in,out, mitigations off"]
    # 3.5 floors over 2.8.
    assert copies.measured["S"].startswith("1.2")
    assert copies.verdict == "met"
    assert found["stubs of sgx-sdk, empty hot ocall, mitigations off"].verdict == "not seen"
    assert not any(
        "sgx-sdk" in m.name for m in marks.evaluate(analysis.analyse(run_of_sgx(), None))
    )


@pytest.mark.parametrize("mode, shown", [("hardware", True), ("simulation", False)])
def test_ratio_to_ordinary_calls_is_shown_for_hardware_only(
    run_of_sgx: Callable[[], measure.Run], mode: model.SgxMode, shown: bool
) -> None:
    result = analysis.analyse(run_of_sgx(), None, subjects.sgx_sdk(mode))
    placed = result.placed("sgx_ecall_hot_empty_off", "S")
    assert placed is not None
    assert ("switch" in placed.ratios) == shown


def test_compare_to_warns_of_different_enclaves(run_of_sgx: Callable[[], measure.Run]) -> None:
    modes: tuple[model.SgxMode, ...] = ("stand-in", "hardware")
    results = [analysis.analyse(run_of_sgx(), None, subjects.sgx_sdk(mode)) for mode in modes]
    found = compare.compare(results[0], results[1])
    assert "different enclaves: stand-in, then hardware" in found.warnings


def test_compare_to_refuses_another_target(run_of_sgx: Callable[[], measure.Run]) -> None:
    ours = analysis.analyse(run_of_sgx(), None)
    theirs = analysis.analyse(run_of_sgx(), None, subjects.sgx_sdk("stand-in"))
    with pytest.raises(BenchError, match="about crossings and the second about sgx-sdk"):
        compare.compare(ours, theirs)


def test_stored_result_without_a_kind_is_of_the_target() -> None:
    root = Path(__file__).resolve().parent.parent.parent
    assert model.read(root / "results/bench-sgx.json").kind == "sgx-sdk"
    assert model.read(root / "results/bench.json").kind == "crossings"


def test_guide_quotes_the_stored_result() -> None:
    root = Path(__file__).resolve().parent.parent.parent
    spec = importlib.util.spec_from_file_location("fill", root / "scripts/fill_readme.py")
    assert spec is not None
    assert spec.loader is not None
    fill = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fill)
    text = fill.SGX_GUIDE.read_text(encoding="utf-8")
    quoted = text.partition(fill.BEGIN)[2].partition(fill.END)[0]
    result = model.read(root / "results/bench-sgx.json")
    assert quoted == fill.table(result)
    assert result.sgx is not None
    assert words.SGX_MODES[result.sgx][0] in quoted
