# SPDX-License-Identifier: Apache-2.0
"""Every system call of the table, good and bad, does in the enclave what it does outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import enclosed
import pytest

from hotcalls.apps import stats, syscalls

PROGRAMS = ("calls_files", "calls_sockets", "calls_process")
#: Under rules of paths every name is judged, and opened in another way.
RULED = ("ruled",)
#: How `calls_process` ends: by exit_group, with a status of its own.
STATUS = {"calls_process": 7}


class Told(NamedTuple):
    """What a program told, and what its host process counted."""

    lines: list[str]
    status: int
    counted: dict[str, int]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Told]:
    """Run each program outside, and in an enclave in each mode."""
    found = {}
    for name in PROGRAMS:
        for mode in ("outside", *enclosed.MODES, *RULED[: name == "calls_files"]):
            folder = tmp_path_factory.mktemp(f"{name}-{mode}")
            kept = folder.with_suffix(".stats")
            command = [enclosed.program(name), str(folder)]
            if mode != "outside":
                *start, dashes = enclosed.inside("hot" if mode in RULED else mode)
                if mode in RULED:
                    rules = folder.with_suffix(".toml")
                    rules.write_text('ReadWritePaths = "/"\n')
                    start += ["--policy", str(rules)]
                command = [*start, "--stats-file", str(kept), dashes, *command]
            done = enclosed.run(command)
            counted = {}
            if kept.exists():
                calls = stats.decode(kept.read_bytes()).calls
                counted = {call: entry.count for call, entry in calls.items()}
            found[name, mode] = Told(done.stdout.splitlines(), done.returncode, counted)
    return found


@pytest.mark.parametrize(
    ("name", "mode"),
    [(name, mode) for name in PROGRAMS for mode in enclosed.MODES] + [("calls_files", *RULED)],
)
def test_results_and_errnos_are_those_of_the_kernel(
    name: str, mode: str, told: dict[tuple[str, str], Told]
) -> None:
    outside, inside = told[name, "outside"], told[name, mode]
    assert len(outside.lines) > 200
    pairs = zip(outside.lines, inside.lines, strict=False)
    assert [pair for pair in pairs if pair[0] != pair[1]] == []
    assert len(inside.lines) == len(outside.lines)
    assert inside.status == outside.status == STATUS.get(name, 0)


def test_no_call_of_the_table_is_left_out(
    told: dict[tuple[str, str], Told], record_property: Callable[[str, object], None]
) -> None:
    # A line begins with the call that was made for it (calls.h).
    made = {
        line.partition("(")[0].partition(":")[0]
        for name in PROGRAMS
        for line in told[name, "hot"].lines
    }
    table = {call.name for call in syscalls.table() if call.how != "refused"}
    assert table - made == set()
    assert made - table == set()
    record_property("count:calls of the table made", len(made))
    record_property("count:results compared", sum(len(each.lines) for each in told.values()))


@pytest.mark.claim("D-BOUNDARY")
def test_what_is_passed_is_made_by_the_host_process(told: dict[tuple[str, str], Told]) -> None:
    counted: dict[str, int] = {}
    for name in PROGRAMS:
        for call, count in told[name, "hot"].counted.items():
            counted[call] = counted.get(call, 0) + count
    passed = {call.name for call in syscalls.table() if call.reaches_host()}
    assert {name for name in passed if counted.get(name, 0) == 0} == set()


@pytest.mark.claim("D-BOUNDARY")
def test_what_is_refused_fails_with_the_errno_of_the_table() -> None:
    refused = [call for call in syscalls.table() if call.how == "refused"]
    done = enclosed.run(enclosed.inside("hot", enclosed.program("refused")))
    assert done.returncode == 0, done.stderr
    found = dict(line.split() for line in done.stdout.splitlines())
    assert len(found) > 50
    assert found == {call.name: call.errno for call in refused}


def test_an_unsupported_call_is_named_once_and_fails() -> None:
    script = (
        "import ctypes, errno\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "for number in (240, 240, 289, 499, 99999):\n"
        "    print(libc.syscall(number, 0, 0, 0), errno.errorcode[ctypes.get_errno()])\n"
    )
    done = enclosed.run(enclosed.inside("hot", "/usr/bin/python3", "-c", script))
    assert done.stdout.splitlines() == ["-1 ENOSYS"] * 2 + ["-1 EINVAL"] + ["-1 ENOSYS"] * 2
    assert done.stderr.splitlines() == [
        "hotcalls: system call mq_open is not supported in an enclave (ENOSYS)",
        "hotcalls: system call 499 is not supported in an enclave (ENOSYS)",
    ]
