# SPDX-License-Identifier: Apache-2.0
"""What every evaluated server offers: versions, scenarios, starting, measuring, checking.

Host side. One module for each server implements `Application`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hotcalls.apps.evaluate.clients import Seen
from hotcalls.apps.evaluate.model import Scenario, Verified
from hotcalls.apps.evaluate.modes import Mode
from hotcalls.apps.evaluate.processes import Started


@dataclass(frozen=True)
class Place:
    """Where a server may keep its files, and which policy it runs under.

    Parameters
    ----------
    folder
        Fresh and empty; removed afterwards.
    policy
        For the enclave; None for what the user may do.
    stats
        Where ``hotcalls run`` writes its statistics.
    """

    folder: Path
    policy: Path | None
    stats: Path | None


@dataclass
class Subject:
    """A server that runs in one mode, ready to be asked."""

    started: Started
    mode: Mode
    #: How clients find it: options of the load generator, a URL, an address.
    target: list[str]
    stats: Path | None = None


class Application(Protocol):
    """A server that can be evaluated."""

    name: str
    client: str
    #: Whether it writes into its folder, or only reads there.
    writes: bool

    def missing(self) -> str | None:
        """Say why it cannot be evaluated here; None when it can."""

    def version(self) -> str:
        """Return the version of the server."""

    def clients(self) -> str:
        """Return the versions of its clients."""

    def scenarios(self, full: bool) -> list[Scenario]:
        """Return what to measure."""

    def start(
        self, mode: Mode, config: dict[str, str], place: Place
    ) -> contextlib.AbstractContextManager[Subject]:
        """Run it."""

    def measure(
        self, subject: Subject, scenario: Scenario, seconds: float, cpu: int | None
    ) -> Seen:
        """Run the client once, on `cpu` when that is not None."""

    def verify(self, subject: Subject) -> Verified:
        """Check its answers."""


def program(name: str) -> str | None:
    """Return the path of a program, also where ordinary users do not look for servers."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")


def first_missing(programs: Sequence[tuple[str, str]]) -> str | None:
    """Say which of ``(program, Debian package)`` is not there."""
    for name, package in programs:
        if program(name) is None:
            return f"{name} is not installed (apt-get install {package})"
    return None


def output_of(command: Sequence[str]) -> str:
    """Return the first line that a program prints when it is asked for its version."""
    done = subprocess.run(list(command), capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else "unknown"


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(address: tuple[str, int] | str) -> bool:
    """Whether somebody accepts connections at `address`: a TCP address or a socket's path."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(address)
        except OSError:
            return False
        return True


def is_root() -> bool:
    """Whether this process may do everything."""
    return os.geteuid() == 0
