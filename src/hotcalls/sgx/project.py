# SPDX-License-Identifier: Apache-2.0
"""Builds an enclave and its host's part with the SGX SDK, with the commands of the SDK's samples.

Runs where programs are built; used by ``hotcalls bench --target sgx-sdk`` and by our tests.
``examples/sgx-sdk/Makefile`` says the same in make.  ``SGX_SDK`` names the SDK; without it a
stand-in (:mod:`hotcalls.sgx.stand_in`) takes its place.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hotcalls.build import include_dirs
from hotcalls.sgx.compiling import SgxError, run
from hotcalls.sgx.stand_in import MARK, make_stand_in

Mode = Literal["stand-in", "simulation", "hardware"]

DEVICE = Path("/dev/sgx_enclave")
#: Of the SDK's samples, for what runs inside.
ENCLAVE_FLAGS = (
    "-nostdinc",
    "-ffreestanding",
    "-fvisibility=hidden",
    "-fpie",
    "-fstack-protector",
)
_CONFIG = """\
<EnclaveConfiguration>
  <ProdID>0</ProdID>
  <ISVSVN>0</ISVSVN>
  <StackMaxSize>0x40000</StackMaxSize>
  <HeapMaxSize>0x1000000</HeapMaxSize>
  <TCSNum>{tcs}</TCSNum>
  <TCSPolicy>1</TCSPolicy>
  <DisableDebug>0</DisableDebug>
  <MiscSelect>0</MiscSelect>
  <MiscMask>0xFFFFFFFF</MiscMask>
</EnclaveConfiguration>
"""
_EXPORTS = """\
{
    global:
        g_global_data_sim;
        g_global_data;
        enclave_entry;
        g_peak_heap_used;
        g_peak_rsrv_mem_committed;
    local:
        *;
};
"""


@dataclass(frozen=True)
class Sdk:
    """An SDK, or what stands in for it.

    Parameters
    ----------
    folder
        What ``SGX_SDK`` says.
    mode
        How enclaves run.
    """

    folder: Path
    mode: Mode

    @property
    def suffix(self) -> str:
        """What the names of the runtime's libraries end in."""
        return "" if self.mode == "hardware" else "_sim"

    @property
    def libraries(self) -> Path:
        """Where they are."""
        return self.folder / "lib64"

    @property
    def environment(self) -> dict[str, str]:
        """Environment that programs run with."""
        paths = [str(self.libraries), str(self.folder / "sdk_libs")]
        before = os.environ.get("LD_LIBRARY_PATH", "")
        return {**os.environ, "LD_LIBRARY_PATH": ":".join([*paths, *filter(None, [before])])}


def find_sdk(scratch: Path, environment: Mapping[str, str] = os.environ) -> Sdk:
    """Return the SDK, or the stand-in, that ``SGX_SDK`` names; without it make a stand-in.

    ``SGX_MODE`` chooses between ``HW`` and ``SIM``; without it, hardware where its device is.

    Parameters
    ----------
    scratch
        Where a stand-in is made.
    environment
        Variables.

    Raises
    ------
    SgxError
        ``SGX_SDK`` names no SDK, or ``SGX_MODE`` is neither of the two, or hardware is asked for
        and is not there.
    """
    named = environment.get("SGX_SDK", "")
    if not named:
        return Sdk(make_stand_in(scratch), "stand-in")
    folder = Path(named)
    if not (folder / "include" / "sgx_urts.h").is_file():
        raise SgxError(
            f"SGX_SDK is {named}, and there is no include/sgx_urts.h in it: source the SDK's "
            "`environment`, or unset SGX_SDK for stand-ins"
        )
    if (folder / MARK).exists():
        return Sdk(folder, "stand-in")
    wanted = environment.get("SGX_MODE", "")
    if wanted not in ("", "HW", "SIM"):
        raise SgxError(f"SGX_MODE is {wanted}; it can be HW or SIM")
    if wanted == "HW" and not DEVICE.exists():
        raise SgxError(f"SGX_MODE is HW, and there is no {DEVICE}: set SGX_MODE=SIM")
    hardware = wanted != "SIM" and DEVICE.exists()
    return Sdk(folder, "hardware" if hardware else "simulation")


def make_key(path: Path) -> Path:
    """Make a signing key, as SGX wants it: RSA of 3072 bits with the exponent 3."""
    options = ["-pkeyopt", "rsa_keygen_bits:3072", "-pkeyopt", "rsa_keygen_pubexp:3"]
    run(["openssl", "genpkey", "-algorithm", "RSA", *options, "-out", str(path)])
    return path


def link_enclave(
    sdk: Sdk,
    sources: Sequence[Path],
    out: Path,
    *,
    flags: Sequence[str] = (),
    compiler: str = "gcc",
) -> Path:
    """Compile and link an enclave.

    Parameters
    ----------
    sdk
        With what.
    sources
        C files, the generated one too unless another includes it; their folders are looked in for
        headers.
    out
        The file to make; objects are left beside it.
    flags
        More for the compiler.
    compiler
        The C compiler.

    Returns
    -------
    Path
        `out`, which has yet to be signed.

    Raises
    ------
    SgxError
        A command failed.
    """
    exports = out.with_suffix(".lds")
    exports.write_text(_EXPORTS)
    include = sdk.folder / "include"
    folders = list(dict.fromkeys([source.parent for source in sources]))
    paths = [include / "tlibc", include, include_dirs()[0], *folders]
    objects = []
    for number, source in enumerate(sources):
        made = out.with_name(f"{out.stem}-{number}.o")
        run([compiler, "-std=gnu11", "-O2", *ENCLAVE_FLAGS, *flags, *(f"-I{p}" for p in paths),
             "-c", str(source), "-o", str(made)])  # fmt: skip
        objects.append(str(made))
    suffix = sdk.suffix
    run([compiler, *objects, "-o", str(out),
         "-Wl,-z,relro,-z,now,-z,noexecstack", "-Wl,--no-undefined",
         "-nostdlib", "-nodefaultlibs", "-nostartfiles", f"-L{sdk.libraries}",
         "-Wl,--whole-archive", f"-lsgx_trts{suffix}", "-Wl,--no-whole-archive",
         "-Wl,--start-group", "-lsgx_tstdc", "-lsgx_tcxx", "-lsgx_tcrypto",
         f"-lsgx_tservice{suffix}", "-Wl,--end-group",
         "-Wl,-Bstatic", "-Wl,-Bsymbolic", "-Wl,--no-undefined", "-Wl,-pie,-eenclave_entry",
         "-Wl,--export-dynamic", "-Wl,--defsym,__ImageBase=0",
         f"-Wl,--version-script={exports}"])  # fmt: skip
    return out


def sign_enclave(sdk: Sdk, enclave: Path, out: Path, *, tcs: int) -> Path:
    """Sign an enclave with a key that is made beside it.

    Parameters
    ----------
    sdk
        With what.
    enclave
        What `link_enclave` made.
    out
        The signed file.
    tcs
        Threads that may be inside at the same time.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    SgxError
        A command failed.
    """
    config = out.with_suffix(".xml")
    config.write_text(_CONFIG.format(tcs=tcs))
    signing = ["sign", "-enclave", str(enclave), "-out", str(out), "-config", str(config)]
    if sdk.mode != "stand-in":
        key = out.with_name("private.pem")
        signing += ["-key", str(key if key.exists() else make_key(key))]
    run([str(sdk.folder / "bin" / "x64" / "sgx_sign"), *signing])
    return out


def build_host(
    sdk: Sdk,
    sources: Sequence[Path],
    out: Path,
    *,
    flags: Sequence[str] = (),
    compiler: str = "gcc",
) -> Path:
    """Compile and link the host's part: a program, or with ``-shared`` in `flags` a library.

    Parameters
    ----------
    sdk
        With what.
    sources
        C files, the generated one too unless another includes it.
    out
        The file to make.
    flags
        More for the compiler.
    compiler
        The C compiler.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    SgxError
        The compiler failed.
    """
    folders = list(dict.fromkeys([source.parent for source in sources]))
    paths = [sdk.folder / "include", include_dirs()[0], *folders]
    run([compiler, "-std=gnu11", "-O2", *flags, *(f"-I{path}" for path in paths),
         *map(str, sources), "-o", str(out), f"-L{sdk.libraries}", f"-lsgx_urts{sdk.suffix}",
         f"-Wl,-rpath,{sdk.libraries}", "-pthread"])  # fmt: skip
    return out
