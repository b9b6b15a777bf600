# SPDX-License-Identifier: Apache-2.0
"""Web servers that fork or start workers, each of which calls the one enclave."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from serving import PATIENCE_SECONDS, Server

SIGNER = """
import hashlib
import hmac
import os

import hotcalls

key = os.urandom(32)
signed = 0


@hotcalls.ecall
def sign(message: bytes) -> bytes:
    global signed
    signed += 1
    return hmac.digest(key, message, hashlib.sha256)


@hotcalls.ecall
def how_many() -> int:
    return signed
"""

WSGI = """
import os

import hotcalls

vault = None


def app(environ, start_response):
    global vault
    if vault is None:
        # At the first request, and so in the worker: a connection does not survive a fork.
        vault = hotcalls.connect(os.environ["VAULT"])
    tag = vault.sign(environ["PATH_INFO"].encode()).hex()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {tag}".encode()]
"""

ASGI = """
import os

import hotcalls

vault = hotcalls.connect(os.environ["VAULT"])


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    tag = (await vault.sign.aio(scope["path"].encode())).hex()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": f"{os.getpid()} {tag}".encode()})
"""


@contextmanager
def web_server(folder: Path, server: Server, app: str, *command: str) -> Iterator[int]:
    """Run a web server with the app; the port that it listens on."""
    (folder / "webapp.py").write_text(textwrap.dedent(app))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", *command, "webapp:app"],
            cwd=folder,
            env={**os.environ, "VAULT": server.path, "WEB_FD": str(listener.fileno())},
            pass_fds=[listener.fileno()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield listener.getsockname()[1]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_SECONDS)


def ask(port: int, path: str) -> tuple[int, str]:
    """The worker that answered, and the tag that it got from the enclave."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        worker, tag = answer.read().decode().split()
        return int(worker), tag
    finally:
        connection.close()


def check(port: int, server: Server) -> None:
    """Two workers answer, both with the key of the one enclave."""
    import hotcalls

    workers: dict[int, str] = {}
    until = time.monotonic() + PATIENCE_SECONDS
    asked = 0
    while len(workers) < 2:
        assert time.monotonic() < until
        # New connections go to whichever worker is waiting.
        worker, tag = ask(port, "/same")
        asked += 1
        workers[worker] = tag
    assert len(set(workers.values())) == 1
    with hotcalls.connect(server.path) as enclave:
        assert enclave.sign(b"/same").hex() in workers.values()
        assert enclave.how_many() == asked + 1


@pytest.fixture
def signer(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path, "--clients", "3", text=SIGNER) as running:
        yield running


def test_two_workers_of_gunicorn_call_one_enclave(tmp_path: Path, signer: Server) -> None:
    pytest.importorskip("gunicorn")
    gunicorn = ["gunicorn", "--workers", "2", "--log-level", "error"]
    (tmp_path / "gunicorn.conf.py").write_text(
        "import os\nbind = 'fd://' + os.environ['WEB_FD']\ncontrol_socket_disable = True\n"
    )
    with web_server(tmp_path, signer, WSGI, *gunicorn) as port:
        check(port, signer)


def test_two_workers_of_uvicorn_call_one_enclave(tmp_path: Path, signer: Server) -> None:
    pytest.importorskip("uvicorn")
    (tmp_path / "start.py").write_text(
        "import os, uvicorn\n"
        "if __name__ == '__main__':\n"
        "    uvicorn.run('webapp:app', fd=int(os.environ['WEB_FD']), workers=2,\n"
        "                log_level='error')\n"
    )
    with web_server(tmp_path, signer, ASGI, "start") as port:
        check(port, signer)
