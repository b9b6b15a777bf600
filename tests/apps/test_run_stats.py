# SPDX-License-Identifier: Apache-2.0
"""Statistics and traces of programs that run: every call is counted and printed once."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hotcalls.apps import stats, stats_file

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


def test_a_running_program_is_looked_at_by_the_number_of_its_process() -> None:
    with subprocess.Popen([*HOTCALLS, "run", "--", "sleep", "60"]) as host:
        try:
            deadline = time.monotonic() + 20
            while True:
                done = hotcalls("stats", "--json", str(host.pid))
                if done.returncode == 0 and json.loads(done.stdout)["calls"]:
                    break
                assert time.monotonic() < deadline, done.stderr
                time.sleep(0.1)
        finally:
            host.terminate()
    assert json.loads(done.stdout)["host_pid"] == host.pid
    assert json.loads(done.stdout)["calls"]["openat"]["count"] > 0


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
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    old = stats_file.folder() / f"{2**22 - 1}.stats"
    old.write_bytes(b"")
    descriptor = stats_file.create()
    assert not old.exists()
    assert (stats_file.folder() / f"{os.getpid()}.stats").exists()
    os.close(descriptor)


def test_a_folder_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "hotcalls").mkdir(mode=0o777)
    (tmp_path / "hotcalls").chmod(0o777)
    with pytest.raises(stats_file.StatsError, match="may write: remove it"):
        stats_file.folder()


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
