# SPDX-License-Identifier: Apache-2.0
"""Every call runs once and is answered once, with many threads and every way to make a call.

Each run prints its seed; HOTCALLS_SEED=… repeats it. HOTCALLS_STRESS_SECONDS makes every run that
much longer (for example 60). A run in which not everything happened, because the processors were
busy with something else, is made again, longer.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

import native

HERE = Path(__file__).resolve().parent
SECONDS = float(os.environ.get("HOTCALLS_STRESS_SECONDS", "3" if native.LONG else "0.5"))
#: The last of them is 16 times as long as the first.
RUNS_MAX = 5

#: Bounds so short that hot calls are withdrawn, callers sleep and responders have to be woken.
HURRIED = {"take_us": 1, "idle_us": 5, "spin_us": 1}
#: What a user gets.
USUAL: dict[str, int] = {}
SHAPES = {
    "usual": {"responders": 1, "ocall_responders": 1, **USUAL},
    "hurried": {"responders": 2, "ocall_responders": 2, **HURRIED},
    "many_responders": {"responders": 4, "ocall_responders": 3, "idle_us": 50, "take_us": 3},
    "no_ocall_responders": {"responders": 1, "ocall_responders": 0, **HURRIED},
    "one_processor": {"responders": 1, "ocall_responders": 1, "processors": 1},
}


def one_process_files() -> list[Path]:
    names = ("token_host.c", "token_one_process.c", "token_enclave.c")
    return [*(HERE / name for name in names), *native.sources(*native.ENDPOINT)]


def one_process(flags: list[str]) -> Path:
    return native.build("token_one_process", one_process_files(), flags)


def run(*program: str | Path, shape: dict[str, int], words: Sequence[str] = ()) -> Counter[str]:
    """Run until everything has happened; what was counted. A run with a wrong count fails."""
    options = [f"{name}={value}" for name, value in shape.items()]
    found: Counter[str] = Counter()
    seconds = SECONDS
    for _ in range(RUNS_MAX):
        seed = os.environ.get("HOTCALLS_SEED", str(time.time_ns() % 10**9))
        print(f"HOTCALLS_SEED={seed}")
        done = native.run(
            [*program, str(seconds), "8", "enclave_threads=2", *options, *words],
            timeout=seconds * 10 + 90,
            environment={"HOTCALLS_SEED": seed},
        )
        print(done.stdout)
        found.update({name: int(n) for name, n in re.findall(r"(\w+)=(\d+)", done.stdout)})
        if not missing(found, shape):
            break
        seconds *= 2
    # Runs that forced nothing would prove nothing.
    assert missing(found, shape) == []
    return found


def missing(found: Counter[str], shape: dict[str, int]) -> list[str]:
    """Return what did not happen, or too seldom."""
    least = {"calls": 201, "ocalls": 51, "exits": 8, "oneway": 1, "switched": 1}
    if shape.get("processors") != 1:
        least["hot"] = 1
    if shape.get("take_us") == 1:
        least |= dict.fromkeys(("withdrawn", "slept", "rang", "timeouts"), 1)
    return [name for name, number in least.items() if found[name] < number]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_token_runs_once_under_thread_sanitizer(shape: dict[str, int]) -> None:
    run(one_process(native.THREAD), shape=shape)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_token_runs_once_under_address_sanitizer(shape: dict[str, int]) -> None:
    run(one_process(native.ADDRESS), shape=shape)


@pytest.mark.parametrize("shape", [SHAPES["usual"], SHAPES["hurried"]], ids=["usual", "hurried"])
def test_every_token_runs_once_across_processes(shape: dict[str, int]) -> None:
    program = native.build(
        "token_processes",
        [HERE / "token_host.c", HERE / "token_processes.c", *native.sources(*native.HOST)],
        native.PLAIN,
    )
    image = native.build_enclave(HERE / "token_enclave.c")
    loader = native.build_loader()
    run(program, shape=shape, words=[f"image={image}", f"loader={loader}"])


@pytest.mark.claim("P-ORDERING")
@pytest.mark.parametrize("shape", [SHAPES["usual"], SHAPES["hurried"]], ids=["usual", "hurried"])
def test_every_token_runs_once_on_emulated_aarch64(shape: dict[str, int], record_property) -> None:
    emulator = native.emulator()
    program = native.build("token_aarch64", one_process_files(), compiler=native.CROSS)
    found = run(emulator, program, shape=shape)
    record_property("count:calls on emulated aarch64", found["calls"] + found["ocalls"])
