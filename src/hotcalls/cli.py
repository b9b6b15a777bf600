# SPDX-License-Identifier: Apache-2.0
"""The command ``hotcalls``: finds the sub-command, and turns errors into one line.

Runs in the host only. Each sub-command lives in a module of its own, which is imported when it
is called for: ``hotcalls --help`` has to be instant, and a machine without numpy can still build.

Exit codes: 0 success; 1 the work failed, or the answer is no (``doctor``); 2 wrong usage;
3 the EDL or another input was refused; 4 the kernel or the configuration does not allow an
enclave; 5 the enclave was lost, did not answer in time, or broke the protocol; 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

import click

EXIT_FAILED = 1
EXIT_REFUSED = 3
EXIT_NOT_ALLOWED = 4
EXIT_ENCLAVE = 5
EXIT_INTERRUPTED = 130

#: By the name of the class or of one that it derives from, so that nothing is imported for it.
EXIT_CODES = {
    "EdlError": EXIT_REFUSED,
    "PolicyError": EXIT_REFUSED,
    "HookError": EXIT_REFUSED,
    "LockdownError": EXIT_NOT_ALLOWED,
    "EnclaveLost": EXIT_ENCLAVE,
    "CallTimeout": EXIT_ENCLAVE,
    "ChannelPoisoned": EXIT_ENCLAVE,
}


class _Entry(NamedTuple):
    """Where a sub-command is, and its line in the list of commands."""

    module: str
    attribute: str
    summary: str


COMMANDS = {
    "bench": _Entry(
        "hotcalls.bench.command", "bench_command", "Measure what each crossing costs here."
    ),
    "build": _Entry("hotcalls.build", "build_command", "Build an enclave from its EDL and C."),
    "doctor": _Entry("hotcalls.doctor", "doctor_command", "Say what this machine offers."),
    "edl": _Entry("hotcalls.edl.command", "edl_command", "Check an EDL, or generate its stubs."),
    "evaluate": _Entry(
        "hotcalls.apps.evaluate.command",
        "evaluate_command",
        "Measure memcached, lighttpd and openvpn, natively and in an enclave.",
    ),
    "run": _Entry("hotcalls.apps.run", "run_command", "Run a program in a process enclave."),
    "serve": _Entry(
        "hotcalls.serving.command", "serve_command", "Run an enclave that many processes call."
    ),
    "stats": _Entry(
        "hotcalls.monitor.stats", "stats_command", "Show what a running enclave or program called."
    ),
    "syscalls": _Entry(
        "hotcalls.apps.syscalls", "syscalls_command", "Say what becomes of each system call."
    ),
    "top": _Entry("hotcalls.monitor.top", "top_command", "Watch all running enclaves."),
    "trace": _Entry("hotcalls.apps.trace", "trace_command", "Print a program's calls as it runs."),
}


class LazyGroup(click.Group):
    """A group whose sub-commands are imported when they are run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all sub-commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a sub-command, or None when there is none of that name."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command = getattr(importlib.import_module(entry.module), entry.attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{entry.module}.{entry.attribute} is not a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of sub-commands without importing one of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].summary) for name in sorted(COMMANDS)])


def _show_version(ctx: click.Context, parameter: click.Parameter, asked: bool) -> None:
    if not asked or ctx.resilient_parsing:
        return
    # Late: reading the metadata of packages takes as long as everything else that is loaded here.
    from importlib.metadata import PackageNotFoundError, version

    try:
        number = version("hotcalls")
    except PackageNotFoundError:
        number = "not installed"
    click.echo(f"hotcalls {number}")
    ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 success, 1 failure, 2 wrong usage, 3 input refused, "
    "4 an enclave is not possible here, 5 the enclave was lost, 130 interrupted. "
    "HOTCALLS_DEBUG=1 shows the traceback of an error.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """Call code in a locked-down process at about the price of a function call.

    A process enclave is NOT SGX: the kernel is trusted, root can read it, and the host program
    is trusted until launch has returned. After that, a host that runs as an ordinary user can
    neither read nor change the enclave, and the enclave can reach nothing but its ocalls.
    """


def _is_ours(error: BaseException) -> bool:
    return any(
        base.__name__ == "HotcallsError" and base.__module__.startswith("hotcalls.")
        for base in type(error).__mro__
    )


def exit_code(error: BaseException) -> int:
    """Return the documented exit code for `error`."""
    for base in type(error).__mro__:
        if base.__name__ in EXIT_CODES:
            return EXIT_CODES[base.__name__]
    return EXIT_FAILED


def debugging() -> bool:
    """Whether an error is to be shown with its traceback."""
    return os.environ.get("HOTCALLS_DEBUG", "") not in ("", "0")


def text_of(error: BaseException) -> str:
    """Return what `error` says, as people read it."""
    if isinstance(error, OSError) and error.strerror:
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        return f"{where}{error.strerror}"
    if isinstance(error, MemoryError):
        return str(error) or "no memory"
    return str(error) or type(error).__name__


def _fail(error: Exception) -> NoReturn:
    """Print `error` as one line (an EDL error as its own lines) and leave."""
    if debugging():
        raise error
    text = text_of(error)
    if exit_code(error) == EXIT_REFUSED:
        # Begins with file:line:column, which editors look for; the source line and a caret follow.
        click.echo(text, err=True)
    elif "\n\n" in text:
        # A sentence, and the traceback of what failed inside an enclave.
        click.echo(f"hotcalls: {text}", err=True)
    else:
        click.echo("hotcalls: " + " ".join(text.split()), err=True)
    sys.exit(exit_code(error))


def _missing_module(error: ModuleNotFoundError) -> str | None:
    """Return what to install when an optional dependency is what is missing."""
    if error.name is not None and error.name.partition(".")[0] in ("numpy", "matplotlib"):
        return f"{error.name} is missing: pip install 'hotcalls[bench]'"
    return None


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line.

    Parameters
    ----------
    argv
        The arguments without the program's name; those of this process when None.

    Raises
    ------
    SystemExit
        Always, with one of the documented exit codes.
    """
    try:
        arguments = None if argv is None else list(argv)
        code = cli.main(args=arguments, prog_name="hotcalls", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("hotcalls: interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except ModuleNotFoundError as error:
        advice = _missing_module(error)
        if advice is None:
            raise
        click.echo(f"hotcalls: {advice}", err=True)
        sys.exit(EXIT_FAILED)
    except OSError as error:
        _fail(error)
    except Exception as error:
        if not _is_ours(error):
            raise
        _fail(error)
    # ctx.exit() comes back as the code, anything else as what the sub-command returned.
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
