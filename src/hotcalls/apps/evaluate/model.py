# SPDX-License-Identifier: Apache-2.0
"""The result of an evaluation, as it is written to JSON. Everything shown is drawn from it.

Host side. Reading trusts nothing: a file of another schema or shape is refused with the place
where it differs.

Units: those at the end of a name: ``_us``, ``_s``, ``_bytes``; shares are between 0 and 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from hotcalls.apps.evaluate.errors import EvaluateError
from hotcalls.bench.model import Build, Machine

#: Raised whenever a reader of the old files would misread the new ones.
SCHEMA = 1

#: The four ways to run a server that are compared, in the order of the tables.
NATIVE, SWITCH, UNPINNED, HOT = "native", "switch", "switch_unpinned", "hot"
#: What a rate counts.
Unit = Literal["requests/s", "Mbit/s", "pings/s"]
#: How the clients decide when to send: see docs/evaluation.md.
Loop = Literal["closed", "open", "burst"]
Placement = Literal["free", "apart", "together"]
Verdict = Literal["met", "missed", "not seen"]


class Latency(msgspec.Struct, frozen=True):
    """How long requests took, in microseconds."""

    mean_us: float
    p50_us: float
    p99_us: float
    max_us: float


class Run(msgspec.Struct, frozen=True):
    """One measurement of one scenario in one mode."""

    scenario: str
    mode: str
    #: Runs of the same number were measured beside each other: one for each turn of each round.
    round: int
    #: Requests (or bytes, or pings) that were answered, and how long that took.
    count: float
    wall_s: float
    #: The same in all, warming up included: what the CPU time and the calls were spent on.
    answered: float
    #: In the unit of the scenario.
    rate: float
    latency: Latency | None
    #: CPU seconds of every party: ``program``, ``host``, ``client``, …
    cpu_s: dict[str, float]
    #: Share of the time of all CPUs that the hypervisor gave to somebody else.
    steal: float
    #: How often it was measured until steal stayed below the limit.
    attempts: int
    #: Steal was above the limit every time.
    disturbed: bool
    #: Calls out of the enclave for each request, by name; empty outside of one.
    ocalls: dict[str, float]
    #: Share of these calls that a spinning responder answered.
    hot_share: float | None = None
    #: Datagrams or pings that got no answer, as a share.
    lost: float = 0.0
    note: str = ""

    def cpu_per_request_us(self) -> float:
        """Return the CPU time of all parties for one request."""
        return sum(self.cpu_s.values()) / self.answered * 1e6 if self.answered else 0.0

    def server_cpu_s(self) -> float:
        """Return the CPU time of all parties but the client."""
        return sum(seconds for role, seconds in self.cpu_s.items() if role != "client")

    def rate_per_cpu(self) -> float | None:
        """Return what a CPU second of the server's side yields; None where it is not known."""
        cpu = self.server_cpu_s()
        share = self.answered / self.count if self.count else 0.0
        return self.rate * self.wall_s * share / cpu if cpu > 0 else None


class Scenario(msgspec.Struct, frozen=True):
    """What is asked of a server, the same in every mode."""

    name: str
    server: str
    title: str
    unit: Unit
    loop: Loop
    placement: Placement = "free"
    #: What starts the server differently: threads, socket.
    config: dict[str, str] = {}
    #: What the client does differently.
    load: dict[str, float] = {}
    client: str = ""


class Verified(msgspec.Struct, frozen=True):
    """Whether a server in one mode gave the right answers."""

    server: str
    mode: str
    check: str
    passed: int
    failed: int
    words: str = ""


class Statistic(msgspec.Struct, frozen=True):
    """The median of the rounds, and the least and the most of them."""

    median: float
    least: float
    most: float
    n: int


class Compared(msgspec.Struct, frozen=True):
    """The modes of one scenario against each other: medians of ratios of the same round."""

    scenario: str
    rate: dict[str, Statistic]
    p50_us: dict[str, Statistic]
    p99_us: dict[str, Statistic]
    mean_us: dict[str, Statistic]
    rate_per_cpu: dict[str, Statistic]
    #: Calls a request, by name, of the hot mode.
    ocalls: dict[str, float]
    #: hot / switch, by rate.
    speedup: Statistic | None
    #: native / switch: no synchronous call can do better.
    ceiling: Statistic | None
    #: hot / native.
    of_native: Statistic | None
    #: Change of the mean latency, hot against switch: -0.6 is 60 % less.
    latency_change: Statistic | None
    #: (hot - switch) / (native - switch), by time a request.
    regained: Statistic | None
    #: Share of these calls that a polling thread took.
    hot_share: Statistic | None
    disturbed: int


class Footprint(msgspec.Struct, frozen=True):
    """What a mode costs by itself."""

    mode: str
    #: To run ``true`` and be back.
    start_ms: Statistic
    #: Of an idle memcached, and of its host process.
    resident_mib: float
    #: Share of a core that they take while idle.
    idle_share: float
    #: One read or write of one byte through the C library, by dd; None where it was left out.
    call_ns: Statistic | None


class Mark(msgspec.Struct, frozen=True):
    """Something that has to hold, what was seen, and whether it does."""

    name: str
    target: str
    measured: str
    verdict: Verdict


class Plan(msgspec.Struct, frozen=True):
    """How much was measured."""

    mode: Literal["quick", "full"]
    rounds: int
    seconds: float
    seed: int
    duration_s: float
    steal_limit: float
    #: CPUs of the server and of its client where they are pinned.
    cpus: list[int]
    #: Measurements at each load in a round, of the modes that marks compare.
    turns: int = 1


class Server(msgspec.Struct, frozen=True):
    """One of the servers: its version, its client's, and why it was left out if it was."""

    name: str
    version: str
    client: str
    policy: str | None
    skipped: str | None = None


class Result(msgspec.Struct, frozen=True):
    """One run of ``hotcalls evaluate``."""

    schema: int
    created: str
    build: Build
    machine: Machine
    plan: Plan
    servers: list[Server]
    #: Modes that were not run, and why.
    skipped: dict[str, str]
    scenarios: list[Scenario]
    runs: list[Run]
    verified: list[Verified]
    compared: list[Compared]
    footprints: list[Footprint]
    marks: list[Mark]

    def scenario(self, name: str) -> Scenario:
        """Return the scenario called `name`."""
        return next(scenario for scenario in self.scenarios if scenario.name == name)

    def footprint(self, mode: str) -> Footprint | None:
        """Return what a mode costs by itself, or None when that was not measured."""
        return next((each for each in self.footprints if each.mode == mode), None)

    def comparison(self, name: str) -> Compared | None:
        """Return the comparison of a scenario, or None when it was not measured."""
        return next((each for each in self.compared if each.scenario == name), None)


def encode(result: Result) -> bytes:
    """Return `result` as indented JSON with a newline at its end."""
    return msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n"


def read(path: Path) -> Result:
    """Read a result.

    Raises
    ------
    EvaluateError
        When `path` is not the result of an evaluation of this schema; says where it differs.
    OSError
        When it cannot be read.
    """

    class Head(msgspec.Struct):
        schema: int

    text = path.read_bytes()
    try:
        head = msgspec.json.decode(text, type=Head)
        if head.schema != SCHEMA:
            raise EvaluateError(
                f"{path}: has schema {head.schema}, and this version reads schema {SCHEMA}: "
                "measure again, or use the version that wrote it"
            )
        return msgspec.json.decode(text, type=Result)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EvaluateError(f"{path}: not a result of `hotcalls evaluate`: {error}") from error
