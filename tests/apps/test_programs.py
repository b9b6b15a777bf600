# SPDX-License-Identifier: Apache-2.0
"""Real programs, as Debian ships them, do in an enclave what they are for."""

from __future__ import annotations

import hashlib
import resource
import shutil
import socket
import urllib.request
from pathlib import Path

import enclosed
import pytest


def need(*names: str) -> None:
    """Skip when a program is not installed."""
    for name in names:
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed; scripts/setup.sh test installs it")


def digest(data: bytes) -> str:
    """Return what two equal contents have in common."""
    return hashlib.sha256(data).hexdigest()


def pages(folder: Path) -> dict[str, bytes]:
    """Make some files to serve."""
    found = {
        "small": b"small",
        "page": bytes(range(256)) * 80,
        "large": bytes(i * 7 % 251 for i in range(1 << 20)),
    }
    for name, data in found.items():
        (folder / name).write_bytes(data)
    return found


@pytest.mark.parametrize(("mode", "threads"), [("hot", 4), ("switch", 1)])
def test_memcached_passes_its_conformance_tests(mode: str, threads: int, tmp_path: Path) -> None:
    need("memcached", "memccapable")
    port = enclosed.free_port()
    command = ["memcached", "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-t", str(threads)]
    with enclosed.server(mode, *command, "-u", "root", port=port, folder=tmp_path):
        done = enclosed.run(["memccapable", "-h", "127.0.0.1", "-p", str(port)])
    assert done.returncode == 0, done.stdout
    assert "All tests passed" in done.stdout
    assert "[FAIL]" not in done.stdout


@pytest.mark.parametrize("mode", enclosed.MODES)
def test_lighttpd_serves_files_as_they_are(mode: str, tmp_path: Path) -> None:
    need("lighttpd", "wrk")
    port = enclosed.free_port()
    files = pages(tmp_path)
    (tmp_path / "conf").write_text(
        f'server.document-root = "{tmp_path}"\nserver.port = {port}\n'
        'server.bind = "127.0.0.1"\nserver.modules = ()\n'
    )
    with enclosed.server(
        mode, "lighttpd", "-D", "-f", str(tmp_path / "conf"), port=port, folder=tmp_path
    ):
        load = enclosed.run(["wrk", "-t1", "-c50", "-d1s", f"http://127.0.0.1:{port}/page"])
        for name, data in files.items():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{name}") as answer:
                assert digest(answer.read()) == digest(data), name
    assert "Requests/sec" in load.stdout
    assert "Socket errors" not in load.stdout
    assert "Non-2xx" not in load.stdout


def test_python_and_curl_talk_to_each_other_from_two_enclaves(tmp_path: Path) -> None:
    need("curl")
    port = enclosed.free_port()
    files = pages(tmp_path)
    command = ["/usr/bin/python3", "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    with enclosed.server("hot", *command, port=port, folder=tmp_path):
        for name, data in files.items():
            url = f"http://127.0.0.1:{port}/{name}"
            out = str(tmp_path / "got")
            done = enclosed.run(enclosed.inside("hot", "curl", "-sS", "-o", out, url))
            assert done.returncode == 0, done.stderr
            assert digest((tmp_path / "got").read_bytes()) == digest(data)


def test_sqlite_keeps_a_data_base(tmp_path: Path) -> None:
    need("sqlite3")
    file = str(tmp_path / "data")
    statements = (
        "create table t(x); with recursive n(i) as (select 1 union all select i+1 from n "
        "where i < 20000) insert into t select i from n; pragma integrity_check;"
    )
    assert enclosed.run(enclosed.inside("hot", "sqlite3", file, statements)).stdout == "ok\n"
    # Written inside, read outside, and the other way round.
    assert enclosed.run(["sqlite3", file, "select sum(x) from t"]).stdout == "200010000\n"
    enclosed.run(["sqlite3", file, "delete from t where x > 10"])
    done = enclosed.run(enclosed.inside("switch", "sqlite3", file, "select sum(x) from t"))
    assert done.stdout == "55\n"


@pytest.mark.parametrize("mode", enclosed.MODES)
def test_redis_answers_a_benchmark(mode: str, tmp_path: Path) -> None:
    need("redis-server", "redis-cli", "redis-benchmark")
    port = str(enclosed.free_port())
    command = ["redis-server", "--port", port, "--save", "", "--bind", "127.0.0.1"]
    with enclosed.server(mode, *command, port=int(port), folder=tmp_path):
        cli = ["redis-cli", "-p", port]
        assert enclosed.run([*cli, "set", "a", "42"]).stdout == "OK\n"
        load = enclosed.run(
            ["redis-benchmark", "-p", port, "-n", "3000", "-c", "20", "-t", "set,get", "--csv"]
        )
        assert load.returncode == 0
        assert enclosed.run([*cli, "incr", "a"]).stdout == "43\n"
        # What needs a process of its own says so, and the server goes on.
        assert "ERR" in enclosed.run([*cli, "bgsave"]).stdout
        assert enclosed.run([*cli, "get", "a"]).stdout == "43\n"


def test_a_thousand_connections_are_served(tmp_path: Path) -> None:
    need("memcached")
    own = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, own[1]), own[1]))
    port = enclosed.free_port()
    command = ["memcached", "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-c", "1100"]
    with enclosed.server("hot", *command, "-u", "root", port=port, folder=tmp_path):
        clients = [socket.create_connection(("127.0.0.1", port), 20) for _ in range(1000)]
        try:
            for client in clients:
                client.sendall(b"version\r\n")
            assert all(client.recv(64).startswith(b"VERSION") for client in clients)
            # Some leave in the middle of a request.
            for client in clients[::2]:
                client.sendall(b"set key 0 0 100\r\nhalf")
                client.close()
            clients[1].sendall(b"version\r\n")
            assert clients[1].recv(64).startswith(b"VERSION")
        finally:
            for client in clients:
                client.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, own)
