# SPDX-License-Identifier: Apache-2.0
"""Statistics and traces of programs that run: every call is counted and printed once."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotcalls.apps import stats
from hotcalls.monitor import entries, registry, runs
from hotcalls.monitor.top import Watcher

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="hotcalls run needs x86-64")
HOTCALLS = [sys.executable, "-m", "hotcalls.cli"]
#: A program that makes calls of which it knows how many.
PROGRAM = """
import os
fd = os.open("/dev/zero", os.O_RDONLY)
for _ in range(500):
    assert os.read(fd, 100) == bytes(100)
for _ in range(7):
    try:
        os.mkdir("/dev/null/no")
    except NotADirectoryError:
        pass
"""
PYTHON = [str(Path(sys.executable).resolve()), "-I", "-S", "-B", "-c", PROGRAM]


def hotcalls(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HOTCALLS, *words], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("mode", ["hot", "switch", "switch-unpinned"])
def test_calls_bytes_and_errors_are_counted(tmp_path: Path, mode: str) -> None:
    kept = tmp_path / "stats"
    # Where others use the processors, nobody may have taken a single call hot: until somebody has.
    for _ in range(50 if mode == "hot" else 1):
        done = hotcalls("run", "--mode", mode, "--stats-file", str(kept), "--", *PYTHON)
        assert done.returncode == 0, done.stderr
        counted = stats.decode(kept.read_bytes())
        if counted.calls["read"].hot:
            break
    assert counted.mode == mode
    assert counted.calls["mkdirat"].count == counted.calls["mkdirat"].errors == 7
    read = counted.calls["read"]
    assert read.count >= 500
    assert read.bytes >= 50_000
    assert read.hot + read.switch == read.count
    assert sum(read.histogram) > 0
    assert (read.hot == 0) == (mode != "hot")
    assert counted.host_cpu_s > 0
    assert counted.enclave_cpu_s > 0


def test_the_table_follows_the_program(tmp_path: Path) -> None:
    done = hotcalls("run", "--stats", "--", "cat", "/etc/hostname")
    assert done.returncode == 0
    assert re.search(r"^openat +\d+ ", done.stderr, re.MULTILINE)
    assert re.search(r"^total +\d+ ", done.stderr, re.MULTILINE)


@contextlib.contextmanager
def running(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that has made calls, and waits; in a list of its own."""
    folder.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    with subprocess.Popen([*HOTCALLS, "run", *options, "--", "sleep", "60"]) as started:
        try:
            until = time.monotonic() + 60
            while time.monotonic() < until:
                rows = Watcher().look()
                if rows and rows[0].calls and rows[0].pid != rows[0].host:
                    break
                time.sleep(0.05)
            yield started
        finally:
            started.terminate()


@pytest.mark.parametrize("options", [(), ("--stats",)])
def test_a_running_program_is_listed_and_looked_at_by_either_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    with running(tmp_path, monkeypatch, *options) as started:
        # It may be at its start still, making calls.
        for _ in range(60):
            (row,) = json.loads(hotcalls("top", "--json", "--interval", "0.05").stdout)
            if row["calls"] > 10 and row["calls_per_s"] == 0:
                break
        # The command has become the host process, or stays beside it for --stats.
        assert (row["host"] == started.pid) == (options == ())
        assert (row["kind"], row["name"], row["error"]) == ("run", "sleep", "")
        assert Path(f"/proc/{row['pid']}/cmdline").read_bytes() == b"sleep\x0060\0"
        assert row["calls"] > 10
        assert row["calls_per_s"] == 0
        assert row["memory_bytes"] > 1 << 18
        shown = hotcalls("top", "--once", "--interval", "0.05").stdout.splitlines()[1]
        assert shown.split()[:3] == ["sleep", str(row["pid"]), str(row["host"])]
        for pid in (row["pid"], row["host"]):
            found = json.loads(hotcalls("stats", "--json", str(pid)).stdout)
            assert (found["host_pid"], found["program_pid"]) == (row["host"], row["pid"])
            assert found["calls"]["openat"]["count"] > 0
        text = hotcalls("stats", str(row["pid"])).stdout.splitlines()
        assert text[0] == f"sleep: pid {row['pid']}, host {row['host']}"
        assert text[1].startswith("call ")
    assert Watcher().look() == []
    assert list((tmp_path / "hotcalls").iterdir()) == []


def test_a_program_between_two_looks_has_rates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stats_of(calls: int) -> stats.Stats:
        histogram = [0, calls, *[0] * 122]
        return stats.Stats(
            {"read": stats.Call(calls, calls // 4, calls - calls // 4, histogram=histogram)},
            tsc_hz=1e9, program_pid=os.getpid(),
        )  # fmt: skip

    looks = iter([stats_of(100), stats_of(300)])
    monkeypatch.setattr(runs, "decode", lambda data: next(looks))
    with running(tmp_path, monkeypatch):
        looks = iter([stats_of(100), stats_of(300)])
        watcher = Watcher()
        assert watcher.look()[0].calls_per_s is None
        (row,) = watcher.look()
    assert row.calls == 300
    assert row.calls_per_s is not None
    assert row.calls_per_s > 0
    assert row.hot_share == 0.25
    assert row.p50_us == pytest.approx(stats.bucket_end(1) / 1e3)


def test_a_program_whose_counters_are_gone_is_listed_as_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path, monkeypatch) as started:
        for path in (tmp_path / "hotcalls").glob("*.stats"):
            path.unlink()
        (row,) = Watcher().look()
        assert (row.error, row.calls) == ("it has ended", None)
        done = hotcalls("stats", str(started.pid))
        assert (done.returncode, done.stderr) == (1, "hotcalls: sleep: it has ended\n")


def test_a_process_that_is_no_enclave_has_no_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    done = hotcalls("stats", "1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "process 1 is no enclave of this user, no `hotcalls run`" in done.stderr


def test_the_program_cannot_reach_its_statistics(tmp_path: Path) -> None:
    kept = tmp_path / "stats"
    program = f"open({str(kept)!r}, 'r+').truncate(0)"
    line = ("run", "--stats-file", str(kept), "--", *PYTHON[:-1], program)
    done = hotcalls(*line)
    assert done.returncode == 1
    assert "Error" in done.stderr
    assert stats.decode(kept.read_bytes()).calls["openat"].count > 0


def test_what_runs_that_are_over_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = registry.folder()
    assert folder is not None
    space = registry.namespace()
    own = registry.started(os.getpid())
    over = [f"{2**22 - 1}-5-{space}.stats", f"{os.getpid()}-{own + 1}-{space}.json"]
    left = [f"{2**22 - 1}-5-1.stats", f"{os.getpid()}-{own}-{space}.stats", "note.stats"]
    for name in (*over, *left):
        (folder / name).write_bytes(b"")
    counters = registry.create_counters()
    assert counters is not None
    os.close(counters.descriptor)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*left, counters.path.name])


def test_a_program_runs_unlisted_where_the_folder_is_not_ours_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "hotcalls").mkdir()
    (tmp_path / "hotcalls").chmod(0o755)
    done = hotcalls("run", "--stats", "--", "echo", "fine")
    assert (done.returncode, done.stdout) == (0, "fine\n")
    assert "total " in done.stderr
    assert hotcalls("run", "--", "echo", "fine").stdout == "fine\n"
    assert list((tmp_path / "hotcalls").iterdir()) == []
    for words in (("stats", "1"), ("top", "--once", "--interval", "0.05")):
        assert f"{tmp_path}/hotcalls is not a directory that user" in hotcalls(*words).stderr


@pytest.mark.parametrize("counters", ["../x.stats", "/etc/passwd", "1-2-3.json", "1-2-3.stats\n"])
def test_an_entry_names_counters_of_its_own_folder_alone(tmp_path: Path, counters: str) -> None:
    entry = {
        "version": registry.VERSION, "name": "x", "pid": 1, "started": 1, "host": 1,
        "host_started": 1, "namespace": 1, "channels": [], "ecalls": [], "ocalls": [],
        "counters": "1-2-3.stats",
    }  # fmt: skip
    path = tmp_path / "entry.json"
    path.write_text(json.dumps(entry))
    assert entries.read(path) is not None
    path.write_text(json.dumps({**entry, "counters": counters}))
    assert entries.read(path) is None


def test_a_trace_has_a_line_for_each_call_with_its_result(tmp_path: Path) -> None:
    out = tmp_path / "trace"
    options = ("-o", str(out), "-e", "trace=read,mkdir")
    done = hotcalls("trace", *options, "--", *PYTHON)
    assert done.returncode == 0, done.stderr
    lines = out.read_text().splitlines()
    form = re.compile(r"\[\d+\] \d+\.\d{6} (read|mkdirat)\(.*\) = -?\d+( E[A-Z]+)? <\d+\.\d{6}>")
    assert all(form.fullmatch(line) for line in lines)
    zero = '"' + "\\x00" * 32 + '"...'
    assert sum(f"{zero}, 100) = 100 <" in line for line in lines) == 500
    refused = [line for line in lines if "mkdirat(" in line]
    assert len(refused) == 7
    assert all('(AT_FDCWD, "/dev/null/no", 511) = -1 ENOTDIR <' in line for line in refused)


def test_a_trace_goes_to_standard_error_and_the_output_stays_the_programs() -> None:
    done = hotcalls("trace", "--", "cat", "/etc/hostname")
    assert done.stdout == Path("/etc/hostname").read_text()
    assert 'openat(AT_FDCWD, "/etc/hostname", O_RDONLY' in done.stderr


def test_counting_says_what_calls_cost_on_the_machine_of_a_result(repository: Path) -> None:
    result = repository / "results" / "bench.json"
    options = ("-c", "--bench", str(result), "--cycles-per-call", "8200", "-e", "read")
    done = hotcalls("trace", *options, "--", *PYTHON)
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stderr.splitlines() if line.startswith("read "))
    count = int(row.split()[1].replace(",", ""))
    assert count >= 500
    assert f"{count * 8200:,}" in row
    assert "mkdirat" not in done.stderr
