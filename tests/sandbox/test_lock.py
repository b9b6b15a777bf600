# SPDX-License-Identifier: Apache-2.0
"""Stage 2: a locked process does what sandbox_table.h says, and nothing else.

The errno is improbable on purpose: seeing it proves that the filter refused, not the kernel for
some other reason. What the kernel would refuse anyway must not pass for a working filter.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import secrets
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Probes

DENIED = errno.ESRMNT
INTERPRETER = 256
#: uretprobe and uprobe: the kernel exempts them from every filter. Called by anybody but its own
#: trampolines, the one raises SIGILL and the other fails with ENXIO.
EXEMPT = {335, 336} if platform.machine() == "x86_64" else set()
X86_64 = platform.machine() == "x86_64"
NATIVE = Path(__file__).resolve().parents[2] / "native"


def rules(probes: Probes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in probes.run(probes.path("inside"), "rules")]


@pytest.mark.parametrize("argument", [-1, 0, 1, 4096])
@pytest.mark.claim("G-SYSCALLS")
def test_system_call_without_a_row_is_denied(probes: Probes, argument: int) -> None:
    """Every number: those in use, those not yet in use, and far outside."""
    tried = set()
    for first, last in ((0, 600), (1 << 20, (1 << 20) + 8), ((1 << 30) - 2, (1 << 30) - 1)):
        lines = probes.run(probes.path("inside"), "sweep", str(first), str(last), str(argument))
        for line in lines:
            number, kind, result, error = line.split()
            assert (kind, result, int(error)) == ("result", "-1", DENIED), line
            tried.add(int(number))
    in_table = {rule["number"] for rule in rules(probes) if rule["group"] != INTERPRETER}
    assert tried | in_table | EXEMPT >= set(range(601))


@pytest.mark.parametrize("argument", [-1, 0])
def test_system_call_with_a_row_does_what_the_row_says(probes: Probes, argument: int) -> None:
    """All arguments alike: what a row without conditions allows must reach the kernel."""
    table = rules(probes)
    outcomes: dict[int, tuple[str, int]] = {}
    for line in probes.run(probes.path("inside"), "each", str(argument)):
        number, kind, *values = line.split()
        outcomes.setdefault(int(number), (kind, int(values[-1])))
    numbers = {rule["number"] for rule in table if rule["group"] != INTERPRETER}
    assert set(outcomes) == {number for number in numbers if number >= 0} | EXEMPT
    for number in EXEMPT:
        assert outcomes[number] in {
            ("result", DENIED),
            ("result", errno.ENXIO),
            ("signal", signal.SIGILL),
        }
    for rule in table:
        if rule["conditions"] or rule["number"] not in outcomes:
            continue
        kind, value = outcomes[rule["number"]]
        if rule["errno"] != 0:
            assert (kind, value) == ("result", rule["errno"]), rule
        else:
            assert (kind, value) != ("result", DENIED), rule
            assert (kind, value) != ("signal", signal.SIGSYS), rule


@pytest.mark.skipif(not X86_64, reason="only x86-64 has these ways into the kernel")
@pytest.mark.parametrize(("way", "count"), [("x32", 548), ("int80", 11)])
@pytest.mark.claim("G-ENTRIES")
def test_other_way_into_the_kernel_kills(probes: Probes, way: str, count: int) -> None:
    """SIGSYS from the filter; SIGSEGV where the kernel has no 32-bit entry at all."""
    lines = probes.run(probes.path("inside"), way)
    assert len(lines) == count
    fatal = {f"signal {signal.SIGSYS:d}"} | ({"signal 11"} if way == "int80" else set())
    assert {line.split(" ", 1)[1] for line in lines} <= fatal


@pytest.mark.claim("G-SYSCALLS", "G-CODE", "G-PROCESSES", "G-CHANNEL")
def test_attempt_to_get_out_is_denied(probes: Probes) -> None:
    """Calls with arguments that would work, were they let through."""
    lines = probes.run(probes.path("inside"), "attempts")
    assert lines.pop() == "attempts ended"
    assert len(lines) > 120
    let_through = [line for line in lines if line.split()[1:] != ["-1", str(DENIED)]]
    assert not let_through


@pytest.mark.claim("G-SYSCALLS")
def test_condition_holds_on_both_sides(probes: Probes) -> None:
    lines = probes.run(probes.path("inside"), "conditions", check=False)
    assert not [line for line in lines if line.startswith("wrong")]
    assert lines[-1] == "conditions wrong=0"


@pytest.mark.claim("G-SYSCALLS")
def test_filter_in_the_kernel_agrees_with_the_table(probes: Probes) -> None:
    """Random arguments at the borders of the conditions; the seed is printed."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    lines = probes.run(probes.path("inside"), "model", str(seed), "100000", check=False)
    counts = dict(re.findall(r"(\w+)=(\d+)", lines[-1]))
    assert counts["wrong"] == "0", (seed, lines[:20])
    assert all(int(counts[kind]) > 1000 for kind in ("denied", "absent", "allowed")), counts


def test_ordinary_code_works_inside(probes: Probes) -> None:
    """Threads, memory, time, signals; what is refused fails instead of ending the process."""
    lines = probes.run(probes.path("inside"), "life")
    assert lines[-1] == "life ended"
    assert not [line for line in lines if line.endswith(" bad")]
    assert "printf ok" in lines


def test_abort_ends_with_its_signal(probes: Probes) -> None:
    target = probes.start(probes.path("inside"), "abort")
    assert target.process.wait(60) == -signal.SIGABRT


def test_interpreter_group_adds_its_rows(probes: Probes) -> None:
    assert probes.run(probes.path("inside"), "close") == ["close 0"]


def test_thread_started_before_the_lock_is_covered(probes: Probes) -> None:
    lines = probes.run(probes.path("target"), "harden", "lock-with-thread")
    assert any(line.startswith("locked ") and " threads=2 " in line for line in lines)
    assert f"older-thread openat=-1 errno={DENIED}" in lines


def test_process_made_dumpable_while_loading_is_refused(probes: Probes) -> None:
    lines = probes.run(probes.path("target"), "harden", "make-dumpable", "lock", check=False)
    assert lines[-1].startswith("lock failed dumpable 0 ")


def test_child_process_left_by_loading_is_refused(probes: Probes) -> None:
    target = probes.start(probes.path("target"), "harden", "child", "lock")
    child = int(target.line("child").split()[1])
    try:
        assert target.line("lock").startswith("lock failed child-process 0 ")
    finally:
        os.kill(child, signal.SIGKILL)
    lines = probes.run(probes.path("target"), "harden", "ended-child", "lock")
    assert lines[-1] == "lock ok"


@pytest.mark.hardware  # io_uring may be off in the kernel
@pytest.mark.claim("G-ENTRIES")
def test_ring_that_the_kernel_serves_is_refused(probes: Probes) -> None:
    """A submission thread of io_uring would go on opening and connecting, unfiltered."""
    lines = probes.run(probes.path("target"), "harden", "ring", "lock", check=False)
    if "ring -1" in lines:
        pytest.skip("no io_uring for unprivileged users here")
    assert lines[-1].startswith("lock failed io-uring 0 ")


def test_lock_without_harden_is_refused(probes: Probes) -> None:
    lines = probes.run(probes.path("target"), "lock", check=False)
    assert lines[-1].startswith("lock failed no-new-privs 0 ")
    assert "sandbox_harden() first" in lines[-1]


def test_lock_reports_what_it_did(probes: Probes) -> None:
    lines = probes.run(probes.path("target"), "harden", "lock")
    report = dict(re.findall(r"(\w+)=(\d+)", next(s for s in lines if s.startswith("locked"))))
    assert int(report["threads"]) == 1
    assert int(report["rules"]) >= 50
    assert int(report["landlock"]) >= 0


@pytest.mark.hardware  # Landlock may be off in the kernel
@pytest.mark.parametrize("user", ["unprivileged", "root"])
def test_what_stands_behind_the_filter_refuses_too(probes: Probes, user: str) -> None:
    """Landlock, capabilities, PR_SET_MDWE, closed descriptors: with the filter left out."""
    if user == "root" and not probes.as_root:
        pytest.skip("needs root")
    as_root = user == "root"
    control = dict(
        line.split() for line in probes.run(probes.path("behind"), "open", as_root=as_root)
    )
    found = dict(
        line.split() for line in probes.run(probes.path("behind"), "locked", as_root=as_root)
    )
    landlock = int(found.pop("landlock"))
    mdwe = found.pop("mdwe") == "1"
    refused = {"no-capability": "0", "stray-closed": "0", "signal-self": "0"}
    assert control["stray-closed"] != "0"
    if landlock == 0:
        pytest.skip("this kernel has no Landlock")
    for name in ("read-file", "read-folder", "write-file", "make-folder"):
        refused[name] = str(errno.EACCES)
        assert control[name] == "0"
    refused["ptrace"] = str(errno.EPERM)
    if landlock >= 4:
        refused["connect-tcp"] = refused["bind-tcp"] = str(errno.EACCES)
    if landlock >= 6:
        refused["connect-abstract"] = refused["signal"] = str(errno.EPERM)
        assert (control["connect-abstract"], control["signal"]) == ("0", "0")
    if mdwe:
        refused["mprotect-exec"] = refused["mmap-write-exec"] = str(errno.EACCES)
        assert control["mprotect-exec"] == control["mmap-write-exec"] == "0"
    assert {name: found[name] for name in refused} == refused


def test_table_is_as_the_documentation_parses_it(probes: Probes) -> None:
    """The rows read from the text are the rows that are compiled."""
    text = (NATIVE / "sandbox_table.h").read_text()
    body = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    rows = re.findall(r'^SANDBOX_(ALLOW|ABSENT)\((\w+), (\w+),\s+"([^"]+)",', body, re.MULTILINE)
    compiled = rules(probes)
    assert [(call, why) for _, _, call, why in rows] == [
        (rule["call"], rule["why"]) for rule in compiled
    ]
    assert [kind == "ALLOW" for kind, *_ in rows] == [rule["errno"] == 0 for rule in compiled]


def test_denied_errno_is_not_in_the_table(probes: Probes) -> None:
    assert DENIED not in {rule["errno"] for rule in rules(probes)}
