# SPDX-License-Identifier: Apache-2.0
"""The decorators of an enclave's module, inside and in a program that imports the module."""

from __future__ import annotations

import asyncio
import types
from typing import Any

import pytest

import hotcalls
from hotcalls import declare

VAULT = '''
import hotcalls

started = []

@hotcalls.startup
def start(secrets):
    started.append(secrets)

@hotcalls.ocall
def audit(event: str) -> int: ...

@hotcalls.ecall
def sign(digest: bytes) -> bytes:
    """Sign a digest."""
    return digest[::-1]

@hotcalls.ecall(name="measure")
def _measure(text: str, *, scale: int = 2) -> int:
    return len(text) * scale

@hotcalls.ecall
async def slowly(text: str) -> int:
    return await counted(text)

async def counted(text):
    return audit(text)

@hotcalls.ecall
def late(value: "Later") -> None: ...

import enum
class Later(enum.Enum):
    A = 1
'''


def module(source: str, inside: bool = False, name: str = "vault") -> types.ModuleType:
    made = types.ModuleType(name)
    code = compile(source, f"/srv/{name}.py", "exec", dont_inherit=True)
    if inside:
        with declare.running_inside():
            exec(code, made.__dict__)
    else:
        exec(code, made.__dict__)
    return made


class Running:
    closed = False

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def call_declared(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.calls.append((name, args, kwargs))
        return b"answer"

    async def await_declared(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        await asyncio.sleep(0)
        return self.call_declared(name, args, kwargs)


def test_module_declares_its_functions_in_order() -> None:
    found = declare.declarations(module(VAULT, inside=True))
    assert list(found.ecalls) == ["sign", "measure", "slowly", "late"]
    assert list(found.ocalls) == ["audit"]
    assert [each.__name__ for each in found.startups] == ["start"]
    assert str(found.ecalls["measure"].signature) == "measure(text: str, *, scale: int = 2) -> int"
    assert found.ecalls["late"].signature.needs_classes


def test_ecall_is_a_plain_function_inside() -> None:
    vault = module(VAULT, inside=True)
    assert vault.sign(b"ab") == b"ba"
    found = declare.declarations(vault)
    assert found.ecalls["sign"].target is vault.sign
    assert found.ecalls["measure"].target("abc", 3) == 9


def test_ocall_inside_goes_out_once_it_is_connected() -> None:
    vault = module(VAULT, inside=True)
    with pytest.raises(hotcalls.NotRunning, match=r"ocall audit\(\) was called before"):
        vault.audit("x")
    audit = declare.declarations(vault).ocalls["audit"]
    audit.connect(lambda event: len(event))
    assert vault.audit("four") == 4


def test_async_ecall_runs_to_its_end_without_a_loop() -> None:
    vault = module(VAULT, inside=True)
    found = declare.declarations(vault)
    found.ocalls["audit"].connect(lambda event: 7)
    assert found.ecalls["slowly"].target("x") == 7


def test_async_ecall_that_waits_for_a_loop_says_so() -> None:
    vault = module(
        "import asyncio, hotcalls\n"
        "class Never:\n"
        "    def __await__(self):\n"
        "        yield self\n"
        "@hotcalls.ecall\n"
        "async def f() -> None:\n"
        "    await Never()\n"
        "@hotcalls.ecall\n"
        "async def g() -> int:\n"
        "    await asyncio.sleep(0)\n"
        "    return 1\n",
        inside=True,
    )
    found = declare.declarations(vault)
    with pytest.raises(RuntimeError, match=r"f\(\) waits for Never: import asyncio"):
        found.ecalls["f"].target()
    assert found.ecalls["g"].target() == 1


def test_async_ocall_is_awaited_inside() -> None:
    vault = module(
        "import hotcalls\n"
        "@hotcalls.ocall\n"
        "async def ask(n: int) -> int: ...\n"
        "@hotcalls.ecall\n"
        "async def f(n: int) -> int:\n"
        "    return await ask(n) + 1\n",
        inside=True,
    )
    found = declare.declarations(vault)
    found.ocalls["ask"].connect(lambda n: n * 2)
    assert found.ecalls["f"].target(5) == 11


def test_ecall_in_the_host_goes_to_the_running_enclave() -> None:
    vault = module(VAULT)
    running = Running()
    key = declare.module_key("/srv/vault.py")
    declare.bind(key, running)
    try:
        assert vault.sign(digest=b"a") == b"answer"
        assert asyncio.run(vault.slowly("x")) == b"answer"
        assert running.calls == [("sign", (), {"digest": b"a"}), ("slowly", ("x",), {})]
        assert vault.sign.__doc__ == "Sign a digest."
        assert vault.started == []
        running.closed = True
        with pytest.raises(hotcalls.NotRunning, match=r"launched from vault was closed"):
            vault.sign(b"a")
    finally:
        declare._running.pop(key)
    with pytest.raises(hotcalls.NotRunning, match=r"first enclave = hotcalls.launch\('vault'\)"):
        vault.sign(b"a")


def test_enclaves_that_ended_are_not_remembered() -> None:
    key = declare.module_key("/srv/often.py")
    try:
        for _ in range(5):
            running = Running()
            declare.bind(key, running)
            running.closed = True
        alive = Running()
        declare.bind(key, alive)
        assert [each() for each in declare._running[key]] == [alive]
    finally:
        declare._running.pop(key)


def test_ecall_that_two_enclaves_could_take_is_refused() -> None:
    vault = module(VAULT)
    key = declare.module_key("/srv/vault.py")
    both = [Running(), Running()]
    declare.bind(key, both[0])
    declare.bind(key, both[1])
    try:
        with pytest.raises(hotcalls.NotRunning, match=r"any of 2 enclaves.*enclave\.sign\(…\)"):
            vault.sign(b"a")
        # One that was forgotten does not count.
        both.pop()
        assert vault.sign(b"a") == b"answer"
    finally:
        declare._running.pop(key)


def test_ocall_in_the_host_is_refused() -> None:
    with pytest.raises(
        hotcalls.NotRunning, match=r"vault\.audit\(\) is an ocall: the enclave calls"
    ):
        module(VAULT).audit("x")


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("f = hotcalls.ecall(lambda: None)", "needs a function with a name"),
        ("@hotcalls.ecall\nclass C: pass", "C is a class"),
        (
            "class C:\n @hotcalls.ecall\n def f(self) -> None: ...",
            "C.f is within a class or another function",
        ),
        ("class C:\n @hotcalls.ecall\n @staticmethod\n def f() -> None: ...", "not for methods"),
        ("hotcalls.ecall(print)", "is for functions, got builtin_function_or_method"),
        ("@hotcalls.ecall\ndef f() -> int:\n yield 1", "is a generator"),
        ("@hotcalls.ecall\ndef f(a) -> None: ...", "f(): parameter 'a' has no annotation"),
        ("@hotcalls.ocall\ndef f(): ...", "f(): the result has no annotation"),
        (
            "@hotcalls.ecall\ndef close() -> None: ...",
            "would hide what every enclave has as .close",
        ),
        ("@hotcalls.ecall(name='pid')\ndef f() -> int: ...", "what every enclave has as .pid"),
        ("@hotcalls.ecall(name='a b')\ndef f() -> int: ...", "name='a b' is not a name"),
        ("@hotcalls.ecall\ndef _f() -> int: ...", "_f() begins with an underscore"),
        (
            "@hotcalls.ecall\ndef f() -> int: ...\n@hotcalls.ocall\ndef f() -> int: ...",
            "f() is declared twice, as ecall and as ocall",
        ),
        ("@hotcalls.startup\nasync def f(): ...", "f() is async; write a plain function"),
    ],
)
def test_declaration_that_cannot_be_is_refused(inside: bool, source: str, text: str) -> None:
    with pytest.raises(TypeError) as caught:
        module("import hotcalls\n" + source, inside)
    assert text in str(caught.value)


def test_annotation_that_names_nothing_is_refused_when_the_module_is_complete() -> None:
    vault = module("import hotcalls\n@hotcalls.ecall\ndef f(a: 'Nothing') -> None: ...", True)
    with pytest.raises(TypeError, match=r"f\(\): an annotation names 'Nothing'"):
        declare.declarations(vault)


def test_module_that_declares_nothing_is_refused() -> None:
    with pytest.raises(TypeError, match=r"plain declares no ecall: put @hotcalls.ecall before"):
        declare.declarations(module("import hotcalls", name="plain"))


def test_every_public_attribute_of_an_enclave_is_reserved() -> None:
    public = {name for name in dir(hotcalls.Enclave) if not name.startswith("_")}
    assert public <= declare.RESERVED_NAMES, public - declare.RESERVED_NAMES
