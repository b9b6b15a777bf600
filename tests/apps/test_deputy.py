# SPDX-License-Identifier: Apache-2.0
"""The host process does for the program what the program may do, and never lends it itself."""

from __future__ import annotations

from pathlib import Path

import enclosed
import pytest


@pytest.mark.claim("D-DEPUTY")
@pytest.mark.parametrize("mode", enclosed.MODES)
def test_a_hostile_program_reaches_nothing_of_its_host(
    mode: str, tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    done = enclosed.run(enclosed.inside(mode, enclosed.program("deputy"), str(tmp_path)))
    lines = dict(line.rsplit(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    assert done.returncode == 0, done.stderr
    # The attempts knew whom to attack, and got to the last one.
    assert "host known" in done.stdout
    assert "writable shared mapping" in lines
    record_property("count:attempts on the host process", len(lines))
    assert [what for what, result in lines.items() if result == "reached"] == []
    # Refused by our tables, each with the errno that they say, not by some accident.
    expected = {
        "/proc/self/mem": "EACCES", "link to host mem": "EACCES", "relative to /proc": "EACCES",
        "host environ": "ENOENT", "directory link to self environ": "ENOENT", "fork": "ENOSYS",
        "ptrace": "EPERM", "execve": "ENOSYS", "io_uring_setup": "ENOSYS", "unshare": "EPERM",
        "kill host": "EPERM", "push into the terminal": "ENOTTY",
        "TCP_ZEROCOPY_RECEIVE": "ENOPROTOOPT", "SO_ATTACH_FILTER": "ENOPROTOOPT",
        "SO_ATTACH_REUSEPORT_CBPF": "ENOPROTOOPT", "SO_PEERPIDFD": "ENOPROTOOPT",
        "IPT_SO_SET_REPLACE": "ENOPROTOOPT", "MPTCP_FULL_INFO": "ENOPROTOOPT",
        "ordinary options": "fine",
    }  # fmt: skip
    assert {what: lines[what] for what in expected} == expected


@pytest.mark.claim("D-DEPUTY")
@pytest.mark.parametrize("mode", enclosed.MODES)
def test_pointers_inside_arguments_are_not_followed(
    mode: str, record_property: pytest.RecordProperty
) -> None:
    done = enclosed.run(enclosed.inside(mode, enclosed.program("deputy_pointers")))
    lines = done.stdout.splitlines()
    assert lines.pop() == "pointers tried"
    record_property("count:attempts on the host process", len(lines))
    outcomes = [line.rsplit(": ", 1) for line in lines]
    # EFAULT: the kernel went to look, in the memory of the host process.
    assert [line for line in outcomes if line[1] in ("reached", "EFAULT")] == []
    refusals = {"ENOPROTOOPT", "ENOTTY", "EPERM", "EINVAL"}
    assert {errno for _, errno in outcomes} == refusals


@pytest.mark.claim("D-BOUNDARY")
def test_a_program_without_the_shim_can_do_nothing(tmp_path: Path) -> None:
    source = tmp_path / "static.c"
    source.write_text(
        "#include <fcntl.h>\n#include <unistd.h>\n"
        f'int main(void) {{ return open("{tmp_path}/made", O_CREAT | O_WRONLY, 0600) < 0; }}\n'
    )
    program = tmp_path / "static"
    assert enclosed.run(["gcc", "-static", "-o", str(program), str(source)]).returncode == 0
    # Past the launcher, which refuses it with a better message.
    from hotcalls.apps import launcher

    done = enclosed.run([str(launcher.host_path()), "--", str(program), "static"])
    assert done.returncode == 125
    assert "before it was in its enclave" in done.stderr
    assert not (tmp_path / "made").exists()
