# SPDX-License-Identifier: Apache-2.0
"""``hotcalls top`` and ``hotcalls stats``: what is found, what is believed, what is shown."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import PATIENCE_SECONDS, Server

import hotcalls
from hotcalls import _native
from hotcalls.monitor import entries, reading, registry
from hotcalls.monitor.top import Watcher

VAULT = """
import hotcalls


@hotcalls.ocall
def ask(question: bytes) -> bytes: ...


@hotcalls.ecall
def sign(message: bytes) -> bytes:
    return message


@hotcalls.ecall
def asked(question: bytes) -> bytes:
    return ask(question)
"""


@pytest.fixture(autouse=True)
def runtime_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry for each test, so that nobody else's enclaves are in it."""
    path = tmp_path / "runtime"
    path.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(path))
    return path


@pytest.fixture
def vault_file(tmp_path: Path) -> Path:
    path = tmp_path / "vault.py"
    path.write_text(VAULT)
    return path


@pytest.fixture
def vault(vault_file: Path) -> Iterator[hotcalls.Enclave]:
    with hotcalls.launch(vault_file, ocalls={"ask": lambda question: question}) as enclave:
        yield enclave


def files(folder: Path) -> list[str]:
    return sorted(os.listdir(folder / "hotcalls")) if (folder / "hotcalls").exists() else []


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "hotcalls.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


# ---- the registry ------------------------------------------------------------------------------


def test_launched_enclave_is_found_until_it_is_closed(
    runtime_folder: Path, vault: hotcalls.Enclave
) -> None:
    (entry,) = registry.entries()
    assert (entry.name, entry.pid, entry.host) == ("vault", vault.pid, os.getpid())
    assert (entry.ecalls, entry.ocalls) == (["sign", "asked"], ["ask"])
    vault.close()
    assert list(registry.entries()) == []
    assert files(runtime_folder) == []


def test_forgotten_enclave_leaves_no_file(runtime_folder: Path, vault_file: Path) -> None:
    hotcalls.launch(vault_file)
    gc.collect()
    assert files(runtime_folder) == []


def test_forked_child_that_closes_its_copy_leaves_the_file(
    runtime_folder: Path, vault: hotcalls.Enclave
) -> None:
    child = os.fork()
    if child == 0:
        vault.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert len(files(runtime_folder)) == 1


def test_enclave_started_again_is_found_by_its_new_process(
    runtime_folder: Path, vault_file: Path
) -> None:
    with hotcalls.launch(vault_file, restart="on-failure") as enclave:
        os.kill(enclave.pid, 9)
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            try:
                enclave.sign(b"")
                break
            except hotcalls.EnclaveLost:
                continue
        (entry,) = registry.entries()
        assert entry.pid == enclave.pid
    assert files(runtime_folder) == []


def test_file_of_a_host_that_was_killed_is_removed(runtime_folder: Path, vault_file: Path) -> None:
    code = (
        f"import hotcalls, os\ne = hotcalls.launch({str(vault_file)!r})\n"
        "print('up', flush=True)\nos.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.DEVNULL)
    assert len(files(runtime_folder)) == 1
    assert list(registry.entries()) == []
    assert files(runtime_folder) == []


def test_process_that_got_the_number_of_another_is_not_mistaken_for_it(
    runtime_folder: Path, vault: hotcalls.Enclave
) -> None:
    (path,) = (runtime_folder / "hotcalls").iterdir()
    entry = json.loads(path.read_text())
    path.write_text(json.dumps({**entry, "started": entry["started"] + 1}))
    assert list(registry.entries()) == []


def test_entry_of_another_pid_namespace_is_neither_shown_nor_removed(
    runtime_folder: Path, vault: hotcalls.Enclave
) -> None:
    (path,) = (runtime_folder / "hotcalls").iterdir()
    entry = json.loads(path.read_text())
    path.write_text(json.dumps({**entry, "namespace": 1, "pid": 2**30}))
    assert list(registry.entries()) == []
    assert path.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b'{"version": 1}',
        b"[" * 100_000,
        b'{"version": 1, "name": 5}',
    ],
)
def test_file_that_is_no_entry_is_removed(runtime_folder: Path, content: bytes) -> None:
    folder = registry.folder()
    assert folder is not None
    (folder / "1-2.json").write_bytes(content)
    assert list(registry.entries()) == []
    assert files(runtime_folder) == []


@pytest.mark.parametrize(
    "change",
    [
        {"pid": -1},
        {"host": 1 << 40},
        {"channels": [-5]},
        {"channels": list(range(1000))},
        {"name": "x" * 10_000},
        {"ecalls": "sign"},
        {"version": 99},
    ],
)
def test_entry_out_of_bounds_is_refused(
    runtime_folder: Path, vault: hotcalls.Enclave, change: dict[str, Any]
) -> None:
    (path,) = (runtime_folder / "hotcalls").iterdir()
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert entries.read(path) is None


def test_entry_that_is_a_link_or_a_pipe_is_not_opened(runtime_folder: Path) -> None:
    folder = registry.folder()
    assert folder is not None
    (folder / "1-1.json").symlink_to("/etc/passwd")
    os.mkfifo(folder / "1-2.json")
    assert entries.read(folder / "1-1.json") is None
    assert entries.read(folder / "1-2.json") is None


def test_folder_that_others_can_write_is_not_used(
    runtime_folder: Path, monkeypatch: pytest.MonkeyPatch, vault_file: Path
) -> None:
    folder = registry.folder()
    assert folder is not None
    folder.chmod(0o777)
    assert registry.folder() is None
    with hotcalls.launch(vault_file) as enclave:
        assert enclave.sign(b"all the same") == b"all the same"
    assert files(runtime_folder) == []


def test_launch_goes_on_when_the_registry_cannot_be_written(
    runtime_folder: Path, vault_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with hotcalls.launch(vault_file) as enclave:
            assert enclave.sign(b"all the same") == b"all the same"
            assert list(registry.entries()) == []


# ---- reading -----------------------------------------------------------------------------------


def test_reading_of_a_channel_agrees_with_the_hosts_own(vault: hotcalls.Enclave) -> None:
    for _ in range(300):
        vault.sign(b"message")
    (entry,) = registry.entries()
    # A responder that falls asleep is counted, before, between or after the readings.
    before, look, after = vault.stats(), reading.read(entry), vault.stats()
    while before != after:
        before, look, after = vault.stats(), reading.read(entry), vault.stats()
    assert look.statistics == before
    assert look.error == ""
    assert look.memory_bytes > 1 << 20
    assert look.cpu_s > 0


@pytest.mark.parametrize("size", [0, 8, 4096, 1 << 20])
def test_memory_of_zeros_or_nonsense_is_no_channel(size: int) -> None:
    for filling in (b"\0", b"\xff", b"\x5a"):
        memory = os.memfd_create("hotcalls")
        os.write(memory, filling * size)
        with pytest.raises(ValueError, match="not a channel"):
            _native.read_channel(memory)
        with pytest.raises(reading.Unreadable):
            reading.read_channel(os.getpid(), memory)
        os.close(memory)


def test_channel_full_of_nonsense_is_read_without_harm(vault: hotcalls.Enclave) -> None:
    (entry,) = registry.entries()
    real = os.open(f"/proc/self/fd/{entry.channels[0]}", os.O_RDONLY)
    geometry = os.pread(real, 144, 0)
    size = os.fstat(real).st_size
    os.close(real)
    forged = os.memfd_create("hotcalls")
    os.ftruncate(forged, size)
    for at in range(0, min(size, 64 << 20), 1 << 20):
        os.pwrite(forged, b"\xff" * min(1 << 20, size - at), at)
    os.pwrite(forged, geometry, 0)
    raw = reading.read_channel(os.getpid(), forged)
    assert raw["ecalls"]["hot"] > 1 << 60
    os.close(forged)


def test_channel_cut_off_after_its_geometry_is_no_channel(vault: hotcalls.Enclave) -> None:
    (entry,) = registry.entries()
    cut = os.memfd_create("hotcalls")
    os.write(cut, os.pread(entry.channels[0], 4096, 0))
    with pytest.raises(ValueError, match="not a channel"):
        _native.read_channel(cut)
    os.close(cut)


def test_descriptor_that_is_something_else_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    pipe = os.open(tmp_path / "pipe", os.O_RDWR)
    with pytest.raises(reading.Unreadable, match="not a channel"):
        reading.read_channel(os.getpid(), pipe)
    os.close(pipe)


def test_enclave_that_has_ended_reads_as_ended(vault: hotcalls.Enclave) -> None:
    (entry,) = registry.entries()
    vault.close()
    look = reading.read(entry)
    assert look.statistics is None
    assert look.error


def test_watcher_counts_what_happened_between_two_looks(vault: hotcalls.Enclave) -> None:
    for _ in range(100):
        vault.sign(b"before")
    watcher = Watcher()
    (first,) = watcher.look()
    assert first.calls == 100
    assert first.calls_per_s is None
    for _ in range(640):
        vault.sign(b"between")
    (second,) = watcher.look()
    assert second.calls == 740
    assert second.calls_per_s is not None
    assert second.calls_per_s > 0
    assert second.p50_us is not None
    assert second.p99_us is not None
    assert 0 < second.p50_us <= second.p99_us
    assert second.hot_share is not None
    assert 0 <= second.hot_share <= 1
    (third,) = watcher.look()
    assert third.calls_per_s == 0
    assert third.hot_share is None


def test_counters_that_go_back_count_as_nothing(vault: hotcalls.Enclave) -> None:
    before = vault.stats()
    vault.sign(b"")
    assert reading.since(before, vault.stats()).ecalls.calls == 0


# ---- the commands --------------------------------------------------------------------------------


def test_top_without_an_enclave_says_so() -> None:
    done = run("top", "--once", "--interval", "0.05")
    assert (done.returncode, done.stdout) == (0, "no enclave of this user is running\n")
    assert json.loads(run("top", "--json", "--interval", "0.05").stdout) == []


def test_top_once_shows_a_line_for_each_enclave(vault: hotcalls.Enclave) -> None:
    vault.sign(b"message")
    done = run("top", "--once", "--interval", "0.05")
    head, line = done.stdout.splitlines()
    assert head.split()[:4] == ["ENCLAVE", "PID", "HOST", "CLIENTS"]
    assert line.split()[:4] == ["vault", str(vault.pid), str(os.getpid()), "1"]


def test_top_json_has_every_number(vault: hotcalls.Enclave) -> None:
    vault.sign(b"message")
    (row,) = json.loads(run("top", "--json", "--interval", "0.05").stdout)
    assert row["name"] == "vault"
    assert row["calls"] == 1
    assert row["calls_per_s"] == 0
    assert row["memory_bytes"] > 1 << 20


def test_top_shows_a_served_enclave_with_its_clients(tmp_path: Path) -> None:
    with Server(tmp_path, "--clients", "4") as running:
        with hotcalls.connect(running.path) as one, hotcalls.connect(running.path) as two:
            for each in (one, two):
                each.echo(b"")
            (row,) = Watcher().look()
            assert (row.pid, row.host) == (running.enclave, running.process.pid)
            assert (row.clients, row.calls) == (2, 2)
        assert running.terminate() == 0
    assert list(registry.entries()) == []


def test_name_that_is_no_text_cannot_move_the_cursor(
    runtime_folder: Path, vault: hotcalls.Enclave
) -> None:
    (path,) = (runtime_folder / "hotcalls").iterdir()
    entry = json.loads(path.read_text())
    path.write_text(json.dumps({**entry, "name": "\x1b[2J[bold]x"}))
    done = run("top", "--once", "--interval", "0.05")
    assert "\x1b[2J" not in done.stdout
    assert "?[2J[bold]x" in done.stdout


def test_stats_shows_an_enclave_by_its_process_and_by_its_host(vault: hotcalls.Enclave) -> None:
    for _ in range(200):
        vault.asked(b"?")
    for pid in (vault.pid, os.getpid()):
        done = run("stats", str(pid))
        assert done.returncode == 0
        assert f"vault: pid {vault.pid}, host {os.getpid()}" in done.stdout
        assert "ecalls: 200," in done.stdout
        assert "ecall asked" in done.stdout
        assert "ocall ask" in done.stdout
    found = json.loads(run("stats", "--json", str(vault.pid)).stdout)
    assert found["ecalls"]["calls"] == found["ocalls"]["calls"] == 200
    assert [each["name"] for each in found["ecalls"]["functions"]] == ["asked"]


def test_stats_of_a_host_with_two_enclaves_asks_which(
    vault: hotcalls.Enclave, vault_file: Path
) -> None:
    with hotcalls.launch(vault_file) as second:
        done = run("stats", str(os.getpid()))
        assert done.returncode == 1
        assert str(vault.pid) in done.stderr
        assert str(second.pid) in done.stderr


def test_stats_of_another_process_says_what_to_do() -> None:
    done = run("stats", "1")
    assert done.returncode == 1
    assert "see `hotcalls top`" in done.stderr
