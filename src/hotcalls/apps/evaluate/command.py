# SPDX-License-Identifier: Apache-2.0
"""``hotcalls evaluate``. Host side; results on standard output, all else on standard error."""

from __future__ import annotations

import secrets
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hotcalls.apps.evaluate import model

if TYPE_CHECKING:
    from hotcalls.apps.evaluate.measure import Budget
    from hotcalls.apps.evaluate.modes import Mode
    from hotcalls.apps.evaluate.servers import Application

_PATH = click.Path(dir_okay=False, path_type=Path)
_INPUT = click.Path(exists=True, dir_okay=False, path_type=Path)
SERVERS = ("memcached", "lighttpd", "openvpn")


def _applications(names: tuple[str, ...]) -> list[Application]:
    from hotcalls.apps.evaluate.lighttpd import Lighttpd
    from hotcalls.apps.evaluate.memcached import Memcached
    from hotcalls.apps.evaluate.openvpn import Openvpn

    every: list[Application] = [Memcached(), Lighttpd(), Openvpn()]
    wanted = set(names) - {"all"} or set(SERVERS)
    return [application for application in every if application.name in wanted]


def _modes(names: tuple[str, ...], peers: bool) -> list[Mode]:
    from hotcalls.apps.evaluate import modes

    known = {mode.name: mode for mode in (*modes.MODES, *modes.PEERS)}
    chosen = [word for name in names for word in name.split(",")]
    for name in chosen:
        if name not in known:
            raise click.UsageError(f"no mode is called `{name}`; there are {', '.join(known)}")
    if chosen:
        return [mode for name, mode in known.items() if name in chosen]
    return [*modes.MODES, *(modes.PEERS if peers else ())]


def _policies(applications: list[Application], without: bool) -> dict[str, Path]:
    if without:
        return {}
    from hotcalls.apps import policy

    return {each.name: policy.shipped_path(each.name) for each in applications}


def _evaluate(
    names: tuple[str, ...], wanted: list[Mode], budget: Budget, without_policy: bool
) -> model.Result:
    from hotcalls.apps.evaluate import measure, result
    from hotcalls.progress import bar

    applications = _applications(names)
    left_out = {each.name: why for each in applications if (why := each.missing()) is not None}
    for name, why in left_out.items():
        click.echo(f"hotcalls evaluate: {name} is skipped: {why}", err=True)
    usable = [each for each in applications if each.name not in left_out]
    policies = _policies(usable, without_policy)
    begin = time.monotonic()
    with bar("hotcalls evaluate", measure.steps(usable, budget, wanted)) as advance:
        measured = measure.measure(usable, wanted, budget, policies, advance)
    return result.assemble(
        measured,
        applications,
        left_out,
        policies,
        budget,
        duration_s=time.monotonic() - begin,
        created=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def _show(found: model.Result, as_json: bool) -> None:
    if as_json:
        sys.stdout.buffer.write(model.encode(found))
        return
    from hotcalls.apps.evaluate import table
    from hotcalls.progress import console

    table.show(found, console())


@click.command("evaluate", epilog="Exit codes: 0 measured, 1 failed, 2 wrong usage.")
@click.argument("servers", nargs=-1, type=click.Choice([*SERVERS, "all"]))
@click.option("--quick", is_flag=True, help="Less than 2 minutes for all three; one round.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option(
    "-o",
    "--output",
    type=_PATH,
    metavar="FILE",
    help="Write FILE.json, the page FILE.html and its pictures FILE-*.png.",
)
@click.option("--modes", "mode_names", multiple=True, metavar="NAME,…", help="Only these modes.")
@click.option("--peers/--no-peers", default=True, help="Other sandboxes too, where they run.")
@click.option("--rounds", type=click.IntRange(1, 100), help="Fresh servers, one set after another.")
@click.option("--turns", type=click.IntRange(1, 100), help="At each load, in each round.")
@click.option("--seconds", type=click.FloatRange(0.2, 60), help="For each measurement.")
@click.option("--seed", type=click.IntRange(0), help="Repeat the order of an earlier run.")
@click.option("--no-policy", is_flag=True, help="Let the enclave do what the user may do.")
@click.option("--list", "list_scenarios", is_flag=True, help="List the scenarios and leave.")
@click.option("--show", "shown", type=_INPUT, metavar="RESULT.json", help="Show a result again.")
def evaluate_command(
    servers: tuple[str, ...],
    quick: bool,
    as_json: bool,
    output: Path | None,
    mode_names: tuple[str, ...],
    peers: bool,
    rounds: int | None,
    turns: int | None,
    seconds: float | None,
    seed: int | None,
    no_policy: bool,
    list_scenarios: bool,
    shown: Path | None,
) -> None:
    """Measure memcached, lighttpd and openvpn natively and in a process enclave.

    Each server is Debian's own binary with a real client: natively, with switch calls (companion
    on the same core, and unpinned) and with hot calls, interleaved. Every answer is checked.
    A process enclave is not SGX: the ceiling of any speed-up here is native / switch, which stands
    beside it.
    """
    if list_scenarios:
        for application in _applications(servers):
            for scenario in application.scenarios(full=not quick):
                click.echo(f"{scenario.name:26} {scenario.loop:7} {scenario.title}")
        return
    if output is not None:
        from hotcalls.bench.pages import stem_of

        stem_of(output)  # before minutes of measuring, not after
    if shown is not None:
        found = model.read(shown)
    else:
        from hotcalls.apps.evaluate.measure import Budget

        budget = Budget(
            quick=quick,
            rounds=rounds or (1 if quick else 5),
            turns=turns or (3 if quick else 2),
            seconds=seconds or (0.5 if quick else 1.0),
            seed=secrets.randbits(32) if seed is None else seed,
        )
        found = _evaluate(servers, _modes(mode_names, peers), budget, no_policy)
    if output is not None:
        from hotcalls.apps.evaluate import pages

        for path in pages.write(found, output):
            click.echo(f"hotcalls evaluate: wrote {path}", err=True)
    _show(found, as_json)
