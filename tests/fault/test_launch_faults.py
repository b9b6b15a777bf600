# SPDX-License-Identifier: Apache-2.0
"""Every system call and allocation of a launch fails once: a typed error, and nothing is left."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import native

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "launch_faults.c"
KINDS = re.findall(r'^    \{"(\w+)", SYS_', SOURCE.read_text(), re.MULTILINE)
#: Kinds of which a launch is known to make at least one call.
CERTAIN = {
    "memfd_create", "ftruncate", "mmap", "pipe2", "pidfd_open", "fcntl", "openat", "clone",
    "execveat", "read", "write",
}  # fmt: skip


@pytest.mark.claim("P-FAULTS")
@pytest.mark.parametrize("kind", KINDS)
def test_launch_with_a_failing_call_is_a_typed_error_and_leaks_nothing(
    kind: str, record_property: Callable[[str, object], None]
) -> None:
    program = native.build("launch_faults", [SOURCE, *native.sources(*native.HOST)], native.PLAIN)
    environment = {
        "FAULT_IMAGE": str(native.build_enclave(HERE / "fault_enclave.c")),
        "HOTCALLS_LOADER": str(native.build_loader()),
    }
    done = native.run([program, kind], environment=environment)
    print(done.stdout)
    failed = int(re.findall(r"^failed=(\d+)", done.stdout, re.MULTILINE)[0])
    assert failed > 0 or kind not in CERTAIN
    record_property("count:faults injected", failed)


@pytest.mark.claim("P-FAULTS")
def test_launch_with_a_failing_allocation_is_a_typed_error_and_leaks_nothing(
    record_property: Callable[[str, object], None],
) -> None:
    source = HERE / "malloc_faults.c"
    program = native.build("malloc_faults", [source, *native.sources(*native.HOST)], native.PLAIN)
    done = native.run(
        [program],
        environment={
            "FAULT_IMAGE": str(native.build_enclave(HERE / "fault_enclave.c")),
            "HOTCALLS_LOADER": str(native.build_loader()),
        },
    )
    print(done.stdout)
    failed, refused = map(
        int, re.findall(r"^failed=(\d+) refused=(\d+)", done.stdout, re.MULTILINE)[0]
    )
    assert failed >= refused > 0
    record_property("count:faults injected", failed)
