# SPDX-License-Identifier: Apache-2.0
"""``hotcalls run``: an unmodified program in a process enclave. Host side."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hotcalls import cli
from hotcalls.apps import launcher
from hotcalls.apps.launcher import Options
from hotcalls.apps.program import Program, ProgramError, resolve
from hotcalls.failure import HotcallsError

if TYPE_CHECKING:
    # Loaded late: a program must not wait for what it does not use.
    from hotcalls.apps.policy import Policy
    from hotcalls.apps.policy_hook import Hook

_PATH = click.Path(dir_okay=False, path_type=Path)
_EPILOG = """\b
             the program cannot                you cannot
  reach      files, sockets, devices but       its memory and registers, once it
             through its host process, under   runs (root can; so can who takes the
             the policy                        host process over: it does its I/O)
  trust      nothing: the host process takes   its host process and the kernel
             no pointer and no length of it

A process enclave is not SGX. Exit codes: the program's; 125 hotcalls failed, 126 the program cannot
run in an enclave, 127 there is no such program; 3 the policy or its hook was refused.
"""


#: What holds without a policy.
NOT_CONTAINED = (
    "the program can read, write and connect to what you can",
    "it cannot start programs, trace or signal those of others, or load code that did not come "
    "through its host process",
)


def read_policy(name: str | None) -> Policy | None:
    """Return the policy that ``--policy`` names: a file, or one that is shipped."""
    if name is None:
        return None
    from hotcalls.apps import policy as policies
    from hotcalls.errors import PolicyError

    path = policies.find(name)
    try:
        return policies.load(path)
    except FileNotFoundError as error:
        known = ", ".join(policies.shipped())
        raise PolicyError(
            f"there is no such file, and the policies that are shipped are {known}", path=str(path)
        ) from error


@contextlib.contextmanager
def failing(name: str, program: str) -> Iterator[None]:
    """End with the exit codes of env(1), none of which is mistaken for the program's own.

    A policy or a hook that is refused is an input of ours, and left to the command line. So is
    everything with HOTCALLS_DEBUG=1, which shows where it came from.
    """
    try:
        yield
    except ProgramError as error:
        click.echo(f"hotcalls {name}: {error}", err=True)
        sys.exit(error.exit_status)
    except (HotcallsError, OSError, MemoryError) as error:
        if cli.exit_code(error) == cli.EXIT_REFUSED or cli.debugging():
            raise
        why = cli.text_of(error)
        if not isinstance(error, HotcallsError) and getattr(error, "filename", None) is None:
            why = f"starting {program}: {why}"
        click.echo(f"hotcalls {name}: {why}", err=True)
        sys.exit(launcher.EXIT_FAILED)


def _hook(name: str | None, calls: str | None, timeout_s: float) -> Hook | None:
    """Return who is to be asked."""
    if name is None and calls is None:
        return None
    if name is None or not calls:
        raise click.UsageError("--policy-hook and --policy-hook-calls belong together")
    from hotcalls.apps import policy_hook

    words = [word.strip() for word in calls.split(",")]
    return policy_hook.Hook(policy_hook.load(name), words, timeout_s)


def _say_what_is_not_contained(learning: bool) -> None:
    # To people only: where nobody looks, standard error is the program's own.
    if sys.stderr.isatty():
        what = "learning" if learning else "no --policy"
        click.echo(f"hotcalls run: {what}: {'; '.join(NOT_CONTAINED)}", err=True)


@contextlib.contextmanager
def _learning(target: Path, program: Program) -> Iterator[int]:
    """Give a descriptor for log lines; what they say is written to `target` as a policy.

    Lines that are not about what was allowed go on to standard error.
    """
    import shlex

    from hotcalls.apps import policy_learn

    reading, writing = os.pipe()
    used = policy_learn.Used()

    def read() -> None:
        with open(reading, encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                if not policy_learn.take(used, line):
                    sys.stderr.write(line)

    from hotcalls.background import Background

    try:
        reader = Background(read, "learning")
    except BaseException:
        os.close(reading)
        os.close(writing)
        raise
    try:
        yield writing
    finally:
        os.close(writing)
        reader.join()
    _write(target, policy_learn.toml(used, shlex.join(program.argv)))
    click.echo(f"hotcalls run: wrote {target}: {len(used.calls)} calls, "
               f"{len(used.read | used.write)} paths", err=True)  # fmt: skip


def _write(target: Path, text: str) -> None:
    """Write a policy; what was there before stays when there is no room."""
    special = target.exists() and not target.is_file()  # /dev/stdout, a pipe
    place = target.resolve()
    draft = target if special else place.with_name(f"{place.name}.new")
    try:
        draft.write_text(text, encoding="utf-8")
        if not special:
            draft.replace(place)
    except OSError as error:
        if not special:
            draft.unlink(missing_ok=True)
        raise HotcallsError(
            f"{target}: the policy that was learnt is not written: {error.strerror}"
        ) from error


def _run(
    program: Program,
    options: Options,
    learn: Path | None,
    stats: bool,
    log: Path | None,
) -> None:
    with contextlib.ExitStack() as stack:
        if learn is not None:
            options.learn = True
            options.log_fd = stack.enter_context(_learning(learn, program))
        elif log is not None:
            options.log_fd = stack.enter_context(log.open("ab")).fileno()
        else:
            # A descriptor of its own: the program may close or redirect its standard error.
            options.log_fd = os.dup(2)
            stack.callback(os.close, options.log_fd)
        if learn is None and not stats and options.hook is None:
            launcher.replace(program, options)
        kept = options.stats_fd
        if kept is None:
            kept = stack.enter_context(launcher.counting(options))
        with launcher.started(program, options) as process:
            status = process.wait()
        if stats:
            from hotcalls.apps import stats as statistics

            counted = os.pread(kept, os.fstat(kept).st_size, 0)
            click.echo(statistics.table(statistics.decode(counted)), err=True)
    launcher.leave_like(status)


@click.command(
    "run",
    epilog=_EPILOG,
    context_settings={"allow_interspersed_args": False},
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="PROGRAM ARGS…")
@click.option("--mode", type=click.Choice(launcher.MODES), default="hot", show_default=True,
              help="How calls leave the enclave.")  # fmt: skip
@click.option(
    "--policy",
    "policy_name",
    metavar="FILE|NAME",
    help="What the program may do; a file, or the name of one that is shipped.",
)
@click.option(
    "--policy-hook",
    metavar="MODULE:FUNCTION",
    help="A Python function that is asked about the calls of --policy-hook-calls, too.",
)
@click.option(
    "--policy-hook-calls",
    metavar="CALLS",
    help="Calls and @groups, parted by commas, that the hook is asked about.",
)
@click.option("--policy-hook-timeout", type=click.FloatRange(0.001, 3600), default=1.0,
              show_default=True, metavar="SECONDS",
              help="What the hook has not answered by then is refused.")  # fmt: skip
@click.option(
    "--learn-policy",
    type=_PATH,
    metavar="FILE",
    help="Write the smallest policy that allows what the program does.",
)
@click.option("--stats", is_flag=True, help="At the end, print calls, times and bytes by name.")
@click.option(
    "--log",
    type=_PATH,
    metavar="FILE",
    help="Append what was refused to FILE instead of standard error.",
)
@click.option("--stats-file", type=_PATH, hidden=True)
def run_command(
    command: tuple[str, ...],
    mode: str,
    policy_name: str | None,
    policy_hook: str | None,
    policy_hook_calls: str | None,
    policy_hook_timeout: float,
    learn_policy: Path | None,
    stats: bool,
    log: Path | None,
    stats_file: Path | None,
) -> None:
    """Run PROGRAM, unmodified, in a process enclave that may not do I/O itself.

    Every system call that reaches outside leaves it as an ocall to a host process, which owns all
    descriptors, and which a policy tells what to allow.
    """
    with failing("run", command[0]):
        options = Options(mode=mode, policy=read_policy(policy_name))
        options.hook = _hook(policy_hook, policy_hook_calls, policy_hook_timeout)
        program = resolve(list(command))
        if options.policy is None:
            _say_what_is_not_contained(learn_policy is not None)
        if stats_file is not None:
            with stats_file.open("w+b") as target:
                options.stats_fd = target.fileno()
                _run(program, options, learn_policy, False, log)
        else:
            _run(program, options, learn_policy, stats, log)
