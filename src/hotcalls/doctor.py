# SPDX-License-Identifier: Apache-2.0
"""``hotcalls doctor``: what this machine offers, and what to do about what it does not.

Runs in the host. What is looked at is in doctor_probes.py; here it is collected and shown.
"""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from hotcalls.doctor_probes import NO, OK, PROBES, UNKNOWN, Check, Machine

SCHEMA = "hotcalls.doctor/1"


def examine(machine: Machine | None = None) -> list[Check]:
    """Look at everything.

    Parameters
    ----------
    machine
        Where the files are read; this machine when None.

    Returns
    -------
    list of Check
        In the order in which they are shown. A probe that fails itself becomes a line with the
        state ``"unknown"``: this command must not break on a strange machine.
    """
    machine = machine or Machine()
    checks: list[Check] = []
    for probe in PROBES:
        try:
            checks.extend(probe(machine))
        except (OSError, ValueError) as error:
            name = probe.__name__.removeprefix("check_")
            checks.append(Check("failed", name, UNKNOWN, f"the probe failed: {error}"))
    return checks


def can_run(checks: list[Check]) -> bool:
    """Return whether a process enclave can run here: nothing that is needed is missing."""
    return not any(check.needed and check.state == NO for check in checks)


def render(checks: list[Check]) -> None:
    """Print the checks as a table on standard output."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("", "", "this machine"):
        table.add_column(column, no_wrap=column == "")
    group = ""
    for check in checks:
        if check.group != group:
            group = check.group
            table.add_row("", Text(group, style="bold"), "")
        colour = {OK: "green", UNKNOWN: "yellow"}.get(check.state, "yellow")
        if check.needed and check.state == NO:
            colour = "bold red"
        found = Text(check.detail)
        if check.advice and check.state != OK:
            found.append(f"\n→ {check.advice}", style="cyan")
        table.add_row(Text(check.state, style=colour), check.name, found)
    console = Console(highlight=False)
    console.print(table)
    if can_run(checks):
        console.print("\nProcess enclaves can run here. [dim](They are not SGX.)[/dim]")
    else:
        names = ", ".join(check.name for check in checks if check.needed and check.state == NO)
        console.print(f"\n[bold red]Process enclaves cannot run here[/]: {names}")


@click.command(name="doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_context
def doctor_command(ctx: click.Context, as_json: bool) -> None:
    """Say what this machine offers, and what to do about what it does not.

    Exit code 0 when process enclaves can run here, 1 when not.
    """
    checks = examine()
    if as_json:
        report = {
            "schema": SCHEMA,
            "usable": can_run(checks),
            "checks": [asdict(check) for check in checks],
        }
        click.echo(json.dumps(report, indent=2))
    else:
        render(checks)
    ctx.exit(0 if can_run(checks) else 1)
