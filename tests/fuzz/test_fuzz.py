# SPDX-License-Identifier: Apache-2.0
"""Every fuzzing target for a moment: what once broke it, its corpus, and a little that is new.

`make fuzz` runs them for as long as one likes. With HOTCALLS_TRUST=1 every target in C also has to
find the bug that is put into a copy of the sources; otherwise one of them.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import machine
import pytest
from targets import GOALS, ROOT, TARGETS, Target

TRUST = os.environ.get("HOTCALLS_TRUST", "") not in ("", "0")
IN_C = [target for target in TARGETS if target.language == "c"]
IN_PYTHON = [target for target in TARGETS if target.language == "python"]
#: New inputs of each target, from one seed: seconds differ from machine to machine, these do not.
RUNS = {"c": 4_000, "python": 200}
#: A bug has to be found within so many, and in the corpus there is none that finds it.
SEEDED_RUNS = 10_000_000 if TRUST else 2_000_000
SEEDED = [target for target in IN_C if TRUST or target.name == "policy"]


def marked(targets: list[Target]) -> list[object]:
    """The targets as parameters, each with the claims that it attacks."""
    return [
        pytest.param(target, id=target.name, marks=[pytest.mark.claim(*target.claims)])
        for target in targets
    ]


@pytest.mark.parametrize("target", marked(list(TARGETS)))
def test_corpus_and_new_inputs_keep_every_promise(
    target: Target, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    known = machine.unpack(target, tmp_path / "corpus")
    assert known != 0, "a target without a corpus begins from nothing"
    runs = known + RUNS[target.language]
    outcome = machine.run(target, tmp_path / "corpus", runs=runs)
    assert not outcome.crashed, outcome.output[-4000:]
    least = known if not machine.drives_itself(target) else runs
    assert outcome.executions >= least, outcome.output[-1000:]
    record_property("count:fuzz executions", outcome.executions)


@pytest.mark.skipif(shutil.which("clang") is None, reason="libFuzzer comes with clang")
@pytest.mark.parametrize("target", marked(SEEDED))
def test_target_finds_a_bug_that_was_put_there(target: Target, tmp_path: Path) -> None:
    machine.unpack(target, tmp_path / "corpus")
    for path in target.crashes.glob("*"):
        (tmp_path / "corpus" / path.name).unlink()
    outcome = machine.run(target, tmp_path / "corpus", runs=SEEDED_RUNS, seeded=True)
    assert outcome.crashed, f"{target.name} ran {outcome.executions} times past a bug"
    assert outcome.artifacts, outcome.output[-2000:]


def test_corpora_stay_small() -> None:
    for target in TARGETS:
        assert target.corpus.stat().st_size <= machine.CORPUS_BYTES_MAX + 50_000


def test_ledger_is_of_these_targets() -> None:
    ledger = json.loads((ROOT / "results" / "fuzz.json").read_text())
    assert set(ledger["targets"]) == {target.name for target in TARGETS}
    for entry in ledger["targets"].values():
        assert entry["goal"] == GOALS[entry["language"]]
        assert entry["executions"] == sum(run["executions"] for run in entry["runs"])


def test_every_target_in_python_says_what_is_measured() -> None:
    for target in IN_PYTHON:
        assert all((ROOT / name).exists() for name in target.measured), target.name
