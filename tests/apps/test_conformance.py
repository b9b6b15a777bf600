# SPDX-License-Identifier: Apache-2.0
"""System calls return in the enclave what they return outside: results, errnos, contents."""

from __future__ import annotations

from pathlib import Path

import enclosed
import pytest


@pytest.mark.parametrize("mode", enclosed.MODES)
@pytest.mark.parametrize("name", ["files", "sockets", "ends", "process", "signalfds", "mixed"])
def test_a_program_tells_the_same_in_the_enclave(name: str, mode: str, tmp_path: Path) -> None:
    path = enclosed.program(name)
    told = []
    for folder, command in (
        ("outside", [path]),
        ("inside", enclosed.inside(mode, path)),
    ):
        place = tmp_path / folder
        place.mkdir()
        done = enclosed.run([*command, str(place)])
        assert done.returncode == 0, done.stderr
        told.append(done.stdout.splitlines())
    outside, inside = told
    assert len(outside) > 70
    differences = [pair for pair in zip(outside, inside, strict=False) if pair[0] != pair[1]]
    assert not differences
    assert len(inside) == len(outside)


#: Of none of them the program does anything that is refused.
POLICIES = {
    "totals": """
IPIngressBytesMax = "1G"
IPEgressBytesMax = ["1G", "127.0.0.0/8 500M"]
IOReadBytesMax = "1G"
IOWriteBytesMax = "1G"
""",
    "addresses": """
IPAddressDeny = "198.51.100.0/24"
SocketBindDeny = "ipv4:7"
RestrictAddressFamilies = "~AF_PACKET"
SystemCallFilter = "~ptrace"
""",
}


# An address that is cut short cannot be judged, and is refused instead of wrong: not `sockets`.
@pytest.mark.parametrize(
    ("name", "policy"), [("sockets", "totals"), ("ends", "totals"), ("ends", "addresses")]
)
def test_a_policy_that_refuses_nothing_changes_nothing(
    name: str, policy: str, tmp_path: Path
) -> None:
    path = enclosed.program(name)
    rules = tmp_path / "rules.toml"
    rules.write_text(POLICIES[policy])
    told = []
    *start, dashes = enclosed.inside("hot")
    for folder, command in (
        ("outside", [path]),
        ("inside", [*start, "--policy", str(rules), dashes, path]),
    ):
        place = tmp_path / folder
        place.mkdir()
        done = enclosed.run([*command, str(place)])
        assert done.returncode == 0, done.stderr
        told.append(done.stdout.splitlines())
    assert told[1] == told[0]
