# SPDX-License-Identifier: Apache-2.0
"""Puts a result together: what was measured, where, and what it says. Host side."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from hotcalls.apps.evaluate import analysis, marks, model
from hotcalls.apps.evaluate.measure import STEAL_LIMIT, Budget, Measured, choose_cpus
from hotcalls.apps.evaluate.servers import Application
from hotcalls.bench import machine


def _tsc_hz() -> float:
    """Return the rate of the time-stamp counter as the kernel gives it, or 0 where it does not.

    Nothing here is measured in cycles; it is there so that times can be read as cycles.
    """
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("cpu MHz"):
            return float(line.partition(":")[2]) * 1e6
    return 0.0


def _servers(
    applications: Sequence[Application],
    left_out: Mapping[str, str],
    policies: Mapping[str, Path],
) -> list[model.Server]:
    found = []
    for each in applications:
        if each.name in left_out:
            found.append(model.Server(each.name, "", each.client, None, left_out[each.name]))
        else:
            policy = policies.get(each.name)
            found.append(
                model.Server(
                    each.name, each.version(), each.clients(), policy.name if policy else None
                )
            )
    return found


def assemble(
    measured: Measured,
    applications: Sequence[Application],
    left_out: Mapping[str, str],
    policies: Mapping[str, Path],
    budget: Budget,
    *,
    duration_s: float,
    created: str,
) -> model.Result:
    """Return the result of what was measured."""
    cpus = choose_cpus()
    compared = [analysis.compare(scenario, measured.runs) for scenario in measured.scenarios]
    found = model.Result(
        schema=model.SCHEMA,
        created=created,
        build=machine.build("", ""),
        machine=machine.machine([cpus.program, cpus.client], _tsc_hz(), os.getloadavg()[0]),
        plan=model.Plan(
            mode="quick" if budget.quick else "full",
            rounds=budget.rounds,
            turns=budget.turns,
            seconds=budget.seconds,
            seed=budget.seed,
            duration_s=duration_s,
            steal_limit=STEAL_LIMIT,
            cpus=[cpus.program, cpus.client],
        ),
        servers=_servers(applications, left_out, policies),
        skipped=measured.skipped,
        scenarios=measured.scenarios,
        runs=measured.runs,
        verified=measured.verified,
        compared=[each for each in compared if each is not None],
        footprints=measured.footprints,
        marks=[],
    )
    return msgspec.structs.replace(found, marks=marks.judge(found))
