# SPDX-License-Identifier: Apache-2.0
"""What importing does: one clear sentence elsewhere than on Linux, and little on Linux."""

from __future__ import annotations

import subprocess
import sys


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
