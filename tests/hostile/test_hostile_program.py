# SPDX-License-Identifier: Apache-2.0
"""A program under `hotcalls run` that asks its host for what would harm the host."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import native

PROGRAMS = Path(__file__).resolve().parent / "programs"


def run(program: Path, *arguments: str) -> dict[str, str]:
    """Run a program in an enclave; its lines, by what stands before the colon."""
    hotcalls = Path(sys.executable).parent / "hotcalls"
    done = subprocess.run(
        [str(hotcalls), "run", "--", str(program), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(line.split(": ", 1) for line in done.stdout.splitlines())


@pytest.mark.claim("D-DEPUTY")
def test_option_of_a_socket_with_an_address_in_it_is_never_the_hosts_address() -> None:
    options = native.build("options", [PROGRAMS / "options.c"], ["-O1", "-w"])
    assert run(options) == {
        "receive to an address": "ENOPROTOOPT",
        "received": "12",
        "filter": "ENOPROTOOPT",
        "filter of a group": "ENOPROTOOPT",
        "tables": "ENOPROTOOPT",
        "memory of XDP": "ENOPROTOOPT",
        "descriptor of a process": "ENOPROTOOPT",
        "descriptors of processes": "ENOPROTOOPT",
        "ordinary": "done",
    }
