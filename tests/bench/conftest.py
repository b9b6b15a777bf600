# SPDX-License-Identifier: Apache-2.0
"""Synthetic runs with known answers, and the worker that was installed with the package."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hotcalls.bench import analysis, measure, model, plots

STEP = 26
HZ = 2.6e9
#: Floor of each class, in cycles, as the probe sees it.
FLOORS = {"S": 156.0, "N": 338.0, "F": 624.0}


def info(name: str, **changes: Any) -> measure.RowInfo:
    """Describe a row as the worker would."""
    row = measure.RowInfo(
        name=name,
        group="basic",
        title=name.replace("_", " "),
        cold=None,
        reference=None,
        note=None,
        cross=False,
        once=False,
        enclave=False,
        values=False,
        cpu=True,
        batch=1,
        size=0,
    )
    return dataclasses.replace(row, **changes)


def block(samples: Any, **changes: Any) -> measure.Block:
    """Make a block; what is not said is quiet."""
    made = measure.Block(
        process=0,
        round=0,
        samples=np.asarray(samples, dtype=np.uint32),
        probe_before=0.0,
        probe_after=0.0,
        reference_before=0.0,
        reference_after=0.0,
        wall_ns=1_000_000,
        cpu_ns=900_000,
        peer_cpu_ns=100_000,
        steal_ticks=0,
        involuntary=0,
        checked=len(samples),
    )
    return dataclasses.replace(made, **changes)


def state(**changes: Any) -> measure.State:
    """Make the state of the machine at one moment."""
    made = measure.State(
        spin_least=550_000,
        spin_median=551_000,
        tsc=0,
        wall_ns=0,
        steal_ticks=0,
        timer_overhead=52.0,
        timer_step=STEP,
        compiler="gcc 12.2.0",
        flags="-O2",
    )
    return dataclasses.replace(made, **changes)


def noisy(rng: np.random.Generator, centre: float, count: int = 400) -> Any:
    """Draw samples around `centre`, rounded to the timer's step, with a tail."""
    drawn = rng.gamma(40.0, centre / 40.0, count)
    drawn[:: max(count // 4, 1)] *= 8
    return (np.round(drawn / STEP) * STEP).astype(np.uint32)


#: Rows of the synthetic run that cross cores: name, group, size, multiple of the floor.
CROSSING = (
    ("mailbox", "mailbox", 0, 1.0),
    ("mailbox_2k", "mailbox", 2048, 2.8),
    ("mailbox_16k", "mailbox", 16384, 12.0),
    ("ecall_hot", "call", 0, 1.3),
    ("ocall_hot", "call", 0, 1.35),
    ("ecall_batch", "call", 0, 0.3),
    ("ecall_pipelined", "call", 0, 0.35),
    ("ecall_hot_nest_1", "call", 0, 2.6),
    ("ecall_hot_nest_8", "call", 0, 12.0),
    ("ecall_hot_2k_inout", "payload", 2048, 3.4),
    ("ocall_hot_2k_inout", "payload", 2048, 3.5),
    ("ecall_hot_2k_shared", "payload", 2048, 2.5),
    ("ecall_hot_2k_out", "payload", 2048, 2.6),
    ("ecall_hot_2k_out_nrz", "payload", 2048, 2.3),
    ("ecall_hot_sweep_64", "payload", 64, 1.5),
    ("ecall_hot_sweep_4k", "payload", 4096, 4.5),
    ("ecall_hot_sweep_64k", "payload", 65536, 100.0),
)
#: Rows on one core: name, group, size, cycles.
HERE = (
    ("timer", "basic", 0, 52.0),
    ("load_ordinary", "memory", 0, 60.0),
    ("syscall", "basic", 0, 470.0),
    ("kvm_exit", "basic", 0, 19_000.0),
    ("eventfd_same", "kernel", 0, 12_000.0),
    ("futex_same", "kernel", 0, 13_500.0),
    ("ecall_switch", "call", 0, 13_000.0),
    ("ocall_switch", "call", 0, 16_500.0),
    ("ecall_asleep", "call", 0, 14_000.0),
    ("responder_wake", "call", 0, 70_000.0),
    ("ecall_switch_sweep_64", "payload", 64, 13_100.0),
    ("ecall_switch_sweep_4k", "payload", 4096, 14_000.0),
    ("ecall_switch_sweep_64k", "payload", 65536, 27_000.0),
)
VALUES: dict[str, dict[str, float]] = {
    "launch": {"first_answer_ms": 5.0},
    "idle": {"cpu_percent": 0.01, "resident_mib": 2.5},
    "one_cpu": {"hot_to_switch": 1.02},
    "cpu_hot": {"caller_cpu_s_per_million": 0.16, "enclave_cpu_s_per_million": 0.16},
    "cpu_switch": {"caller_cpu_s_per_million": 3.3, "enclave_cpu_s_per_million": 3.1},
    "load_1x1": {"calls_per_s": 5.0e6},
    "load_2x1": {"calls_per_s": 4.0e6},
    "load_1x2": {"calls_per_s": 4.9e6},
    "load_2x2": {"calls_per_s": 4.05e6},
    "crowd": {"unpinned_share": 0.9, "pinned_share": 0.95, "tokens": 2.2e6},
}


def synthetic(
    classes: tuple[str, ...] = ("S", "N"), scale: float = 1.0, seed: int = 1
) -> measure.Run:
    """Make a run of 3 processes with 8 rounds, its rounds taking turns in `classes`."""
    rng = np.random.default_rng(seed)
    plan = measure.Plan(processes=3, rounds=8, block_us=1000, probe=100, seed=seed, full=True)
    run = measure.Run(plan=plan, cpus=[0, 1], rows=[], duration_s=12.0)
    for name, group, size, multiple in CROSSING:
        reference = "mailbox_2k" if name.endswith("2k_inout") else None
        run.rows.append(info(name, group=group, size=size, cross=True, reference=reference))
        for process in range(plan.processes):
            for turn in range(plan.rounds):
                floor = FLOORS[classes[turn % len(classes)]]
                run.blocks.setdefault(name, []).append(
                    block(
                        noisy(rng, floor * multiple * scale),
                        process=process,
                        round=turn,
                        probe_before=floor,
                        probe_after=floor * 1.01,
                        reference_before=floor * 2.8,
                        reference_after=floor * 2.8,
                    )
                )
    for name, group, size, cycles in HERE:
        run.rows.append(info(name, group=group, size=size))
        for process in range(plan.processes):
            for turn in range(plan.rounds):
                run.blocks.setdefault(name, []).append(
                    block(noisy(rng, cycles * scale), process=process, round=turn)
                )
    run.rows.append(info("secret", group="memory"))
    run.skipped["secret"] = "memfd_secret: Function not implemented"
    for name, values in VALUES.items():
        group = "load" if name.startswith(("load", "crowd")) else "cost"
        run.rows.append(info(name, group=group, values=True, once=True))
        run.values[name] = [
            {key: value * (1 + 0.01 * i) for key, value in values.items()} for i in range(3)
        ]
    for process in range(plan.processes):
        begin = process * 4_000_000_000
        run.states.append(
            (
                state(tsc=int(begin * HZ / 1e9), wall_ns=begin),
                state(tsc=int((begin + 4_000_000_000) * HZ / 1e9), wall_ns=begin + 4_000_000_000),
            )
        )
    return run


@pytest.fixture
def make_info() -> Callable[..., measure.RowInfo]:
    """Give a maker of row descriptions."""
    return info


@pytest.fixture
def make_block() -> Callable[..., measure.Block]:
    """Give a maker of blocks."""
    return block


@pytest.fixture
def make_state() -> Callable[..., measure.State]:
    """Give a maker of machine states."""
    return state


@pytest.fixture
def make_run() -> Callable[..., measure.Run]:
    """Give a maker of synthetic runs."""
    return synthetic


@pytest.fixture(scope="session")
def result() -> model.Result:
    """A result with two placement classes and every kind of row."""
    return analysis.analyse(synthetic(), None)


@pytest.fixture(scope="session", autouse=True)
def _fonts(result: model.Result) -> None:
    """Draw once: matplotlib keeps the fonts that it used open, and nothing may be left open."""
    plots.figures(result)


@pytest.fixture(scope="session", autouse=True)
def _resource_tracker() -> None:
    """Start what multiprocessing starts with its first process and keeps to the end."""
    resource_tracker.ensure_running()


@pytest.fixture(scope="session")
def worker() -> Path:
    """The worker that was built with the package."""
    return measure.worker_path()
