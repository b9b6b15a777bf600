# SPDX-License-Identifier: Apache-2.0
"""The protocol in every interleaving: Spin explores channel.pml over the arrows of lane.h.

Each property is explored in the smallest arrangement that has it. That the exploration can fail is
shown by bugs, built in one by one, each of which has to be found.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

import native

HERE = Path(__file__).resolve().parent

pytestmark = pytest.mark.claim("P-INTERLEAVING")


@dataclass(frozen=True)
class Explored:
    errors: int
    states: int
    text: str


@pytest.fixture(scope="session")
def transitions() -> str:
    """The arrows as Promela, printed by the C that takes them."""
    program = native.build("transitions", [HERE / "transitions.c"], native.PLAIN)
    return subprocess.run([program], check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.fixture
def explore(tmp_path: Path, transitions: str):
    """Explore the model with these definitions, whole."""
    if shutil.which("spin") is None:
        pytest.skip("spin is not installed (apt-get install spin)")

    def run(*definitions: str, whole: bool = False) -> Explored:
        (tmp_path / "transitions.pml").write_text(transitions)
        shutil.copy(HERE / "channel.pml", tmp_path)
        flags = [f"-D{definition}" for definition in definitions]
        made = subprocess.run(
            ["spin", "-a", *flags, "channel.pml"],
            cwd=tmp_path, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert made.returncode == 0, made.stdout + made.stderr
        subprocess.run(
            # Compiling takes longer than exploring: not optimised.
            ["gcc", "-O2" if whole else "-O0", "-w", "-DSAFETY", "-DCOLLAPSE", "-DVECTORSZ=2048",
             "-DMEMLIM=10000", "-o", "pan", "pan.c"],
            cwd=tmp_path, check=True, timeout=120,
        )  # fmt: skip
        # -E: the watchdog of the model says who may wait for ever.
        ended = subprocess.run(
            ["./pan", "-E", "-m100000", "-w27" if whole else "-w22"],
            cwd=tmp_path, capture_output=True, text=True, timeout=3000 if whole else 110,
        )  # fmt: skip
        text = ended.stdout + ended.stderr
        errors = re.search(r"errors: (\d+)", text)
        states = re.search(r"(\d+) states, stored", text)
        assert errors is not None, text
        assert states is not None, text
        assert "max search depth too small" not in text, text
        if errors[1] == "0":
            assert "Search not completed" not in text, text
        return Explored(int(errors[1]), int(states[1]), text)

    return run


ONE = ("SLOTS=1", "RESPONDERS=1")
#: Calls back that a companion outside leaves to the thread that waits; inside another one serves.
BACK = (*ONE, "ASLEEP", "NESTED", "LEFT")

#: What is explored, by what it is about, and how few states would mean that it was not.
SCENARIOS = {
    "a call is answered, by a responder or a companion": (("SLOTS=1", "RESPONDERS=2"), 50_000),
    "the cell is used again": ((*ONE, "CALLS=3"), 20_000),
    "one-way calls of two slots wake a responder": (
        ("ONEWAY", "CALLS=0", "RESPONDERS=1"),
        20_000,
    ),
    "a one-way call wakes one of two responders": (
        ("ONEWAY", "CALLS=0", "SLOTS=1"),
        5_000,
    ),
    "a plain call goes behind a one-way call": ((*ONE, "ONEWAY"), 20_000),
    "a call back is served by the thread that waits": ((*ONE, "NESTED"), 20_000),
    "calls are given up and withdrawn or quarantined": ((*ONE, "TIMEOUT", "CALLS=2"), 50_000),
    "a call back is left to the thread that waits": (BACK, 40_000),
    "a call back is taken when its thread gave up": ((*BACK, "TIMEOUT", "CALLS=2"), 400_000),
    "a call back is taken when its thread was torn out": ((*BACK, "TIMEOUT", "TORN"), 200_000),
    "the enclave ends during a call back that was left": ((*BACK, "DEATH"), 150_000),
    "the enclave ends at any step": ((*ONE, "DEATH", "NESTED"), 50_000),
    "the host writes what it likes": ((*ONE, "HOSTILE=3"), 50_000),
}

BUGS = {
    "CLAIM_IGNORES_OTHERS": ("HOSTILE=3",),
    "DRAIN_ON_WITHOUT_LOOK": (*BACK, "TIMEOUT", "CALLS=2"),
    "FINISH_IGNORES_SLEEPERS": (),
    "HAND_OVER_IN_TWO_STEPS": (),
    "HAND_OVER_WITHOUT_RING": (),
    "LEAVE_AND_FORGET": (*BACK, "TIMEOUT"),
    "LEAVE_FOR_EVER": (*BACK, "TORN"),
    "NO_NUDGE": ("ONEWAY", "CALLS=0"),
    "NO_ROUSE": ("NESTED",),
    "QUARANTINE_IGNORED": ("TIMEOUT", "CALLS=3"),
    "RING_WITHOUT_WAKE": ("ONEWAY", "CALLS=0"),
    "SLEEP_WITHOUT_LOOK": ("ONEWAY", "CALLS=0"),
    "SLEEP_WITHOUT_LOOKING_BACK": ("NESTED",),
    "SWITCH_WITHOUT_RING": (),
    "TAKE_BACK_IN_TWO_STEPS": (*BACK, "TORN"),
    "TAKE_WHAT_CAME_SINCE": (*BACK, "TIMEOUT", "CALLS=2"),
    "TAKE_WHAT_IS_WAITED_FOR": BACK,
    "UNCLAIM_WITHOUT_LOOK": (),
    "WITHDRAW_IN_TWO_STEPS": ("TIMEOUT",),
}


@pytest.mark.parametrize("about", SCENARIOS)
def test_exploring_every_interleaving_finds_no_error(explore, record_property, about: str) -> None:
    definitions, least = SCENARIOS[about]
    explored = explore(*definitions)
    assert explored.errors == 0, explored.text
    assert explored.states >= least, "the model has lost what it explored"
    record_property("count:states explored", explored.states)


#: Two responders at one slot, in each of what two slots are too much for.
TWO = ("SLOTS=1", "RESPONDERS=2")
FOR_TWO = {
    "a call back": ("NESTED", 500_000),
    "calls that are given up": ("TIMEOUT", 150_000),
    "the end of the enclave": ("DEATH", 500_000),
    "a host that writes what it likes": ("HOSTILE=2", 300_000),
}


@pytest.mark.long
@pytest.mark.parametrize("about", FOR_TWO)
def test_two_responders_find_no_error_in_each_property(explore, record_property, about) -> None:
    definition, least = FOR_TWO[about]
    explored = explore(*TWO, definition)
    assert explored.errors == 0, explored.text
    assert explored.states >= least, "the model has lost what it explored"
    record_property("count:states explored", explored.states)


#: Calls back that are left, in each of what is too much for every day.
FOR_CALLS_BACK = {
    "a responder outside steals them": ((*BACK, "TIMEOUT", "CALLS=2", "STEAL"), 2_000_000),
    "a thief, and a thread torn out": ((*BACK, "TIMEOUT", "TORN", "STEAL"), 500_000),
    "a responder inside posts them": ((*ONE, "NESTED", "LEFT", "TIMEOUT"), 1_500_000),
}


@pytest.mark.long
@pytest.mark.parametrize("about", FOR_CALLS_BACK)
def test_calls_back_that_are_left_find_no_error(explore, record_property, about) -> None:
    definitions, least = FOR_CALLS_BACK[about]
    explored = explore(*definitions)
    assert explored.errors == 0, explored.text
    assert explored.states >= least, "the model has lost what it explored"
    record_property("count:states explored", explored.states)


@pytest.mark.long  # minutes, and 5 GB
@pytest.mark.timeout(3600)
def test_two_requesters_two_responders_and_two_slots_find_no_error(
    explore, record_property
) -> None:
    explored = explore("SLOTS=2", "RESPONDERS=2", whole=True)
    assert explored.errors == 0, explored.text
    assert explored.states >= 50_000_000, "the model has lost what it explored"
    record_property("count:states explored", explored.states)


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_built_into_the_model_is_found(explore, record_property, bug: str) -> None:
    explored = explore(*dict.fromkeys((*ONE, *BUGS[bug])), f"BUG_{bug}")
    assert explored.errors == 1, f"{bug} was not found\n{explored.text}"
    record_property("count:bugs built into the model and found", 1)


def test_every_bug_of_the_model_is_tried() -> None:
    text = (HERE / "channel.pml").read_text()
    assert set(re.findall(r"\bBUG_([A-Z_]+)\b", text)) == set(BUGS)


def test_every_arrow_of_lane_h_is_in_the_model(transitions: str) -> None:
    header = (native.INCLUDE / "hotcalls" / "lane.h").read_text()
    arrows = set(re.findall(r"^ \* HC_TRANSITION .* (\S+)$", header, re.MULTILINE))
    # Sleeping is called fall_asleep in C, as `sleep` is taken.
    names = {"sleep": "fall_asleep"}
    expected = {names.get(arrow, arrow).replace("-", "_") for arrow in arrows}
    printed = set(re.findall(r"^inline t_(\w+)\(", transitions, re.MULTILINE))
    assert expected <= printed
    # No arrows: the same as another one with a weaker order, and a look.
    assert printed - expected == {"post_quick", "waited_for"}
