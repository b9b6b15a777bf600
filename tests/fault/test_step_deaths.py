# SPDX-License-Identifier: Apache-2.0
"""A side is killed between any two accesses to the channel, where no system call is: its host, the
enclave from outside, and the enclave at steps of its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import native

HERE = Path(__file__).resolve().parent
HOSTILE = HERE.parent / "hostile"
#: The code as it is, with each access seen.
STEPS = (*native.PLAIN, "-include", str(HOSTILE / "steps.h"), "-Wno-shadow")
DEATH = HOSTILE / "step_death.c"
STRIDE = 1 if native.LONG else 17


def environment() -> dict[str, str]:
    # The enclave's shared object counts with the loader that it is in.
    loader = native.build_loader((*STEPS, "-Wl,--export-dynamic-symbol=step_*"), more=[DEATH])
    image = native.build(
        "fault_enclave.so", [HERE / "fault_enclave.c"], (*STEPS, "-fPIC", "-shared")
    )
    return {"FAULT_IMAGE": str(image), "HOTCALLS_LOADER": str(loader)}


@pytest.mark.claim("P-DEATH")
@pytest.mark.parametrize("way", ["host", "outside", "inside"])
def test_side_killed_at_any_step_of_a_call_is_told_and_leaves_nothing(
    way: str, record_property: Callable[[str, object], None]
) -> None:
    host = native.build(
        "step_deaths", [HERE / "step_deaths.c", DEATH, *native.sources(*native.HOST)], STEPS
    )
    done = native.run([host, way, "1", str(STRIDE)], timeout=1400, environment=environment())
    (told,) = re.findall(r"^kills=(\d+) last=(\d+)$", done.stdout, re.MULTILINE)
    kills, last = map(int, told)
    assert last > 100
    record_property("count:kills", kills)
