# SPDX-License-Identifier: Apache-2.0
"""A program under `hotcalls run` that rewrites the arguments of its calls, in the channel, while
its host process makes them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

import native

PROGRAMS = Path(__file__).resolve().parent / "programs"
ROUNDS = 20_000 if native.LONG else 400
#: Those that the policy refuses when they are rewritten; the others only get sizes that are wrong.
JUDGED = ("create", "read", "connect", "sendto", "sendmsg")


def sockets(stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    """Something to connect to and something to send to, at one port of loopback."""
    while True:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=4096))
        receiver = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        try:
            receiver.bind(listener.getsockname())
        except OSError:
            continue
        listener.setblocking(False)
        receiver.setblocking(False)
        return listener, receiver


def run(name: str, mode: str, policy: str, folder: Path, *words: object) -> str:
    """Run a program of this folder in an enclave, under a policy; what it prints."""
    program = native.build(name, [PROGRAMS / f"{name}.c"], ["-O1", "-w"])
    (folder / "policy.toml").write_text(policy)
    command = [Path(sys.executable).parent / "hotcalls", "run", "--mode", mode]
    command += ["--policy", folder / "policy.toml", "--log", folder / "log", "--", program, *words]
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600 if native.LONG else 240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.claim("D-ARGUMENTS", "D-POLICY")
@pytest.mark.parametrize("mode", ["hot", "switch"])
def test_arguments_that_are_rewritten_in_the_middle_of_a_call_reach_nothing_that_is_refused(
    mode: str, tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    for name, text in (("ok", "free"), ("no", "SECRET")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "kept").write_text(text)
    with ExitStack() as stack:
        allowed, refused = sockets(stack), sockets(stack)
        ports = [pair[0].getsockname()[1] for pair in (allowed, refused)]
        policy = (
            f'ReadOnlyPaths = "/"\nReadWritePaths = "{tmp_path}/ok"\n'
            f'InaccessiblePaths = "{tmp_path}/no"\n'
            f'IPAddressDeny = "any"\nIPAddressAllow = "127.0.0.1 {ports[0]}"\n'
        )
        out = run("rewrites", mode, policy, tmp_path, tmp_path, *ports, ROUNDS)
        for nobody_came in (refused[0].accept, lambda: refused[1].recv(100)):
            with pytest.raises(BlockingIOError):
                nobody_came()
        stack.enter_context(allowed[0].accept()[0])
        assert allowed[1].recv(100) == b"datagram"
    lines = dict(line.split(": ", 1) for line in out.splitlines())
    assert "reached" not in lines
    told, came = lines.pop("streamed").split(", ")
    assert told.split()[0] == came.split()[0]
    record_property("count:rewrites of arguments", int(lines.pop("rewrites")))
    counts = {name: [int(word) for word in line.split()] for name, line in lines.items()}
    for name in JUDGED:
        calls, stopped = counts[name]
        assert (name, 0 < stopped < calls) == (name, True)  # some were rewritten, and some were not
    calls = sum(calls for calls, _ in counts.values())
    record_property("count:calls whose arguments were rewritten", calls)
    assert os.listdir(tmp_path / "no") == ["kept"]
    assert (tmp_path / "no" / "kept").read_text() == "SECRET"


@pytest.mark.claim("D-ARGUMENTS", "D-DEPUTY")
@pytest.mark.parametrize("policy", ["", 'IOWriteBytesMax = "1G"\n'], ids=["free", "total"])
def test_message_that_is_made_shorter_than_what_went_already_sends_no_memory_behind_it(
    policy: str, tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    messages = 2000 if native.LONG else 100
    out = run("shrinks", "hot", policy, tmp_path, messages)
    assert out == f"{messages} messages, no more came than was sent\n"
    record_property("count:calls whose arguments were rewritten", messages)
