# SPDX-License-Identifier: Apache-2.0
"""The life of a Python enclave, from hardened to serving.

Enclave side, inside the boundary. Runs in the interpreter that is the enclave process and nowhere
else; started by :data:`hotcalls.pymodule.BOOTSTRAP` after ``hotcalls._inside.harden``.
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from typing import Any, NoReturn

import msgspec

from hotcalls import _inside
from hotcalls.inside import facade, functions, locked, module, secrets, startup
from hotcalls.wire.pack import pack


class Launch(msgspec.Struct):
    """What the host asks for, in front of the module's source in descriptor 4."""

    name: str
    file: str
    package: list[str] | None
    path: list[str]
    preload: list[str]
    secrets: list[str]
    again: bool
    debug: bool
    arguments: msgspec.Raw


def main() -> NoReturn:
    """Start what the host wants and serve it; returns never."""
    # What there is now stays: no look for garbage has to walk through it.
    gc.freeze()
    gc.enable()
    try:
        _write_paper({})  # so that the host knows how far it came, should it die
        launch, source = _read_image()
        for folder in launch.path:
            if folder not in sys.path:
                sys.path.append(folder)
        sys.argv = [launch.file]
        facade.fill()
        user = module.run(launch.name, launch.file, launch.package, source)
        for name in launch.preload:
            module.preload(name)
        tables = functions.Tables(user)
        startup.run(user, _secrets(launch), msgspec.msgpack.decode(launch.arguments))
        _write_paper({"described": tables.describe()})
        answer_error = functions.debug_error if launch.debug else functions.answer_error
        _inside.prepare(tables.ecalls, tables.ocalls, answer_error)
    except BaseException as error:
        _give_up(error)
    locked.prepare()
    _inside.lock()
    locked.explain()
    _inside.serve()
    raise AssertionError("serve() does not return")


def _secrets(launch: Launch) -> secrets.Secrets:
    count = len(launch.secrets)
    first = _inside.FIRST_SECRET_FD
    descriptors = [-1] * count if launch.again else list(range(first, first + count))
    return secrets.from_descriptors(launch.secrets, descriptors)


def _read_image() -> tuple[Launch, bytes]:
    """The host's wishes and the source of the module: sealed, so nobody changes them now."""
    size = os.fstat(_inside.IMAGE_FD).st_size
    image = b""
    while len(image) < size and (piece := os.pread(_inside.IMAGE_FD, size, len(image))):
        image += piece
    head = int.from_bytes(image[:8], "little")
    return msgspec.msgpack.decode(image[8 : 8 + head], type=Launch), image[8 + head :]


def _write_paper(content: dict[str, Any]) -> None:
    """Leave something for the host to read once this enclave is ready, or has failed."""
    data = pack(content)
    room = os.fstat(_inside.PAPER_FD).st_size - 8
    if len(data) > room:
        raise ValueError(f"the interface of the module takes {len(data)} bytes, more than {room}")
    os.pwrite(_inside.PAPER_FD, len(data).to_bytes(8, "little") + data, 0)


def _give_up(error: BaseException) -> NoReturn:
    """Tell the host why; the original traceback, as people know it."""
    # What the module has printed says how far it came.
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    text = module.traceback_text(error)
    kind = type(error).__name__
    _write_paper({"failed": {"type": kind, "message": str(error)[:4096], "text": text[-65536:]}})
    _inside.fail(f"{kind}: {error}")
    raise AssertionError("fail() does not return")
