# SPDX-License-Identifier: Apache-2.0
"""``hotcalls trace``: the calls of a program as they leave its enclave. Host side.

Nothing is attached and nothing is stopped: the host process, which performs the calls, prints them.
What stays in the enclave (memory, time, locks) is not seen.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import click

from hotcalls.apps import launcher, policy_groups, run, syscalls
from hotcalls.apps import stats as statistics
from hotcalls.apps.launcher import Options
from hotcalls.apps.program import Program, resolve

_PATH = click.Path(dir_okay=False, path_type=Path)
_INPUT = click.Path(exists=True, dir_okay=False, path_type=Path)
#: strace's names for groups, in ours.
_CLASSES = {
    "%file": "@file-system", "%network": "@network-io", "%net": "@network-io",
    "%desc": "@basic-io", "%signal": "@signal", "%process": "@process", "%ipc": "@ipc",
}  # fmt: skip


def chosen(expressions: tuple[str, ...]) -> tuple[str, ...]:
    """Return the calls that ``-e`` names, as the host process knows them; none means all.

    Raises
    ------
    click.UsageError
        When an expression is not understood, or names no call that leaves the enclave.
    """
    names: set[str] = set()
    known = {call.name: call for call in syscalls.table()}
    everything = {call.name for call in known.values() if call.reaches_host()}
    for expression in expressions:
        kind, equals, text = expression.rpartition("=")
        if equals and kind not in ("trace", "t"):
            raise click.UsageError(f"-e {expression}: only -e trace=CALLS is known")
        negated = text.startswith("!")
        found: set[str] = set()
        for word in text.removeprefix("!").split(","):
            found |= _calls(word, set(known))
        names |= everything - found if negated else found
    if expressions and not names:
        raise click.UsageError("-e: none of these calls leaves the enclave; see hotcalls syscalls")
    return tuple(sorted(names))


def _calls(word: str, known: set[str]) -> set[str]:
    group = _CLASSES.get(word, word)
    if group.startswith("@"):
        members = policy_groups.groups().get(group)
        if members is None:
            raise click.UsageError(
                f"-e: no group is called `{word}`; see hotcalls syscalls --groups"
            )
        return set(policy_groups.decided(members).values())
    if word not in known:
        raise click.UsageError(f"-e: no system call is called `{word}`; see hotcalls syscalls")
    return set(policy_groups.decided([word]).values())


def _count(
    program: Program, options: Options, output: Path | None, bench: Path | None, other: float | None
) -> int:
    from hotcalls.apps import trace_cost
    from hotcalls.bench import model

    source = bench or trace_cost.usual()
    prices = None
    if source is not None:
        prices = trace_cost.prices(model.read(source), str(source), other)
    only, options.trace = tuple(options.trace), ()
    with launcher.counting(options) as kept:
        with launcher.started(program, options) as process:
            status = process.wait()
        counted = os.pread(kept, os.fstat(kept).st_size, 0)
    text = trace_cost.summary(statistics.decode(counted), prices, only)
    if output is not None:
        output.write_text(text + "\n", encoding="utf-8")
    else:
        click.echo(text, err=True)
    if prices is None:
        click.echo(
            "hotcalls trace: what these calls cost is known after `hotcalls bench -o report.json`; "
            "then add --bench report.json",
            err=True,
        )
    return status


@click.command(
    "trace",
    epilog="Exit codes: the program's; 125 to 127 as of `hotcalls run`.",
    context_settings={"allow_interspersed_args": False},
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="PROGRAM ARGS…")
@click.option(
    "-c",
    "count",
    is_flag=True,
    help="Count calls; at the end say what they cost by switch call and hot.",
)
@click.option("-o", "output", type=_PATH, metavar="FILE", help="Instead of standard error.")
@click.option(
    "-e",
    "expressions",
    multiple=True,
    metavar="trace=CALLS",
    help="Only these: names, or groups such as @network-io or %network; ! all others.",
)
@click.option("--mode", type=click.Choice(launcher.MODES), default="hot", show_default=True)
@click.option("--policy", "policy_name", metavar="FILE|NAME", help="As of `hotcalls run`.")
@click.option(
    "--bench",
    type=_INPUT,
    metavar="FILE",
    help="With -c: a result of `hotcalls bench` on this machine.",
)
@click.option(
    "--cycles-per-call",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="With -c: what another interface would cost, SGX's ordinary one 8200.",
)
def trace_command(
    command: tuple[str, ...],
    count: bool,
    output: Path | None,
    expressions: tuple[str, ...],
    mode: str,
    policy_name: str | None,
    bench: Path | None,
    cycles_per_call: float | None,
) -> None:
    """Run PROGRAM in a process enclave and print its calls as strace does."""
    if not count and (bench is not None or cycles_per_call is not None):
        raise click.UsageError("--bench and --cycles-per-call belong to -c")
    with run.failing("trace", command[0]):
        options = Options(mode=mode, policy=run.read_policy(policy_name), trace=chosen(expressions))
        program = resolve(list(command))
        if count:
            launcher.leave_like(_count(program, options, output, bench, cycles_per_call))
        with contextlib.ExitStack() as stack:
            if output is not None:
                options.trace_fd = stack.enter_context(output.open("wb")).fileno()
            else:
                # A descriptor of its own: the program may close or redirect its standard error.
                options.trace_fd = os.dup(2)
                stack.callback(os.close, options.trace_fd)
            launcher.replace(program, options)
