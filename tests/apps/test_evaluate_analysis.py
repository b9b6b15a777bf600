# SPDX-License-Identifier: Apache-2.0
"""What an evaluation says of measurements whose answers are known."""

from __future__ import annotations

from pathlib import Path

import evaluation as known
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotcalls.apps.evaluate import analysis, marks, measure, model, modes
from hotcalls.apps.evaluate.errors import EvaluateError
from hotcalls.apps.evaluate.model import HOT, Run
from hotcalls.apps.stats import Call


def compared(name: str = "memcached-c50", loop: model.Loop = "closed") -> model.Compared:
    found = analysis.compare(known.scenario(name, loop), known.runs(name))
    assert found is not None
    return found


def test_the_speed_up_is_the_median_of_the_ratios_of_the_same_round() -> None:
    found = compared()
    assert found.speedup == model.Statistic(2.45, 2.4, 2.5, 2)
    assert found.ceiling == model.Statistic(4.0, 4.0, 4.0, 2)
    assert found.of_native is not None
    assert found.of_native.median == pytest.approx((50 / 80 + 60 / 100) / 2)


def test_cycles_regained_are_by_time_a_request() -> None:
    # Native 12.5 us, switch 50 us, hot 20 us: of 37.5 us that are lost, 30 come back.
    found = compared().regained
    assert found is not None
    assert found.most == pytest.approx(30 / 37.5)
    assert analysis.regained(12.5, 50, 20) == pytest.approx(0.8)


def test_nothing_can_be_regained_where_switch_calls_cost_nothing() -> None:
    assert analysis.regained(10, 10, 5) is None
    assert analysis.regained(10, 9, 5) is None


@given(st.floats(1, 1e3), st.floats(0.1, 1e3), st.floats(0, 1))
def test_what_is_regained_is_where_hot_lies_between_switch_and_native(
    native: float, lost: float, share: float
) -> None:
    hot = native + lost * (1 - share)
    assert analysis.regained(native, native + lost, hot) == pytest.approx(share, abs=1e-6)


def test_less_latency_is_a_negative_change() -> None:
    found = compared().latency_change
    assert found is not None
    assert found.least == pytest.approx(20 / 50 - 1)


def test_a_round_that_misses_a_mode_is_not_paired() -> None:
    runs = [run for run in known.runs("x") if not (run.mode == HOT and run.round == 0)]
    found = analysis.compare(known.scenario("x"), runs)
    assert found is not None
    assert found.speedup == model.Statistic(2.4, 2.4, 2.4, 1)
    assert found.rate[HOT].n == 1


def test_an_open_loop_has_latency_and_no_speed_up() -> None:
    found = compared(loop="open")
    assert (found.speedup, found.ceiling, found.regained) == (None, None, None)
    assert found.latency_change is not None


def test_a_scenario_without_runs_is_not_compared() -> None:
    assert analysis.compare(known.scenario("nothing"), known.runs("memcached-c50")) is None


def test_the_rate_for_each_cpu_second_leaves_the_client_out() -> None:
    assert known.run("x", HOT, 0, 1000.0).rate_per_cpu() == 2000.0
    assert msgspec.structs.replace(known.run("x", HOT, 0, 1.0), cpu_s={}).rate_per_cpu() is None


def test_calls_of_a_request_are_those_between_two_looks() -> None:
    before = {"read": Call(10, hot=10)}
    after = {"read": Call(30, hot=25), "close": Call(5, hot=5)}
    calls, hot = measure.per_request(before, after, 10)
    assert calls == {"read": 2.0, "close": 0.5}
    assert hot == pytest.approx(20 / 25)
    assert measure.per_request({}, {}, 10) == ({}, None)


def test_a_disturbed_run_is_repeated_and_the_quietest_is_kept() -> None:
    steals = iter([0.5, 0.1, 0.3])
    best = measure.attempt(lambda: known.run("x", HOT, 0, 1.0, steal=next(steals)))
    assert (best.steal, best.attempts, best.disturbed) == (0.1, 3, True)


def test_a_quiet_run_is_not_repeated() -> None:
    made: list[Run] = []

    def once() -> Run:
        made.append(known.run("x", HOT, 0, 1.0, steal=0.01))
        return made[-1]

    assert measure.attempt(once).attempts == len(made) == 1


def test_a_mark_that_was_not_measured_is_not_met() -> None:
    found = {mark.name: mark for mark in known.result("memcached-c50").marks}
    assert found["memcached, 50 connections"].verdict == "met"
    assert found["memcached, 50 connections"].measured == "2.45× (native: 4.00×)"
    assert found["lighttpd, wrk, 50 connections"].verdict == "not seen"


def test_a_mark_below_its_target_is_missed() -> None:
    result = known.result("memcached-c1")
    verdicts = {mark.name: mark.verdict for mark in marks.judge(result)}
    assert verdicts["memcached, 1 connection, client on the other core"] == "missed"
    assert verdicts["memcached, 1 connection, against native"] == "missed"


def test_what_a_mode_costs_by_itself_is_judged_over_native() -> None:
    found = {mark.name: mark for mark in known.result().marks}
    # 250 ns of a counter of 2.6 GHz.
    hot = found["one call through the C library, hot"]
    assert (hot.measured, hot.verdict) == ("650 cycles", "met")
    assert found["one call through the C library, switch"].measured == "13,000 cycles"
    assert (found["start"].measured, found["start"].verdict) == ("110 ms", "missed")
    assert (found["resident memory"].measured, found["idle"].verdict) == ("6.5 MiB", "met")


def test_a_request_that_waited_for_a_timer_is_named() -> None:
    result = known.result("memcached-c50")
    name = "memcached: no request is forgotten"
    assert {mark.name: mark.verdict for mark in result.marks}[name] == "met"
    run = next(run for run in result.runs if run.mode == HOT)
    slow = msgspec.structs.replace(
        run, latency=msgspec.structs.replace(run.latency, max_us=1_000_700.0)
    )
    stalled = msgspec.structs.replace(result, runs=[*result.runs, slow])
    mark = next(mark for mark in marks.judge(stalled) if mark.name == name)
    assert (mark.measured, mark.verdict) == ("1,001 ms (memcached-c50, hot)", "missed")


def test_the_ceiling_stands_beside_a_speed_up() -> None:
    assert marks.ceiling(compared()) == "at most 4.00×: what native is to switch here"


def test_a_result_survives_its_file(tmp_path: Path) -> None:
    result = known.result("memcached-c50", "memcached-c1")
    path = tmp_path / "r.json"
    path.write_bytes(model.encode(result))
    assert model.read(path) == result


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not a result of `hotcalls evaluate`"),
        ('{"schema": 99}', "has schema 99, and this version reads schema 1"),
        ('{"schema": 1}', "missing required field"),
        ("[1]", "not a result"),
    ],
)
def test_a_file_that_is_no_result_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(EvaluateError, match=r"r\.json") as caught:
        model.read(path)
    assert said in str(caught.value)


def test_a_turn_with_steal_counts_only_where_there_is_no_other() -> None:
    runs = [
        msgspec.structs.replace(run, disturbed=run.round == 1 and run.mode == HOT)
        for run in known.runs("x")
    ]
    found = analysis.compare(known.scenario("x"), runs)
    assert found is not None
    assert found.speedup == model.Statistic(2.5, 2.5, 2.5, 1)
    assert found.ceiling == model.Statistic(4.0, 4.0, 4.0, 2)
    every = [msgspec.structs.replace(run, disturbed=True) for run in runs]
    again = analysis.compare(known.scenario("x"), every)
    assert again is not None
    assert again.speedup == model.Statistic(2.45, 2.4, 2.5, 2)


def test_modes_that_no_mark_compares_are_measured_in_the_first_turn_alone() -> None:
    budget = measure.Budget(quick=True, rounds=1, turns=3, seconds=0.5, seed=1)
    taken = {mode.name: sum(budget.takes(mode, turn) for turn in range(3)) for mode in modes.MODES}
    assert taken == {"native": 3, "switch": 3, "switch_unpinned": 1, "hot": 3}


def test_one_connection_is_also_compared_where_each_mode_is_fastest() -> None:
    name = "memcached, 1 connection, client on the other core"
    alone = {mark.name: mark for mark in known.result("memcached-c1").marks}
    assert "fastest" not in alone[name].measured
    both = known.result("memcached-c1", "memcached-c1-together")
    measured = next(mark for mark in both.marks if mark.name == name).measured
    assert measured == "2.45× (native: 4.00×); each where it is fastest: 2.44× (native: 4.00×)"
