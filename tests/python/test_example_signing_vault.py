# SPDX-License-Identifier: Apache-2.0
"""The signing vault: the service signs, the attack fails on it and not on its neighbour."""

from __future__ import annotations

import base64
import json
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from .unprivileged import ENVIRONMENT, python_of_an_ordinary_user

START_SECONDS = 60


@pytest.fixture(scope="module")
def folder(repository: Path) -> Iterator[Path]:
    """The example, where an ordinary user may read it."""
    made = Path(tempfile.mkdtemp(prefix="hotcalls-example-"))
    made.chmod(0o755)
    shutil.copytree(repository / "examples/signing-vault", made, dirs_exist_ok=True)
    for path in made.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    yield made
    shutil.rmtree(made)


def free_port() -> int:
    """Return a port that nobody uses now, below those that the kernel gives to connections."""
    while True:
        port = random.randrange(12000, 30000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextmanager
def program(folder: Path, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Run a Python program in the example's folder; ended afterwards, and read to its end."""
    with subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=folder, env=ENVIRONMENT | variables, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            output = process.communicate(timeout=START_SECONDS)[0]
    assert "Traceback" not in output, output


@contextmanager
def vault_served(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run `hotcalls serve`, and wait until it does."""
    serve = ("hotcalls.cli", "serve", "vault.py", "--socket", "vault.sock", "--verbose")
    with program(folder, *serve) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line.startswith("serving vault"), line + server.stdout.read()
        yield server


@contextmanager
def application(folder: Path, *options: str, **variables: str) -> Iterator[httpx.Client]:
    """Run the application behind a real server, on the loopback interface."""
    port = free_port()
    with program(
        folder, "uvicorn", "app:app", "--port", str(port), *options, **variables
    ) as server:
        # A connection for each request: any of the workers may take it.
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", trust_env=False, headers={"connection": "close"}
        ) as client:
            wait_until_it_answers(client, server)
            yield client


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[httpx.Client]:
    """The application with a vault of its own."""
    with application(folder) as client:
        yield client


def wait_until_it_answers(client: httpx.Client, server: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, server.communicate()[0]
        try:
            client.get("/key")
            return
        except httpx.TransportError:
            time.sleep(0.05)
    pytest.fail("the service does not answer")


def claims(token: str, key: bytes) -> Any:
    signed, _, signature = token.rpartition(".")
    public = load_pem_public_key(key)
    assert isinstance(public, Ed25519PublicKey)
    public.verify(decode(signature), signed.encode())
    return json.loads(decode(signed.split(".")[1]))


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_token_of_the_service_is_genuine(service: httpx.Client) -> None:
    answer = service.post("/tokens", json={"subject": "ann", "scope": "read", "seconds": 60})
    assert answer.status_code == 200
    said = claims(answer.json()["token"], service.get("/key").content)
    assert (said["sub"], said["scope"], said["exp"] - said["iat"]) == ("ann", "read", 60)


def test_two_workers_share_one_vault(folder: Path) -> None:
    with vault_served(folder) as server:
        with application(folder, "--workers", "2", VAULT_SOCKET="vault.sock") as service:
            assert server.stdout is not None
            connected = {server.stdout.readline() for _ in range(2)}
            keys = {service.get("/key").content for _ in range(10)}
            tokens = [
                service.post("/tokens", json={"subject": name, "scope": "write"}).json()["token"]
                for name in ("ann", "bob", "cleo")
            ]
    assert all(re.match(r"hotcalls serve: client \d+ ", line) for line in connected), connected
    assert len(connected) == 2
    (key,) = keys
    assert [claims(token, key)["sub"] for token in tokens] == ["ann", "bob", "cleo"]


def test_service_says_that_its_vault_is_gone_and_finds_the_next_one(folder: Path) -> None:
    with vault_served(folder) as first:
        with application(folder, VAULT_SOCKET="vault.sock") as service:
            assert service.get("/key").status_code == 200
            first.terminate()
            first.wait(timeout=START_SECONDS)
            gone = service.get("/key")
            assert gone.status_code == 503
            with vault_served(folder):
                assert service.get("/key").status_code == 200


def test_token_that_was_changed_is_not(service: httpx.Client) -> None:
    token = service.post("/tokens", json={"subject": "ann", "scope": "read"}).json()["token"]
    head, body, signature = token.split(".")
    forged = base64.urlsafe_b64encode(decode(body).replace(b"read", b"admin")).decode()
    with pytest.raises(InvalidSignature):
        claims(f"{head}.{forged}.{signature}", service.get("/key").content)


@pytest.mark.parametrize(
    "content, text",
    [
        (b'{"subject": "ann", "scope": "admin"}', "expected 'read' or 'write', got 'admin'"),
        (b'{"subject": "", "scope": "read"}', "issue(subject=…)"),
        (b'{"subject": "ann", "scope": "read", "seconds": 901}', "expected int <= 900"),
        (b'{"subject": "ann"}', "missing 1 required argument: 'scope'"),
        (b'{"subject": "ann", "scope": "read", "key": 1}', "unexpected keyword argument 'key'"),
        (b"[]", "expected an object"),
        (b"not json", "Expecting value"),
    ],
)
def test_request_that_the_vault_refuses_says_why(
    service: httpx.Client, content: bytes, text: str
) -> None:
    answer = service.post("/tokens", content=content)
    assert answer.status_code == 400
    assert text in answer.json()["error"]


def test_attack_reads_a_process_with_a_key_and_not_the_vault(folder: Path) -> None:
    python_of_an_ordinary_user()  # skips where there is none
    done = subprocess.run(
        [sys.executable, "attack.py"],
        cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    plain, vault = re.split(r"^The vault, pid \d+:\n", done.stdout, flags=re.M)
    assert '{"sub":"mallory","scope":"admin"}' in plain
    assert len(re.findall("SUCCEEDED, and here is a private key", plain)) == 2
    assert len(re.findall(r"refused: (?:Permission denied|Operation not permitted)", vault)) == 4
    assert "SUCCEEDED" not in vault
    assert vault.endswith("The vault kept its key.\n")


def test_attack_on_a_process_of_ones_own_says_what_came_out(folder: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            done = subprocess.run(
                [sys.executable, "attack.py", str(process.pid)],
                cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False,
                timeout=60,
            )  # fmt: skip
        finally:
            process.kill()
    assert f"read /proc/{process.pid}/environ" in done.stdout
    assert "SUCCEEDED" in done.stdout
    assert done.returncode == 1


def test_attack_with_something_else_says_how_it_is_used(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "attack.py", "vault.py"],
        cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "python attack.py PID" in done.stderr


def test_unit_tests_of_the_example_pass(folder: Path) -> None:
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
            "-W", "ignore:this program runs as root", "test_vault.py",
        ],
        cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert re.search(r"\d+ passed", done.stdout), done.stdout + done.stderr
    assert done.returncode == 0
