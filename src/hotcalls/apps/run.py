# SPDX-License-Identifier: Apache-2.0
"""``hotcalls run``: an unmodified program in a process enclave.

Host only.  Checks the command line, then becomes the host process (``hotcalls-run``, C) by exec,
so that no Python stays resident.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from hotcalls.apps.program import ProgramError, resolve

PACKAGE = Path(__file__).resolve().parent.parent
HOST = PACKAGE / "bin" / "hotcalls-run"
NOT_CONTAINED = (
    "hotcalls run: no --policy: the program can read, write and connect to what you can; it cannot "
    "start programs, trace processes or load code that did not come through its host"
)
MODES = ("hot", "switch", "switch-unpinned")


def host_arguments(
    command: Sequence[str],
    *,
    mode: str = "hot",
    options: Sequence[str] = (),
) -> list[str]:
    """Return the command line of the host process for a program.

    Parameters
    ----------
    command
        The program and its arguments.
    mode
        ``hot``; ``switch``: every call hands the core over; ``switch-unpinned``: the same without
        keeping both sides on one core.
    options
        More options of ``hotcalls-run``, such as ``--policy-fd 5``.

    Raises
    ------
    ProgramError
        The program cannot run in an enclave.
    """
    program = resolve(list(command))
    return [str(HOST), "--mode", mode, *options, "--", program.path, *program.argv]


def become_host(arguments: list[str]) -> NoReturn:
    """Replace this process by the host process."""
    # Python ignores these; the program has to find them as its parent had them.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(arguments[0], arguments)


@click.command(
    "run", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@click.option(
    "--mode", type=click.Choice(MODES), default="hot", show_default=True, help="How calls are made."
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run_command(mode: str, command: tuple[str, ...]) -> None:
    """Run PROGRAM in a process enclave: its system calls leave as ocalls, and nothing else does.

    The program may not touch files, sockets or other processes by itself; a host process makes its
    system calls, and sees, counts and refuses them.  The exit status is the program's.
    """
    try:
        arguments = host_arguments(command, mode=mode)
    except ProgramError as error:
        click.echo(f"hotcalls run: {error}", err=True)
        sys.exit(error.exit_status)
    # In one line, what is not contained; to people only, as the program's standard error is its own.
    if sys.stderr.isatty():
        click.echo(NOT_CONTAINED, err=True)
    become_host(arguments)
