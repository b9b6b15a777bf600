# SPDX-License-Identifier: Apache-2.0
"""What the host process opens for the program is never the host's own, nor what the policy refuses:
not by another name, not by being quick. And names go on meaning what they mean."""

from __future__ import annotations

import os
import re
import socket
import sys
from pathlib import Path

import enclosed
import pytest

ROUNDS = 20_000 if os.environ.get("HOTCALLS_TRUST") else 600


def run(mode: str, name: str, *words: str, folder: Path, options: tuple[str, ...] = ()) -> str:
    line = enclosed.inside(mode, enclosed.program(name), *words)
    at = line.index("--")
    done = enclosed.run([*line[:at], *options, *line[at:]], cwd=folder)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


@pytest.mark.claim("D-DEPUTY")
@pytest.mark.parametrize("mode", enclosed.MODES)
def test_descriptors_of_the_host_process_have_no_name(
    mode: str, tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    log = tmp_path / "log"
    log.write_text("kept\n")
    log.chmod(0o640)
    options = ("--log", str(log), "--stats")
    before = log.stat()
    lines = run(mode, "deputy_files", "names", folder=tmp_path, options=options).splitlines()
    tried = int(lines.pop().removeprefix("names tried: "))
    assert tried > 500
    record_property("count:attempts on the host process", tried)
    assert [line for line in lines if line.endswith(": reached")] == []
    assert not (tmp_path / "linked").exists()
    after = log.stat()
    assert log.read_text().startswith("kept\n")
    assert (after.st_mode, after.st_uid, after.st_nlink) == (before.st_mode, before.st_uid, 1)


@pytest.mark.claim("D-DEPUTY")
@pytest.mark.skipif(os.geteuid() != 0, reason="chroot is root's")
def test_procfs_does_not_become_the_root(tmp_path: Path) -> None:
    """What is only read is opened at once on the mount of the root."""
    text = """
import os, sys
for place in sys.argv[1:]:
    try:
        os.chroot(place)
    except OSError as error:
        print(place, error.strerror)
print(os.listdir("/"), open("/file").read())
"""
    (tmp_path / "file").write_text("here")
    program = [sys.executable, "-c", text, "/proc", f"/proc/{os.getpid()}", str(tmp_path)]
    done = enclosed.run(enclosed.inside("hot", *program))
    assert done.stdout.splitlines() == [
        "/proc Permission denied",
        f"/proc/{os.getpid()} Permission denied",
        "['file'] here",
    ], done.stderr


@pytest.mark.claim("D-DEPUTY", "D-POLICY")
@pytest.mark.skipif(os.geteuid() != 0, reason="chroot is root's")
@pytest.mark.parametrize("mode", enclosed.MODES)
def test_a_program_does_not_lead_the_host_by_a_proc_of_its_own(
    mode: str, tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    """Calls without a directory name by /proc what has been judged; in a new root, by whose?"""
    text = """
import os, socket, sys
os.chroot(sys.argv[1])
os.chdir("/")
os.makedirs("proc/self/fd")
for number in range(3, 100):
    os.symlink("/kept/file", f"proc/self/fd/{number}")
def attempt(what, call, *arguments):
    try:
        call(*arguments)
        print(what, "was done")
    except OSError as error:
        print(what, error.strerror)
attempt("marking", os.setxattr, "/other", "user.mark", b"1")
attempt("looking", os.getxattr, "/other", "user.secret")
attempt("listing", os.listxattr, "/other")
attempt("removing", os.removexattr, "/other", "user.secret")
attempt("cutting", os.truncate, "/other", 2)
attempt("connecting", socket.socket(socket.AF_UNIX).connect, "/socket")
attempt("changing root", os.chroot, "/folder")
attempt("seeing", os.lstat, "/proc/self/fd/0")
print(sorted(os.listdir("/")))
"""
    for name in ("kept", "folder"):
        (tmp_path / name).mkdir()
    for name in ("kept/file", "other"):
        (tmp_path / name).write_text("text")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        os.setxattr(tmp_path / "kept" / "file", "user.secret", b"secret")
        policy = tmp_path / "policy.toml"
        policy.write_text(f'InaccessiblePaths = "{tmp_path}/kept"\n')
        line = enclosed.inside(mode, sys.executable, "-c", text, str(tmp_path))
        at = line.index("--")
        done = enclosed.run([*line[:at], "--policy", str(policy), *line[at:]])
    assert done.returncode == 0, done.stderr
    told = dict(re.findall(r"^(\w+(?: root)?) (.*)$", done.stdout, re.MULTILINE))
    missing = "No such file or directory"
    for what in ("marking", "looking", "listing", "removing", "connecting", "changing root"):
        assert told[what] == missing, done.stdout
    record_property("count:calls by a name of the program's own /proc", len(told))
    assert os.listxattr(tmp_path / "kept" / "file") == ["user.secret"]
    assert (tmp_path / "kept" / "file").read_text() == "text"
    assert (told["cutting"], (tmp_path / "other").read_text()) == ("was done", "te")


ROOTED = """
import os, sys
root, outside = sys.argv[1:]
first = os.open("/", os.O_RDONLY)
def attempt(what, call, *arguments, **more):
    try:
        print(what, call(*arguments, **more))
    except OSError as error:
        print(what, error.strerror)
def read(name, **more):
    with open(name, opener=lambda path, flags: os.open(path, flags, **more)) as file:
        return file.read()
os.chroot(root)
os.chdir("/")
os.makedirs(outside[1:])
attempt("reading", read, "/no/file")
attempt("reading on", read, "../no/./file", dir_fd=os.open("/ok", os.O_RDONLY))
attempt("reading by the first root", read, f"{root[1:]}/no/file", dir_fd=first)
attempt("reading outside", read, f"{outside[1:]}/file", dir_fd=first)
attempt("looking", os.stat, "/no/file")
attempt("making", os.mkdir, "/no/made")
attempt("writing", os.open, "/kept/file", os.O_WRONLY | os.O_TRUNC)
attempt("moving", os.rename, "/kept/file", "/ok/moved")
attempt("reading what may be", read, "/ok/file")
attempt("reading what may not be written", read, "/kept/file")
os.makedirs("/ok/deep")
attempt("what was made", os.listdir, "/ok/deep")
total = os.open("/counted", os.O_WRONLY | os.O_CREAT)
attempt("counted", os.write, total, b"123456789")
attempt("counted on", os.write, total, b"1")
"""


@pytest.mark.claim("D-POLICY")
@pytest.mark.skipif(os.geteuid() != 0, reason="chroot is root's")
@pytest.mark.parametrize("mode", enclosed.MODES)
def test_rules_of_paths_hold_in_a_root_of_the_program(
    mode: str, tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    """From there on the kernel names what lies in that root by another name."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (outside, root / "no", root / "kept", root / "ok"):
        folder.mkdir(parents=True)
        (folder / "file").write_text(folder.name)
    policy = tmp_path / "policy.toml"
    policy.write_text(
        f'InaccessiblePaths = ["{root}/no", "{outside}"]\nReadOnlyPaths = "{root}/kept"\n'
        f'IOWriteBytesMax = "{root}/counted 8"\n'
    )
    line = enclosed.inside(mode, sys.executable, "-c", ROOTED, str(root), str(outside))
    at = line.index("--")
    done = enclosed.run([*line[:at], "--policy", str(policy), *line[at:]])
    assert done.returncode == 0, done.stderr
    refused = "Permission denied"
    lines = done.stdout.splitlines()
    assert lines == [
        f"reading {refused}",
        f"reading on {refused}",
        f"reading by the first root {refused}",
        f"reading outside {refused}",
        f"looking {refused}",
        f"making {refused}",
        f"writing {refused}",
        f"moving {refused}",
        "reading what may be ok",
        "reading what may not be written kept",
        "what was made []",
        "counted 8",
        "counted on Disk quota exceeded",
    ], done.stderr
    record_property("count:rules asked after chroot", len(lines))
    assert (root / "kept" / "file").read_text() == "kept"


HANDLES = """
import os
for flags in (0, os.O_CREAT, os.O_CREAT | os.O_EXCL, os.O_WRONLY | os.O_TRUNC):
    for name in ("ok/link", "ok/missing", "kept/file"):
        try:
            print(name, os.fstat(os.open(name, os.O_PATH | flags)).st_size)
        except OSError as error:
            print(name, error.strerror)
"""


@pytest.mark.claim("D-POLICY")
def test_a_bare_handle_is_of_what_was_judged_whatever_else_is_asked_of_it(tmp_path: Path) -> None:
    """The kernel takes no notice of most flags beside O_PATH: of O_EXCL, say."""
    for name in ("ok", "kept", "no"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "ok" / "link").symlink_to("../no/file")
    policy = tmp_path / "policy.toml"
    policy.write_text(f'InaccessiblePaths = "{tmp_path}/no"\nReadOnlyPaths = "{tmp_path}/kept"\n')
    line = enclosed.inside("hot", sys.executable, "-c", HANDLES)
    at = line.index("--")
    done = enclosed.run([*line[:at], "--policy", str(policy), *line[at:]], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    each = ["ok/link Permission denied", "ok/missing No such file or directory", "kept/file 4"]
    assert done.stdout.splitlines() == each * 4
    assert not (tmp_path / "ok" / "missing").exists()
    assert (tmp_path / "kept" / "file").read_text() == "kept"


@pytest.mark.claim("D-DEPUTY", "D-POLICY")
@pytest.mark.parametrize("mode", enclosed.MODES)
def test_a_link_that_changes_meanwhile_leads_nowhere_that_is_refused(
    mode: str, tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    for name in ("ok", "no"):
        folder = tmp_path / name
        folder.mkdir()
        for file, text in (("kept", "kept"), ("victim", ""), ("secret", "")):
            (folder / file).write_text(text)
    refused = tmp_path / "no"
    (refused / "secret").write_text("SECRET")
    policy = tmp_path / "policy.toml"
    policy.write_text(f'InaccessiblePaths = "{refused}"\n')
    (refused / "kept").chmod(0o644)
    before = refused.stat().st_mtime_ns
    options = ("--policy", str(policy), "--log", str(tmp_path / "log"))
    out = run(mode, "deputy_files", "race", str(ROUNDS), folder=tmp_path, options=options)
    (told,) = re.findall(r"^raced: (\d+), refused: (\d+)$", out, re.MULTILINE)
    raced, stopped = map(int, told)
    assert 0 < stopped < raced  # the link did change under it
    record_property("count:races with a link", raced)
    assert "reached" not in out
    assert sorted(os.listdir(refused)) == ["kept", "secret", "victim"]
    assert (refused / "kept").read_text() == "kept"
    assert (refused / "kept").stat().st_mode & 0o777 == 0o644
    assert refused.stat().st_mtime_ns == before  # nothing was made there and removed again


def raced(out: str) -> int:
    """How often a number was met that somebody else was using; nothing was reached by it."""
    (told,) = out.splitlines()
    tried = int(told.removeprefix("numbers tried: "))
    assert tried > 0
    return tried


@pytest.mark.claim("D-DEPUTY", "D-POLICY")
@pytest.mark.parametrize("mode", enclosed.MODES)
def test_a_number_that_is_replaced_meanwhile_is_not_what_was_judged(
    mode: str, tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "ours").touch()
    policy = tmp_path / "policy.toml"
    policy.write_text(f'ReadOnlyPaths = "{tmp_path}/kept"\n')
    options = ("--policy", str(policy))
    out = run(mode, "deputy_numbers", "replace", str(ROUNDS), folder=tmp_path, options=options)
    record_property("count:races with a number", raced(out))


@pytest.mark.claim("D-DEPUTY")
@pytest.mark.parametrize("mode", enclosed.MODES)
def test_a_number_that_was_closed_meanwhile_is_of_nothing_of_the_host(
    mode: str, tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    out = run(mode, "deputy_numbers", "use", str(ROUNDS), folder=tmp_path)
    record_property("count:races with a number", raced(out))


@pytest.mark.parametrize("rules", [False, True])
@pytest.mark.parametrize("mode", enclosed.MODES)
def test_names_mean_what_they_mean_outside(mode: str, rules: bool, tmp_path: Path) -> None:
    """Though most calls are made through handles, and under rules all are."""
    policy = tmp_path / "policy.toml"
    policy.write_text(f'InaccessiblePaths = "{tmp_path}/no"\n')
    options = ("--policy", str(policy)) if rules else ()
    for name in ("outside", "inside"):
        (tmp_path / name).mkdir()
    outside = enclosed.run([enclosed.program("names"), str(tmp_path / "outside")])
    inside = run(mode, "names", str(tmp_path / "inside"), folder=tmp_path, options=options)
    lines = outside.stdout.splitlines()
    assert len(lines) > 80
    assert inside.splitlines() == lines


SENDING = """
import os, socket
path = "socket"
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(path)
sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
for _ in range(400):
    sender.sendmsg([b"x"], [], 0, path)
    assert receiver.recv(1) == b"x"
"""


@pytest.mark.claim("D-DEPUTY")
def test_a_message_to_a_name_leaves_no_descriptor_in_the_host_process(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(f'InaccessiblePaths = "{tmp_path}/no"\n')
    python = str(Path(sys.executable).resolve())
    line = enclosed.inside("switch", python, "-I", "-S", "-B", "-c", SENDING)
    at = line.index("--")
    limited = ["prlimit", "--nofile=300:1000", *line[:at], "--policy", str(policy), *line[at:]]
    done = enclosed.run(limited, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
