# SPDX-License-Identifier: Apache-2.0
"""Policies where they count: small programs that try what they may not, in an enclave."""

from __future__ import annotations

import platform
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hotcalls.apps import policy

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="hotcalls run needs x86-64")
#: Without threads of its own, site or bytecode: little that is not asked for.
PYTHON = [str(Path(sys.executable).resolve()), "-I", "-S", "-B", "-c"]


def run(
    *words: str, options: tuple[str, ...] = (), command: str = "run"
) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "hotcalls.cli", command, *options, "--", *words]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


def under(folder: Path, text: str) -> tuple[str, ...]:
    path = folder / "policy.toml"
    path.write_text(text)
    return ("--policy", str(path))


def test_a_file_that_is_not_allowed_is_refused_and_logged_once(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    options = under(tmp_path, f'InaccessiblePaths = "{secret}"\nSystemCallErrorNumber = "EIO"\n')
    done = run("cat", str(secret), str(secret), options=options)
    assert (done.returncode, done.stdout) == (1, "")
    refusals = [line for line in done.stderr.splitlines() if line.startswith("refused ")]
    assert refusals == [f"refused path read openat errno=5 {secret}"]
    assert "Input/output error" in done.stderr


def test_a_link_to_a_file_is_judged_by_where_it_leads(tmp_path: Path) -> None:
    secret, link = tmp_path / "secret", tmp_path / "link"
    secret.write_text("s")
    link.symlink_to(secret)
    done = run("cat", str(link), options=under(tmp_path, f'InaccessiblePaths = "{secret}"\n'))
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.claim("D-POLICY")
def test_no_file_is_made_through_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    """Where it leads has not been judged; without rules it is made, as natively."""
    link, target = tmp_path / "link", tmp_path / "target"
    link.symlink_to(target)
    done = run("tee", str(link), options=under(tmp_path, f'ReadWritePaths = "{tmp_path}"\n'))
    assert done.returncode == 1
    assert "File exists" in done.stderr
    assert not target.exists()
    assert run("tee", str(link)).returncode == 0
    assert target.exists()


def test_a_path_that_is_read_only_can_be_read_and_not_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old\n")
    options = under(tmp_path, f'ReadOnlyPaths = "{tmp_path}"\n')
    assert run("cat", str(file), options=options).stdout == "old\n"
    assert run("tee", str(file), options=options).returncode == 1
    assert run("rm", "-f", str(file), options=options).returncode == 1
    assert file.read_text() == "old\n"


def test_the_longest_prefix_decides(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    options = under(tmp_path, f'ReadOnlyPaths = "{tmp_path}"\nReadWritePaths = "{inner}"\n')
    assert run("touch", str(inner / "new"), options=options).returncode == 0
    assert run("touch", str(tmp_path / "new"), options=options).returncode == 1
    assert (inner / "new").exists()
    assert not (tmp_path / "new").exists()


def test_a_call_that_is_not_listed_fails_with_the_errno_of_the_policy(tmp_path: Path) -> None:
    options = under(tmp_path, 'SystemCallFilter = "~mkdirat:ENETDOWN"\n')
    done = run("mkdir", str(tmp_path / "new"), options=options)
    assert "Network is down" in done.stderr
    assert "refused call mkdirat errno=100" in done.stderr


def test_an_address_that_is_denied_is_not_connected_to(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        program = f"import socket; socket.create_connection(('127.0.0.1', {port}), 5); print('in')"
        allowed = under(tmp_path, f'IPAddressAllow = "127.0.0.1 {port}"\nIPAddressDeny = "any"\n')
        assert run(*PYTHON, program, options=allowed).stdout == "in\n"
        other = under(tmp_path, f'IPAddressAllow = "127.0.0.1 {port ^ 1}"\nIPAddressDeny = "any"\n')
        done = run(*PYTHON, program, options=other)
        assert "PermissionError" in done.stderr
        assert f"refused address connect connect errno=13 inet 127.0.0.1 {port}" in done.stderr


def test_a_port_that_is_not_allowed_is_not_bound(tmp_path: Path) -> None:
    options = under(tmp_path, 'SocketBindAllow = "1-9"\nSocketBindDeny = "any"\n')
    program = "import socket; socket.create_server(('127.0.0.1', 0))"
    assert "PermissionError" in run(*PYTHON, program, options=options).stderr


def test_a_learnt_policy_lets_the_same_run_pass_and_another_not(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1\n")
    two.write_text("2\n")
    learnt = tmp_path / "learnt.toml"
    first = run("cat", str(one), options=("--learn-policy", str(learnt)))
    assert (first.returncode, first.stdout) == (0, "1\n")
    assert str(one) in policy.load(learnt).read_only
    again = run("cat", str(one), options=("--policy", str(learnt)))
    assert (again.returncode, again.stdout) == (0, "1\n"), again.stderr
    assert run("cat", str(two), options=("--policy", str(learnt))).returncode == 1


def test_what_was_refused_goes_to_a_log_file(tmp_path: Path) -> None:
    log = tmp_path / "log"
    options = (*under(tmp_path, 'InaccessiblePaths = "/etc/passwd"\n'), "--log", str(log))
    done = run("cat", "/etc/passwd", options=options)
    assert "refused" not in done.stderr
    assert log.read_text() == "refused path read openat errno=13 /etc/passwd\n"


def test_the_policy_of_memcached_does_not_let_it_read_keys(tmp_path: Path) -> None:
    done = run("cat", "/etc/shadow", options=("--policy", "memcached"))
    assert done.stdout == ""
    assert "refused path read openat errno=13 /etc/shadow" in done.stderr


@pytest.mark.parametrize("options", [(), ("--learn-policy", "/dev/null")])
def test_the_status_of_the_program_becomes_that_of_the_command(options: tuple[str, ...]) -> None:
    assert run("sh", "-c", "exit 7", options=options).returncode == 7
    assert run("sh", "-c", "kill -TERM $$", options=options).returncode == -signal.SIGTERM


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("hotcalls-no-such-program",), 127, "not found in PATH"),
        (("/etc/passwd",), 126, "/etc/passwd: "),
        (("/",), 126, "/: "),
    ],
)
def test_a_program_that_cannot_run_is_named(words: tuple[str, ...], status: int, said: str) -> None:
    for command in ("run", "trace"):
        done = run(*words, command=command)
        assert done.returncode == status
        assert f"hotcalls {command}: " in done.stderr
        assert said in done.stderr


def test_an_unknown_option_is_wrong_usage() -> None:
    line = [sys.executable, "-m", "hotcalls.cli", "run", "--nosuch", "true"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "--nosuch" in done.stderr


def test_an_option_of_the_program_is_its_own() -> None:
    assert run("echo", "--policy", "x").stdout == "--policy x\n"


@pytest.mark.parametrize("way", ["inner/s", "inner/../inner/s", "link/s", "link/../inner/s"])
def test_a_socket_is_judged_by_where_its_name_leads(tmp_path: Path, way: str) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "link").symlink_to("inner")
    options = under(tmp_path, f'InaccessiblePaths = "{tmp_path}/inner"\n')
    program = f"import socket; socket.socket(socket.AF_UNIX).connect({str(tmp_path / way)!r})"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "inner" / "s"))
        server.listen()
        assert run(*PYTHON, program).returncode == 0
        done = run(*PYTHON, program, options=options)
    assert "PermissionError" in done.stderr
    assert f"refused path write connect errno=13 {tmp_path}/inner/s" in done.stderr
