# SPDX-License-Identifier: Apache-2.0
"""Whole evaluations, as short as they can be: servers start, answer right, and are gone after."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hotcalls.apps.evaluate import lighttpd, measure, memcached, openvpn, processes, servers
from hotcalls.monitor import registry


def evaluate(*words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "hotcalls.cli", "evaluate", "--quick", "--json", "--no-peers",
            "--seconds", "0.3", "--turns", "1", *words]  # fmt: skip
    return subprocess.run(line, capture_output=True, text=True, timeout=110, check=False)


ALL = {"native", "switch", "switch_unpinned", "hot"}
#: The conformance tests of memcached and the handshake of openvpn take seconds in each mode.
SOME = {"native", "hot"}
ONE = {"hot"}


@pytest.mark.parametrize(
    ("name", "modes"),
    [
        ("memcached", ONE),
        pytest.param("memcached", SOME, marks=pytest.mark.long),
        ("lighttpd", ALL),
        ("openvpn", SOME),
    ],
)
def test_a_server_is_measured_under_its_policy_in_its_modes(name: str, modes: set[str]) -> None:
    applications: dict[str, servers.Application] = {
        "memcached": memcached.Memcached(),
        "lighttpd": lighttpd.Lighttpd(),
        "openvpn": openvpn.Openvpn(),
    }
    why = applications[name].missing()
    if why is not None:
        pytest.skip(why)
    done = evaluate("--modes", ",".join(modes), name)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {each["mode"] for each in result["verified"]} == modes
    assert all(each["failed"] == 0 < each["passed"] for each in result["verified"])
    for scenario in result["scenarios"]:
        runs = [run for run in result["runs"] if run["scenario"] == scenario["name"]]
        assert {run["mode"] for run in runs} == modes
        assert all(run["rate"] > 0 for run in runs)
    assert result["servers"][0]["policy"] == f"{name}.toml"


def started(pid: int) -> int:
    """When a process started; 0 when there is none."""
    try:
        return registry.started(pid)
    except (OSError, ValueError):
        return 0


def test_an_evaluation_leaves_no_process_and_no_file_behind() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "hotcalls.cli", "evaluate", "--quick", "--no-peers", "--modes",
         "native", "memcached"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as running:  # fmt: skip
        deadline = time.monotonic() + 60
        # Of its servers; it may start others before that, to ask what there is.
        while not (
            (folders := list(Path("/tmp").glob(f"hotcalls-{running.pid}-*")))
            and (below := processes.descendants(running.pid))
        ):
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        below_started = {pid: started(pid) for pid in below}
        assert folders
        running.send_signal(2)
        assert running.wait(60) == 130
    deadline = time.monotonic() + 30
    # By its start as well: numbers come back soon where thousands of processes are tried.
    while any(started(pid) == since for pid, since in below_started.items() if since):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not list(Path("/tmp").glob(f"hotcalls-{running.pid}-*"))


def test_namespaces_are_gone_with_their_holders() -> None:
    if not servers.is_root():
        pytest.skip("needs root, for network namespaces")
    with openvpn.Namespaces() as spaces:
        line = [*spaces.enter(1), "ping", "-n", "-c", "1", "-W", "30", openvpn._OUTER[0]]
        assert subprocess.run(line, capture_output=True, check=False).returncode == 0
        holders = [holder.pid for holder in spaces._holders]
    assert not [pid for pid in holders if Path(f"/proc/{pid}").exists()]


def test_a_server_that_does_not_start_is_named_with_its_last_words(tmp_path: Path) -> None:
    from hotcalls.apps.evaluate.errors import EvaluateError

    log = tmp_path / "log"
    with processes.running("a server", ["sh", "-c", "echo oh; exit 3"], log, enclosed=False) as s:
        with pytest.raises(EvaluateError, match="a server ended with status 3: oh"):
            s.wait_ready(lambda: False)


def test_an_interrupt_while_a_server_is_started_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    children = []

    class Interrupted(subprocess.Popen):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            children.append(os.pidfd_open(self.pid))
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        with processes.running("a server", ["sleep", "600"], tmp_path / "log", enclosed=False):
            pytest.fail("the interrupt was lost")
    (child,) = children
    ended = select.select([child], [], [], 0)[0]
    if not ended:
        signal.pidfd_send_signal(child, signal.SIGKILL)
    os.close(child)
    assert ended


def test_cpu_time_of_another_process_is_read() -> None:
    program = "import time\nwhile time.process_time() < 0.2: pass\nprint(1, flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE,
                          stdin=subprocess.PIPE) as busy:  # fmt: skip
        assert busy.stdout is not None
        busy.stdout.readline()
        assert 0.2e9 <= processes.cpu_ns(busy.pid) < 60e9
        busy.kill()
    assert processes.cpu_ns(busy.pid) == 0


def test_threads_are_pinned_for_a_while_only() -> None:
    allowed = os.sched_getaffinity(0)
    with processes.pinned([os.getpid()], {min(allowed)}):
        assert os.sched_getaffinity(0) == {min(allowed)}
    assert os.sched_getaffinity(0) == allowed


def test_a_shipped_policy_is_widened_by_the_folder_of_one_server_alone(tmp_path: Path) -> None:
    from hotcalls.apps import policy

    shipped = policy.shipped_path("lighttpd")
    own = policy.load(measure.own_policy(shipped, tmp_path, False)).compiled().splitlines()
    without = policy.load(shipped).compiled().splitlines()
    assert set(own) - set(without) == {
        f"path read allow {tmp_path}",
        f"path write refuse 13 {tmp_path}",
    }
