# SPDX-License-Identifier: Apache-2.0
"""How much attacking is enough: the marks that `make trust` holds its counts against.

A mark is reached when the tests that make it up have all passed, the long ones among them, and
have counted something. Fuzzing and the soak take longer than a test may: theirs are taken from the
files that `make fuzz` and `make soak` leave in results/.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "fuzz"))

from targets import TARGETS  # noqa: E402

SOAK_CALLS = 50_000_000


@dataclass
class Case:
    """One test of the run: which function, how it ended, what it attacked and counted."""

    file: str
    name: str
    ended: str = "passed"
    claims: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def function(self) -> str:
        """The name without its parameters."""
        return self.name.partition("[")[0]

    @property
    def label(self) -> str:
        """What pytest takes to run it again."""
        return f"{self.file}::{self.name}"


@dataclass(frozen=True)
class Wanted:
    """A mark that tests reach. They assert for themselves that nothing was left out."""

    name: str
    count: str
    goal: str
    #: Test functions by file below tests/.
    tests: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Mark:
    """What a mark came to; `short` says what lacks, nothing when it is reached."""

    name: str
    number: int
    goal: str
    short: tuple[str, ...] = ()


WANTED = (
    Wanted(
        "channel fields × protocol steps",
        "fields × steps",
        "each field at each step",
        {
            "hostile/test_hostile_peer.py": (
                "test_every_field_of_the_channel_is_in_the_list",
                "test_field_rewritten_at_any_step_is_survived",
                "test_every_access_of_the_code_was_a_step",
            ),
            "hostile/test_hostile_threads.py": (
                "test_field_rewritten_at_any_step_of_all_threads_is_survived",
                "test_every_access_of_the_threads_was_a_step",
            ),
            "hostile/test_hostile_run.py": (
                "test_every_field_beside_the_channel_is_in_the_list",
                "test_field_rewritten_at_any_step_of_a_system_call_is_survived",
                "test_every_access_of_the_host_process_was_a_step",
            ),
        },
    ),
    Wanted(
        "system calls tried from inside",
        "system calls tried",
        "the kernel's whole table",
        {
            "lockdown/test_every_syscall.py": ("test_system_call_without_a_row_is_refused",),
            "apps/test_every_syscall.py": (
                "test_a_call_that_is_refused_or_unknown_is_refused_by_its_number",
                "test_a_call_that_leaves_the_enclave_does_not_when_the_policy_refuses_it",
            ),
            "apps/test_guard.py": ("test_a_call_that_the_host_process_does_not_need_is_refused",),
        },
    ),
    Wanted(
        "states explored",
        "states explored",
        "2 × 2 × 2, every interleaving",
        {
            "model/test_channel_model.py": (
                "test_exploring_every_interleaving_finds_no_error",
                "test_two_responders_find_no_error_in_each_property",
                "test_calls_back_that_are_left_find_no_error",
                "test_two_requesters_two_responders_and_two_slots_find_no_error",
            )
        },
    ),
    Wanted(
        "seeded bugs that the model finds",
        "bugs built into the model and found",
        "one in each property",
        {
            "model/test_channel_model.py": (
                "test_a_bug_built_into_the_model_is_found",
                "test_every_bug_of_the_model_is_tried",
            )
        },
    ),
    Wanted(
        "faults injected",
        "faults injected",
        "each n until it runs clean",
        {
            "fault/test_launch_faults.py": (
                "test_launch_with_a_failing_call_is_a_typed_error_and_leaks_nothing",
                "test_launch_with_a_failing_allocation_is_a_typed_error_and_leaks_nothing",
            ),
            "fault/test_nth_call.py": (
                "test_launch_with_a_failing_call_is_an_error_that_leaves_nothing",
                "test_run_with_a_failing_call_says_so_and_leaves_nothing",
                "test_server_with_a_failing_call_says_so_or_serves_and_leaves_nothing",
            ),
            "fault/test_shortage.py": (
                "test_launch_under_a_limit_is_refused_until_it_suffices",
                "test_launch_without_processes_is_refused_until_there_are",
            ),
        },
    ),
    Wanted(
        "allocations of Python failed",
        "allocations failed",
        "each of a call and a launch",
        {
            "fault/test_allocations.py": (
                "test_call_with_a_failing_allocation_is_an_error_and_the_next_one_is_answered",
                "test_launch_and_close_with_a_failing_allocation_leave_nothing",
            )
        },
    ),
    Wanted(
        "kills at a step",
        "kills",
        "each step",
        {
            "fault/test_nth_call.py": (
                "test_host_killed_at_any_step_of_a_launch_and_of_calls_leaves_nothing",
                "test_server_killed_at_any_step_leaves_nothing_and_its_client_is_told",
                "test_run_killed_at_any_step_leaves_nothing",
            ),
            "fault/test_step_deaths.py": (
                "test_side_killed_at_any_step_of_a_call_is_told_and_leaves_nothing",
            ),
        },
    ),
)


def from_tests(wanted: Wanted, cases: list[Case]) -> Mark:
    """Return what the tests of a mark came to."""
    number, short = 0, list[str]()
    for file, functions in wanted.tests.items():
        for function in functions:
            found = [
                case for case in cases if case.file == f"tests/{file}" and case.function == function
            ]
            bad = [case for case in found if case.ended != "passed"]
            if not found:
                short.append(f"not run: tests/{file}::{function}")
            short += [f"{case.ended}: {case.label}" for case in bad]
            number += sum(
                case.counts.get(wanted.count, 0) for case in found if case.ended == "passed"
            )
    if number == 0 and not short:
        short.append(f"nothing was counted as {wanted.count!r}")
    return Mark(wanted.name, number, wanted.goal, tuple(short))


def from_fuzzing(ledger: dict[str, Any] | None) -> list[Mark]:
    """Return one mark per target that there is, whether or not it is in the ledger."""
    marks = []
    for target in TARGETS:
        name, goal = f"fuzz executions of {target.name}", f"{target.goal:,}"
        found = (ledger or {}).get("targets", {}).get(target.name)
        if found is None:
            marks.append(Mark(name, 0, goal, (f"never fuzzed: make fuzz TARGET={target.name}",)))
            continue
        number = int(found["executions"])
        short = []
        if number < target.goal:
            lack = target.goal - number
            short.append(f"{lack:,} lack: make fuzz TARGET={target.name} REST=1")
        if not found["edges"] or not found["lines"]["reached"]:
            short.append("no coverage was measured")
        marks.append(Mark(name, number, goal, tuple(short)))
    return marks


def from_soak(result: dict[str, Any] | None) -> Mark:
    """Return what the last soak came to: enough calls, and none lost, doubled or wrong."""
    goal = f"{SOAK_CALLS:,}, none lost"
    if result is None:
        return Mark("calls in the soak", 0, goal, ("no soak yet: make soak",))
    calls = result["calls"]
    number = int(calls["sent"])
    short = [f"{calls[bad]:,} {bad}" for bad in ("lost", "doubled", "wrong") if calls[bad]]
    short += [f"wrong: {text}" for text in result["wrong"]]
    if number < SOAK_CALLS:
        short.append(f"{SOAK_CALLS - number:,} lack: make soak MINUTES=n")
    return Mark("calls in the soak", number, goal, tuple(short))


def stored(file: Path) -> dict[str, Any] | None:
    """Return a result of a longer command, None when it was never run."""
    if not file.exists():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SystemExit(f"{file}: not JSON ({error}); restore it, or make it anew") from None
    if not isinstance(found, dict):
        raise SystemExit(f"{file}: not an object; restore it, or make it anew")
    return found


def marks(
    cases: list[Case], ledger: dict[str, Any] | None, soak: dict[str, Any] | None
) -> list[Mark]:
    """Return every mark."""
    try:
        return [
            *(from_tests(wanted, cases) for wanted in WANTED),
            *from_fuzzing(ledger),
            from_soak(soak),
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise SystemExit(
            f"results/fuzz.json or results/soak.json is not as make fuzz and make soak write it: "
            f"{type(error).__name__}: {error}"
        ) from None
