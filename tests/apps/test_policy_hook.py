# SPDX-License-Identifier: Apache-2.0
"""A function of the user that is asked about calls: what it is told, and that silence refuses."""

from __future__ import annotations

import errno
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hotcalls.apps import policy_hook
from hotcalls.apps.launcher import Options, started
from hotcalls.apps.policy_hook import ALLOW, Answer, Call, Hook, HookError, refuse
from hotcalls.apps.program import resolve

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="hotcalls run needs x86-64")
PYTHON = [str(Path(sys.executable).resolve()), "-I", "-S", "-B", "-c"]
HEAD = "import errno, os, time\nfrom hotcalls.apps.policy_hook import ALLOW, refuse\n"


def run(
    folder: Path, function: str, calls: str, *words: str, options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    rules = folder / "rules.py"
    rules.write_text(HEAD + function)
    line = [sys.executable, "-m", "hotcalls.cli", "run", "--policy-hook", f"{rules}:decide"]
    line += ["--policy-hook-timeout", "60"]
    return subprocess.run(
        [*line, "--policy-hook-calls", calls, *options, "--", *words],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def asked(hook_calls: list[str], *words: str) -> list[Call]:
    """Run a program, and return what the hook was asked."""
    seen: list[Call] = []

    def decide(call: Call) -> Answer:
        seen.append(call)
        return ALLOW

    hook = Hook(decide, hook_calls, timeout_s=60)
    with started(resolve(list(words)), Options(hook=hook)) as process:
        assert process.wait(60) == 0
    return seen


def refusals(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("refused ")]


def test_the_hook_is_told_the_real_path_the_flags_and_the_use(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    seen = asked(["openat"], "cat", str(tmp_path / "link"))
    (call,) = [call for call in seen if call.path == str(tmp_path / "file")]
    assert (call.name, call.use) == ("openat", "read")
    assert call.arguments["flags"] & os.O_ACCMODE == os.O_RDONLY
    assert {call.name for call in seen} == {"openat"}
    seen = asked(["open"], "touch", str(tmp_path / "new"))
    (call,) = [call for call in seen if call.path == str(tmp_path / "new")]
    assert call.use == "write"
    assert call.arguments["flags"] & os.O_CREAT


@pytest.mark.claim("D-POLICY")
def test_a_file_that_appears_while_it_is_being_made_is_judged_and_opened(tmp_path: Path) -> None:
    """Of several that make one file without insisting to be the first, each gets it."""
    path = tmp_path / "log"
    seen: list[bool] = []

    def decide(call: Call) -> Answer:
        if call.path == str(path):
            seen.append(path.exists())
            path.touch()
        return ALLOW

    words = [*PYTHON, f"open({str(path)!r}, 'a').write('said')"]
    hook = Hook(decide, ["openat"], timeout_s=60)
    with started(resolve(words), Options(hook=hook)) as process:
        assert process.wait(60) == 0
    assert path.read_text() == "said"
    assert seen == [False, True]


def test_the_hook_is_told_addresses_and_sizes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        moves = f"""
import socket
s = socket.create_connection(("127.0.0.1", {port}))
s.send(b"12345")
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind(("127.0.0.1", 0))
u.sendto(b"1234567", ("127.0.0.1", 9))
"""
        seen = asked(["connect", "bind", "sendto"], *PYTHON, moves)
    found = [(call.name, call.use, call.address, call.port) for call in seen]
    assert found == [
        ("connect", "connect", "127.0.0.1", port),
        ("sendto", "call", None, None),
        ("bind", "bind", "127.0.0.1", 0),
        ("sendto", "send", "127.0.0.1", 9),
    ]
    assert [call.arguments["len"] for call in seen if call.name == "sendto"] == [5, 7]
    assert seen[0].family == socket.AF_INET


def test_a_call_with_two_names_is_asked_about_each(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    seen = asked(["renameat2"], *PYTHON, f"import os; os.rename('{tmp_path}/a', '{tmp_path}/b')")
    assert [(call.use, call.path) for call in seen] == [
        ("write", f"{tmp_path}/a"),
        ("write", f"{tmp_path}/b"),
    ]


@pytest.mark.claim("D-POLICY")
def test_what_is_not_allowed_fails_with_the_errno_of_the_hook_and_leaves_a_line(
    tmp_path: Path,
) -> None:
    for name in "ab":
        (tmp_path / name).write_text(name)
    function = """
def decide(call):
    return refuse(errno.ENOSPC) if call.path.endswith("/b") else ALLOW
"""
    done = run(tmp_path, function, "openat", "cat", str(tmp_path / "a"), str(tmp_path / "b"))
    assert (done.returncode, done.stdout) == (1, "a")
    assert "No space left" in done.stderr
    assert refusals(done) == [f"refused hook openat errno=28 {tmp_path}/b"]


def test_the_policy_decides_first(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(f'InaccessiblePaths = "{tmp_path}/b"\n')
    (tmp_path / "b").write_text("b")
    function = 'def decide(call):\n    assert not call.path.endswith("/b")\n    return ALLOW\n'
    options = ("--policy", str(tmp_path / "policy.toml"))
    done = run(tmp_path, function, "openat", "cat", str(tmp_path / "b"), options=options)
    assert refusals(done) == [f"refused path read openat errno=13 {tmp_path}/b"]


@pytest.mark.claim("D-ARGUMENTS")
def test_what_was_judged_is_what_is_opened(tmp_path: Path) -> None:
    """While the hook thinks, somebody puts another file there."""
    (tmp_path / "file").write_text("judged")
    (tmp_path / "other").write_text("other")
    function = f"""
def decide(call):
    if call.path == "{tmp_path}/file":
        os.rename("{tmp_path}/other", "{tmp_path}/file")
    return ALLOW
"""
    done = run(tmp_path, function, "openat", "cat", str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "other"
    assert done.stdout == "judged"


def test_a_hook_that_raises_refuses_and_is_told_once(tmp_path: Path) -> None:
    function = "def decide(call):\n    return {}[call.name]\n"
    words = [str(tmp_path / name) for name in "abc"]
    done = run(tmp_path, function, "mkdirat", "mkdir", *words)
    assert done.returncode == 1
    assert not (tmp_path / "a").exists()
    assert done.stderr.count("Traceback") == 1
    assert "KeyError: 'mkdirat'" in done.stderr
    assert len(refusals(done)) == 3


@pytest.mark.parametrize("value", ["None", "True", "1", "refuse(0)"])
def test_a_hook_that_returns_no_answer_refuses(tmp_path: Path, value: str) -> None:
    function = f"def decide(call):\n    return {value}\n"
    done = run(tmp_path, function, "mkdirat", "mkdir", str(tmp_path / "a"))
    assert done.returncode == 1
    assert not (tmp_path / "a").exists()
    assert "the hook r" in done.stderr


@pytest.mark.claim("D-POLICY")
def test_a_hook_that_hangs_makes_one_call_wait_and_refuses_all(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text('SystemCallErrorNumber = "EIO"\n')
    options = ("--policy-hook-timeout", "0.2", "--policy", str(tmp_path / "policy.toml"))
    words = [str(tmp_path / name) for name in "abc"]
    function = "def decide(call):\n    time.sleep(1000)\n"
    done = run(tmp_path, function, "mkdirat", "mkdir", *words, options=options)
    assert done.returncode == 1
    assert done.stderr.count("Input/output error") == 3
    assert refusals(done) == [
        "refused hook mkdirat errno=5 no answer in time",
        "refused hook mkdirat errno=5 the hook still has not answered the question before",
    ]


def test_a_hook_that_answers_late_is_asked_again(tmp_path: Path) -> None:
    function = f"""
def decide(call):
    if call.path.endswith("/a"):
        while not os.path.exists("{tmp_path}/go"):
            time.sleep(0.01)
        with open("{tmp_path}/gone", "w"):
            pass
    return ALLOW
"""
    moves = f"""
import os, time
try:
    os.mkdir("{tmp_path}/a")
except PermissionError:
    open("{tmp_path}/go", "w").close()
while not os.path.exists("{tmp_path}/c"):
    try:
        os.mkdir("{tmp_path}/c")
    except PermissionError:
        time.sleep(0.01)
"""
    options = ("--policy-hook-timeout", "0.2")
    done = run(tmp_path, function, "mkdirat", *PYTHON, moves, options=options)
    assert done.returncode == 0, done.stderr
    # The late answer allowed what had been refused, and is not taken for another one.
    assert not (tmp_path / "a").exists()


@pytest.mark.claim("D-POLICY")
def test_when_the_process_of_the_hook_is_killed_its_calls_are_refused(tmp_path: Path) -> None:
    function = """
import signal
def decide(call):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    moves = f"""
import os
said = []
for name in "ab":
    try:
        os.mkdir("{tmp_path}/" + name)
    except PermissionError:
        said.append(name)
with open("{tmp_path}/said.new", "w") as file:
    file.write(repr(said))
os.rename("{tmp_path}/said.new", "{tmp_path}/said")
"""
    done = run(tmp_path, function, "mkdirat", *PYTHON, moves)
    assert done.returncode == -signal.SIGKILL
    until = time.monotonic() + 30
    while not (tmp_path / "said").exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert (tmp_path / "said").read_text() == "['a', 'b']"


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (("--policy-hook", "rules"), 2, "belong together"),
        (("--policy-hook-calls", "openat"), 2, "belong together"),
        (("--policy-hook", "rules", "--policy-hook-calls", "openat"), 3, "write MODULE:FUNCTION"),
        (("--policy-hook", "nosuch:f", "--policy-hook-calls", "openat"), 3, "No module named"),
        (("--policy-hook", "no.py:f", "--policy-hook-calls", "openat"), 3, "No such file"),
        (("--policy-hook", "r:f", "--policy-hook-calls", "openat"), 3, "write r.py:f for a file"),
        (("--policy-hook", "r.py:f", "--policy-hook-calls", "openat"), 3, "r.py has no f"),
        (("--policy-hook", "r.py:n", "--policy-hook-calls", "openat"), 3, "must be a function"),
        (("--policy-hook", "r.py:a", "--policy-hook-calls", "openat"), 3, "async function"),
        (("--policy-hook", "bad.py:f", "--policy-hook-calls", "openat"), 3, "SyntaxError"),
        (("--policy-hook", "r.py:g", "--policy-hook-calls", "opena"), 3, "did you mean `open"),
        (("--policy-hook", "r.py:g", "--policy-hook-calls", "futex"), 3, "cannot be refused"),
        (("--policy-hook", "r.py:g", "--policy-hook-calls", "@nosuch"), 3, "no group is called"),
        (("--policy-hook-timeout", "0"), 2, "0.001"),
    ],
)
def test_a_hook_that_cannot_be_asked_is_named_before_the_program_starts(
    tmp_path: Path, options: tuple[str, ...], status: int, said: str
) -> None:
    (tmp_path / "r.py").write_text("n = 3\nasync def a(call): pass\ndef g(call): pass\n")
    (tmp_path / "bad.py").write_text("def f(:\n")
    line = [sys.executable, "-P", "-m", "hotcalls.cli"] if sys.version_info >= (3, 11) else [
        str(Path(sys.executable).parent / "hotcalls")
    ]  # fmt: skip
    done = subprocess.run(
        [*line, "run", *options, "--", "touch", "made"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "made").exists()


def test_an_answer_is_an_errno_that_exists() -> None:
    assert refuse() == Answer(errno.EPERM)
    for bad in (0, -1, 4096, True, "EPERM"):
        with pytest.raises(ValueError, match="is a number from 1 to 4095"):
            refuse(bad)  # type: ignore[arg-type]
    with pytest.raises(HookError, match="cannot be called"):
        Hook(3, ["openat"])  # type: ignore[arg-type]
    with pytest.raises(HookError, match="about no call"):
        Hook(lambda call: ALLOW, [])


def test_a_question_of_another_version_is_refused() -> None:
    for message in (b"", b"\0" * 50, b"\xff" * 200):
        with pytest.raises((ValueError, KeyError)):
            policy_hook.decode(message)


def test_the_examples_of_the_guide_do_what_it_says(tmp_path: Path, repository: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (repository / "docs" / "run.md").read_text(), re.S)
    rules, library = (block for block in blocks if "policy_hook" in block)
    (tmp_path / "rules.py").write_text(rules)
    (tmp_path / "partners").write_text("192.0.2.1\n")
    line = [sys.executable, "-m", "hotcalls.cli", "run", "--policy-hook-calls", "openat,connect"]
    line += ["--policy-hook", f"{tmp_path}/rules.py:decide", "--policy-hook-timeout", "60", "--"]
    line += PYTHON
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connects = f"import socket; socket.create_connection(('127.0.0.1', {port}))"
        done = subprocess.run(
            [*line, connects], capture_output=True, text=True, timeout=60, check=False
        )
    assert "Network is unreachable" in done.stderr
    assert f"refused hook connect errno=101 inet 127.0.0.1 {port}" in done.stderr
    (tmp_path / "library.py").write_text(library)
    subprocess.run([sys.executable, str(tmp_path / "library.py")], check=True, timeout=60)
