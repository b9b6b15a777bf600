# SPDX-License-Identifier: Apache-2.0
"""lane.h under a memory model that reorders: Relacy runs its code, and weakens it.

Every order that lane.h asks for is either needed, which is shown by a scenario that fails without
it, or named below with the reason why no scenario fails.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import native

HERE = Path(__file__).resolve().parent
LONG = os.environ.get("HOTCALLS_TRUST", "") not in ("", "0")
INTERLEAVINGS = 2_000_000 if LONG else 5_000

pytestmark = pytest.mark.claim("P-ORDERING")

#: Each order that is needed, and a scenario that fails without it.
NEEDED = {
    "hc_post store": "asleep",
    "hc_post fence": "nudged",
    "hc_post_quick store": "published",
    "hc_fall_asleep fence": "called_back",
    "hc_claim compare-exchange": "shared_lane",
    "hc_unclaim exchange": "shared_lane",
    "hc_unclaim fence": "rung_while_claimed",
    "hc_take compare-exchange": "published_quick",
    "hc_take fence": "grouped",
    "hc_finish exchange": "published",
    "hc_finish_quick store": "published_quick",
    "hc_finish_bound store": "grouped",
    "await_asleep load": "asleep",
    "await_spinning load": "published",
    "responder_sleep fence": "nudged",
    "call_by_companion store": "rung",
    "be_companion load": "rung",
}

#: Orders without which every scenario passes, and why they are asked for.
NOT_SHOWN = {
    "hc_peek load": "a look only; what it sees is taken, with an order, by hc_take",
    "hc_fall_asleep compare-exchange": "the fence behind it orders; on x86-64 it is that fence",
    "hc_rouse compare-exchange": "who is woken goes through the kernel",
    "hc_withdraw compare-exchange": "nobody else has written the cell; documents the hand-back",
    "hc_post_bound store": "the fence of hc_post, earlier in the group, publishes its message",
    "hc_hand_over compare-exchange": "the one order of hc_claim, which Relacy has for fences only",
    "call_oneway store": "the kernel's lock orders the bell",
    "responder_sleep load": "the kernel's lock orders the bell",
    "responder_sleep add": "the fence behind the first orders; nothing follows the second",
}


@pytest.fixture(scope="session")
def ordering() -> Path:
    """The program, compiled as C++, with Relacy's headers (Debian's relacy-dev)."""
    if not Path("/usr/include/relacy/relacy.hpp").exists():
        pytest.skip("relacy is not installed (apt-get install relacy-dev)")
    # Relacy's headers are not ours to warn about.
    return native.build(
        "ordering", [HERE / "ordering.cpp"], ["-O1", "-w"], compiler=["g++", "-std=c++17"]
    )


@pytest.fixture
def run(ordering: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([ordering, *arguments], capture_output=True, text=True, timeout=1200)

    return run


def listed(run, kind: str) -> list[str]:
    text = run("list").stdout
    return re.findall(rf"^{kind} (.*)$", text, re.MULTILINE)


@pytest.mark.parametrize("scenario", sorted(set(NEEDED.values()) | {"withdrawn"}))
def test_reordering_breaks_nothing(run, record_property, scenario: str) -> None:
    ended = run("run", scenario, str(INTERLEAVINGS))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    record_property("count:interleavings with reordering", INTERLEAVINGS)


def test_every_scenario_is_run(run) -> None:
    assert set(listed(run, "scenario")) == set(NEEDED.values()) | {"withdrawn"}


@pytest.mark.parametrize("site", NEEDED)
def test_an_order_taken_away_is_noticed(run, record_property, site: str) -> None:
    ended = run("run", NEEDED[site], "1000000", *site.split())
    assert ended.returncode == 1, f"nothing fails without the order of {site}"
    assert re.search("DATA RACE|DEADLOCK|USER ASSERT", ended.stdout), ended.stdout + ended.stderr
    record_property("count:orders taken away", 1)


def test_every_order_is_accounted_for(run) -> None:
    sites = {" ".join(line.split()[:2]) for line in listed(run, "site")}
    assert sites == NEEDED.keys() | NOT_SHOWN.keys()


def test_every_order_of_lane_h_is_met_by_a_scenario(run) -> None:
    header = (native.INCLUDE / "hotcalls" / "lane.h").read_text()
    function, found = "", set()
    for line in header.splitlines():
        if match := re.search(r"HC_ALWAYS_INLINE .*?\b(hc_\w+)\(", line):
            function = match[1]
        if re.search(r"__ATOMIC_(ACQUIRE|RELEASE|ACQ_REL|SEQ_CST)", line):
            found.add(function)
    assert found == {site.split()[0] for site in NEEDED | NOT_SHOWN if site.startswith("hc_")}
