# SPDX-License-Identifier: Apache-2.0
"""openvpn between two network namespaces, one end in the enclave; iperf3 and ping through it.

Host side; needs root for the namespaces and the tun device. The namespaces have no name: they are
held by two sleeping processes that the kernel kills with this one, and go with them, so that even
`kill -9` leaves none behind.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from hotcalls.apps.evaluate import clients, servers
from hotcalls.apps.evaluate.clients import Seen
from hotcalls.apps.evaluate.errors import EvaluateError, WrongReplyError
from hotcalls.apps.evaluate.model import Placement, Scenario, Unit, Verified
from hotcalls.apps.evaluate.modes import Mode, wrap
from hotcalls.apps.evaluate.processes import Started, end, running
from hotcalls.apps.evaluate.servers import Place, Subject

#: Outside and inside of the tunnel. In namespaces of their own: they meet nobody's addresses.
_OUTER = ("10.77.0.1", "10.77.0.2")
_INNER = ("10.78.0.1", "10.78.0.2")
_PORT = 1194
_TRANSFER_BYTES = 4 << 20
_HOLD_S = 86400


def _scenario(
    name: str, title: str, unit: Unit, placement: Placement = "free", **load: float
) -> Scenario:
    return Scenario(
        name=f"openvpn-{name}",
        server="openvpn",
        title=title,
        unit=unit,
        loop="closed",
        placement=placement,
        load=load,
        client="ping" if unit == "pings/s" else "iperf3",
    )


_QUICK = (
    _scenario("ping", "ping flood, ends pinned", "pings/s", "apart", count=1500),
    _scenario("tcp", "TCP through the tunnel", "Mbit/s"),
)
_FULL = (
    _scenario("ping-free", "ping flood, nobody pinned", "pings/s", count=1500),
    _scenario("tcp-apart", "TCP through the tunnel, ends pinned", "Mbit/s", "apart"),
    _scenario("udp", "UDP at 150 Mbit/s", "Mbit/s", udp_mbit=150),
)


class Namespaces:
    """Two network namespaces with a virtual cable between them."""

    def __init__(self) -> None:
        self._holders: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Namespaces:  # noqa: PYI034 (Self is Python 3.11's)
        try:
            for _ in _OUTER:
                self._holders.append(self._hold())
            self._connect()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End both; the kernel removes the cable and the tunnels with them."""
        for holder in self._holders:
            end(holder)
        self._holders = []

    @staticmethod
    def _hold() -> subprocess.Popen[bytes]:
        ours = Path("/proc/self/ns/net").readlink()
        holder = subprocess.Popen(
            [str(servers.program("setpriv")), "--pdeathsig", "KILL", "unshare", "--net", "sleep",
             str(_HOLD_S)],
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(200):
            if holder.poll() is not None:
                raise EvaluateError("no network namespace can be made here: unshare --net failed")
            with contextlib.suppress(OSError):
                if Path(f"/proc/{holder.pid}/ns/net").readlink() != ours:
                    return holder
            time.sleep(0.01)
        end(holder)
        raise EvaluateError("unshare --net does nothing")

    def enter(self, end_of_cable: int) -> list[str]:
        """Return what to put before a command so that it runs in namespace 0 or 1."""
        return ["nsenter", f"--net=/proc/{self._holders[end_of_cable].pid}/ns/net", "--"]

    def _ip(self, which: int, *words: str) -> None:
        command = [*self.enter(which), "ip", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise EvaluateError(f"ip {' '.join(words)}: {done.stderr.strip()}")

    def _connect(self) -> None:
        far = str(self._holders[1].pid)
        self._ip(0, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", far)
        for which, address in enumerate(_OUTER):
            self._ip(which, "addr", "add", f"{address}/24", "dev", "cable")
            self._ip(which, "link", "set", "lo", "up")
            self._ip(which, "link", "set", "cable", "up")


def make_key(folder: Path, name: str) -> str:
    """Make a key and a certificate signed by itself; return the certificate's fingerprint."""
    openssl = str(servers.program("openssl"))
    key, certificate = folder / f"{name}.key", folder / f"{name}.crt"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", str(key), "-out", str(certificate), "-days", "2",
         "-subj", f"/CN={name}"],
        capture_output=True,
        check=True,
    )  # fmt: skip
    done = subprocess.run(
        [openssl, "x509", "-in", str(certificate), "-noout", "-fingerprint", "-sha256"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip().partition("=")[2]


def command(folder: Path, which: int, fingerprint: str) -> list[str]:
    """Return the command of one end of the tunnel; the other end is known by `fingerprint`."""
    here, there = (which, 1 - which)
    name = "ab"[which]
    return [
        str(servers.program("openvpn")), "--dev", "tun", "--proto", "udp",
        "--tls-client" if which else "--tls-server", *([] if which else ["--dh", "none"]),
        "--local", _OUTER[here], "--remote", _OUTER[there],
        "--lport", str(_PORT), "--rport", str(_PORT),
        "--ifconfig", _INNER[here], _INNER[there],
        "--cert", str(folder / f"{name}.crt"), "--key", str(folder / f"{name}.key"),
        "--peer-fingerprint", fingerprint, "--data-ciphers", "AES-256-GCM",
        "--tmp-dir", str(folder), "--disable-dco", "--verb", "1",
    ]  # fmt: skip


class Tunnel(Subject):
    """A tunnel that is up: the first end in some mode, the second native."""

    def __init__(self, started: Started, mode: Mode, spaces: Namespaces, stats: Path | None):
        super().__init__(started, mode, [_INNER[0]], stats)
        self.spaces = spaces


class Openvpn:
    """Debian's openvpn, untouched."""

    name = "openvpn"
    client = "iperf3 and ping"
    writes = True

    def missing(self) -> str | None:
        """Say why it cannot be evaluated here; None when it can."""
        if not servers.is_root():
            return "needs root, for network namespaces and a tun device: run it with sudo"
        if not Path("/dev/net/tun").exists():
            return "/dev/net/tun is missing: load the kernel module tun, or pass the device in"
        needed = [
            ("openvpn", "openvpn"), ("iperf3", "iperf3"), ("ping", "iputils-ping"),
            ("ip", "iproute2"), ("nsenter", "util-linux"),
            ("setpriv", "util-linux"), ("unshare", "util-linux"), ("openssl", "openssl"),
        ]  # fmt: skip
        return servers.first_missing(needed)

    def version(self) -> str:
        """Return the version of the server."""
        words = servers.output_of([str(servers.program("openvpn")), "--version"]).split()
        return " ".join(words[:2])

    def clients(self) -> str:
        """Return the versions of its clients."""
        iperf = servers.output_of(["iperf3", "--version"]).partition(" (")[0]
        return f"{iperf}; {servers.output_of(['ping', '-V'])}"

    def scenarios(self, full: bool) -> list[Scenario]:
        """Return what to measure."""
        return [*_QUICK, *_FULL] if full else list(_QUICK)

    @contextlib.contextmanager
    def start(self, mode: Mode, config: dict[str, str], place: Place) -> Iterator[Subject]:
        """Make two namespaces, and a tunnel between them whose first end runs in `mode`."""
        folder = place.folder
        prints = [make_key(folder, name) for name in "ab"]
        with contextlib.ExitStack() as stack:
            spaces = stack.enter_context(Namespaces())
            near = stack.enter_context(
                running(
                    f"openvpn ({mode.title})",
                    [*spaces.enter(0),
                     *wrap(mode, command(folder, 0, prints[1]), policy=place.policy,
                           stats=place.stats)],
                    folder / "log",
                    enclosed=mode.enclosed,
                )
            )  # fmt: skip
            far_line = [*spaces.enter(1), *command(folder, 1, prints[0])]
            far = stack.enter_context(
                running("openvpn (the far end)", far_line, folder / "far.log", enclosed=False)
            )
            near.others = {"far end": far.process.pid}

            def up() -> bool:
                far.check()
                line = [*spaces.enter(1), "ping", "-n", "-c", "1", "-W", "1", _INNER[0]]
                return subprocess.run(line, capture_output=True, check=False).returncode == 0

            near.wait_ready(up)
            listener = [*spaces.enter(0), "iperf3", "-s", "--forceflush", "-B", _INNER[0]]
            sink = stack.enter_context(
                running("iperf3 -s", listener, folder / "iperf3.log", enclosed=False)
            )
            sink.wait_ready(lambda: "listening" in sink.log.read_text(encoding="utf-8"))
            yield Tunnel(near, mode, spaces, place.stats)

    def measure(
        self, subject: Subject, scenario: Scenario, seconds: float, cpu: int | None
    ) -> Seen:
        """Run the client once."""
        assert isinstance(subject, Tunnel)
        enter = subject.spaces.enter(1)
        if cpu is not None:
            # With pinned ends it is the far end that stands for the client.
            enter = ["taskset", "-c", str(cpu), *enter]
        if scenario.unit == "pings/s":
            return clients.ping(enter, _INNER[0], int(scenario.load["count"]))
        udp = scenario.load.get("udp_mbit")
        return clients.iperf3(enter, _INNER[0], seconds, udp)

    def verify(self, subject: Subject) -> Verified:
        """Send bytes through the tunnel both ways, and compare digests."""
        assert isinstance(subject, Tunnel)
        failed = []
        for here, there in ((0, 1), (1, 0)):
            if not transfer(subject.spaces, here, there):
                failed.append(f"from end {here + 1} to end {there + 1}")
        return Verified(
            "openvpn",
            subject.mode.name,
            f"SHA-256 of {_TRANSFER_BYTES >> 20} MiB sent each way",
            2 - len(failed),
            len(failed),
            ", ".join(failed),
        )


#: Runs inside a namespace, so as a program of its own: receives until the end, prints the digest.
_SINK = """
import hashlib, socket, sys
server = socket.create_server((sys.argv[1], 5001))
print("ready", flush=True)
server.settimeout(30)
peer, _ = server.accept()
peer.settimeout(30)
digest = hashlib.sha256()
while data := peer.recv(65536):
    digest.update(data)
print(digest.hexdigest(), flush=True)
"""
_SOURCE = """
import socket, sys
with socket.create_connection((sys.argv[1], 5001), timeout=30) as peer:
    peer.sendall(sys.stdin.buffer.read())
"""


def transfer(spaces: Namespaces, here: int, there: int) -> bool:
    """Send seeded bytes from one end to the other; whether they arrived unchanged."""
    data = random.Random(here).randbytes(_TRANSFER_BYTES)  # noqa: S311 (bytes, not a secret)
    python = shutil.which("python3") or sys.executable
    with subprocess.Popen(
        [*spaces.enter(there), python, "-c", _SINK, _INNER[there]],
        stdout=subprocess.PIPE,
        text=True,
    ) as sink:
        try:
            assert sink.stdout is not None
            if sink.stdout.readline().strip() != "ready":
                raise EvaluateError("nobody can listen at the end of the tunnel")
            _send([*spaces.enter(here), python, "-c", _SOURCE, _INNER[there]], data)
            return sink.stdout.readline().strip() == hashlib.sha256(data).hexdigest()
        finally:
            sink.kill()


def _send(line: Sequence[str], data: bytes) -> None:
    try:
        subprocess.run(list(line), input=data, check=True, timeout=60, capture_output=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise WrongReplyError(f"bytes do not pass the tunnel: {error}") from error
