# SPDX-License-Identifier: Apache-2.0
"""``hotcalls bench --target sgx-sdk``: calls through the stubs of that target.

Host side.  The enclave and its host's part are built here, where they are measured, with the SDK
that ``SGX_SDK`` names, or with stand-ins.  Whatever it was is part of the title of each row: a
simulated or stand-in enclave is entered without EENTER and left without EEXIT, so what its
ordinary calls cost says nothing about SGX.
"""

from __future__ import annotations

import dataclasses
import importlib.resources
from collections.abc import Sequence
from pathlib import Path

from hotcalls.bench.errors import BenchError
from hotcalls.bench.measure import RowInfo
from hotcalls.bench.model import SgxMode
from hotcalls.bench.words import SGX_MODES
from hotcalls.build import BuildError, find_compiler, include_dirs
from hotcalls.edl.check import parse_file
from hotcalls.edl.sgx import emit_sgx
from hotcalls.sgx.compiling import SgxError
from hotcalls.sgx.project import build_host, find_sdk, link_enclave, sign_enclave

__all__ = ["build", "labelled", "with_bare", "without"]

#: Of the worker's rows, those of this target; they need the folder that `build` makes.
GROUP = "sgx"
#: What is measured beside them, in the same breath.
BARE = ("mailbox", "mailbox_64", "mailbox_2k_in", "mailbox_2k_out", "mailbox_2k")
#: The caller, a responder, and what pins them apart; one to spare.
_TCS = 4
_OFF = (
    "-DHC_SGX_INSECURE_NARROW_READS",
    "-DHC_SGX_INSECURE_NO_VERW",
    "-DHC_SGX_INSECURE_NO_LFENCE",
)

_NOT_SGX = "Entered without EENTER and left without EEXIT: not what an ordinary call of SGX costs."


def _sources() -> Path:
    return Path(str(importlib.resources.files("hotcalls") / "bench"))


def build(folder: Path) -> SgxMode:
    """Build the enclave, with the processor's mitigations and without, and its host's part.

    Parameters
    ----------
    folder
        Where; the worker gets it as ``--enclave``.

    Returns
    -------
    SgxMode
        What it will run on.

    Raises
    ------
    BenchError
        There is no compiler, no usable SDK, or something does not compile.
    """
    sources = _sources()
    try:
        compiler = find_compiler()[0]
        sdk = find_sdk(folder / "sdk")
        for name, text in emit_sgx(parse_file(sources / "sgx_bench.edl")).items():
            (folder / name).write_text(text)
        own = [f"-I{folder}", f"-I{include_dirs()[0]}"]
        build_host(
            sdk,
            [sources / "sgx_bench_host.c"],
            folder / "host.so",
            flags=["-shared", "-fPIC", *own],
            compiler=compiler,
        )
        trusted = [folder / "sgx_bench_t.c", sources / "sgx_bench_enclave.c"]
        for name, flags in (("on", ()), ("off", _OFF)):
            made = link_enclave(sdk, trusted, folder / f"{name}.so", flags=flags, compiler=compiler)
            sign_enclave(sdk, made, folder / f"{name}.signed.so", tcs=_TCS)
    except (SgxError, BuildError) as error:
        raise BenchError(str(error)) from error
    return sdk.mode


def without(rows: Sequence[RowInfo]) -> list[RowInfo]:
    """Return the rows of the other target."""
    return [row for row in rows if row.group != GROUP]


def with_bare(rows: Sequence[RowInfo]) -> list[RowInfo]:
    """Return the rows of this target, and the bare mailboxes beside them."""
    return [row for row in rows if row.group == GROUP or row.name in BARE]


def labelled(rows: Sequence[RowInfo], mode: SgxMode) -> list[RowInfo]:
    """Return the rows of this target, of which each of the enclave's says what it ran on."""
    found = []
    for row in with_bare(rows):
        if row.group != GROUP:
            found.append(row)
            continue
        ordinary = "_ordinary_" in row.name and mode != "hardware"
        title = f"{row.title} ({SGX_MODES[mode][0]})"
        found.append(dataclasses.replace(row, title=title, note=_NOT_SGX if ordinary else row.note))
    return found
