# SPDX-License-Identifier: Apache-2.0
"""What the EDL tests share: short texts as interfaces, compilers, and both sides as one process.

`sides` compiles the generated code of shapes.edl for host and enclave into two shared objects over
the test double in double/, so that every byte of a message is seen.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hotcalls.edl import EdlError, Interface, parse_file, parse_text
from hotcalls.edl.marshal import Codecs, codecs
from hotcalls.edl.process import emit

HERE = Path(__file__).resolve().parent
DATA = HERE / "data"
DOUBLE = HERE / "double"
WARNINGS = [
    "-std=c11",
    "-Wall",
    "-Wextra",
    "-Wshadow",
    "-Wconversion",
    "-Wstrict-prototypes",
    "-Wmissing-prototypes",
    "-Werror",
]

Transport = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_uint32,
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_void_p,
    ctypes.c_size_t,
)


def wrap(trusted: str = "", untrusted: str = "", types: str = "") -> str:
    """An enclave around some declarations; it has a public function of its own."""
    return (
        f"enclave {{\n{types}\ntrusted {{ public void root(void);\n{trusted}\n}};\n"
        f"untrusted {{\n{untrusted}\n}};\n}};\n"
    )


@pytest.fixture(scope="session")
def accept() -> Callable[..., Interface]:
    """Parse declarations that have to be accepted."""

    def parse(trusted: str = "", untrusted: str = "", types: str = "", **options: Any) -> Interface:
        return parse_text(wrap(trusted, untrusted, types), "test.edl", **options)

    return parse


@pytest.fixture(scope="session")
def refuse() -> Callable[..., set[str]]:
    """Parse declarations that have to be refused; gives the rules that they break."""

    def parse(trusted: str = "", untrusted: str = "", types: str = "", **options: Any) -> set[str]:
        with pytest.raises(EdlError) as caught:
            parse_text(wrap(trusted, untrusted, types), "test.edl", **options)
        return {diagnostic.rule for diagnostic in caught.value.errors}

    return parse


@pytest.fixture(scope="session")
def shapes() -> Interface:
    """The interface with every shape of parameter."""
    return parse_file(DATA / "shapes.edl")


@pytest.fixture(scope="session")
def gcc() -> str:
    """A C compiler."""
    for name in ("gcc", "cc", "clang"):
        if shutil.which(name):
            return name
    pytest.skip("no C compiler")


class Side:
    """One side's shared object."""

    def __init__(self, path: Path) -> None:
        self.library = ctypes.CDLL(str(path))
        self.library.double_serve.argtypes = [
            ctypes.c_uint32,
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_char_p,
            ctypes.c_size_t,
        ]
        self._transport: Any = None

    def connect(
        self, transport: Callable[[int, bytes, bytes], tuple[int, bytes, bytes]], shared: Any
    ) -> None:
        """Send the calls of this side to a function of ms and buffers."""

        def receive(id_: int, ms: int, ms_size: int, area: int, size: int) -> int:
            sent = ctypes.string_at(ms, ms_size) if ms_size else b""
            status, new_ms, new_area = transport(id_, sent, ctypes.string_at(area, size))
            if ms_size:
                ctypes.memmove(ms, new_ms, ms_size)
            if size:
                ctypes.memmove(area, new_area, size)
            return status

        self._transport = Transport(receive)
        self.library.double_connect.argtypes = [Transport, ctypes.c_void_p, ctypes.c_size_t]
        self.library.double_connect(self._transport, ctypes.addressof(shared), len(shared))

    def serve(self, id_: int, ms: bytes, area: bytes) -> tuple[int, bytes, bytes]:
        """Give this side a call, as its runtime would."""
        ms_buffer = ctypes.create_string_buffer(ms, len(ms) + 1)
        area_buffer = ctypes.create_string_buffer(area, len(area) + 1)
        status = self.library.double_serve(id_, ms_buffer, len(ms), area_buffer, len(area))
        return status, ms_buffer.raw[: len(ms)], area_buffer.raw[: len(area)]


class Memory:
    """Shared memory of the double: offsets begin at 64."""

    def __init__(self, size: int) -> None:
        self.bytes = (ctypes.c_uint8 * size)()
        self._base = ctypes.addressof(self.bytes)

    def view(self, offset: int, size: int) -> memoryview:
        """Part of it."""
        if offset < 64 or offset - 64 + size > len(self.bytes):
            raise ValueError("outside of shared memory")
        return memoryview(self.bytes).cast("B")[offset - 64 : offset - 64 + size]

    def offset_of(self, view: memoryview) -> int:
        """Where a view begins."""
        address = ctypes.addressof((ctypes.c_uint8 * len(view)).from_buffer(view))
        if not self._base <= address <= self._base + len(self.bytes) - len(view):
            raise ValueError("the memory is not shared")
        return address - self._base + 64


class Sides:
    """Host and enclave of shapes.edl, and the Python codecs for them."""

    def __init__(self, folder: Path, interface: Interface) -> None:
        self.host = Side(folder / "host.so")
        self.enclave = Side(folder / "enclave.so")
        self.memory = Memory(4096)
        self.codecs: Codecs = codecs(interface.description(), self.memory)
        self.ecalls = {codec.name: codec for codec in self.codecs.ecalls}
        self.ocalls = {codec.name: codec for codec in self.codecs.ocalls}
        self.seen: list[tuple[int, bytes, bytes]] = []
        self.host.connect(self._to_enclave, self.memory.bytes)
        self.answer: Callable[[int, bytes, bytes], tuple[int, bytes, bytes]] = self.host.serve
        self.enclave.connect(self._to_host, self.memory.bytes)

    def _to_enclave(self, id_: int, ms: bytes, area: bytes) -> tuple[int, bytes, bytes]:
        self.seen.append((id_, ms, area))
        return self.enclave.serve(id_, ms, area)

    def _to_host(self, id_: int, ms: bytes, area: bytes) -> tuple[int, bytes, bytes]:
        self.seen.append((id_, ms, area))
        return self.answer(id_, ms, area)

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Make an ecall as a Python host does."""
        codec = self.ecalls[name]
        message = codec.encode(args, kwargs)
        status, ms, area = self.enclave.serve(codec.id, message.ms, message.buffers)
        assert status == 0, status
        return codec.decode(message, ms, area)


def compile_shared(compiler: str, sources: list[Path], output: Path, *flags: str) -> None:
    """Compile C files into a shared object; warnings are errors."""
    command = [compiler, *WARNINGS, "-O1", "-fPIC", "-shared", "-fvisibility=default"]
    command += ["-Wl,-Bsymbolic", f"-I{DOUBLE}", f"-I{output.parent}", *flags, "-o", str(output)]
    subprocess.run([*command, *map(str, sources)], check=True)


def build_side(compiler: str, folder: Path, name: str, side: str, *flags: str) -> None:
    """Compile the enclave's or the host's side of an interface, whose text is in `folder`."""
    define = "-DDOUBLE_TRUSTED" if side == "enclave" else f"-DDOUBLE_INTERFACE={name}_interface"
    generated = folder / f"{name}_{'t' if side == 'enclave' else 'u'}.c"
    sources = [generated, DATA / f"{name}_{side}.c", DOUBLE / "double.c"]
    compile_shared(compiler, sources, folder / f"{side}.so", define, *flags)


@pytest.fixture(scope="session")
def build_deep_side(gcc: str) -> Callable[..., None]:
    """Compile a side of deep.edl: its folder, ``enclave`` or ``host``, and flags."""

    def build(folder: Path, side: str, *flags: str) -> None:
        build_side(gcc, folder, "deep", side, *flags)

    return build


@pytest.fixture(scope="session")
def built_deep_sides(tmp_path_factory: pytest.TempPathFactory, gcc: str) -> Path:
    """Shared objects of both sides of deep.edl; those of a mutant when one is asked for."""
    prepared = os.environ.get("HOTCALLS_TEST_SIDES")
    if prepared:
        return Path(prepared)
    folder = tmp_path_factory.mktemp("deep")
    for name, text in emit(parse_file(DATA / "deep.edl")).items():
        (folder / name).write_text(text)
    for side in ("enclave", "host"):
        build_side(gcc, folder, "deep", side)
    return folder


@pytest.fixture
def deep(built_deep_sides: Path) -> Sides:
    """Both sides of deep.edl, connected to each other."""
    return Sides(built_deep_sides, parse_file(DATA / "deep.edl"))


@pytest.fixture(scope="session")
def built_sides(tmp_path_factory: pytest.TempPathFactory, shapes: Interface, gcc: str) -> Path:
    """Shared objects of both sides of shapes.edl over the double."""
    folder = tmp_path_factory.mktemp("sides")
    for name, text in emit(shapes).items():
        (folder / name).write_text(text)
    for side in ("enclave", "host"):
        build_side(gcc, folder, "shapes", side)
    return folder


@pytest.fixture
def sides(built_sides: Path, shapes: Interface) -> Sides:
    """Both sides, connected to each other."""
    return Sides(built_sides, shapes)
