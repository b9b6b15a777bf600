# SPDX-License-Identifier: Apache-2.0
"""Every row of ``hotcalls bench --python``, briefly: no figure decides a test."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotcalls.bench import measure
from hotcalls.bench.errors import BenchError
from hotcalls.bench.python import _floor, functions, peers, plan, rows, transports, worker
from hotcalls.bench.python.floor import Bare

BRIEF = measure.Plan(processes=1, rounds=1, block_us=200, probe=40, seed=11, full=False)


def cpus() -> list[int]:
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        pytest.skip("one CPU: nothing can cross cores")
    return allowed[:2]


@pytest.fixture(scope="module")
def run() -> measure.Run:
    """Every row, once."""
    known = measure.list_rows(plan.WORKER)
    return measure.measure(plan.WORKER, BRIEF, known, cpus(), None, lambda _: None)


@pytest.fixture
def make_worker(tmp_path: Path) -> Iterator[list[worker.Worker]]:
    """A list: workers in it are stopped at the end."""
    made: list[worker.Worker] = []
    yield made
    for one in made:
        one.stop()


def some(tmp_path: Path, *names: str) -> worker.Worker:
    """Make a worker of this process for some rows."""
    cases = [rows.CASES[name] for name in names]
    return worker.Worker(tmp_path, cpus(), cases, 1, 200, 40, 1, full=False)


def said(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_rows_are_described_once_and_as_the_worker_says() -> None:
    listed = measure.list_rows(plan.WORKER)
    assert listed == rows.infos()
    names = [row.name for row in listed]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", rows.CASES)
def test_row_returns_right_results(run: measure.Run, name: str) -> None:
    row = rows.CASES[name].info
    if platform.machine() != "x86_64" and run.skipped.get(name) == peers.INSTALL:
        pytest.skip("iceoryx2 has no wheel for this processor")
    assert name not in run.skipped, run.skipped[name]
    if row.values:
        assert run.values[name][0]
        assert run.checked[name] > 0
        return
    (block,) = run.blocks[name]
    assert len(block.samples) >= 6
    assert block.checked == len(block.samples)
    assert block.samples.min() > 0
    assert (block.probe_before > 0) == (block.probe_after > 0) == row.cross
    assert block.wall_ns > 0


def test_nothing_of_iceoryx2_is_left(tmp_path: Path) -> None:
    peer = transports.Iceoryx2(tmp_path)
    peer.begin()
    peer.start()
    peer.prepare("echo")
    assert peer.calls["echo"](b"abc") == b"abc"
    peer.pause()
    assert list(Path("/dev/shm").glob(f"{peer._prefix()}*"))
    peer.stop()
    assert not list(Path("/dev/shm").glob(f"{peer._prefix()}*"))


def test_wrong_answers_are_counted() -> None:
    samples = array("I", bytes(4 * 10))
    assert _floor.take(lambda x: x, [(1,), (2,)], [1, 2], samples, 10) == 0
    assert _floor.take(lambda x: x, [(1,), (2,)], [1, 3], samples, 10) == 5
    assert _floor.take(lambda x: x, [(1,), (2,)], [1, 3], samples, 1, 1) == 1
    with pytest.raises(ZeroDivisionError):
        _floor.take(lambda: 1 / 0, [()], [1], samples, 10)


def test_more_samples_than_there_is_room_for_are_refused() -> None:
    samples = array("I", bytes(4 * 10))
    with pytest.raises(ValueError, match="11 samples"):
        _floor.take(lambda: None, [()], [None], samples, 11)


def test_stale_answer_is_a_wrong_one() -> None:
    for kind in rows.KINDS:
        work = functions.work(kind)
        assert len(work.arguments) == len(work.answers)
        if kind != "empty":
            assert all(
                one != other for one, other in zip(work.answers, work.answers[1:], strict=False)
            )


def test_wrong_result_fails_the_run_and_names_the_row(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    make_worker: list[worker.Worker],
) -> None:
    class Liar(peers.Direct):
        def start(self) -> None:
            super().start()
            self.calls["echo"] = lambda data: data[:-1]

    monkeypatch.setitem(rows.PEERS, "direct", Liar)
    made = some(tmp_path, "bytes_direct")
    make_worker.append(made)
    made.run()
    assert made.wrong > 0
    (block,) = [event for event in said(capsys) if event["type"] == "block"]
    assert block["row"] == "bytes_direct"
    assert block["wrong"] == made.wrong


def test_missing_peer_is_a_skipped_row_that_says_what_to_install(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    make_worker: list[worker.Worker],
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    made = some(tmp_path, "bytes_zmq", "bytes_direct", "typed_iceoryx2")
    make_worker.append(made)
    made.run()
    events = said(capsys)
    skipped = {event["row"]: event["reason"] for event in events if event["type"] == "skip"}
    assert skipped == {"bytes_zmq": peers.INSTALL, "typed_iceoryx2": peers.INSTALL}
    assert [event["row"] for event in events if event["type"] == "block"] == ["bytes_direct"]


def test_peer_that_does_not_start_is_a_skipped_row_with_the_reason(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    make_worker: list[worker.Worker],
) -> None:
    (tmp_path / "unix").mkdir()  # where its socket should be
    made = some(tmp_path, "bytes_unix")
    make_worker.append(made)
    made.run()
    (skip,) = [event for event in said(capsys) if event["type"] == "skip"]
    assert "does not start" in str(skip["reason"])
    assert "unix stream socket" in str(skip["reason"])


def test_one_cpu_skips_what_crosses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make_worker: list[worker.Worker]
) -> None:
    made = worker.Worker(
        tmp_path, [min(os.sched_getaffinity(0))], [rows.CASES["bytes_pipe"]], 1, 200, 40, 1, False
    )
    make_worker.append(made)
    made.run()
    (skip,) = [event for event in said(capsys) if event["type"] == "skip"]
    assert "two CPUs" in str(skip["reason"])


@pytest.mark.parametrize("kind", [Bare, transports.UnixSocket, transports.Pipe])
def test_server_that_was_killed_is_named_when_it_is_told_what_to_do(
    kind: type[peers.Served], tmp_path: Path
) -> None:
    peer = kind(tmp_path)
    peer.begin()
    peer.start()
    try:
        os.kill(peer.pids()[0], signal.SIGKILL)
        peer.process.join()
        with pytest.raises(BenchError, match=r"the server of .* has gone .its exit code: -9"):
            peer.prepare("echo")
    finally:
        peer.stop()


def test_bare_extension_says_what_was_raised_at_its_far_end(tmp_path: Path) -> None:
    peer = Bare(tmp_path)
    peer.begin()
    peer.start()
    try:
        peer.prepare("describe")
        with pytest.raises(BenchError, match="ValidationError"):
            peer._mailbox.call(list(functions.HANDLERS).index("describe"), b"\x01")
        assert peer.calls["describe"](1, "ab", b"c") == functions.describe(1, "ab", b"c")
        peer.pause()
        with pytest.raises(ValueError, match="carries 1048576 bytes, not 1048577"):
            peer._mailbox.call(1, bytes(_floor.LARGEST + 1))
    finally:
        peer.stop()


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_servers_end_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    command = [
        *plan.WORKER,
        f"--out={tmp_path}",
        f"--cpus={','.join(map(str, cpus()))}",
        # Not iceoryx2: what a killed node leaves in /dev/shm, only its next node takes away.
        "--rows=bytes_bare,bytes_unix,bytes_executor,bytes_manager",
        "--rounds=100000",
    ]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        while '"block"' not in process.stdout.readline():
            assert process.poll() is None
        servers = _children(process.pid)
        process.kill()
    assert len(servers) >= 4
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in servers):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rows=nonsense", "--out=.", "--cpus=0"], "no row is called `nonsense`"),
        ([], "--out and --cpus are needed"),
    ],
)
def test_wrong_command_line_of_the_worker_is_refused(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        worker.main(arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err
