# SPDX-License-Identifier: Apache-2.0
"""Two results against each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import msgspec
import pytest

from hotcalls.bench import analysis, measure
from hotcalls.bench.compare import compare
from hotcalls.bench.model import Result


def test_slower_run_is_slower_in_every_class(make_run: Callable[..., measure.Run]) -> None:
    found = compare(
        analysis.analyse(make_run(), None), analysis.analyse(make_run(scale=1.2, seed=2), None)
    )
    hot = [d for d in found.differences if d.row == "ecall_hot"]
    assert [d.place for d in hot] == ["S", "N"]
    for difference in hot:
        assert difference.change == "slower"
        assert difference.ratio == pytest.approx(1.2, rel=0.05)
    assert found.geometric_mean == pytest.approx(1.2, rel=0.02)
    assert found.warnings == []


def test_same_run_differs_in_nothing(result: Result) -> None:
    found = compare(result, result)
    assert {d.change for d in found.differences} == {"not significant"}
    assert found.geometric_mean == pytest.approx(1.0)


def test_classes_are_never_compared_with_each_other(make_run: Callable[..., measure.Run]) -> None:
    near = analysis.analyse(make_run(classes=("N",)), None)
    far = analysis.analyse(make_run(classes=("F",)), None)
    found = compare(near, far)
    assert "ecall_hot" not in {d.row for d in found.differences}
    assert "ecall_hot N" in found.only_before
    assert "ecall_hot F" in found.only_after


def test_doubtful_comparison_is_called_so(
    result: Result, make_run: Callable[..., measure.Run]
) -> None:
    other = msgspec.structs.replace(
        result,
        machine=msgspec.structs.replace(
            result.machine,
            kernel="Linux 5.10",
            processor=msgspec.structs.replace(result.machine.processor, model="another"),
        ),
    )
    run = make_run()
    run.states = [(start, dataclasses.replace(end, steal_ticks=99)) for start, end in run.states]
    text = " ".join(compare(analysis.analyse(run, None), other).warnings)
    assert "different processors" in text
    assert "different kernels" in text
    assert "the first run was unstable" in text
