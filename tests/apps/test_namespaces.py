# SPDX-License-Identifier: Apache-2.0
"""Rules of paths speak of our own mount namespace: a file of another one is not judged by a name
that means something else there, however it is reached."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import enclosed
import pytest

#: Covers the folder `ok` with a file system of its own, and stays in there.
OTHER = """
mount -t tmpfs none ok && echo theirs >ok/secret && echo theirs >ok/victim && cd ok || exit 1
echo ready
exec sleep 60
"""
#: Tries names; says what came of each.
PROGRAM = """
import array, json, os, socket, sys
other, ok, no, sending = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
found = {}

def attempt(what, function):
    try:
        found[what] = str(function())
    except OSError as error:
        found[what] = type(error).__name__

def read(path, **options):
    fd = os.open(path, os.O_RDONLY, **options)
    text = os.read(fd, 100).decode().strip()
    os.close(fd)
    return text

there = f"/proc/{other}/root{ok}"
attempt("read ours", lambda: read(f"{ok}/secret"))
attempt("read what is refused", lambda: read(f"{no}/secret"))
for way in (f"/proc/{os.getppid()}/root", "/proc/self/root", f"/proc/{other}/root"):
    who = "the other's" if str(other) in way else "our"
    attempt(f"read by {who} root what is refused", lambda: read(f"{way}{no}/secret"))
attempt("read by our root", lambda: read(f"/proc/self/root{ok}/secret"))
attempt("read by root", lambda: read(f"{there}/secret"))
attempt("read by cwd", lambda: read(f"/proc/{other}/cwd/secret"))
attempt("stat", lambda: os.stat(f"{there}/secret"))
attempt("write", lambda: os.open(f"{there}/victim", os.O_WRONLY | os.O_TRUNC))
attempt("make", lambda: os.open(f"{there}/made", os.O_WRONLY | os.O_CREAT))
attempt("truncate", lambda: os.truncate(f"{there}/victim", 0))
attempt("remove", lambda: os.unlink(f"{there}/victim"))
attempt("make a folder", lambda: os.mkdir(f"{there}/folder"))
attempt("rename", lambda: os.rename(f"{there}/victim", f"{there}/moved"))
attempt("link", lambda: os.symlink("x", f"{there}/link"))
os.symlink(f"{there}/secret", f"{ok}/way")
attempt("read by a link", lambda: read(f"{ok}/way"))
connection = socket.socket(fileno=int(sending))
_, data, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(4))
folder = array.array("i", data[0][2])[0]
attempt("read in a folder that was sent", lambda: read("secret", dir_fd=folder))
open(f"{ok}/gone", "w").write("gone")
gone = os.open(f"{ok}/gone", os.O_RDONLY)
os.unlink(f"{ok}/gone")
attempt("read what has no name", lambda: read(f"/proc/self/fd/{gone}"))
memory = os.memfd_create("memory")
os.write(memory, b"memory")
attempt("read memory", lambda: read(f"/proc/self/fd/{memory}"))
print(json.dumps(found))
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("ok", "no"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "secret").write_text("ours\n")
    return tmp_path


@pytest.fixture
def other(place: Path) -> Iterator[int]:
    """A process of the same user in a mount namespace of its own."""
    start = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", OTHER]
    with subprocess.Popen(start, cwd=place, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            pytest.skip("no user namespaces here")
        yield process.pid
        process.kill()


@pytest.mark.claim("D-POLICY", "D-DEPUTY")
@pytest.mark.parametrize("mode", enclosed.MODES)
def test_a_file_of_another_mount_namespace_is_refused_by_any_name(
    mode: str, place: Path, other: int, record_property: pytest.RecordProperty
) -> None:
    policy = place / "policy.toml"
    policy.write_text(
        f'InaccessiblePaths = "{place}"\nReadWritePaths = "{place}/ok"\n'
        f'ReadOnlyPaths = ["/", "{place}/policy.toml"]\n'
    )
    ours, theirs = socket.socketpair()
    folder = os.open(f"/proc/{other}/cwd", os.O_RDONLY | os.O_DIRECTORY)
    with ours, theirs:
        socket.send_fds(ours, [b"x"], [folder])
        os.close(folder)
        python = str(Path(sys.executable).resolve())
        words = [str(other), f"{place}/ok", f"{place}/no", str(theirs.fileno())]
        line = enclosed.inside(mode, python, "-I", "-S", "-B", "-c", PROGRAM, *words)
        at = line.index("--")
        done = enclosed.run(
            [*line[:at], "--policy", str(policy), *line[at:]], pass_fds=[theirs.fileno()]
        )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    record_property("count:attempts on another namespace", len(found))
    fine = {
        "read ours": "ours", "read by our root": "ours", "read what has no name": "gone",
        "read memory": "memory",
    }  # fmt: skip
    assert {what: found.pop(what) for what in fine} == fine
    assert set(found.values()) == {"PermissionError"}, found
    assert f"refused path elsewhere openat errno=13 {place}/ok/secret" in done.stderr
    there = Path(f"/proc/{other}/root{place}/ok")
    assert sorted(path.name for path in there.iterdir()) == ["secret", "victim"]
    assert (there / "victim").read_text() == "theirs\n"
