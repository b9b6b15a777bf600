# SPDX-License-Identifier: Apache-2.0
"""Verdicts of the marks on results with known answers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hotcalls.bench import analysis, measure
from hotcalls.bench.model import Mark, Result


def mark(result: Result, name: str) -> Mark:
    return next(found for found in result.marks if found.name == name)


def test_class_that_did_not_occur_is_not_seen_and_not_met(result: Result) -> None:
    found = mark(result, "empty hot ecall, to the floor")
    assert found.verdicts == {"S": "met", "N": "met", "F": "not seen"}
    assert found.verdict == "met"


def test_one_class_that_misses_misses_the_mark(make_run: Callable[..., measure.Run]) -> None:
    found = analysis.analyse(make_run(scale=1.4), None)
    assert mark(found, "empty hot ecall, to the floor").verdict == "missed"


def test_far_class_has_a_limit_of_its_own(make_run: Callable[..., measure.Run]) -> None:
    found = mark(
        analysis.analyse(make_run(classes=("F",)), None), "empty hot ecall, to the switch call"
    )
    # 13,000 / (624 * 1.3) is 16: enough for the far class, not for a near one.
    assert found.verdicts == {"S": "not seen", "N": "not seen", "F": "met"}


def test_tail_is_not_judged_where_the_hypervisor_stole(
    make_run: Callable[..., measure.Run],
) -> None:
    import dataclasses

    run = make_run()
    run.blocks["ecall_hot"] = [
        dataclasses.replace(b, steal_ticks=1) for b in run.blocks["ecall_hot"]
    ]
    found = mark(analysis.analyse(run, None), "empty hot ecall, tail")
    assert found.verdict == "not seen"


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("switch ecall", "met"),
        ("switch ocall", "missed"),
        ("batch of 32 empty calls", "met"),
        ("idle enclave", "met"),
        ("8 requesters on 2 CPUs, unpinned", "met"),
        ("8 requesters, tokens", "missed"),
        ("one CPU only (as with taskset -c 0)", "met"),
        ("launch of a C enclave to its first answer", "met"),
        ("memory of an idle C enclave", "met"),
    ],
)
def test_verdict_follows_from_the_figures(result: Result, name: str, verdict: str) -> None:
    assert mark(result, name).verdict == verdict


def test_run_without_an_enclave_sees_no_mark(make_run: Callable[..., measure.Run]) -> None:
    run = make_run()
    run.rows = [row for row in run.rows if row.group in ("basic", "kernel", "mailbox")]
    run.blocks = {row.name: run.blocks[row.name] for row in run.rows if row.name in run.blocks}
    run.values = {}
    assert {found.verdict for found in analysis.analyse(run, None).marks} == {"not seen"}
