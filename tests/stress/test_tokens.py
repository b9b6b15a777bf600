# SPDX-License-Identifier: Apache-2.0
"""Every call runs once and is answered once, with many threads and every way to make a call.

Each run prints its seed; HOTCALLS_SEED=… repeats it. HOTCALLS_STRESS_SECONDS makes every run that
much longer (for example 60).
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

import native

HERE = Path(__file__).resolve().parent
SECONDS = float(os.environ.get("HOTCALLS_STRESS_SECONDS", "1.2"))

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


def run(*program: str | Path, shape: dict[str, int], words: Sequence[str] = ()) -> dict[str, int]:
    options = [f"{name}={value}" for name, value in shape.items()]
    seed = os.environ.get("HOTCALLS_SEED", str(time.time_ns() % 10**9))
    print(f"HOTCALLS_SEED={seed}")
    done = native.run(
        [*program, str(SECONDS), "8", "enclave_threads=2", *options, *words],
        timeout=SECONDS * 10 + 90,
        environment={"HOTCALLS_SEED": seed},
    )
    print(done.stdout)
    return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", done.stdout)}


def check_that_everything_happened(found: dict[str, int], shape: dict[str, int]) -> None:
    """A run that forced nothing would prove nothing."""
    assert found["calls"] > 200
    assert found["ocalls"] > 50
    assert found["exits"] >= 8
    assert found["oneway"] > 0
    assert found["switched"] > 0
    if shape.get("processors") != 1:
        assert found["hot"] > 0
    if shape.get("take_us") == 1:
        assert found["withdrawn"] > 0
        assert found["slept"] > 0
        assert found["rang"] > 0
        assert found["timeouts"] > 0


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_token_runs_once_under_thread_sanitizer(shape: dict[str, int]) -> None:
    check_that_everything_happened(run(one_process(native.THREAD), shape=shape), shape)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_token_runs_once_under_address_sanitizer(shape: dict[str, int]) -> None:
    check_that_everything_happened(run(one_process(native.ADDRESS), shape=shape), shape)


@pytest.mark.parametrize("shape", [SHAPES["usual"], SHAPES["hurried"]], ids=["usual", "hurried"])
def test_every_token_runs_once_across_processes(shape: dict[str, int]) -> None:
    program = native.build(
        "token_processes",
        [HERE / "token_host.c", HERE / "token_processes.c", *native.sources(*native.HOST)],
        native.PLAIN,
    )
    image = native.build_enclave(HERE / "token_enclave.c")
    loader = native.build_loader()
    found = run(program, shape=shape, words=[f"image={image}", f"loader={loader}"])
    check_that_everything_happened(found, shape)


@pytest.mark.claim("P-ORDERING")
@pytest.mark.parametrize("shape", [SHAPES["usual"], SHAPES["hurried"]], ids=["usual", "hurried"])
def test_every_token_runs_once_on_emulated_aarch64(shape: dict[str, int], record_property) -> None:
    emulator = native.emulator()
    program = native.build("token_aarch64", one_process_files(), compiler=native.CROSS)
    found = run(emulator, program, shape=shape)
    check_that_everything_happened(found, shape)
    record_property("count:calls on emulated aarch64", found["calls"] + found["ocalls"])
