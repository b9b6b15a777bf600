# SPDX-License-Identifier: Apache-2.0
"""``hotcalls build``: from an EDL file and C sources to an enclave that can be launched.

Runs where programs are built; the C sources are trusted (they become the enclave).  The generated
code is compiled with the sources into one shared object, hardened and with everything hidden but
its interface; the functions of the runtime stay undefined in it, the enclave's loader has them.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from hotcalls.edl.check import parse_file
from hotcalls.edl.command import as_json, refuse, show
from hotcalls.edl.diagnostics import Diagnostic, EdlError
from hotcalls.edl.elf import undefined_symbols
from hotcalls.edl.model import Interface
from hotcalls.edl.output import publish, staging
from hotcalls.edl.process import check_process, emit
from hotcalls.failure import HotcallsError

__all__ = ["BuildError", "BuildResult", "build", "build_command", "find_compiler", "include_dirs"]

_TIMEOUT_S = 600

HARDENING = (
    "-O2",
    "-fPIC",
    "-fvisibility=hidden",
    "-fstack-protector-strong",
    "-U_FORTIFY_SOURCE",
    "-D_FORTIFY_SOURCE=2",
)
LINKING = ("-shared", "-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack")
_BRANCH_PROTECTION = {
    "x86_64": "-fcf-protection=full",
    "aarch64": "-mbranch-protection=standard",
}


class BuildError(HotcallsError):
    """An enclave could not be built.

    Parameters
    ----------
    message
        What is wrong and what to do about it.
    output
        What the compiler said, if it ran.
    """

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.output = output

    def __str__(self) -> str:
        return f"{self.output.rstrip()}\n{self.message}" if self.output else self.message


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build left.

    Attributes
    ----------
    enclave
        The shared object.
    header, source, stub
        For hosts: the C header, the C code that goes with it, the typed Python module.
    interface
        What was built.
    warnings
        About the EDL.
    compiler_output
        Warnings of the compiler.
    """

    enclave: Path
    header: Path
    source: Path
    stub: Path
    interface: Interface
    warnings: tuple[Diagnostic, ...]
    compiler_output: str


def include_dirs() -> list[Path]:
    """Directories of the C headers that generated code includes.

    Raises
    ------
    BuildError
        The installation has none.
    """
    package = Path(__file__).resolve().parent
    installed = package / "include"
    if (installed / "hotcalls" / "marshal.h").is_file():
        return [installed]
    tree = package.parent.parent
    if (tree / "include" / "hotcalls" / "marshal.h").is_file():
        return [tree / "include", tree / "native"]
    raise BuildError(f"there are no C headers in {installed}: the installation is incomplete")


def find_compiler(cc: str | None = None) -> list[str]:
    """The command of the C compiler: `cc`, the variable CC, or the first that is installed.

    Raises
    ------
    BuildError
        There is none.
    """
    named = cc or os.environ.get("CC")
    if named:
        try:
            command = shlex.split(named)
        except ValueError:
            command = []
        if not command or shutil.which(command[0]) is None:
            origin = "--cc" if cc else "CC"
            raise BuildError(f"{origin} names `{named}`, and there is no such compiler")
        return command
    for candidate in ("cc", "gcc", "clang"):
        if shutil.which(candidate):
            return [candidate]
    raise BuildError(
        "there is no C compiler: install one (`apt install gcc libc6-dev` on Debian), or name it "
        "with --cc"
    )


@functools.cache
def _supported(compiler: tuple[str, ...], flag: str) -> bool:
    command = [*compiler, "-Werror", flag, "-x", "c", "-E", os.devnull, "-o", os.devnull]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def build(
    edl: str | os.PathLike[str],
    sources: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str] | None = None,
    cc: str | None = None,
    cflags: Sequence[str] = (),
    *,
    search_path: Sequence[str | os.PathLike[str]] = (),
    use_prefix: bool = False,
) -> BuildResult:
    """Build an enclave.

    Parameters
    ----------
    edl
        Its interface.
    sources
        C files (and objects) that define its ecalls.
    output
        The shared object; ``NAME.enclave.so`` in the current directory by default.  What hosts
        need is left beside it: ``NAME_u.h``, ``NAME_u.c`` and ``NAME_u.py``.
    cc
        C compiler; CC or the first that is installed by default.
    cflags
        Further arguments for it, behind all others.
    search_path
        Where the EDL's imports are looked up.
    use_prefix
        Whether the C proxies for hosts are called ``NAME_function``.

    Raises
    ------
    EdlError
        The EDL was refused.
    BuildError
        There is no compiler, it failed, or an ecall is not defined.
    """
    interface = parse_file(edl, search_path)
    warnings = interface.warnings + check_process(interface)
    target = Path(output) if output is not None else Path(f"{interface.name}.enclave.so")
    files = emit(interface, use_prefix=use_prefix, enclave_file=target.name)
    compiler = find_compiler(cc)
    headers = include_dirs()
    inputs = []
    for source in sources:
        if not Path(source).is_file():
            raise BuildError(f"there is no file {os.fspath(source)}")
        inputs.append(os.path.abspath(source))
    if not inputs:
        raise BuildError("there are no sources: name the C files that define the ecalls")
    name = interface.name
    directory = target.parent
    try:
        with staging(directory) as stage:
            for file_name, text in files.items():
                (stage / file_name).write_text(text, encoding="utf-8")
            built = stage / "enclave.so"
            searched = [stage, Path(os.path.abspath(edl)).parent, *headers]
            command = [
                *compiler,
                "-std=gnu11",
                "-Wall",
                *HARDENING,
                *_branch_protection(compiler),
                *(f"-I{path}" for path in searched),
                *LINKING,
                f"-Wl,-soname,{target.name}",
                "-o",
                str(built),
                str(stage / f"{name}_t.c"),
                *inputs,
                *cflags,
            ]
            said = _run(command)
            _check_defined(interface, built)
            hosts = [f"{name}_u.h", f"{name}_u.c", f"{name}_u.py"]
            header, source_, stub = publish(stage, directory, hosts)
            publish(stage, directory, {built.name: target})
    except OSError as error:
        raise BuildError(f"cannot write {target}: {error.strerror}") from error
    return BuildResult(target, header, source_, stub, interface, warnings, said)


def _branch_protection(compiler: Sequence[str]) -> list[str]:
    flag = _BRANCH_PROTECTION.get(platform.machine())
    return [flag] if flag and _supported(tuple(compiler), flag) else []


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BuildError(f"`{command[0]}` did not end within {_TIMEOUT_S} s") from None
    except OSError as error:
        raise BuildError(f"`{command[0]}` cannot be run: {error.strerror}") from None
    said = (done.stderr + done.stdout).decode("utf-8", "replace")
    if done.returncode != 0:
        raise BuildError(f"`{command[0]}` failed with exit code {done.returncode}", said)
    return said


def _check_defined(interface: Interface, built: Path) -> None:
    missing = undefined_symbols(built) & {ecall.name for ecall in interface.ecalls}
    if missing:
        names = ", ".join(f"`{name}`" for name in sorted(missing))
        raise BuildError(
            f"no source defines {names}: {interface.name}_t.h declares it for {interface.file}"
        )


@click.command("build")
@click.argument("edl", type=click.Path(path_type=Path))
@click.argument("sources", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "-o", "output", type=click.Path(path_type=Path), help="The enclave; NAME.enclave.so by default."
)
@click.option("--cc", help="C compiler; the variable CC, or the first installed, by default.")
@click.option("--cflags", multiple=True, help="Further arguments for the compiler; repeatable.")
@click.option(
    "--search-path",
    type=click.Path(path_type=Path, file_okay=False),
    multiple=True,
    help="Where the EDL's imports are looked up; repeatable.",
)
@click.option("--use-prefix", is_flag=True, help="Call the C proxies for hosts NAME_function.")
@click.option("--json", "as_data", is_flag=True, help="Print the outcome as JSON.")
def build_command(
    edl: Path,
    sources: tuple[Path, ...],
    output: Path | None,
    cc: str | None,
    cflags: tuple[str, ...],
    search_path: tuple[Path, ...],
    use_prefix: bool,
    as_data: bool,
) -> None:
    """Build an enclave from its EDL and the C code that implements it.

    Leaves the enclave, and for hosts NAME_u.h, NAME_u.c and the typed Python module NAME_u.py.
    """
    try:
        flags = [word for text in cflags for word in shlex.split(text)]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--cflags") from None
    try:
        result = build(
            edl, sources, output, cc, flags, search_path=search_path, use_prefix=use_prefix
        )
    except EdlError as error:
        refuse(error, as_data=as_data)
    except BuildError as error:
        click.echo(f"hotcalls build: {error}", err=True)
        sys.exit(1)
    if result.compiler_output:
        click.echo(result.compiler_output.rstrip(), err=True)
    files = (result.enclave, result.header, result.source, result.stub)
    if as_data:
        outcome = {
            "enclave": str(result.enclave),
            "digest": result.interface.digest.hex(),
            "diagnostics": as_json(result.warnings),
            "files": [str(path) for path in files],
        }
        click.echo(json.dumps(outcome))
        return
    show(result.warnings)
    for path in files:
        click.echo(path)
