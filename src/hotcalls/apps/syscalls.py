# SPDX-License-Identifier: Apache-2.0
"""The table of system calls of the enclave, and ``hotcalls syscalls``. Host side.

The table is generated with the shim, from the same description, and installed beside the package:
what stands here is what runs.
"""

from __future__ import annotations

import functools
import importlib.resources
import sys
from pathlib import Path

import click
import msgspec

from hotcalls.errors import HotcallsError

HOW = {
    "passed": "marshalled to the host process, which performs it",
    "by-hand": "passed, with arguments that the interface language cannot describe",
    "emulated": "answered inside the enclave, without leaving it",
    "native": "allowed in the enclave: it reaches nothing outside",
    "refused": "refused: it would reach around the host process",
}


class SyscallsError(HotcallsError):
    """The table of system calls is not there."""


class Parameter(msgspec.Struct, frozen=True):
    """What the message of a call carries: fd, dirfd, scalar, string, in, out or inout."""

    name: str
    kind: str


class Call(msgspec.Struct, frozen=True):
    """One system call."""

    name: str
    how: str
    why: str = ""
    number: int | None = None
    #: What a refused call fails with.
    errno: str = ""
    #: Of the message to the host process.
    parameters: list[Parameter] = []

    def reaches_host(self) -> bool:
        """Whether the host process performs it, so that a policy can refuse it."""
        return self.how in ("passed", "by-hand")


def table_path() -> Path:
    """Return where the table is."""
    return Path(str(importlib.resources.files("hotcalls") / "syscalls.json"))


@functools.cache
def table() -> tuple[Call, ...]:
    """Return every call, by name.

    Raises
    ------
    SyscallsError
        When the package was installed without its compiled part.
    """
    try:
        text = table_path().read_bytes()
    except FileNotFoundError as error:
        raise SyscallsError(
            f"{error.filename} is missing: install hotcalls with `make build` or from a wheel"
        ) from error
    return tuple(sorted(msgspec.json.decode(text, type=list[Call]), key=lambda call: call.name))


def decided_as(call: Call) -> str | None:
    """Return the name under which the host process is asked for `call`; None when it is not.

    A call that the shim makes of another one (``open`` of ``openat``) is decided as that one; the
    table names it in the first word of the reason.
    """
    if call.reaches_host():
        return call.name
    word = call.why.replace(",", " ").partition(" ")[0]
    target = next((each for each in table() if each.name == word), None)
    if call.how == "emulated" and target is not None and target.reaches_host():
        return target.name
    return None


@click.command("syscalls", epilog="Exit codes: 0 printed, 1 failed, 2 wrong usage.")
@click.argument("names", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
@click.option("--groups", "show_groups", is_flag=True, help="List the groups of a policy instead.")
@click.option("--how", type=click.Choice(sorted(HOW)), help="Only calls that are treated so.")
def syscalls_command(
    names: tuple[str, ...], as_json: bool, show_groups: bool, how: str | None
) -> None:
    """Print what becomes of each system call of a program in `hotcalls run`.

    NAMES choose some of them: a call, or a group of a policy such as @network-io.
    """
    if show_groups:
        _print_groups(as_json)
        return
    chosen = _chosen(names)
    calls = [
        call
        for call in table()
        if (not names or call.name in chosen) and (how is None or call.how == how)
    ]
    unknown = [name for name in chosen if name not in {call.name for call in table()}]
    for name in unknown if not any(name.startswith("@") for name in names) else []:
        raise SyscallsError(f"no system call is called `{name}` in the table")
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(calls), indent=1) + b"\n")
        return
    for call in calls:
        words = f"{call.how} {call.errno}".strip()
        click.echo(f"{call.name:24} {words:16} {call.why}".rstrip())
    if not names and how is None:
        click.echo()
        for word, meaning in HOW.items():
            count = sum(call.how == word for call in calls)
            click.echo(f"{count:4} {word:9} {meaning}")
        click.echo(
            "A policy can refuse what is passed, and what is made of it. A call that is not in the "
            "table gets ENOSYS, and one line in the log."
        )


def _chosen(names: tuple[str, ...]) -> set[str]:
    from hotcalls.apps import policy_groups

    chosen: set[str] = set()
    for name in names:
        if name.startswith("@"):
            if name not in policy_groups.groups():
                raise SyscallsError(
                    f"no group is called `{name}`; `hotcalls syscalls --groups` lists them"
                )
            chosen |= policy_groups.groups()[name]
        else:
            chosen.add(name)
    return chosen


def _print_groups(as_json: bool) -> None:
    from hotcalls.apps import policy_groups

    found = {name: sorted(members) for name, members in policy_groups.groups().items()}
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
        return
    for name, members in sorted(found.items()):
        click.echo(f"{name}: {' '.join(members)}")
