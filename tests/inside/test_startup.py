# SPDX-License-Identifier: Apache-2.0
"""How secrets and arguments reach a module's start-up functions."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hotcalls

Starter = Callable[..., hotcalls.Enclave]

KEEPS = """
SEEN = []

@hotcalls.startup
def start({parameters}):
    {body}

@hotcalls.ecall
def seen() -> str:
    return repr(SEEN)
"""


def keeping(parameters: str, body: str) -> str:
    return KEEPS.format(parameters=parameters, body=body)


def secret_kinds(folder: Path) -> dict[str, Callable[[], Any]]:
    """Ways to hand over b'swordfish'."""

    def pipe() -> int:
        read, write = os.pipe()
        os.write(write, b"swordfish")
        os.close(write)
        return read

    def file() -> Any:
        (folder / "key").write_bytes(b"swordfish")
        return open(folder / "key", "rb")

    return {
        "bytes": lambda: b"swordfish",
        "bytearray": lambda: bytearray(b"swordfish"),
        "memoryview": lambda: memoryview(b"swordfish"),
        "pipe": pipe,
        "file": file,
    }


@pytest.mark.parametrize("kind", ["bytes", "bytearray", "memoryview", "pipe", "file"])
def test_secret_is_read_once(start: Starter, tmp_path: Path, kind: str) -> None:
    value = secret_kinds(tmp_path)[kind]()
    body = (
        "SEEN.append(secrets['key'].read())\n"
        "    try:\n        secrets['key'].read()\n"
        "    except ValueError as error:\n        SEEN.append(str(error))"
    )
    enclave = start(keeping("secrets", body), secrets={"key": value})
    seen = enclave.seen()
    assert "b'swordfish'" in seen
    assert "was read already" in seen
    # The caller's own stays the caller's.
    if isinstance(value, int):
        os.fstat(value)
        os.close(value)
    elif hasattr(value, "close"):
        assert not value.closed
        value.close()


def test_secret_goes_where_the_module_wants_it_without_a_copy(start: Starter) -> None:
    body = (
        "KEY = hotcalls.secret_bytes(9)\n"
        "    SEEN.append(secrets['key'].readinto(KEY))\n"
        "    SEEN.append(bytes(KEY))"
    )
    assert start(keeping("secrets", body), secrets={"key": b"swordfish"}).seen() == (
        "[9, b'swordfish']"
    )


def test_secret_that_is_shorter_than_its_place_says_so(start: Starter) -> None:
    body = "SEEN.append(secrets['key'].readinto(hotcalls.secret_bytes(32)))"
    assert start(keeping("secrets", body), secrets={"key": b"swordfish"}).seen() == "[9]"


def test_secret_of_any_size_arrives(start: Starter) -> None:
    body = "SEEN.append(len(secrets['model'].read()))"
    assert start(keeping("secrets", body), secrets={"model": bytes(3 << 20)}).seen() == (
        f"[{3 << 20}]"
    )


def test_secret_is_closed_after_start_up(start: Starter) -> None:
    enclave = start(
        """
        @hotcalls.startup
        def start(secrets):
            global KEPT
            KEPT = secrets["key"]

        @hotcalls.ecall
        def late() -> str:
            try:
                return str(KEPT.read())
            except ValueError as error:
                return f"{error} {KEPT.closed} {KEPT!r}"
        """,
        secrets={"key": b"swordfish"},
    )
    assert "start-up is over" in enclave.late()
    assert "swordfish" not in enclave.late()


def test_secrets_know_their_names(start: Starter) -> None:
    body = (
        "SEEN.append((sorted(secrets), len(secrets), repr(secrets)))\n"
        "    try:\n        secrets['other']\n"
        "    except KeyError as error:\n        SEEN.append(str(error))"
    )
    seen = start(keeping("secrets", body), secrets={"a": b"1", "b": b"2"}).seen()
    assert "(['a', 'b'], 2, '<secrets a, b>')" in seen
    assert "gave 'a', 'b', not 'other'" in seen.replace("\\", "")


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ("/etc/passwd", TypeError, "not a path: open it here"),
        (Path("/etc/passwd"), TypeError, "not a path: open it here"),
        (None, TypeError, "is a descriptor, a file or bytes"),
        (True, TypeError, "is a descriptor, a file or bytes"),
        (object(), TypeError, "is a descriptor, a file or bytes, got object"),
        (987654, ValueError, "987654 is not an open descriptor"),
        (-1, ValueError, "-1 is not an open descriptor"),
    ],
)
def test_secret_of_another_type_is_refused(
    start: Starter, value: object, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=f"secrets: 'key'.*{words}"):
        start(keeping("secrets", "pass"), secrets={"key": value})


def test_too_many_secrets_are_refused(start: Starter) -> None:
    with pytest.raises(ValueError, match="at most 20, got 21"):
        start(keeping("secrets", "pass"), secrets={str(i): b"" for i in range(21)})


def test_as_many_secrets_as_are_allowed_arrive(start: Starter) -> None:
    body = "SEEN.extend(secrets[str(i)].read() for i in range(20))"
    enclave = start(keeping("secrets", body), secrets={str(i): b"%d" % i for i in range(20)})
    assert enclave.seen() == repr([b"%d" % i for i in range(20)])


@pytest.mark.parametrize(
    ("parameters", "args", "expected"),
    [
        ("args", [1, "two", b"3", None, 4.5], "[[1, 'two', b'3', None, 4.5]]"),
        ("args", {"a": {"b": [1]}}, "[{'a': {'b': [1]}}]"),
        ("args", None, "[None]"),
        ("args=7", None, "[None]"),
        ("region, level=3", {"region": "eu"}, "[('eu', 3)]"),
        ("*, region, level=3", {"region": "eu", "level": 4}, "[('eu', 4)]"),
        ("secrets, region", {"region": "eu"}, "[(0, 'eu')]"),
        ("**options", {"region": "eu"}, "[{'region': 'eu'}]"),
        ("", None, "[0]"),
    ],
)
def test_start_up_function_gets_what_it_names(
    start: Starter, parameters: str, args: object, expected: str
) -> None:
    names = {
        "args": "args",
        "args=7": "args",
        "region, level=3": "(region, level)",
        "*, region, level=3": "(region, level)",
        "secrets, region": "(len(secrets), region)",
        "**options": "options",
        "": "0",
    }[parameters]
    assert start(keeping(parameters, f"SEEN.append({names})"), args=args).seen() == expected


def test_every_start_up_function_runs_in_order(start: Starter) -> None:
    enclave = start(
        """
        SEEN = []

        @hotcalls.startup
        def first(): SEEN.append(1)

        @hotcalls.startup
        def second(args): SEEN.append(args)

        @hotcalls.ecall
        def seen() -> list[int]:
            return SEEN
        """,
        args=2,
    )
    assert enclave.seen() == [1, 2]


@pytest.mark.parametrize(
    ("parameters", "args", "words"),
    [
        ("region", None, "nothing is given for parameter 'region'"),
        ("region", {"level": 3}, "nothing is given for parameter 'region'"),
        ("region, /", {"region": 1}, "called by the names of its parameters"),
        ("*rest", None, "called by the names of its parameters"),
        ("secrets", {"regoin": 1}, "'regoin', which no @hotcalls.startup function takes"),
    ],
)
def test_arguments_that_do_not_fit_fail_the_launch(
    start: Starter, parameters: str, args: object, words: str
) -> None:
    with pytest.raises(hotcalls.LaunchError, match=words):
        start(keeping(parameters, "pass"), args=args)


def test_arguments_without_a_start_up_function_fail_the_launch(start: Starter) -> None:
    with pytest.raises(hotcalls.LaunchError, match=r"has no @hotcalls.startup function"):
        start("@hotcalls.ecall\ndef f() -> None: ...\n", args=1)


@pytest.mark.parametrize("args", [object(), {"a": lambda: 1}, 1 << 70, {1, object()}])
def test_arguments_of_another_type_are_refused(start: Starter, args: object) -> None:
    with pytest.raises(TypeError, match="args: "):
        start(keeping("args", "pass"), args=args)


def test_start_up_may_read_files_and_start_threads(start: Starter) -> None:
    enclave = start(
        """
        import threading

        @hotcalls.startup
        def start():
            global NAME, THREAD, GO
            NAME = open("/etc/hostname").read() is not None
            GO = threading.Event()
            THREAD = threading.Thread(target=attack, daemon=True)
            THREAD.start()

        def attack():
            global FOUND
            GO.wait()
            try:
                open("/etc/passwd")
                FOUND = "opened"
            except OSError as error:
                FOUND = type(error).__name__

        @hotcalls.ecall
        def result() -> str:
            GO.set()
            THREAD.join(60)
            return FOUND
        """
    )
    assert enclave.result() == "EnclaveLocked"


def test_ocall_at_start_up_says_when_it_will_work(start: Starter) -> None:
    with pytest.raises(hotcalls.LaunchError, match="before the enclave serves"):
        start(
            """
            @hotcalls.ocall
            def audit(event: str) -> None: ...

            @hotcalls.startup
            def start():
                audit("early")

            @hotcalls.ecall
            def f() -> None: ...
            """,
            ocalls={"audit": print},
        )


def test_no_descriptor_of_the_host_arrives(start: Starter) -> None:
    with tempfile.TemporaryFile() as file:
        os.set_inheritable(file.fileno(), True)
        enclave = start(
            """
            import os
            OPEN = sorted(int(name) for name in os.listdir("/proc/self/fd"))

            @hotcalls.ecall
            def opened() -> list[int]:
                return OPEN
            """
        )
        # 0 to 2, the runtime's own up to 8, and the one that lists them.
        assert enclave.opened() == [*range(9), enclave.opened()[-1]]
