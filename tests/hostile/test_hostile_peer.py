# SPDX-License-Identifier: Apache-2.0
"""A peer that rewrites the channel: right answers, typed errors or a lost enclave, and no more.

`script.c` rewrites one field at each step of a call, in one thread; HOTCALLS_HOSTILE_STRIDE=1 tries
every value of every field. `scribble_host.c` has a real enclave that scribbles while threads call.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import native

HERE = Path(__file__).resolve().parent
SCRIPT = HERE / "script.c"
SCENARIOS = re.findall(r'\{"(\w+)", \w+\}', SCRIPT.read_text())
#: A prime, so that every field gets each of its values at some step.
STRIDE = os.environ.get("HOTCALLS_HOSTILE_STRIDE", "17")
OVER = ["words", "cells", "boards", "controls", "windows", "all"]
ROUNDS = os.environ.get("HOTCALLS_HOSTILE_ROUNDS", "10" if native.LONG else "4")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_field_rewritten_at_any_step_is_survived(scenario: str) -> None:
    program = native.build("script", [SCRIPT], native.ADDRESS)
    done = native.run([program, scenario, STRIDE], timeout=1000)
    print(done.stdout)
    found = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", done.stdout)}
    assert found["steps"] >= 5
    assert found["fields"] > 150
    assert found["errors"] > 0


@pytest.mark.parametrize("over", OVER)
def test_host_survives_an_enclave_that_scribbles(over: str) -> None:
    host = native.build(
        "scribble_host", [HERE / "scribble_host.c", *native.sources(*native.HOST)], native.ADDRESS
    )
    image = native.build_enclave(HERE / "scribble_enclave.c")
    loader = native.build_loader()
    done = native.run(
        [host, image, str(OVER.index(over)), ROUNDS],
        environment={"HOTCALLS_LOADER": str(loader)},
        timeout=110,
    )
    print(done.stdout)
