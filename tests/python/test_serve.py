# SPDX-License-Identifier: Apache-2.0
"""``hotcalls serve`` and ``hotcalls.connect``: one enclave, many processes, some hostile."""

from __future__ import annotations

import mmap
import os
import re
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import PATIENCE_SECONDS, Server, as_user, client, said

import hotcalls
from hotcalls import _native
from hotcalls.serving import protocol

NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes users: needs root")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """A server that the tests of this module share, and leave as they found it."""
    with Server(folder, "--clients", "3", "--threads", "2") as running:
        yield running


@pytest.fixture
def connect(server: Server) -> Iterator[Callable[..., hotcalls.Enclave]]:
    """Connect this process; the connections end with the test."""
    made: list[hotcalls.Enclave] = []

    def make(**options: Any) -> hotcalls.Enclave:
        made.append(connected(server.path, **options))
        return made[-1]

    yield make
    for enclave in made:
        enclave.close()


def connected(path: str, **options: Any) -> hotcalls.Enclave:
    """Connect, also when the place of a client that has just ended is not free yet."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return hotcalls.connect(path, **options)
        except hotcalls.ConnectError as error:
            if "places for clients" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)


def receive(path: str) -> tuple[socket.socket, protocol.Welcome, list[int]]:
    """Connect by hand, as a client that does what it likes with what it gets."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect(path)
        try:
            return (connection, *protocol.receive(connection, path))
        except hotcalls.ConnectError:
            connection.close()
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


# ---- calls ---------------------------------------------------------------------------------


def test_call_of_a_served_enclave_returns_its_result(connect: Any) -> None:
    enclave = connect()
    assert enclave.echo(b"some bytes") == b"some bytes"
    assert enclave.echo.options(mode="switch")(b"more") == b"more"
    assert enclave.echo.submit(b"later").result(PATIENCE_SECONDS) == b"later"
    assert list(enclave.echo.map([b"a", b"b", b"c"])) == [b"a", b"b", b"c"]


def test_answer_larger_than_expected_arrives_whole(connect: Any) -> None:
    assert connect().zeros(3_000_000) == bytes(3_000_000)


@pytest.mark.claim("E-CLIENTS")
def test_ocall_goes_to_the_client_that_made_the_call(connect: Any) -> None:
    one = connect(ocalls={"ask": lambda question: "one: " + question})
    two = connect(ocalls={"ask": lambda question: "two: " + question})
    assert one.asked("who?") == "one: who?"
    assert two.asked("who?") == "two: who?"
    assert two.asked.submit("detached?").result(PATIENCE_SECONDS) == "two: detached?"


def test_ocall_without_a_function_fails_inside(connect: Any) -> None:
    with pytest.raises(hotcalls.RemoteError, match="ask"):
        connect().asked("anybody?")


def test_ocall_from_a_thread_of_the_module_says_that_it_has_no_client(connect: Any) -> None:
    enclave = connect(ocalls={"ask": lambda question: "not this"})
    assert "thread of the module's own" in enclave.asked_by_a_thread_of_mine("who?")


def test_clients_in_other_processes_share_the_module(server: Server, connect: Any) -> None:
    enclave = connect()
    before = enclave.add(0)
    code = "print(hotcalls.connect(path).add(5))"
    assert int(said(client(server.path, code))) == before + 5
    assert enclave.add(1) == before + 6


def test_forked_child_cannot_use_the_connection_and_can_make_its_own(
    server: Server, connect: Any
) -> None:
    code = """
        enclave = hotcalls.connect(path)
        if os.fork() == 0:
            try:
                enclave.echo(b"")
            except hotcalls.ForkedError:
                os._exit(len(hotcalls.connect(path).echo(b"123")))
            os._exit(9)
        print(os.waitstatus_to_exitcode(os.wait()[1]), enclave.echo(b"still here").decode())
    """
    assert said(client(server.path, code)) == "3 still here"


@pytest.mark.claim("E-CLIENTS")
def test_closing_one_connection_leaves_the_others(connect: Any) -> None:
    one, two = connect(), connect()
    one.close()
    with pytest.raises(hotcalls.EnclaveLost, match="closed"):
        one.echo(b"")
    assert two.echo(b"here") == b"here"


def test_unknown_ocall_is_refused_by_name(server: Server) -> None:
    with pytest.raises(ValueError, match=r"makes no ocall 'tell'; it makes ask"):
        connected(server.path, ocalls={"tell": print})


def test_module_given_makes_its_functions_call_the_enclave(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch, connect: Any
) -> None:
    monkeypatch.syspath_prepend(str(folder))
    import shared_vault  # type: ignore[import-not-found]

    connect(module=shared_vault)
    assert shared_vault.echo(b"by the module") == b"by the module"


# ---- refusals ------------------------------------------------------------------------------


def test_socket_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(hotcalls.ConnectError, match="is `hotcalls serve` running"):
        hotcalls.connect(tmp_path / "nothing")


def test_socket_that_nobody_serves_is_said_so(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as left:
        left.bind(str(tmp_path / "left"))
    with pytest.raises(hotcalls.ConnectError, match="nobody serves there any more"):
        hotcalls.connect(tmp_path / "left")


def test_socket_with_an_impossible_name_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(hotcalls.ConnectError, match="path too long"):
        hotcalls.connect(tmp_path / ("x" * 200))


def test_server_that_says_nothing_times_out(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as mute:
        mute.bind(str(tmp_path / "mute"))
        mute.listen()
        with pytest.raises(hotcalls.ConnectError, match="does not answer"):
            hotcalls.connect(tmp_path / "mute", timeout=0.05)


@pytest.mark.parametrize("answer", [b"\x93garbage", b"HTTP/1.1 400 Bad Request", b"\0" * 5000])
def test_server_that_says_garbage_is_refused(tmp_path: Path, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as odd:
        odd.bind(str(tmp_path / "odd"))
        odd.listen()

        def say() -> None:
            with odd.accept()[0] as connection:
                connection.send(answer)

        thread = threading.Thread(target=say, daemon=True)
        thread.start()
        with pytest.raises(hotcalls.ConnectError, match="not a server of `hotcalls serve`"):
            hotcalls.connect(tmp_path / "odd")
        thread.join()


def test_server_that_hands_over_no_channel_is_refused(tmp_path: Path) -> None:
    welcome = protocol.Welcome(1, "vault", 1, 1, 0, 1)
    memory = os.memfd_create("not a channel")
    description = os.memfd_create("description")
    from hotcalls.wire import encode_interface

    os.write(description, encode_interface([], []))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as odd:
        odd.bind(str(tmp_path / "odd"))
        odd.listen()
        fds = [memory, memory, memory, description]

        def say() -> None:
            with odd.accept()[0] as connection:
                protocol.send(connection, welcome, fds)

        thread = threading.Thread(target=say, daemon=True)
        thread.start()
        with pytest.raises(hotcalls.HotcallsError, match="not a channel"):
            hotcalls.connect(tmp_path / "odd")
        thread.join()
    close_all([memory, description])


def test_more_clients_than_places_are_refused(server: Server, connect: Any) -> None:
    for _ in range(3):
        connect()
    with pytest.raises(hotcalls.ConnectError, match=r"all 3 places for .* --clients"):
        hotcalls.connect(server.path)


@needs_root
@pytest.mark.claim("O-CONNECT")
def test_client_of_another_user_is_refused(open_folder: Path) -> None:
    with Server(open_folder, "--clients", "1", "--allow-uid", "1") as running:
        answer = as_user(NOBODY, lambda: hotcalls.connect(running.path))
        assert answer.startswith("ConnectError")
        assert "may not use this enclave" in answer


@needs_root
def test_client_of_an_allowed_user_has_places_of_its_own(open_folder: Path) -> None:
    with Server(open_folder, "--clients", "1", "--allow-uid", str(NOBODY)) as running:
        with hotcalls.connect(running.path) as mine:
            assert as_user(NOBODY, lambda: hotcalls.connect(running.path).add(2)) == "2"
            assert mine.add(1) == 3


@needs_root
@pytest.mark.claim("O-CONNECT")
def test_socket_is_closed_to_other_users_unless_one_is_allowed(open_folder: Path) -> None:
    with Server(open_folder, "--clients", "1") as running:
        answer = as_user(NOBODY, lambda: hotcalls.connect(running.path))
        assert "Permission denied" in answer


@needs_root
@pytest.mark.claim("O-CONNECT")
def test_server_of_a_stranger_is_refused_unless_named(open_folder: Path) -> None:
    path = str(open_folder / "strange")
    open_folder.chmod(0o777)
    strange = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    strange.bind(path)
    os.chmod(path, 0o777)
    # Who listens is who the kernel says that the server is.
    as_user(NOBODY, strange.listen)
    with strange:
        with pytest.raises(hotcalls.ConnectError, match=r"runs as user .* who would see"):
            hotcalls.connect(path)
        with pytest.raises(hotcalls.ConnectError, match="does not answer"):
            hotcalls.connect(path, server=NOBODY, timeout=0.05)


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    """A folder that other users can reach."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.name.startswith(("pytest", "popen-", "test_")):
            folder.chmod(0o755)
    return tmp_path


# ---- clients that end ------------------------------------------------------------------------


@pytest.mark.claim("E-CLIENTS")
def test_place_of_a_client_killed_in_a_call_is_given_out_again(server: Server) -> None:
    code = """
        enclave = hotcalls.connect(path)
        print("calling", flush=True)
        enclave.sleep(0.3)
    """
    killed = [client(server.path, code) for _ in range(3)]
    for each in killed:
        assert each.stdout is not None
        assert each.stdout.readline() == "calling\n"
        each.kill()
        each.communicate()
    with connected(server.path) as one, connected(server.path) as two:
        assert one.echo(b"x") + two.echo(b"y") == b"xy"


@pytest.mark.claim("E-CLIENTS")
def test_client_killed_while_the_enclave_waits_for_it_frees_the_thread(server: Server) -> None:
    code = """
        def ask(question):
            print("asked", flush=True)
            time.sleep(60)
        hotcalls.connect(path, ocalls={"ask": ask}).asked("?")
    """
    killed = client(server.path, code)
    assert killed.stdout is not None
    assert killed.stdout.readline() == "asked\n"
    killed.kill()
    killed.communicate()
    made = [connected(server.path) for _ in range(3)]
    assert [each.echo(b"z") for each in made] == [b"z"] * 3
    for each in made:
        each.close()


@pytest.mark.claim("E-CLIENTS")
def test_next_client_of_a_place_begins_with_a_new_generation_and_zeros(tmp_path: Path) -> None:
    with Server(tmp_path, "--clients", "1") as running:
        connection, first, descriptors = receive(running.path)
        size = os.fstat(descriptors[0]).st_size
        with mmap.mmap(descriptors[0], size) as channel:
            channel[size // 2 : size // 2 + 6] = b"secret"
        close_all(descriptors)
        connection.close()
        connection, second, descriptors = receive(running.path)
        assert (second.place, second.generation) == (first.place, first.generation + 1)
        with mmap.mmap(descriptors[0], size) as channel:
            assert channel[size // 2 : size // 2 + 6] == bytes(6)
        close_all(descriptors)
        connection.close()


@pytest.mark.claim("E-CLIENTS")
def test_channel_that_another_process_keeps_is_not_given_out_again(tmp_path: Path) -> None:
    with Server(tmp_path, "--clients", "1") as running:
        connection, _, descriptors = receive(running.path)
        channel = mmap.mmap(descriptors[0], 4096)
        close_all(descriptors)
        connection.close()
        # The client has gone, and what it was given is still mapped somewhere.
        for _ in range(20):
            with pytest.raises(hotcalls.ConnectError, match="all 1 places"):
                hotcalls.connect(running.path)
            time.sleep(0.01)
        channel.close()
        with connected(running.path) as enclave:
            assert enclave.echo(b"mine alone") == b"mine alone"


def test_connections_leave_nothing_behind(server: Server) -> None:
    def used() -> tuple[int, int, int]:
        return (
            len(os.listdir(f"/proc/{server.process.pid}/fd")),
            len(os.listdir(f"/proc/{server.enclave}/task")),
            len(os.listdir("/proc/self/fd")),
        )

    def once() -> None:
        with connected(server.path) as enclave:
            enclave.echo(b"")
            enclave.echo.options(mode="switch")(b"")
            enclave.echo.submit(b"").result(PATIENCE_SECONDS)

    once()
    wait_until(lambda: used() == used_when_still(used))
    before = used()
    for _ in range(20):
        once()
    wait_until(lambda: all(now <= then for now, then in zip(used(), before, strict=True)))


def used_when_still(used: Callable[[], tuple[int, int, int]]) -> tuple[int, int, int]:
    now = used()
    time.sleep(0.05)
    return now if used() == now else (0, 0, 0)


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


# ---- clients that are hostile ----------------------------------------------------------------


@pytest.mark.claim("E-CLIENTS")
def test_garbage_on_the_socket_ends_that_connection_only(server: Server, connect: Any) -> None:
    enclave = connect()
    connection, _, descriptors = receive(server.path)
    connection.send(b"\xff" * 4000)
    connection.settimeout(PATIENCE_SECONDS)
    # Reset, as it did not even read what we said.
    with pytest.raises(ConnectionResetError):
        connection.recv(100)
    close_all(descriptors)
    connection.close()
    assert enclave.echo(b"unharmed") == b"unharmed"


@pytest.mark.claim("E-CLIENTS")
def test_client_that_overwrites_its_channel_hurts_itself_only(server: Server, connect: Any) -> None:
    enclave = connect()
    connection, _, descriptors = receive(server.path)
    size = os.fstat(descriptors[0]).st_size
    with mmap.mmap(descriptors[0], size) as channel:
        for value in (0xFF, 0x01, 0xA5):
            for at in range(0, size, 1 << 20):
                channel[at : at + (1 << 20)] = bytes([value]) * min(1 << 20, size - at)
            assert enclave.echo(b"unharmed") == b"unharmed"
    close_all(descriptors)
    connection.close()
    # And its place is as good as any for who comes next.
    made = [connected(server.path) for _ in range(2)]
    assert [each.echo(b"fresh") for each in made] == [b"fresh"] * 2
    for each in made:
        each.close()


@pytest.mark.claim("E-CLIENTS")
def test_answer_that_waits_for_one_client_cannot_be_fetched_by_another(connect: Any) -> None:
    one, two = connect(), connect()
    small, message = 4096, one.zeros._signature.encode_arguments((4096,), {})
    head = len(message).to_bytes(4, "little") + bytes(4) + message
    held, _ = one._native.call(
        one.zeros.id, head.ljust(_native.INLINE_SIZE, b"\0"), b"", False, 0, PATIENCE_SECONDS
    )
    assert int.from_bytes(held[4:8], "little") == _native.HELD
    assert int.from_bytes(held[:4], "little") > small
    fetch = len(one.functions)
    ask = (8).to_bytes(4, "little") + bytes(4) + held[8:16].ljust(32, b"\0")
    with pytest.raises(_native.NativeError) as refused:
        two._native.call(fetch, ask, bytes(8192), True, 0, PATIENCE_SECONDS)
    assert refused.value.status == "HC_ERR_ARGUMENT"
    got, _ = one._native.call(fetch, ask, bytes(8192), True, 0, PATIENCE_SECONDS)
    assert int.from_bytes(got[4:8], "little") == _native.VALUE


@pytest.mark.claim("E-CLIENTS")
def test_client_cannot_say_who_comes_and_goes(connect: Any) -> None:
    enclave = connect()
    for id_ in range(len(enclave.functions) + 1, len(enclave.functions) + 4):
        with pytest.raises(_native.NativeError):
            enclave._native.call(id_, bytes(_native.INLINE_SIZE), b"", False, 0, PATIENCE_SECONDS)
    assert enclave.echo(b"unharmed") == b"unharmed"


def test_server_that_may_not_have_enough_descriptors_says_how_many(tmp_path: Path) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))

    with pytest.raises(AssertionError, match=r"need more descriptors .*ulimit -n"):
        Server(tmp_path, "--clients", "16", preexec_fn=few)


def test_server_out_of_descriptors_serves_on(tmp_path: Path) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))

    with Server(tmp_path, "--clients", "4", preexec_fn=few) as running:
        flood = []
        for _ in range(60):
            each = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            each.setblocking(False)
            try:
                each.connect(running.path)
            except BlockingIOError:
                each.close()
                break
            flood.append(each)
        for each in flood:
            each.close()
        with connected(running.path) as enclave:
            assert enclave.echo(b"after the flood") == b"after the flood"
        assert running.process.poll() is None


# ---- the server ends -------------------------------------------------------------------------


def test_sigterm_ends_the_enclave_its_clients_calls_and_the_socket(tmp_path: Path) -> None:
    with Server(tmp_path) as running:
        enclave = hotcalls.connect(running.path)
        waiting = enclave.sleep.submit(60.0)
        assert running.terminate() == 0
        with pytest.raises(hotcalls.EnclaveLost):
            waiting.result(PATIENCE_SECONDS)
        with pytest.raises(hotcalls.EnclaveLost):
            enclave.echo(b"")
        assert not os.path.exists(running.path)
        wait_until(lambda: not os.path.exists(f"/proc/{running.enclave}"))
        enclave.close()


def test_killed_server_is_enclave_lost_for_its_clients(tmp_path: Path) -> None:
    with Server(tmp_path) as running:
        enclave = hotcalls.connect(running.path)
        running.process.send_signal(signal.SIGKILL)
        with pytest.raises(hotcalls.EnclaveLost):
            enclave.sleep(60.0)
        enclave.close()


def test_enclave_that_ends_ends_the_server_with_the_documented_status(tmp_path: Path) -> None:
    with Server(tmp_path) as running:
        with hotcalls.connect(running.path) as enclave, pytest.raises(hotcalls.EnclaveLost):
            enclave.die()
        assert running.process.wait(PATIENCE_SECONDS) == 5
        assert not os.path.exists(running.path)


def test_reconnect_calls_the_server_that_was_started_again(tmp_path: Path) -> None:
    with Server(tmp_path) as first:
        enclave = hotcalls.connect(first.path, reconnect=True)
        assert enclave.add(7) == 7
    with Server(tmp_path) as second:
        # The call that finds the enclave lost may have run: it is not made again.
        with pytest.raises(hotcalls.EnclaveLost):
            enclave.add(1)
        assert enclave.add(1) == 1
        assert enclave.pid == second.enclave
        enclave.close()
        with pytest.raises(hotcalls.EnclaveLost, match="closed"):
            enclave.add(1)


def test_socket_that_a_killed_server_left_is_replaced(tmp_path: Path) -> None:
    with Server(tmp_path) as first:
        first.kill()
        assert os.path.exists(first.path)
        with Server(tmp_path) as second, hotcalls.connect(second.path) as enclave:
            assert enclave.echo(b"new") == b"new"


# ---- the command -----------------------------------------------------------------------------


def refused(folder: Path, *options: str) -> tuple[int, str]:
    """Exit status and words of a server that does not start."""
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "hotcalls.cli", "serve", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    return done.returncode, done.stderr


def test_second_server_of_a_socket_is_refused(server: Server, folder: Path) -> None:
    status, text = refused(folder, "shared_vault.py", "--socket", server.path)
    assert status == 1
    assert "another server is running there" in text


def test_file_in_the_place_of_the_socket_is_left_alone(folder: Path, server: Server) -> None:
    status, text = refused(folder, "shared_vault.py", "--socket", "shared_vault.py")
    assert status == 1
    assert "not a socket" in text
    assert (folder / "shared_vault.py").read_text()


@pytest.mark.parametrize(
    "options, message",
    [
        (["--secret", "key"], "is not NAME=FILE or NAME=fd:N"),
        (["--secret", "key=fd:999"], "'999' is not an open descriptor"),
        (["--secret", "key=/nowhere/key"], "/nowhere/key: No such file"),
        (["--args", "{"], "not JSON"),
        (["--allow-uid", "no-such-user"], "there is no user 'no-such-user'"),
        (["--clients", "40", "--allow-uid", "1"], "more than 64"),
        (["--clients", "0"], "0 is not in the range"),
        (["--window", "99999999999"], "99999999999 is not in the range"),
        (["--socket", "x" * 200], "path too long"),
    ],
)
def test_wrong_option_is_said_what_is_wrong(
    folder: Path, server: Server, options: list[str], message: str
) -> None:
    status, text = refused(folder, "shared_vault.py", "--socket", "another", *options)
    assert status in (1, 2)
    assert message in text
    assert not (folder / "another").exists()


def test_module_that_fails_to_import_is_shown_with_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import hotcalls\n1 / 0\n")
    status, text = refused(tmp_path, "broken.py", "--socket", "socket")
    assert status == 1
    assert text.rstrip().endswith("ZeroDivisionError: division by zero")
    assert "    1 / 0\n" in text
    assert not (tmp_path / "socket").exists()


def test_secret_and_arguments_reach_startup(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("the key")
    text = """
import hotcalls

kept = []

@hotcalls.startup
def start(secrets, args):
    kept.append((secrets["key"].read(), args["greeting"]))

@hotcalls.ecall
def lengths() -> list[int]:
    return [len(each) for each in kept[0]]
"""
    options = ["--secret", f"key={tmp_path / 'key'}", "--args", '{"greeting": "hello"}']
    with Server(tmp_path, *options, text=text) as running:
        with hotcalls.connect(running.path) as enclave:
            assert enclave.lengths() == [7, 5]


def test_service_manager_is_told_when_it_serves(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE_SECONDS)
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        with Server(tmp_path, env=environment) as running:
            assert manager.recv(100) == b"READY=1"
            assert running.terminate() == 0
            assert manager.recv(100) == b"STOPPING=1"


def test_verbose_server_says_who_comes_and_goes(tmp_path: Path) -> None:
    with Server(tmp_path, "--verbose") as running:
        hotcalls.connect(running.path).close()
        found = running.wait_for(r"client (\d+) \(\S+\) has place 0")
        assert int(found.group(1)) == os.getpid()
        running.wait_for(rf"client {os.getpid()} has left place 0")
        assert not re.search("Traceback", running.said)
