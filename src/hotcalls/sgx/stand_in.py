# SPDX-License-Identifier: Apache-2.0
"""Makes a folder that stands in for the SGX SDK where it is not installed.

Runs where programs are built.  The folder has the SDK's layout (``include``, ``include/tlibc``,
``lib64``, ``bin/x64/sgx_sign``) with as much in it as generated code, our examples and our tests
use, so that the same Makefile and the same commands build with either.
"""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path

from hotcalls.sgx.compiling import SgxError, run

__all__ = ["MARK", "make_stand_in"]

#: In a folder that stands in for the SDK, so that nobody takes it for one.
MARK = "STAND-IN.txt"

SOURCES = Path(__file__).resolve().parent / "stand_in"
#: What only names have to exist for: everything is in the first two.
_EMPTY = ("sgx_tcxx", "sgx_tcrypto", "sgx_tservice_sim")


def make_stand_in(folder: Path, compiler: str = "gcc") -> Path:
    """Make, or make anew, a stand-in SDK.

    Parameters
    ----------
    folder
        Where; created.  What is in it of an earlier one is overwritten.
    compiler
        The C compiler.

    Returns
    -------
    Path
        `folder`, for ``SGX_SDK``.

    Raises
    ------
    SgxError
        This is no x86-64, there is no compiler, or it fails.
    """
    if platform.machine() != "x86_64":
        raise SgxError("the stand-ins for the SGX SDK are for x86-64, as SGX is")
    libraries, tools = folder / "lib64", folder / "bin" / "x64"
    for path in (libraries, tools):
        path.mkdir(parents=True, exist_ok=True)
    shutil.copytree(SOURCES / "include", folder / "include", dirs_exist_ok=True)
    headers = [f"-I{folder / 'include'}", f"-I{SOURCES}"]
    warnings = ["-std=gnu11", "-O2", "-Wall", "-Wextra"]
    run([compiler, *warnings, *headers, "-fPIC", "-shared", "-pthread",
         str(SOURCES / "urts.c"), "-o", str(libraries / "libsgx_urts_sim.so"), "-ldl"])  # fmt: skip
    # Its own memcpy must not become a call of memcpy.
    run([compiler, *warnings, "-nostdinc", "-ffreestanding", "-fvisibility=hidden", "-fpie",
         "-fno-tree-loop-distribute-patterns", f"-I{folder / 'include' / 'tlibc'}", *headers,
         "-c", str(SOURCES / "trts.c"), "-o", str(libraries / "trts.o")])  # fmt: skip
    archives = {"sgx_trts_sim": ["trts.o"], "sgx_tstdc": []}
    archives |= {name: [] for name in _EMPTY}
    for name, objects in archives.items():
        archive = libraries / f"lib{name}.a"
        archive.unlink(missing_ok=True)
        run(["ar", "rcs", str(archive), *(str(libraries / name) for name in objects)])
    (folder / MARK).write_text(
        "This is not the SGX SDK: it stands in for it, and protects nothing.\n"
        "Made by hotcalls-edger8r --make-stand-ins.\n"
    )
    signer = tools / "sgx_sign"
    text = (SOURCES / "sgx_sign.py").read_text()
    signer.write_text(f"#!{sys.executable}\n{text}")
    signer.chmod(0o755)
    return folder
