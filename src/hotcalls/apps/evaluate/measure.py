# SPDX-License-Identifier: Apache-2.0
"""Runs every scenario in every mode, interleaved. Host side.

In each round every mode has its own fresh server, all of them up at the same time, and each
scenario is asked of one after the other, several times, in an order drawn anew each time: what is
compared was measured within seconds. An idle server costs next to nothing in each of the modes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from hotcalls.apps import stats
from hotcalls.apps.evaluate import footprint, modes
from hotcalls.apps.evaluate.clients import Seen
from hotcalls.apps.evaluate.errors import EvaluateError, WrongReplyError
from hotcalls.apps.evaluate.model import HOT, NATIVE, SWITCH, Footprint, Run, Scenario, Verified
from hotcalls.apps.evaluate.modes import Mode
from hotcalls.apps.evaluate.processes import Ticks, pinned
from hotcalls.apps.evaluate.servers import Application, Place, Subject

#: A run during which the hypervisor gave away more than this share of the CPUs is repeated.
STEAL_LIMIT = 0.02
_ATTEMPTS = 3
_COMPARED = (NATIVE, SWITCH, HOT)


@dataclass(frozen=True)
class Budget:
    """How much to measure.

    Parameters
    ----------
    quick
        Only the scenarios that matter most.
    rounds
        Fresh servers, one set after the other.
    turns
        How often the modes that marks compare take turns at each load in a round. Many short ones
        say more than a long one: what disturbs a machine lasts for seconds, and all of a turn are
        measured within two.
    seconds
        For each measurement.
    seed
        Draws the order of the modes.
    """

    quick: bool
    rounds: int
    turns: int
    seconds: float
    seed: int

    def takes(self, mode: Mode, turn: int) -> bool:
        """Whether a mode is measured in a turn: those that no mark compares, in the first alone."""
        return turn == 0 or mode.name in _COMPARED


@dataclass
class Measured:
    """Everything that was seen, before any statistics."""

    scenarios: list[Scenario] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    verified: list[Verified] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    footprints: list[Footprint] = field(default_factory=list)


@dataclass(frozen=True)
class Cpus:
    """Where the program and its client are pinned, where a scenario says so."""

    program: int
    client: int


def choose_cpus() -> Cpus:
    """Return two CPUs that this process may use; the same one twice when there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cpus(allowed[0], allowed[min(1, len(allowed) - 1)])


def placed(scenario: Scenario, cpus: Cpus) -> tuple[set[int] | None, int | None]:
    """Return the CPUs of the program and that of the client; None where nobody is pinned."""
    if scenario.placement == "apart":
        return {cpus.program}, cpus.client
    if scenario.placement == "together":
        return {cpus.program}, cpus.program
    return None, None


def calls_of(path: Path | None) -> dict[str, stats.Call]:
    """Return what a host process has counted so far, by the name of the call."""
    return {} if path is None else stats.decode(path.read_bytes()).calls


def per_request(
    before: dict[str, stats.Call], after: dict[str, stats.Call], count: float
) -> tuple[dict[str, float], float | None]:
    """Return the calls for each of `count` requests, by name, and the share that went hot."""
    none = stats.Call(0)
    grown = {name: calls.count - before.get(name, none).count for name, calls in after.items()}
    hot = sum(calls.hot - before.get(name, none).hot for name, calls in after.items())
    total = sum(grown.values())
    if total <= 0 or count <= 0:
        return {}, None
    ranked = sorted(grown.items(), key=lambda item: -item[1])
    return {name: calls / count for name, calls in ranked if calls}, hot / total


def _once(
    application: Application,
    subject: Subject,
    scenario: Scenario,
    number: int,
    seconds: float,
    cpus: Cpus,
) -> Run:
    where, client_cpu = placed(scenario, cpus)
    # The far end of a tunnel stands for the client, and is where it is.
    others = None if client_cpu is None else {client_cpu}
    with (
        pinned(subject.started.program(), where),
        pinned(list(subject.started.others.values()), others),
    ):
        calls = calls_of(subject.stats)
        cpu = subject.started.cpu_s()
        ticks = Ticks()
        seen = application.measure(subject, scenario, seconds, client_cpu)
        steal = ticks.steal()
    used = subject.started.cpu_s()
    subject.started.check()
    ocalls, hot_share = per_request(calls, calls_of(subject.stats), seen.answered or seen.count)
    spent = {role: max(0.0, after - cpu.get(role, 0.0)) for role, after in used.items()}
    if scenario.loop == "burst":
        # The CPU time is that of filling and of all rounds: it belongs to none of them.
        spent, ocalls, seen = {}, {}, dataclasses.replace(seen, cpu_s=0.0)
    return run_of(scenario, subject.mode, number, seen, steal, spent, ocalls, hot_share)


def run_of(
    scenario: Scenario,
    mode: Mode,
    number: int,
    seen: Seen,
    steal: float,
    cpu_s: dict[str, float],
    ocalls: dict[str, float],
    hot_share: float | None,
) -> Run:
    """Put together what one measurement says."""
    return Run(
        scenario=scenario.name,
        mode=mode.name,
        round=number,
        count=seen.count,
        wall_s=seen.wall_s,
        answered=seen.answered or seen.count,
        rate=seen.rate,
        latency=seen.latency,
        cpu_s={**cpu_s, "client": seen.cpu_s},
        steal=steal,
        attempts=1,
        disturbed=steal > STEAL_LIMIT,
        ocalls=ocalls,
        hot_share=hot_share,
        lost=seen.lost,
        note=seen.note,
    )


def attempt(once: Callable[[], Run]) -> Run:
    """Measure until the hypervisor left the machine alone; keep the quietest, marked if it is not.

    Parameters
    ----------
    once
        Measures once.
    """
    import msgspec

    runs = []
    for _ in range(_ATTEMPTS):
        runs.append(once())
        if not runs[-1].disturbed:
            break
    best = min(runs, key=lambda run: run.steal)
    return msgspec.structs.replace(best, attempts=len(runs))


def _configs(scenarios: Sequence[Scenario]) -> list[dict[str, str]]:
    """Return how servers are started: once for each difference between scenarios."""
    found: list[dict[str, str]] = []
    for scenario in scenarios:
        if scenario.config not in found:
            found.append(scenario.config)
    return found


def steps(applications: Sequence[Application], budget: Budget, wanted: Sequence[Mode]) -> int:
    """Return how many measurements there are at most: the length of a progress bar."""
    scenarios = sum(len(each.scenarios(not budget.quick)) for each in applications)
    turns = sum(budget.takes(mode, turn) for mode in wanted for turn in range(budget.turns))
    return scenarios * budget.rounds * turns + len(wanted) * (len(applications) + 1)


def own_policy(shipped: Path, folder: Path, writes: bool) -> Path:
    """Write a policy that allows what a shipped one does, and the files in `folder`; return it."""
    key = "ReadWritePaths" if writes else "ReadOnlyPaths"
    path = folder / "policy.toml"
    path.write_text(f'Include = "{shipped}"\n{key} = "{folder}"\n', encoding="utf-8")
    return path


@contextlib.contextmanager
def _servers(
    application: Application,
    config: dict[str, str],
    wanted: Sequence[Mode],
    policy: Path | None,
    skipped: dict[str, str],
) -> Iterator[list[Subject]]:
    """Start one server for each mode; a peer that does not start is left out, and named."""
    with contextlib.ExitStack() as stack:
        subjects = []
        for mode in wanted:
            # Not in the user's TMPDIR: a socket's path may be 107 characters long.
            folder = Path(tempfile.mkdtemp(prefix=f"hotcalls-{os.getpid()}-", dir="/tmp"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            # Servers that give up root still have to reach their files.
            folder.chmod(0o755)
            counted = folder / "stats" if mode.enclosed and not mode.peer else None
            own = policy and own_policy(policy, folder, application.writes)
            place = Place(folder, own, counted)
            try:
                subjects.append(stack.enter_context(application.start(mode, config, place)))
            except EvaluateError as error:
                if not mode.peer:
                    raise
                skipped[f"{application.name}, {mode.title}"] = str(error)
        yield subjects


def _peer_measures(mode: Mode, application: Application, scenario: Scenario) -> bool:
    """Whether a peer is measured here: memcached's plain loads are enough to place it."""
    if not mode.peer:
        return True
    return (
        application.name == "memcached"
        and scenario.loop == "closed"
        and scenario.placement != "together"
    )


def measure(
    applications: Sequence[Application],
    wanted: Sequence[Mode],
    budget: Budget,
    policies: dict[str, Path],
    advance: Callable[[str], None],
) -> Measured:
    """Evaluate `applications` in the modes `wanted`.

    Parameters
    ----------
    applications
        None of which is missing anything.
    wanted
        Modes, in the order of the tables.
    budget
        How much.
    policies
        The policy of each application, for the enclave; without one there, it may do everything.
    advance
        Called with words after each step.

    Raises
    ------
    EvaluateError
        When a server or a client fails.
    WrongReplyError
        When a server answered wrongly.
    """
    measured = Measured()
    order = random.Random(budget.seed)  # noqa: S311 (an order, not a secret)
    cpus = choose_cpus()
    usable = []
    for mode in wanted:
        why = modes.missing(mode)
        if why is not None:
            measured.skipped[mode.title] = why
        else:
            usable.append(mode)
    for application in applications:
        scenarios = application.scenarios(not budget.quick)
        measured.scenarios += scenarios
        policy = policies.get(application.name)
        own = [m for m in usable if not m.peer or application.name == "memcached"]
        for number in range(budget.rounds):
            for config in _configs(scenarios):
                chosen = [scenario for scenario in scenarios if scenario.config == config]
                with _servers(application, config, own, policy, measured.skipped) as subjects:
                    if number == 0 and config == scenarios[0].config:
                        measured.verified += _verify(application, subjects, advance)
                    _round(application, subjects, chosen, number, budget, cpus, order, measured,
                           advance)  # fmt: skip
        if application.name == "memcached":
            measured.footprints = footprint.measure(
                application, own, budget.quick, budget.seed, advance
            )
    return measured


def _verify(
    application: Application, subjects: Sequence[Subject], advance: Callable[[str], None]
) -> list[Verified]:
    """Check the answers of every mode at the same time: checks wait more than they work."""
    with ThreadPoolExecutor(len(subjects)) as pool:
        found = list(pool.map(application.verify, subjects))
    for verified in found:
        advance(f"{application.name}: {verified.check}")
        if verified.failed and not modes.find(verified.mode).peer:
            raise WrongReplyError(
                f"{application.name}, {modes.find(verified.mode).title}: {verified.check}: "
                f"{verified.failed} of {verified.failed + verified.passed} failed: "
                f"{verified.words}; its figures would mean nothing"
            )
    return found


def _round(
    application: Application,
    subjects: Sequence[Subject],
    scenarios: Sequence[Scenario],
    number: int,
    budget: Budget,
    cpus: Cpus,
    order: random.Random,
    measured: Measured,
    advance: Callable[[str], None],
) -> None:
    turns = [(turn, scenario) for turn in range(budget.turns) for scenario in scenarios]
    for turn, scenario in turns:
        for subject in order.sample(list(subjects), len(subjects)):
            if not _peer_measures(subject.mode, application, scenario):
                continue
            if not budget.takes(subject.mode, turn):
                continue

            def once(
                asked: Subject = subject,
                what: Scenario = scenario,
                at: int = number * budget.turns + turn,
            ) -> Run:
                return _once(application, asked, what, at, budget.seconds, cpus)

            measured.runs.append(attempt(once))
            advance(f"{scenario.title}, {subject.mode.title}")
