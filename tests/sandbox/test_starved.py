# SPDX-License-Identifier: Apache-2.0
"""Whatever memory libseccomp lacks, no filter comes of it that allows more than was meant."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import native

HERE = Path(__file__).resolve().parent
FILTER = native.NATIVE / "sandbox_filter.c"


def build(name: str, filter_source: Path) -> Path:
    # No sanitizer: it has an allocator of its own.
    return native.build(
        name,
        [HERE / "starved.c", filter_source, native.NATIVE / "sandbox_error.c"],
        ("-O1", "-w", "-Dseccomp_load=starved_load"),
        compiler=(native.CC,),
        link="-lseccomp",
    )


def starve(program: Path, first: int, step: int, memory: str) -> tuple[dict[str, int], list[str]]:
    """How many allocations ended in what, and what was allowed or said that should not be."""
    done = subprocess.run(
        [program, str(first), str(step), memory],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    *wrong, last = done.stdout.splitlines()
    return {what: int(count) for count, what in re.findall(r"(\d+) (\w+)", last)}, wrong


@pytest.mark.claim("G-SYSCALLS")
@pytest.mark.parametrize("memory", ["once", "on"])
def test_filter_made_without_memory_allows_nothing_more(
    memory: str, record_property: pytest.RecordProperty
) -> None:
    ends, wrong = starve(build("starved", FILTER), 0, 1 if native.LONG else 16, memory)
    assert wrong == []
    assert ends["errors"] > 0
    record_property("count:allocations failed", sum(ends.values()))


def test_filter_that_allows_more_is_found(tmp_path: Path) -> None:
    """The check can fail: with a row more, once memory has run out."""
    changed = tmp_path / "sandbox_filter.c"
    text = FILTER.read_text()
    loading = "        int result = seccomp_load(filter);\n"
    assert text.count(loading) == 1
    changed.write_text(text.replace(loading, "        more(filter);\n" + loading).replace(
        "int sandbox_install_filter(",
        "static void more(scmp_filter_ctx filter)\n{\n"
        "    static int made;\n"
        "    if (made++ != 0)\n"
        "        (void)seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ptrace), 0);\n}\n\n"
        "int sandbox_install_filter(",
        1,
    ))  # fmt: skip
    _, wrong = starve(build("starved_more", changed), 0, 16, "once")
    assert any("allows 101 " in line for line in wrong)
