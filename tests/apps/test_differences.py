# SPDX-License-Identifier: Apache-2.0
"""What a program sees of its own files and descriptors is the same in the enclave, with rules of
paths that are not about them and without."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import enclosed
import pytest

from hotcalls.apps import launcher

#: And how much each has to say at least.
PROGRAMS = {"locks": 100, "numbered": 50}


def told(command: Sequence[str]) -> list[str]:
    """Return what a program tells, line by line."""
    done = enclosed.run(command, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return str(done.stdout).splitlines()


@pytest.fixture(scope="module", params=sorted(PROGRAMS))
def outside(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the program, and line by line what it tells where it runs natively."""
    path = enclosed.program(request.param)
    lines = told([path, str(tmp_path_factory.mktemp(request.param))])
    assert len(lines) >= PROGRAMS[request.param]
    return [path, *lines]


@pytest.mark.parametrize("rules", [False, True], ids=["free", "ruled"])
@pytest.mark.parametrize("mode", enclosed.MODES)
def test_files_by_name_and_number_are_those_outside(
    mode: str, rules: bool, outside: list[str], tmp_path: Path
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(f'ReadOnlyPaths = "{tmp_path}/no"\nInaccessiblePaths = "{tmp_path}/none"\n')
    folder = tmp_path / "folder"
    folder.mkdir()
    command = enclosed.inside(mode, outside[0], str(folder))
    if rules:
        command[command.index("--") : 0] = ["--policy", str(policy)]
    assert told(command) == outside[1:]


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user is root's")
@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_an_ordinary_user_sees_the_same(name: str) -> None:
    """Who may not look into the program's directory in /proc, as it is closed to others."""
    host = launcher.host_path()
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        folder = Path(place)
        folder.chmod(0o755)
        for part in ("bin/hotcalls-run", "lib/libhotcalls_shim.so"):
            (folder / part).parent.mkdir()
            shutil.copy(host.parent.parent / part, folder / part)
        shutil.copy(enclosed.program(name), folder / name)
        for side in ("outside", "inside"):
            (folder / side).mkdir()
            (folder / side).chmod(0o777)
        program = str(folder / name)
        outside = told([*become, program, str(folder / "outside")])
        start = [str(folder / "bin/hotcalls-run"), "--", program]
        assert told([*become, *start, program, str(folder / "inside")]) == outside
