# SPDX-License-Identifier: Apache-2.0
"""The soak: an hour's worth of mixed calls in minutes, with kills and restarts; every call counted.

    python tests/stress/soak.py [--minutes 10] [--seed N] [--output results/soak.json]

Eight requesters at a time: four threads of a C host with C enclaves (soak_host.c), two of a Python
host with Python enclaves, and two client processes of one served enclave (soak_worker.py). Their
enclaves are killed, end by their own hand, are closed under calls, or left; from here the server,
its enclave and its clients are killed and stopped, and processes are moved between processors.

Each call carries a token. It is *answered*, or its caller sees an *error*; what was answered has to
have run exactly once, what ended in an error at most once. *Lost* is a call that has neither answer
nor error, or that was answered and did not run; *doubled* is one that ran more often. Calls of a
client that is killed go with it: nobody is left to be told.

Ends with status 1 when anything is lost or doubled, or when memory, descriptors, threads or
mappings grow.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import mmap
import os
import platform
import random
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import soak_worker  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

import native  # noqa: E402

C_REQUESTERS, PYTHON_REQUESTERS, CLIENTS = 4, 2, 2
#: By how much memory may grow from the first third of a run to its end: what a regression over the
#: rest says. An allocator keeps what a burst needed once; a leak of a page an enclave is more.
GROWTH_KB = {"c host": 4096, "python host": 16384}
#: Of these there are as many as after the first enclaves. A thread's arena is a mapping or two.
EVEN = {"fds": 0, "threads": 0, "mappings": 8}
PATIENCE_SECONDS = 90.0


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the least-squares slope."""
    count = len(points)
    x = sum(point[0] for point in points) / count
    y = sum(point[1] for point in points) / count
    width = sum((point[0] - x) ** 2 for point in points)
    return sum((a - x) * (b - y) for a, b in points) / width if width else 0.0


def uneven(name: str, samples: Sequence[dict[str, Any]]) -> list[str]:
    """Say what grew from the first third of the samples to the last."""
    if len(samples) < 3:
        return []
    third = max(1, len(samples) // 3)
    found = []
    for key, slack in EVEN.items():
        if key in samples[0]:
            before = max(sample[key] for sample in samples[:third])
            after = min(sample[key] for sample in samples[-third:])
            if after > before + slack:
                found.append(f"{name}: {key} grow from {before} to {after}")
    rest = samples[third:]
    if len(rest) >= 3:
        growth = slope([(sample["s"], sample["rss_kb"]) for sample in rest])
        growth *= rest[-1]["s"] - rest[0]["s"]
        if growth > GROWTH_KB[name]:
            found.append(f"{name}: memory grows by {growth:.0f} KiB, at most {GROWTH_KB[name]}")
    return found


class Process:
    """A worker: what it says, and its samples."""

    def __init__(self, name: str, command: Sequence[str | Path], started: float) -> None:
        self.name = name
        self.samples: list[dict[str, Any]] = []
        self.errors = ""
        self._started = started
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=HERE,
        )
        self._readers = [
            threading.Thread(target=self._read_samples),
            threading.Thread(target=self._read_errors),
        ]
        for reader in self._readers:
            reader.start()

    def _read_samples(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                if line.startswith("{"):
                    sample = json.loads(line)
                    sample["s"] = time.monotonic() - self._started
                    self.samples.append(sample)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self.errors = (self.errors + line)[-8000:]

    def kill(self) -> None:
        """End it, whatever it does."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.wait()

    def wait(self, timeout: float = PATIENCE_SECONDS) -> int:
        """Wait for its end and for all that it said."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.errors += f"\n{self.name} hangs"
            self.process.kill()
            status = self.process.wait() or -1
        for reader in self._readers:
            reader.join(PATIENCE_SECONDS)
        return status


class Counters:
    """What a worker has counted, also one that was killed."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / name
        self.path.write_bytes(bytes(mmap.PAGESIZE))

    def sum(self) -> dict[str, int]:
        """Over its requesters."""
        total = dict.fromkeys(soak_worker.FIELDS, 0)
        data = self.path.read_bytes()
        size = len(soak_worker.FIELDS)
        for place in range(soak_worker.REQUESTERS_MAX):
            for name, value in zip(
                soak_worker.FIELDS,
                struct.unpack_from(f"<{size}Q", data, place * size * 8),
                strict=True,
            ):
                total[name] += value
        return total


class Soak:
    """One run."""

    def __init__(self, seconds: float, seed: int, folder: Path, cheat: str = "") -> None:
        self._seconds, self._seed, self._folder, self._cheat = seconds, seed, folder, cheat
        self._chance = random.Random(seed)
        self._programs = [
            native.build(
                "soak_host", [HERE / "soak_host.c", *native.sources(*native.HOST)], native.PLAIN
            ),
            native.build_enclave(HERE / "soak_enclave.c"),
            native.build_loader(),
        ]
        self._started = time.monotonic()
        self._next_requester = 100
        self._clients: list[tuple[Process, Counters]] = []
        self._over: list[tuple[Process, Counters, bool]] = []
        self.happened: dict[str, int] = {}
        self.wrong: list[str] = []
        os.environ["HOTCALLS_SEED"] = str(seed)

    def _count(self, what: str) -> None:
        self.happened[what] = self.happened.get(what, 0) + 1

    def _left(self) -> float:
        return self._seconds - (time.monotonic() - self._started)

    # ---- who takes part -------------------------------------------------------------------

    def _c_host(self) -> Process:
        program, *enclave = self._programs
        command = [program, f"{self._left()}", f"{C_REQUESTERS}", *enclave, *self._lies()]
        return Process("c host", command, self._started)

    def _python_host(self) -> tuple[Process, Counters]:
        counters = Counters(self._folder, "python")
        command = [sys.executable, HERE / "soak_worker.py", "launch", f"{self._left()}",
                   f"{PYTHON_REQUESTERS}", HERE / "soak_vault.py", "0", f"{self._seed}",
                   counters.path, *self._lies()]  # fmt: skip
        return Process("python host", command, self._started), counters

    def _lies(self) -> list[str]:
        return [self._cheat] if self._cheat else []

    def _serve(self) -> Process:
        command = [sys.executable, "-W", "ignore", "-m", "hotcalls.cli", "serve",
                   HERE / "soak_vault.py", "--socket", self._folder / "socket"]  # fmt: skip
        return Process("server", command, self._started)

    def _client(self) -> None:
        number = self._next_requester
        self._next_requester += 1
        counters = Counters(self._folder, f"client-{number}")
        command = [sys.executable, HERE / "soak_worker.py", "connect", f"{max(0.5, self._left())}",
                   "1", self._folder / "socket", f"{number}", f"{self._seed + number}",
                   counters.path]  # fmt: skip
        self._clients.append((Process("client", command, self._started), counters))

    # ---- what happens to them -------------------------------------------------------------

    def _trouble(self, server: Process, hosts: Sequence[Process]) -> None:
        """Let one thing happen."""
        what = self._chance.choice(
            ["client killed", "client killed", "server killed", "served enclave killed",
             "served enclave stopped", "server stopped", "host stopped", "host moved"]
        )  # fmt: skip
        host = self._chance.choice(hosts).process.pid
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if what == "client killed":
                process, counters = self._clients.pop(self._chance.randrange(len(self._clients)))
                process.kill()
                self._over.append((process, counters, True))
                self._client()
            elif what == "server killed":
                server.kill()
            elif what == "served enclave killed":
                pids = enclaves_of(server.process.pid)
                if not pids:
                    return  # it is being started just now
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
            elif what == "host moved":
                cores = sorted(os.sched_getaffinity(0))
                os.sched_setaffinity(host, self._chance.sample(cores, 1))
                time.sleep(0.2)
                os.sched_setaffinity(host, cores)
            else:
                pid = host if what == "host stopped" else server.process.pid
                if what == "served enclave stopped":
                    pids = enclaves_of(pid)
                    if not pids:
                        return
                    pid = pids[0]
                os.kill(pid, signal.SIGSTOP)
                time.sleep(min(1.0, max(0.1, self._left() / 10)))
                os.kill(pid, signal.SIGCONT)
            self._count(what)

    def run(self) -> dict[str, Any]:
        """Run it; return what results/soak.json holds."""
        c_host = self._c_host()
        python_host, python_counters = self._python_host()
        server = self._serve()
        for _ in range(CLIENTS):
            self._client()
        try:
            while self._left() > 0:
                time.sleep(min(self._chance.uniform(0.5, 4.0), max(0.05, self._left())))
                if self._left() > 1:
                    self._trouble(server, (c_host, python_host))
                server = self._alive(server)
            # Clients that are about to end want to be answered until they have.
            until = time.monotonic() + PATIENCE_SECONDS
            while any(client.process.poll() is None for client, _ in self._clients):
                if time.monotonic() > until:
                    break
                time.sleep(0.05)
                server = self._alive(server)
            for each in (c_host, python_host):
                self._end(each)
            for process, counters in self._clients:
                self._end(process)
                self._over.append((process, counters, False))
        finally:
            for process in (c_host, python_host, server, *(each for each, _ in self._clients)):
                process.kill()
        return self._accounts(c_host, python_host, python_counters)

    def _alive(self, server: Process) -> Process:
        """Start another server in the place of one that has ended."""
        if server.process.poll() is None:
            return server
        server.wait()
        self._count("server started again")
        return self._serve()

    def _end(self, process: Process) -> None:
        status = process.wait()
        if status != 0:
            self.wrong.append(f"{process.name} ended with {status}: {process.errors[-2000:]}")

    def _accounts(self, c_host: Process, python_host: Process, python: Counters) -> dict[str, Any]:
        last = c_host.samples[-1] if c_host.samples else dict.fromkeys(soak_worker.FIELDS, 0)
        parts = {
            "c": {name: last.get(name, 0) for name in soak_worker.FIELDS},
            "python": python.sum(),
            "served": dict.fromkeys(soak_worker.FIELDS, 0),
        }
        parts["c"]["nested"], parts["c"]["timeouts"] = (
            last.get("nested", 0),
            last.get("timeouts", 0),
        )
        gone = 0
        for process, counters, killed in self._over:
            found = counters.sum()
            out = found["sent"] - found["answered"] - found["errors"]
            if killed:
                gone += out
                found["sent"] -= out
            for name, value in found.items():
                parts["served"][name] += value
            if process.errors and (found["lost"] or found["doubled"] or found["wrong"]):
                self.wrong.append(process.errors[-2000:])
        for name, part in parts.items():
            out = part["sent"] - part["answered"] - part["errors"]
            part["lost"] += abs(out)
            if part["lost"] or part["doubled"] or part["wrong"] or part["answered"] == 0:
                self.wrong.append(f"{name}: {part}; {c_host.errors if name == 'c' else ''}"
                                  f"{python_host.errors if name == 'python' else ''}")  # fmt: skip
        ends: dict[str, int] = {}
        for process in (c_host, python_host):
            self.wrong += uneven(process.name, process.samples)
            for sample in process.samples:
                ends[sample["how"]] = ends.get(sample["how"], 0) + 1
        total = {name: sum(part[name] for part in parts.values()) for name in soak_worker.FIELDS}
        total["sent"] += parts["c"]["nested"]
        total["answered"] += parts["c"]["nested"]
        return {
            "date": dt.datetime.now(dt.timezone.utc).date().isoformat(),
            "machine": f"{os.cpu_count()} processors, Linux {platform.release()}",
            "seconds": round(time.monotonic() - self._started, 1),
            "seed": self._seed,
            "calls": total,
            "parts": parts,
            "gone with their callers": gone,
            "enclaves": ends,
            "trouble": self.happened,
            "kills": ends.get("killed", 0) + ends.get("died", 0)
            + sum(count for what, count in self.happened.items() if what.endswith("killed")),
            "restarts": len(c_host.samples) + len(python_host.samples)
            + self.happened.get("server started again", 0)
            + self.happened.get("client killed", 0),
            "first and last": {
                process.name: [process.samples[0], process.samples[-1]]
                for process in (c_host, python_host)
                if process.samples
            },
            "wrong": self.wrong,
        }  # fmt: skip


def enclaves_of(pid: int) -> list[int]:
    """Return the enclaves of a process: it is not their parent, so by the pidfds that it holds."""
    found = []
    for entry in Path(f"/proc/{pid}/fdinfo").glob("*"):
        with contextlib.suppress(OSError):
            for line in entry.read_text().splitlines():
                if line.startswith("Pid:") and int(line.split()[1]) > 0:
                    found.append(int(line.split()[1]))
    return [each for each in found if is_enclave(each)]


def is_enclave(pid: int) -> bool:
    """Whether a process calls itself one."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().startswith("hotcalls-enclav")
    return False


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    table = Table(title=f"soak: {result['seconds']} s, seed {result['seed']}")
    for heading in ("", "C", "Python", "served", "all"):
        table.add_column(heading, justify="left" if heading == "" else "right")
    for name in soak_worker.FIELDS:
        row = [f"{result['parts'][part][name]:,}" for part in ("c", "python", "served")]
        table.add_row(name, *row, f"{result['calls'][name]:,}")
    table.add_section()
    for name in ("kills", "restarts", "gone with their callers"):
        table.add_row(name, "", "", "", f"{result[name]:,}")
    for name, (first, last) in result["first and last"].items():
        for key in ("rss_kb", "fds", "threads"):
            table.add_row(f"{name}: {key}", "", "", "", f"{first[key]:,} → {last[key]:,}")
    Console().print(table)
    for text in result["wrong"]:
        print(f"WRONG: {text}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """As above."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("HOTCALLS_SEED", "0")))
    parser.add_argument("--output", type=Path)
    parser.add_argument("--cheat", choices=["lose", "double"], default="")
    given = parser.parse_args(argv)
    seed = given.seed or time.time_ns() % 10**9
    print(f"HOTCALLS_SEED={seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        result = Soak(given.minutes * 60, seed, Path(folder), given.cheat).run()
    show(result)
    if given.output is not None:
        given.output.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if result["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
