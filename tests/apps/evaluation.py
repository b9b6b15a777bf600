# SPDX-License-Identifier: Apache-2.0
"""A result of an evaluation with known answers."""

from __future__ import annotations

from hotcalls.apps.evaluate import analysis, marks, model
from hotcalls.apps.evaluate.model import (
    HOT,
    NATIVE,
    SWITCH,
    UNPINNED,
    Footprint,
    Latency,
    Result,
    Run,
    Scenario,
    Server,
    Statistic,
    Verified,
)
from hotcalls.bench import machine

#: Requests a second of each mode, in two rounds.
RATES = {
    NATIVE: (80_000.0, 100_000.0),
    SWITCH: (20_000.0, 25_000.0),
    UNPINNED: (5_000.0, 6_000.0),
    HOT: (50_000.0, 60_000.0),
}


def scenario(name: str, loop: model.Loop = "closed") -> Scenario:
    """Return a scenario of memcached."""
    return Scenario(
        name, "memcached", f"title of {name}", "requests/s", loop, client="hotcalls-load"
    )


def run(name: str, mode: str, number: int, rate: float, *, steal: float = 0.0) -> Run:
    """Return a measurement of one second; its latency is that of one connection."""
    latency = Latency(1e6 / rate, 0.9e6 / rate, 3e6 / rate, 9e6 / rate)
    ocalls = {"read": 2.0, "sendmsg": 1.0} if mode not in (NATIVE,) else {}
    return Run(name, mode, number, rate, 1.0, rate, rate, latency, {"program": 0.5, "client": 0.4},
               steal, 1, steal > 0.02, ocalls)  # fmt: skip


def runs(name: str) -> list[Run]:
    """Return two rounds of all modes."""
    return [
        run(name, mode, number, rate)
        for mode, rates in RATES.items()
        for number, rate in enumerate(rates)
    ]


def result(*names: str) -> Result:
    """Return a whole result of these scenarios."""
    import msgspec

    scenarios = [scenario(name) for name in names]
    measured = [each for name in names for each in runs(name)]
    compared = [analysis.compare(each, measured) for each in scenarios]
    made = Result(
        schema=model.SCHEMA,
        created="2026-01-02T03:04:05Z",
        build=machine.build("", ""),
        machine=machine.machine([0, 1], 2.6e9, 0.1),
        plan=model.Plan("full", 2, 1.0, 7, 12.0, 0.02, [0, 1], 1),
        servers=[
            Server("memcached", "memcached 1.6", "a client", "memcached.toml"),
            Server("openvpn", "", "iperf3", None, "needs root"),
        ],
        skipped={"gVisor": "runsc is not installed"},
        scenarios=scenarios,
        runs=measured,
        verified=[Verified("memcached", HOT, "memcapable", 54, 0)],
        compared=[each for each in compared if each is not None],
        footprints=[
            Footprint(mode, Statistic(start, start, start, 1), memory, 0.001, call)
            for mode, start, memory, call in (
                (NATIVE, 2.0, 3.0, Statistic(200.0, 200.0, 200.0, 1)),
                (SWITCH, 90.0, 9.0, Statistic(5200.0, 5200.0, 5200.0, 1)),
                (HOT, 112.0, 9.5, Statistic(450.0, 450.0, 450.0, 1)),
            )
        ],
        marks=[],
    )
    return msgspec.structs.replace(made, marks=marks.judge(made))
