# SPDX-License-Identifier: Apache-2.0
"""``hotcalls edl``: checks an EDL file, prints what it says, or generates code from it.

Results go to standard output, diagnostics to standard error.  Exit codes: 0, 1 when files cannot be
written, 3 when the EDL was refused.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import click

from hotcalls.edl.check import DIALECTS, parse_file
from hotcalls.edl.collection import collection_paused
from hotcalls.edl.diagnostics import Diagnostic, EdlError
from hotcalls.edl.output import write_files
from hotcalls.edl.preprocess import definitions
from hotcalls.edl.process import check_process, emit
from hotcalls.edl.sgx import check_sgx, emit_sgx

EXIT_FAILED = 1
EXIT_REFUSED = 3


def show(diagnostics: Iterable[Diagnostic]) -> None:
    """Print diagnostics for people."""
    for diagnostic in diagnostics:
        click.echo(diagnostic.render(), err=True)


def as_json(diagnostics: Iterable[Diagnostic]) -> list[dict[str, Any]]:
    """Diagnostics for programs."""
    return [dataclasses.asdict(diagnostic) for diagnostic in diagnostics]


def refuse(error: EdlError, *, as_data: bool) -> NoReturn:
    """Show why an EDL was refused and end with its exit code."""
    if as_data:
        click.echo(json.dumps({"accepted": False, "diagnostics": as_json(error.diagnostics)}))
    else:
        show(error.diagnostics)
    sys.exit(EXIT_REFUSED)


@click.command("edl")
@click.argument("edl", type=click.Path(path_type=Path))
@click.option(
    "--target",
    type=click.Choice(["process", "sgx-sdk"]),
    default="process",
    show_default=True,
    help="What to generate code for.",
)
@click.option("--trusted", is_flag=True, help="Generate the enclave's side only.")
@click.option("--untrusted", is_flag=True, help="Generate the host's side only.")
@click.option(
    "--out-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Directory for the generated files; the current one by default.",
)
@click.option(
    "--search-path",
    "search_path",
    type=click.Path(path_type=Path, file_okay=False),
    multiple=True,
    help="Where imports are looked up after the importing file's directory; repeatable.",
)
@click.option("--use-prefix", is_flag=True, help="Call the host's proxies NAME_function.")
@click.option(
    "--hot-all",
    is_flag=True,
    help="sgx-sdk: every function that can goes hot, marked or not.",
)
@click.option(
    "-D",
    "defines",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="Define a macro for the preprocessor step; repeatable.",
)
@click.option("--check", "check_only", is_flag=True, help="Check, and generate nothing.")
@click.option("--dump", type=click.Choice(["json"]), help="Print the interface.")
@click.option(
    "--dialect",
    type=click.Choice(DIALECTS),
    default="hotcalls",
    show_default=True,
    help="Whose compiler is to be matched: intel, oe (Open Enclave), or ours.",
)
@click.option("--json", "as_data", is_flag=True, help="Print the outcome as JSON.")
def edl_command(
    edl: Path,
    target: str,
    trusted: bool,
    untrusted: bool,
    out_dir: Path,
    search_path: tuple[Path, ...],
    use_prefix: bool,
    hot_all: bool,
    defines: tuple[str, ...],
    check_only: bool,
    dump: str | None,
    dialect: str,
    as_data: bool,
) -> None:
    """Check an EDL file, or generate its proxies, bridges and Python stub.

    Writes NAME_t.h and NAME_t.c for the enclave, NAME_u.h and NAME_u.c for the host, and for
    process enclaves NAME_u.py.
    """
    try:
        definitions(defines)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    try:
        with collection_paused():
            interface = parse_file(edl, search_path, dialect=dialect, defines=defines)
            warnings = interface.warnings
            if dump:
                show(warnings)
                click.echo(interface.to_json())
                return
            files: dict[str, str] = {}
            both = trusted == untrusted
            if check_only:
                pass
            elif target == "sgx-sdk":
                warnings += check_sgx(interface, hot_all=hot_all)
                files = emit_sgx(
                    interface,
                    trusted=trusted or both,
                    untrusted=untrusted or both,
                    use_prefix=use_prefix,
                    hot_all=hot_all,
                )
            else:
                warnings += check_process(interface)
                files = emit(
                    interface,
                    trusted=trusted or both,
                    untrusted=untrusted or both,
                    stub=untrusted or both,
                    use_prefix=use_prefix,
                )
            written = write_files(out_dir, files) if files else []
    except EdlError as error:
        refuse(error, as_data=as_data)
    except OSError as error:
        click.echo(f"hotcalls edl: cannot write: {error}", err=True)
        sys.exit(EXIT_FAILED)
    if as_data:
        outcome = {
            "accepted": True,
            "digest": interface.digest.hex(),
            "diagnostics": as_json(warnings),
            "files": [str(path) for path in written],
        }
        click.echo(json.dumps(outcome))
        return
    show(warnings)
    for path in written:
        click.echo(path)
