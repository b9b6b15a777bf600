# SPDX-License-Identifier: Apache-2.0
"""A host process of `hotcalls run` that answers a program's system calls with lies.

`lies.c` is the shim and such a host in one thread: every row of the table with every result that
says something, and the answers that have a form, field by field and at random.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import native

HERE = Path(__file__).resolve().parent
ROUNDS = "1000000" if os.environ.get("HOTCALLS_TRUST") else "3000"

pytestmark = [
    pytest.mark.skipif(platform.machine() != "x86_64", reason="hotcalls run needs x86-64"),
    pytest.mark.claim("D-LIES"),
    pytest.mark.claim("H-ANSWER"),
]


#: Each access of the shim to the channel is seen (lies_steps.h).
STEPS = ["-include", str(HERE / "steps.h"), "-Wno-shadow", "-DLIES_STEPS"]
STEPS += ["-Wl,--wrap=shim_die,--wrap=shim_copy"]


def lies(*arguments: str, steps: bool = False) -> dict[str, int]:
    """Run the program; what it counted."""
    # Without the wrappers, which would take the C library's calls of the test itself.
    shim = [path for path in native.sources("shim_*.c") if path.name != "shim_wrap.c"]
    flags = [*native.ADDRESS, f"-I{native.syscall_headers()}"]
    flags += STEPS if steps else []
    program = native.build("lies", [HERE / "lies.c", *shim], flags)
    done = native.run([program, *arguments], timeout=600)
    print(done.stdout)
    return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", done.stdout)}


def test_result_that_no_kernel_gives_never_reaches_the_program(
    record_property: Callable[[str, object], None],
) -> None:
    found = lies("rows")
    record_property("count:rows of system calls answered with lies", found["rows"])
    record_property("count:lies told to the shim", found["lies"])
    assert found["rows"] > 100
    assert found["believed"] > 1000
    assert found["refused"] > found["believed"]


def test_answer_with_a_form_is_sound_or_refused(
    record_property: Callable[[str, object], None],
) -> None:
    found = lies("answers", ROUNDS)
    record_property("count:fields of answers forged", found["fields"])
    record_property("count:lies told to the shim", found["lies"])
    assert found["forms"] == 13
    assert found["believed"] > found["forms"]
    assert found["refused"] > 1000


def test_channel_rewritten_before_any_access_of_the_shim_is_survived(
    record_property: Callable[[str, object], None],
) -> None:
    found = lies("steps", steps=True)
    record_property("count:rewrites of the channel", found["lies"])
    assert found["lies"] > 13 * found["places"]
    assert found["ended"] > 0
    assert found["refused"] > 100
