# SPDX-License-Identifier: Apache-2.0
"""lighttpd, loaded by wrk and ab, checked by the digests of what is fetched. Host side."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import random
from collections.abc import Iterator
from pathlib import Path

from hotcalls.apps.evaluate import clients, servers
from hotcalls.apps.evaluate.clients import Seen
from hotcalls.apps.evaluate.errors import WrongReplyError
from hotcalls.apps.evaluate.model import Placement, Scenario, Verified
from hotcalls.apps.evaluate.modes import BUBBLEWRAP, Mode, seccomp_descriptor, wrap
from hotcalls.apps.evaluate.processes import running
from hotcalls.apps.evaluate.servers import Place, Subject

#: The paper's page, a file that no socket buffer holds, and a directory of small ones.
PAGE, LARGE, SMALL = 20 << 10, 1 << 20, 512
SMALL_FILES = 100


def _scenario(
    name: str,
    title: str,
    path: str,
    connections: int,
    *,
    client: str = "wrk",
    placement: Placement = "free",
) -> Scenario:
    return Scenario(
        name=f"lighttpd-{name}",
        server="lighttpd",
        title=title,
        unit="requests/s",
        loop="closed",
        placement=placement,
        config={"path": path},
        load={"connections": connections},
        client=client,
    )


_QUICK = (
    _scenario("c1", "20 KiB page, 1 connection", "page", 1, placement="apart"),
    _scenario("c50", "20 KiB page, 50 connections", "page", 50),
)
_FULL = (
    _scenario("c1-together", "20 KiB page, 1 connection, client on its core", "page", 1,
              placement="together"),
    _scenario("c10", "20 KiB page, 10 connections", "page", 10),
    _scenario("c200", "20 KiB page, 200 connections", "page", 200),
    _scenario("large-c10", "1 MiB file, 10 connections", "large", 10),
    _scenario("small-c50", "a small file, 50 connections", "small/7", 50),
    _scenario("close-c50", "20 KiB page, 50 connections, no keep-alive", "page", 50, client="ab"),
)  # fmt: skip


def content(name: str, size: int) -> bytes:
    """Return the bytes of one file: random, and the same each time."""
    return random.Random(name).randbytes(size)  # noqa: S311 (bytes, not a secret)


def write_site(folder: Path) -> dict[str, str]:
    """Write the files to serve; return the SHA-256 of each by its path."""
    files = {"page": PAGE, "large": LARGE, **{f"small/{i}": SMALL for i in range(SMALL_FILES)}}
    (folder / "small").mkdir(parents=True, exist_ok=True)
    digests = {}
    for name, size in files.items():
        data = content(name, size)
        (folder / name).write_bytes(data)
        digests[name] = hashlib.sha256(data).hexdigest()
    return digests


def configuration(site: Path, port: int) -> str:
    """Return a configuration file that serves `site`: no log, no module, nothing written."""
    return "\n".join(
        [
            f'server.document-root = "{site}"',
            'server.bind = "127.0.0.1"',
            f"server.port = {port}",
            "server.max-connections = 1024",
            "server.max-fds = 4096",
            "server.max-keep-alive-requests = 1000000",
            'mimetype.assign = ( "" => "application/octet-stream" )',
            "",
        ]
    )


class Lighttpd:
    """Debian's lighttpd, untouched."""

    name = "lighttpd"
    client = "wrk"
    writes = False

    def missing(self) -> str | None:
        """Say why it cannot be evaluated here; None when it can."""
        return servers.first_missing(
            [("lighttpd", "lighttpd"), ("wrk", "wrk"), ("taskset", "util-linux")]
        )

    def version(self) -> str:
        """Return the version of the server."""
        return servers.output_of([str(servers.program("lighttpd")), "-v"])

    def clients(self) -> str:
        """Return the versions of its clients."""
        found = servers.output_of(["wrk", "--version"]).partition(" Copyright")[0]
        if servers.program("ab"):
            found += "; " + servers.output_of(["ab", "-V"]).partition("<")[0].strip()
        return found

    def scenarios(self, full: bool) -> list[Scenario]:
        """Return what to measure."""
        chosen = [*_QUICK, *_FULL] if full else list(_QUICK)
        return [each for each in chosen if each.client != "ab" or servers.program("ab")]

    @contextlib.contextmanager
    def start(self, mode: Mode, config: dict[str, str], place: Place) -> Iterator[Subject]:
        """Run it. One server serves every scenario: `config` names only what is fetched."""
        site = place.folder / "site"
        write_site(site)
        port = servers.free_port()
        file = place.folder / "lighttpd.conf"
        file.write_text(configuration(site, port), encoding="utf-8")
        command = [str(servers.program("lighttpd")), "-D", "-f", str(file)]
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
                    f"lighttpd ({mode.title})",
                    line,
                    place.folder / "log",
                    enclosed=mode.enclosed,
                    pass_fds=[] if descriptor is None else [descriptor],
                )
            )
            started.wait_ready(lambda: servers.answers(("127.0.0.1", port)))
            yield Subject(started, mode, [f"http://127.0.0.1:{port}/"], place.stats)

    def measure(
        self, subject: Subject, scenario: Scenario, seconds: float, cpu: int | None
    ) -> Seen:
        """Run the client once."""
        url = subject.target[0] + scenario.config["path"]
        connections = int(scenario.load["connections"])
        if scenario.client == "ab":
            return clients.ab(url, connections, max(500, round(3000 * seconds)), cpu)
        return clients.wrk(url, connections, seconds, cpu)

    def verify(self, subject: Subject) -> Verified:
        """Fetch every file once, on one connection, and compare digests."""
        expected = write_site(subject.started.log.parent / "site")
        port = int(subject.target[0].rstrip("/").rpartition(":")[2])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        failed = []
        try:
            for name, digest in expected.items():
                connection.request("GET", f"/{name}")
                reply = connection.getresponse()
                body = reply.read()
                if reply.status != 200 or hashlib.sha256(body).hexdigest() != digest:
                    failed.append(name)
        except (OSError, http.client.HTTPException) as error:
            raise WrongReplyError(f"lighttpd ({subject.mode.title}): {error}") from error
        finally:
            connection.close()
        return Verified(
            "lighttpd",
            subject.mode.name,
            "SHA-256 of what was fetched",
            len(expected) - len(failed),
            len(failed),
            ", ".join(failed[:5]),
        )
