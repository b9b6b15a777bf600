# SPDX-License-Identifier: Apache-2.0
"""Memory for secrets: out of reach even for root where the kernel has memfd_secret."""

from __future__ import annotations

import re
import resource
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Probes

SECRET = "the secret of the target process"
MEMFD, LOCKED = "1", "2"


def kind_of(line: str) -> str:
    found = re.search(r"kind=(\d)", line)
    assert found is not None
    return found[1]


@pytest.mark.hardware  # memfd_secret may be off in the kernel
@pytest.mark.claim("L-ROOT")
def test_root_reads_ordinary_memory_and_not_secret_memory(probes: Probes) -> None:
    if not probes.as_root:
        pytest.skip("needs root")
    target = probes.start(
        probes.path("target"), "harden", "address", "secret", "65536", "anonymize", "lock", "wait"
    )
    plain = target.line("address").split()[1]
    if kind_of(target.line("reserved")) != MEMFD:
        pytest.skip(f"no memfd_secret here: {target.lines[-1]}")
    hidden = target.line("secret-address").split()[1]
    target.line("waiting")

    def as_root(address: str) -> list[str]:
        return probes.run(probes.path("attack"), "look", str(target.pid), address, as_root=True)

    assert f"content {SECRET}" in as_root(plain)
    found = as_root(hidden)
    assert "mem 0" in found
    assert not [line for line in found if line.startswith("content")]
    assert "mem-read 0" not in found
    assert "process_vm_readv 0" not in found


def test_limit_of_locked_memory_is_explained(probes: Probes) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (4096, 4096))

    if not probes.as_root and resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] < 4096:
        pytest.skip("the limit is lower already")
    target = probes.start(
        probes.path("target"), "harden", "secret", "65536", "anonymize", "lock",
        preexec_fn=limit,
    )  # fmt: skip
    line = target.line("reserved")
    assert kind_of(line) == LOCKED
    assert "why=" in line
    assert "RLIMIT_MEMLOCK" in line or "memfd_secret" in line
    assert target.line("lock") == "lock ok"


@pytest.mark.parametrize("size", [0, 1 << 30])
def test_impossible_size_is_refused(probes: Probes, size: int) -> None:
    lines = probes.run(probes.path("target"), "harden", "secret", str(size), check=False)
    assert lines[-1].startswith("secret failed secret 22 ")


def test_allocator_wipes_and_never_overlaps(probes: Probes) -> None:
    lines = probes.run(probes.path("inside"), "secrets")
    assert lines[-1] == "secrets ok"


def test_free_of_a_foreign_pointer_aborts(probes: Probes) -> None:
    target = probes.start(probes.path("inside"), "secret-misuse")
    assert target.process.wait(60) == -6
