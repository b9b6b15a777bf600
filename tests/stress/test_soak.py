# SPDX-License-Identifier: Apache-2.0
"""The soak in seconds, and that it would see a call that is lost or runs twice (`make soak`)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import soak

#: The long form is `make soak`; the seed is printed, and HOTCALLS_SEED=… repeats it.
SECONDS = float(os.environ.get("HOTCALLS_STRESS_SECONDS", "4"))


def run(folder: Path, seconds: float, cheat: str = "") -> dict:
    seed = int(os.environ.get("HOTCALLS_SEED", "0")) or time.time_ns() % 10**9
    print(f"HOTCALLS_SEED={seed}")
    result = soak.Soak(seconds, seed, folder, cheat).run()
    soak.show(result)
    return result


@pytest.mark.claim("P-SOAK")
def test_every_call_is_answered_once_or_its_caller_is_told(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    result = run(tmp_path, SECONDS)
    calls = result["calls"]
    assert result["wrong"] == []
    assert (calls["lost"], calls["doubled"], calls["wrong"]) == (0, 0, 0)
    # A run in which nothing was called, or nothing happened, would prove nothing.
    assert calls["answered"] > 20_000
    assert all(part["answered"] > 0 for part in result["parts"].values())
    assert result["restarts"] > 0
    record_property("count:calls in the soak", calls["sent"])
    record_property("count:kills", result["kills"])


@pytest.mark.parametrize(("cheat", "seen"), [("lose", "lost"), ("double", "doubled")])
def test_soak_sees_a_call_that_is_lost_or_runs_twice(tmp_path: Path, cheat: str, seen: str) -> None:
    result = run(tmp_path, 1.2, cheat)
    for part in ("c", "python"):
        assert result["parts"][part][seen] > 0
    assert result["wrong"] != []


@pytest.mark.parametrize("key", ["fds", "threads", "mappings"])
def test_what_grows_from_enclave_to_enclave_is_seen(key: str) -> None:
    def samples(step: int) -> list[dict]:
        even = {"fds": 7, "threads": 5, "mappings": 40}
        return [{"s": i, "rss_kb": 3000, **even, key: 5 + i * step} for i in range(30)]

    assert soak.uneven("c host", samples(1)) != []
    assert soak.uneven("c host", samples(0)) == []


def test_memory_that_grows_is_seen_and_a_single_step_is_not() -> None:
    growing = [{"s": i, "rss_kb": 3000 + 400 * i} for i in range(30)]
    stepped = [{"s": i, "rss_kb": 3000 + (3000 if i > 20 else 0)} for i in range(30)]
    assert any("memory grows" in text for text in soak.uneven("c host", growing))
    assert soak.uneven("python host", stepped) == []
