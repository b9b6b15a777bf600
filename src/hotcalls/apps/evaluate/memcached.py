# SPDX-License-Identifier: Apache-2.0
"""memcached, loaded by `hotcalls-load`, checked by libmemcached's memcapable. Host side."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator

from hotcalls.apps.evaluate import clients, servers
from hotcalls.apps.evaluate.clients import Seen
from hotcalls.apps.evaluate.errors import EvaluateError
from hotcalls.apps.evaluate.model import Placement, Scenario, Verified
from hotcalls.apps.evaluate.modes import BUBBLEWRAP, Mode, seccomp_descriptor, wrap
from hotcalls.apps.evaluate.processes import running
from hotcalls.apps.evaluate.servers import Place, Subject

#: Debian calls it memccapable; elsewhere it is memcapable.
_CAPABLE = ("memcapable", "memccapable")
_VALUE = 2048
#: So many connections that a burst takes some milliseconds.
_BURST_CONNECTIONS = 1000


def _scenario(
    name: str,
    title: str,
    *,
    rate: float = 0,
    placement: Placement = "free",
    config: dict[str, str] | None = None,
    **load: float,
) -> Scenario:
    return Scenario(
        name=f"memcached-{name}",
        server="memcached",
        title=title,
        unit="requests/s",
        loop="open" if rate else "closed",
        placement=placement,
        config={"threads": "1", "socket": "tcp", **(config or {})},
        load={"value_size": _VALUE, **load, **({"rate": rate} if rate else {})},
        client="hotcalls-load",
    )


def _burst(name: str, title: str, connections: int) -> Scenario:
    return Scenario(
        name=f"memcached-{name}",
        server="memcached",
        title=title,
        unit="requests/s",
        loop="burst",
        config={"threads": "1", "socket": "tcp"},
        load={"value_size": _VALUE, "connections": connections},
        client="hotcalls-load",
    )


_QUICK = (
    _scenario("c1", "1 connection", connections=1, placement="apart"),
    _scenario("c50", "50 connections", connections=50),
    _burst(
        "burst",
        f"{_BURST_CONNECTIONS} connections, client off the processor",
        _BURST_CONNECTIONS,
    ),
    _scenario(
        "c1-together", "1 connection, client on its core", connections=1, placement="together"
    ),
    _scenario(
        "r2000",
        "2,000 requests/s, client on the other core",
        connections=10,
        rate=2000,
        placement="apart",
    ),
)
_FULL = (
    _scenario("c1-free", "1 connection, nobody pinned", connections=1),
    _scenario("c10", "10 connections", connections=10),
    _scenario("c200", "200 connections", connections=200),
    _scenario("c50-get", "50 connections, 9 gets a set", connections=50, gets=9),
    _scenario("c50-p8", "50 connections, 8 in flight each", connections=50, pipeline=8),
    _scenario("c1-p8", "1 connection, 8 in flight", connections=1, pipeline=8),
    _scenario("c50-t4", "50 connections, 4 threads", connections=50, config={"threads": "4"}),
    _scenario("c50-unix", "50 connections, unix socket", connections=50,
              config={"socket": "unix"}),
    _scenario("c1-unix", "1 connection, unix socket", connections=1, placement="apart",
              config={"socket": "unix"}),
    _scenario("r8000", "8,000 requests/s", connections=50, rate=8000),
    _scenario("r20000", "20,000 requests/s", connections=50, rate=20000),
)  # fmt: skip


class Memcached:
    """Debian's memcached, untouched."""

    name = "memcached"
    client = "hotcalls-load"
    writes = True

    def missing(self) -> str | None:
        """Say why it cannot be evaluated here; None when it can."""
        needed = [("memcached", "memcached"), ("taskset", "util-linux")]
        if not any(servers.program(name) for name in _CAPABLE):
            needed.append((_CAPABLE[0], "libmemcached-tools"))
        return servers.first_missing(needed)

    def version(self) -> str:
        """Return the version of the server."""
        return servers.output_of(["memcached", "--version"])

    def clients(self) -> str:
        """Return the versions of its clients."""
        return "hotcalls-load of this package"

    def scenarios(self, full: bool) -> list[Scenario]:
        """Return what to measure."""
        return [*_QUICK, *_FULL] if full else list(_QUICK)

    @contextlib.contextmanager
    def start(self, mode: Mode, config: dict[str, str], place: Place) -> Iterator[Subject]:
        """Run it."""
        command = ["memcached", "-m", "128", "-c", "4096", "-t", config["threads"]]
        if servers.is_root():
            command += ["-u", "nobody"]
        address: tuple[str, int] | str
        if config["socket"] == "unix":
            # Its directory is ours, and the server may be another user by then.
            place.folder.chmod(0o777)
            address = str(place.folder / "memcached.sock")
            command += ["-s", address, "-a", "0777"]
            target = [f"--unix={address}"]
        else:
            address = ("127.0.0.1", servers.free_port())
            command += ["-l", address[0], "-p", str(address[1]), "-U", "0"]
            target = [f"--connect={address[0]}:{address[1]}"]
        with contextlib.ExitStack() as stack:
            descriptor = None
            if mode.name == BUBBLEWRAP:
                descriptor = seccomp_descriptor()
                stack.callback(os.close, descriptor)
            line = wrap(
                mode, command, policy=place.policy, stats=place.stats, seccomp_fd=descriptor
            )
            started = stack.enter_context(
                running(
                    f"memcached ({mode.title})",
                    line,
                    place.folder / "log",
                    enclosed=mode.enclosed,
                    pass_fds=[] if descriptor is None else [descriptor],
                )
            )
            started.wait_ready(lambda: servers.answers(address))
            yield Subject(started, mode, target, place.stats)

    def measure(
        self, subject: Subject, scenario: Scenario, seconds: float, cpu: int | None
    ) -> Seen:
        """Run the client once."""
        if scenario.loop == "burst":
            rounds = max(5, round(seconds * 20))
            pids = subject.started.program()
            return clients.memcached_burst(subject.target, scenario.load, pids, rounds)
        return clients.memcached_load(subject.target, scenario.load, seconds, cpu)

    def verify(self, subject: Subject) -> Verified:
        """Run memcapable: every request of both protocols, and what must come back."""
        path = next((found for name in _CAPABLE if (found := servers.program(name))), None)
        if path is None:
            raise EvaluateError("memcapable is not installed (apt-get install libmemcached-tools)")
        port = subject.target[0].rpartition(":")[2]
        done = subprocess.run(
            [path, "-h", "127.0.0.1", "-p", port, "-t", "5"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return capable_result(subject.mode.name, done.stdout + done.stderr, done.returncode)


def capable_result(mode: str, text: str, status: int) -> Verified:
    """Return what memcapable printed: a line for each test, ending in ``[pass]`` or not."""
    tests = re.findall(r"^((?:ascii|binary) [a-z ]+?)\s+(\[.*)?$", text, re.MULTILINE)
    failed = [name for name, verdict in tests if verdict.strip() != "[pass]"]
    words = ", ".join(failed)
    if status != 0 and not failed:
        words = f"memcapable ended with status {status}: {text.strip().splitlines()[-1:]}"
        failed = ["memcapable"]
    return Verified("memcached", mode, "memcapable", len(tests) - len(failed), len(failed), words)
