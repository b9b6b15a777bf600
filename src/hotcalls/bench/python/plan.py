# SPDX-License-Identifier: Apache-2.0
"""How much ``hotcalls bench --python`` measures, and with which worker. Host side."""

from __future__ import annotations

import sys

from hotcalls.bench.measure import Plan

#: The command line that a worker begins with.
WORKER = (sys.executable, "-m", "hotcalls.bench.python")


def quick(seed: int) -> Plan:
    """Return the plan that ends within 25 seconds."""
    return Plan(processes=2, rounds=4, block_us=1500, probe=200, seed=seed, full=False)


def full(seed: int) -> Plan:
    """Return the plan whose figures may be quoted; three minutes at most."""
    return Plan(processes=4, rounds=16, block_us=3000, probe=400, seed=seed, full=True)
