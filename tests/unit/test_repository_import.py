# SPDX-License-Identifier: Apache-2.0
"""What importing does: one clear sentence elsewhere than on Linux, and little on Linux."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from hotcalls.cli import COMMANDS

#: What takes milliseconds to import, and what nobody needs who only starts a program.
HEAVY = {
    "asyncio", "bz2", "concurrent", "email", "hashlib", "http", "importlib.resources", "jinja2",
    "lark", "logging", "lzma", "matplotlib", "msgspec", "multiprocessing", "numpy", "rich",
    "shutil", "socket", "ssl", "subprocess", "tempfile", "tomllib", "zipfile",
}  # fmt: skip


def python(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)


def test_import_elsewhere_than_on_linux_gives_one_sentence() -> None:
    result = python("import sys; sys.platform = 'darwin'\nimport hotcalls")
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert "Linux" in last


def test_help_imports_no_command() -> None:
    result = python(
        "import sys\n"
        "from hotcalls.cli import main\n"
        "try:\n"
        "    main(['--help'])\n"
        "finally:\n"
        "    heavy = {'numpy', 'matplotlib', 'jinja2', 'rich', 'hotcalls.bench'}\n"
        "    assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    assert result.returncode == 0, result.stderr
    assert "NOT SGX" in result.stdout


def test_package_alone_imports_nothing_else() -> None:
    result = python(
        "import sys\n"
        "before = set(sys.modules)\n"
        "import hotcalls\n"
        "new = set(sys.modules) - before - {'__future__', 'typing'}\n"
        "print(sorted(name for name in new if not name.startswith('typing.')))\n"
    )
    assert "'hotcalls'" in result.stdout, result.stderr
    loaded = ast.literal_eval(result.stdout)
    assert not {name.partition(".")[0] for name in loaded} & HEAVY
    assert [name for name in loaded if name.startswith("hotcalls.")] == []


def test_every_public_name_is_found_and_listed() -> None:
    result = python(
        "import hotcalls\n"
        "assert set(hotcalls.__all__) <= set(dir(hotcalls))\n"
        "for name in hotcalls.__all__:\n"
        "    value = getattr(hotcalls, name)\n"
        "    assert getattr(value, '__name__', name).rpartition('.')[2] == name, value\n"
        "assert set(hotcalls.__all__) - {'errors'} == set(hotcalls._MODULES)\n"
        "from hotcalls import *\n"
        "assert launch is hotcalls.launch\n"
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "module", ["hotcalls.launching", "hotcalls.serving.client", "hotcalls.cli"]
)
def test_no_submodule_takes_the_place_of_a_public_name(module: str) -> None:
    result = python(
        f"import {module}, hotcalls\n"
        "assert callable(hotcalls.launch) and callable(hotcalls.connect)\n"
        "import pkgutil\n"
        "modules = {each.name for each in pkgutil.iter_modules(hotcalls.__path__)}\n"
        "assert modules & set(hotcalls.__all__) == {'errors'}\n"
    )
    assert result.returncode == 0, result.stderr


def test_name_that_is_not_there_is_an_attribute_error() -> None:
    result = python("import hotcalls\nassert not hasattr(hotcalls, 'lunch')\nhotcalls.lunch")
    assert "module 'hotcalls' has no attribute 'lunch'" in result.stderr
    assert "cannot import name 'lunch'" in python("from hotcalls import lunch").stderr


def test_program_that_is_run_waits_for_no_module_that_it_does_not_need() -> None:
    result = python(
        "import sys\n"
        "from hotcalls import cli\n"
        "from hotcalls.apps import launcher\n"
        "def replace(program, options):\n"
        "    print(sorted(sys.modules))\n"
        "    sys.exit()\n"
        "launcher.replace = replace\n"
        "cli.main(['run', '--', 'true'])\n"
    )
    assert result.returncode == 0, result.stderr
    loaded = set(ast.literal_eval(result.stdout))
    assert "hotcalls.apps.run" in loaded
    assert not loaded & HEAVY
    ours = {name for name in loaded if name.startswith("hotcalls.") and name.count(".") == 1}
    assert ours == {"hotcalls.apps", "hotcalls.cli", "hotcalls.failure", "hotcalls.monitor"}


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_command_does_not_import_what_only_others_use(command: str) -> None:
    result = python(
        "import sys\n"
        "from hotcalls import cli\n"
        "try:\n"
        f"    cli.main([{command!r}, '--help'])\n"
        "finally:\n"
        "    print(sorted(sys.modules), file=sys.stderr)\n"
    )
    loaded = set(ast.literal_eval(result.stderr))
    unwanted = {"numpy", "matplotlib", "zmq", "asyncio", "ssl", "http"}
    if command not in ("build", "edl"):
        unwanted |= {"lark", "jinja2"}
    if command != "bench":
        unwanted |= {"rich"}
    if command != "serve":
        unwanted |= {"hotcalls.enclave", "hotcalls.launching"}
    assert not loaded & unwanted


def test_package_is_typed_and_complete() -> None:
    result = python(
        "from importlib.resources import files\n"
        "package = files('hotcalls')\n"
        "for name in ('py.typed', 'include/hotcalls/channel.h', 'include/hotcalls_host.h',\n"
        "             'lib/libhotcalls_host.a', 'bin/hotcalls-enclave',\n"
        "             'bin/hotcalls-bench-worker'):\n"
        "    assert package.joinpath(name).is_file(), name\n"
    )
    assert result.returncode == 0, result.stderr
