# SPDX-License-Identifier: Apache-2.0
"""What an enclave costs by itself: starting, memory, idling, and one call. Host side."""

from __future__ import annotations

import contextlib
import os
import random
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hotcalls.apps.evaluate import analysis, modes
from hotcalls.apps.evaluate.errors import EvaluateError
from hotcalls.apps.evaluate.model import UNPINNED, Footprint, Statistic
from hotcalls.apps.evaluate.modes import Mode
from hotcalls.apps.evaluate.servers import Application, Place

#: dd makes two calls for each block of one byte, through the C library: a read and a write.
_CALLS_A_BLOCK = 2
_BLOCKS = 20_000
_STARTS, _STARTS_QUICK = 9, 3


def _run(command: Sequence[str]) -> str:
    """Run a command to its end; return what it said on standard error."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    if done.returncode != 0:
        words = done.stderr.strip().splitlines()[-1:] or ["(it said nothing)"]
        raise EvaluateError(f"{' '.join(command)}: status {done.returncode}: {words[0]}")
    return done.stderr


def _run_s(command: Sequence[str]) -> float:
    """Return how long a command takes."""
    begin = time.perf_counter()
    _run(command)
    return time.perf_counter() - begin


def _call_ns(mode: Mode, blocks: int) -> float:
    """Return the time of one call. dd says itself how long it copied, without its start."""
    command = ["dd", "if=/dev/zero", "of=/dev/null", "bs=1", f"count={blocks}"]
    return dd_seconds(_run(modes.wrap(mode, command))) / (blocks * _CALLS_A_BLOCK) * 1e9


def dd_seconds(words: str) -> float:
    """Return the seconds in what dd says at its end: ``… copied, 0.0123 s, 1.6 MB/s``."""
    found = re.search(r"copied, ([0-9.e+-]+) s,", words)
    if found is None:
        raise EvaluateError(f"dd did not say how long it took: {words.strip()!r}")
    return float(found[1])


def resident_kib(pid: int) -> int:
    """Return the memory of a process: its share of what is shared, where that may be read."""
    for path, field in (("smaps_rollup", "Pss"), ("status", "VmRSS")):
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/{path}").read_text(encoding="ascii", errors="replace")
            found = re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)
            if found is not None:
                return int(found[1])
    return 0


def _at_rest(application: Application, mode: Mode, idle_s: float) -> tuple[float, float]:
    """Return the MiB of a server and its host together, and the share of a core when idle."""
    config = application.scenarios(False)[0].config
    with tempfile.TemporaryDirectory(prefix=f"hotcalls-{os.getpid()}-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with application.start(mode, config, Place(folder, None, None)) as subject:
            # What starting left to do is done by then.
            time.sleep(0.3)
            before = sum(subject.started.cpu_s().values())
            time.sleep(idle_s)
            used = sum(subject.started.cpu_s().values()) - before
            pids = [pid for some in subject.started.parties().values() for pid in some]
            return sum(map(resident_kib, pids)) / 1024, used / idle_s


def measure(
    application: Application,
    wanted: Sequence[Mode],
    quick: bool,
    seed: int,
    advance: Callable[[str], None],
) -> list[Footprint]:
    """Measure what each of the modes costs by itself.

    Parameters
    ----------
    application
        The server that is looked at while it is idle.
    wanted
        Modes; other sandboxes are left out.
    quick
        Once; otherwise several times.
    seed
        Draws the order.
    advance
        Called with words after each step.
    """
    order = random.Random(seed)  # noqa: S311 (an order, not a secret)
    own = [mode for mode in wanted if not mode.peer]
    starts: dict[str, list[float]] = {mode.name: [] for mode in own}
    calls: dict[str, list[float]] = {mode.name: [] for mode in own}
    for _ in range(_STARTS_QUICK if quick else _STARTS):
        for mode in order.sample(own, len(own)):
            starts[mode.name].append(_run_s(modes.wrap(mode, ["true"])) * 1e3)
    for _ in range(3 if quick else 5):
        for mode in order.sample(own, len(own)):
            # Unpinned, 40,000 calls are seconds, and say nothing that the servers do not.
            if mode.name != UNPINNED:
                calls[mode.name].append(_call_ns(mode, _BLOCKS))
    found = []
    for mode in own:
        resident, idle = _at_rest(application, mode, 1.0 if quick else 5.0)
        start = analysis.statistic(starts[mode.name])
        assert isinstance(start, Statistic)
        found.append(
            Footprint(mode.name, start, resident, idle, analysis.statistic(calls[mode.name]))
        )
        advance(f"footprint, {mode.title}")
    return found
