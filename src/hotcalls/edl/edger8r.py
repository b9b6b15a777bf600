# SPDX-License-Identifier: Apache-2.0
"""``hotcalls-edger8r``: takes the place of the SGX SDK's tool of that name in a Makefile.

Same options, same file names, the rules of Intel's language; what it writes is the target
``sgx-sdk``.  Options are read as that tool reads them: in any case of letters, a search path may
hold several directories with ``:`` between them, and later ones are looked at first.  Exit codes:
0, and 1 on any error, as the SDK's tool has it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hotcalls.edl.collection import collection_paused
from hotcalls.edl.diagnostics import Diagnostic, EdlError
from hotcalls.edl.model import Interface
from hotcalls.edl.output import write_directories
from hotcalls.failure import HotcallsError

USAGE = """\
usage: hotcalls-edger8r [options] FILE...

Takes the place of the SGX SDK's edger8r: writes NAME_t.h and NAME_t.c for the enclave, NAME_u.h and
NAME_u.c for the host. Functions marked transition_using_threads become hot calls.

  --search-path PATH    where EDL files are looked up; several with `:` between them
  --use-prefix          call the host's proxies NAME_function
  --header-only         write headers only
  --trusted             write the enclave's side
  --untrusted           write the host's side; both sides when neither is asked for
  --trusted-dir DIR     directory for the enclave's side
  --untrusted-dir DIR   directory for the host's side

beyond the SDK's tool:

  --hot-all             every function that can goes hot, marked or not
  -DNAME[=VALUE]        define a macro for the preprocessor step
  --print-include       print the directory of the headers that hot calls need (for -I)
  --make-stand-ins DIR  make what stands in for the SGX SDK, for SGX_SDK; it is not SGX
  --help
"""


class _UsageError(Exception):
    pass


@dataclass
class _Options:
    files: list[str] = field(default_factory=list)
    search: list[str] = field(default_factory=lambda: ["."])
    defines: list[str] = field(default_factory=list)
    directories: dict[str, str] = field(default_factory=lambda: {"t": ".", "u": "."})
    flags: set[str] = field(default_factory=set)
    stand_ins: str | None = None


_FLAGS = ("--use-prefix", "--header-only", "--trusted", "--untrusted", "--hot-all")
_VALUED = ("--search-path", "--trusted-dir", "--untrusted-dir", "--make-stand-ins")


def _read(arguments: Sequence[str]) -> _Options:
    options = _Options()
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name = word.lower()
        if name in _FLAGS or name in ("--help", "--print-include"):
            options.flags.add(name)
        elif name in _VALUED:
            if not rest:
                raise _UsageError(f"{name} needs a value")
            value = rest.pop(0)
            if name == "--search-path":
                options.search[:0] = [path for path in value.split(":") if path]
            elif name == "--make-stand-ins":
                options.stand_ins = value
            else:
                options.directories["t" if name == "--trusted-dir" else "u"] = value
        elif word.startswith("-D"):
            options.defines.append(word[2:])
        elif word.startswith("-"):
            raise _UsageError(f"there is no option {word}")
        else:
            options.files.append(word)
    return options


def _found(name: str, search: Sequence[str]) -> Path:
    """The file itself, or where the search path has it."""
    for directory in search:
        path = Path(directory) / name
        if path.exists():
            return path
    return Path(name)


def _compile(name: str, options: _Options) -> tuple[Interface, tuple[Diagnostic, ...]]:
    from hotcalls.edl.check import parse_file
    from hotcalls.edl.sgx import check_sgx, emit_sgx

    flags = options.flags
    both = ("--trusted" in flags) == ("--untrusted" in flags)
    interface = parse_file(
        _found(name, options.search),
        options.search,
        dialect="intel",
        defines=options.defines,
        header_only="--header-only" in flags,
    )
    warnings = interface.warnings + check_sgx(interface, hot_all="--hot-all" in flags)
    written: dict[Path, dict[str, str]] = {}
    files = emit_sgx(
        interface,
        trusted=both or "--trusted" in flags,
        untrusted=both or "--untrusted" in flags,
        header_only="--header-only" in flags,
        use_prefix="--use-prefix" in flags,
        hot_all="--hot-all" in flags,
    )
    for file_name, text in files.items():
        side = "t" if file_name.endswith(("_t.h", "_t.c")) else "u"
        written.setdefault(Path(options.directories[side]), {})[file_name] = text
    write_directories(written)
    return interface, warnings


def _run(arguments: Sequence[str]) -> int:
    options = _read(arguments)
    if "--help" in options.flags:
        sys.stdout.write(USAGE)
        return 0
    if "--print-include" in options.flags:
        from hotcalls.build import include_dirs

        print(include_dirs()[0])
        return 0
    if options.stand_ins is not None:
        from hotcalls.sgx.stand_in import make_stand_in

        make_stand_in(Path(options.stand_ins))
        return 0
    if not options.files:
        raise _UsageError("no EDL file is named")
    failed = False
    for name in options.files:
        try:
            with collection_paused():
                _, warnings = _compile(name, options)
        except EdlError as error:
            print(error, file=sys.stderr)
            failed = True
        else:
            for warning in warnings:
                print(warning.render(), file=sys.stderr)
    return int(failed)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line.

    Parameters
    ----------
    argv
        The arguments without the program's name; those of this process when None.

    Raises
    ------
    SystemExit
        Always: 0, or 1 on any error.
    """
    try:
        code = _run(sys.argv[1:] if argv is None else argv)
    except (_UsageError, ValueError) as error:
        print(f"hotcalls-edger8r: {error}\n\n{USAGE}", end="", file=sys.stderr)
        code = 1
    except HotcallsError as error:
        print(f"hotcalls-edger8r: {error}", file=sys.stderr)
        code = 1
    except OSError as error:
        print(f"hotcalls-edger8r: {error.filename}: {error.strerror}", file=sys.stderr)
        code = 1
    sys.exit(code)


if __name__ == "__main__":
    main()
