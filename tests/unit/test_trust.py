# SPDX-License-Identifier: Apache-2.0
"""`make trust` says what was counted, and says no when something failed, was left out or lacks."""

from __future__ import annotations

import ast
import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import trust  # noqa: E402
import trust_marks  # noqa: E402
from claims import claims  # noqa: E402
from targets import TARGETS  # noqa: E402

WANTED = {wanted.name: wanted for wanted in trust_marks.WANTED}
LEDGER: dict[str, Any] = {
    "schema": 1,
    "targets": {
        target.name: {
            "executions": target.goal,
            "goal": target.goal,
            "edges": 7,
            "lines": {"of": 20, "reached": 15},
        }
        for target in TARGETS
    },
}
SOAK: dict[str, Any] = {
    "date": "2026-01-31",
    "seconds": 600.0,
    "calls": {
        "sent": 50_000_000,
        "answered": 49_999_990,
        "errors": 10,
        "lost": 0,
        "doubled": 0,
        "wrong": 0,
    },
    "kills": 3,
    "restarts": 4,
    "wrong": [],
}


def element(
    file: str, name: str, inside: str = "", properties: tuple[tuple[str, object], ...] = ()
) -> str:
    entries = "".join(
        f"<property name={quoteattr(key)} value={quoteattr(str(value))}/>"
        for key, value in properties
    )
    return (
        f"<testcase file={quoteattr(file)} classname='c' name={quoteattr(name)}>"
        f"<properties>{entries}</properties>{inside}</testcase>"
    )


def everything() -> dict[str, str]:
    """One test that passes for each promise, and those of each mark; by their names."""
    found = {
        f"test_of_{name}": element("tests/a.py", f"test_of_{name}", "", (("claim", name),))
        for name in claims()
    }
    for wanted in trust_marks.WANTED:
        for file, functions in wanted.tests.items():
            for name in functions:
                properties = (("claim", next(iter(claims()))), (f"count:{wanted.count}", 10))
                found[name] = element(f"tests/{file}", f"{name}[x]", "", properties)
    return found


Say = Callable[..., tuple[int, str, dict[str, Any]]]


@pytest.fixture
def say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Say:
    """Run the script on tests and results; its status, what it prints, and what it writes."""

    def run(
        tests: dict[str, str], ledger: dict[str, Any] | None, soak: dict[str, Any] | None
    ) -> tuple[int, str, dict[str, Any]]:
        report, result = tmp_path / "tests.xml", tmp_path / "trust.json"
        inside = "".join(tests.values())
        report.write_text(f"<testsuites><testsuite>{inside}</testsuite></testsuites>")
        for name, content in (("fuzz", ledger), ("soak", soak)):
            if content is not None:
                (tmp_path / f"{name}.json").write_text(json.dumps(content))
        status = trust.main([str(report), str(result)], tmp_path)
        return status, capsys.readouterr().out, json.loads(result.read_text())

    return run


def test_all_that_is_promised_and_every_mark_is_a_success(say: Say) -> None:
    status, text, result = say(everything(), LEDGER, SOAK)
    assert status == 0
    number = len(claims())
    total = len(trust_marks.WANTED) + len(TARGETS) + 1
    assert text.splitlines()[-1] == (
        f"{number} of {number} promises held, {total} of {total} marks reached"
    )
    assert "short" not in text
    assert all(mark["reached"] for mark in result["marks"])
    assert all(promise["held"] for promise in result["promises"].values())
    assert set(result["promises"]) == set(claims())


def test_tables_fit_in_a_hundred_columns_and_cut_no_number(say: Say) -> None:
    tests = everything()
    properties = tuple((f"count:things of kind {kind} counted", 10**kind) for kind in range(12))
    tests["more"] = element("tests/a.py", "more", "", (("claim", "H-ONCE"), *properties))
    _, text, _ = say(tests, LEDGER, SOAK)
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text
    for number in ("50,000,000", "49,999,990", "10,000,000", "200,000", "100,000,000,000 things"):
        assert number in text


def test_count_of_a_mark_is_what_its_tests_counted_each_once(say: Say) -> None:
    name = "channel fields × protocol steps"
    function = "test_field_rewritten_at_any_step_is_survived"
    tests = everything()
    for scenario, number in (("a", 1000), ("b", 200)):
        # Several promises, one attack.
        properties = (("claim", "H-ONCE"), ("claim", "E-ONCE"), ("count:fields × steps", number))
        tests[scenario] = element(
            "tests/hostile/test_hostile_peer.py", f"{function}[{scenario}]", "", properties
        )
    _, _, result = say(tests, LEDGER, SOAK)
    counted = {mark["name"]: mark["counted"] for mark in result["marks"]}
    functions = [each for names in WANTED[name].tests.values() for each in names]
    assert counted[name] == 10 * len(functions) + 1200
    assert result["promises"]["H-ONCE"]["counts"]["fields × steps"] >= 1200


@pytest.mark.parametrize("inside", ["<failure/>", "<error/>", "<skipped/>"])
def test_attack_that_did_not_pass_breaks_its_promise_and_counts_nothing(
    say: Say, inside: str
) -> None:
    tests = everything()
    properties = (("claim", "P-SOAK"), ("count:calls", 12345))
    tests["bad"] = element("tests/a.py", "test_bad", inside, properties)
    status, text, result = say(tests, LEDGER, SOAK)
    ended = "skipped" if "skip" in inside else "failed"
    assert status == 1
    assert f"{ended:8}tests/a.py::test_bad" in text
    assert f"promise P-SOAK: {int(ended == 'failed')} failed, {int(ended == 'skipped')} sk" in text
    assert "12,345" not in text
    assert not result["promises"]["P-SOAK"]["held"]


def test_promise_that_nothing_attacks_is_named(say: Say) -> None:
    tests = everything()
    del tests["test_of_D-END"]
    status, text, _ = say(tests, LEDGER, SOAK)
    assert status == 1
    assert "promise D-END: no test attacked it" in text


def test_failure_without_a_promise_is_one_all_the_same(say: Say) -> None:
    """A worker that died, or a file that could not be imported, carries no mark."""
    tests = everything()
    tests["died"] = "<testcase classname='' name='tests.hostile'><error>x</error></testcase>"
    status, text, _ = say(tests, LEDGER, SOAK)
    assert status == 1
    assert "failed  ?::tests.hostile" in text


@pytest.mark.parametrize("name", WANTED)
@pytest.mark.parametrize("how", ["left out", "failed", "skipped", "nothing counted"])
def test_mark_is_short_when_one_of_its_tests_is(say: Say, name: str, how: str) -> None:
    tests, wanted = everything(), WANTED[name]
    file, functions = next(iter(wanted.tests.items()))
    function = functions[0]
    if how == "left out":
        del tests[function]
    elif how == "nothing counted":
        for each in [each for functions in wanted.tests.values() for each in functions]:
            tests[each] = tests[each].replace("count:", "about:")
    else:
        inside = "<failure/>" if how == "failed" else "<skipped/>"
        tests[function] = element(f"tests/{file}", f"{function}[x]", inside)
    status, text, result = say(tests, LEDGER, SOAK)
    assert status == 1
    assert [mark["name"] for mark in result["marks"] if not mark["reached"]] == [name]
    assert f"mark    {name}: " in text


def test_every_test_that_a_mark_needs_is_there_and_has_a_promise() -> None:
    for wanted in trust_marks.WANTED:
        for file, functions in wanted.tests.items():
            tree = ast.parse((ROOT / "tests" / file).read_text())
            marked = "pytestmark = pytest.mark.claim" in ast.unparse(tree)
            defined = {
                node.name: marked or "mark.claim(" in "".join(map(ast.unparse, node.decorator_list))
                for node in ast.walk(tree)
                if isinstance(node, ast.FunctionDef)
            }
            assert {name: defined.get(name) for name in functions} == dict.fromkeys(functions, True)
            assert f'"count:{wanted.count}"' in "".join(
                (ROOT / "tests" / each).read_text() for each in wanted.tests
            )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"executions": 199_999}, "1 lack: make fuzz TARGET=edl REST=1"),
        ({"executions": 0}, "200,000 lack"),
        # The goal is the target's, whatever a ledger says.
        ({"executions": 5, "goal": 5}, "199,995 lack"),
        ({"edges": 0}, "no coverage was measured"),
        ({"lines": {"of": 20, "reached": 0}}, "no coverage was measured"),
    ],
)
def test_fuzz_target_that_lacks_something_is_short(
    say: Say, change: dict[str, Any], why: str
) -> None:
    ledger = copy.deepcopy(LEDGER)
    ledger["targets"]["edl"] |= change
    status, text, _ = say(everything(), ledger, SOAK)
    assert status == 1
    assert f"mark    fuzz executions of edl: {why}" in text


def test_fuzz_target_that_was_never_run_is_short(say: Say) -> None:
    ledger = copy.deepcopy(LEDGER)
    del ledger["targets"]["lanes"]
    status, text, _ = say(everything(), ledger, SOAK)
    assert status == 1
    assert "mark    fuzz executions of lanes: never fuzzed: make fuzz TARGET=lanes" in text


def test_without_fuzzing_and_soak_their_marks_are_short(say: Say) -> None:
    status, text, _ = say(everything(), None, None)
    assert status == 1
    assert text.count("never fuzzed: make fuzz TARGET=") == len(TARGETS)
    assert "mark    calls in the soak: no soak yet: make soak" in text


@pytest.mark.parametrize(
    ("calls", "wrong", "why"),
    [
        ({"sent": 49_999_999}, [], "1 lack: make soak MINUTES=n"),
        ({"lost": 1}, [], "1 lost"),
        ({"doubled": 2}, [], "2 doubled"),
        ({"wrong": 3}, [], "3 wrong"),
        ({}, ["c host: memory grows"], "wrong: c host: memory grows"),
    ],
)
def test_soak_that_is_short_or_lost_something_is_no_mark(
    say: Say, calls: dict[str, int], wrong: list[str], why: str
) -> None:
    soak = {**SOAK, "calls": SOAK["calls"] | calls, "wrong": wrong}
    status, text, _ = say(everything(), LEDGER, soak)
    assert status == 1
    assert f"mark    calls in the soak: {why}" in text


@pytest.mark.parametrize(("file", "content"), [("fuzz", "{"), ("soak", "[]"), ("soak", '{"a": 1}')])
def test_result_that_cannot_be_read_is_said_and_no_traceback(
    tmp_path: Path, file: str, content: str
) -> None:
    report = tmp_path / "tests.xml"
    report.write_text("<testsuites/>")
    (tmp_path / f"{file}.json").write_text(content)
    with pytest.raises(SystemExit, match=rf"{file}\.json"):
        trust.main([str(report)], tmp_path)


@pytest.mark.parametrize("content", [None, "", "<testsuites>"])
def test_report_that_is_missing_or_cut_off_is_an_error(
    tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "tests.xml"
    if content is not None:
        report.write_text(content)
    assert trust.main([str(report)], tmp_path) == 2
    assert "no report of tests" in capsys.readouterr().err
