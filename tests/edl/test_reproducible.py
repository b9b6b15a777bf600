# SPDX-License-Identifier: Apache-2.0
"""The same interface gives the same bytes, whoever generates them, where, when and by which Python.

What runs in an enclave can then be compared with what its sources say.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import jinja2
import lark
import markupsafe
import pytest

import hotcalls

TESTS = Path(__file__).resolve().parent.parent
ROOT = TESTS.parent
#: Where hotcalls is, and what its compiler needs. Other Pythons read them too: none of it has
#: compiled parts that it cannot do without.
PATHS = os.pathsep.join(
    dict.fromkeys(
        str(Path(module.__path__[0]).parent)
        for module in (hotcalls, click, jinja2, lark, markupsafe)
    )
)
EDLS = [
    *sorted((TESTS / "edl/data").glob("*.edl")),
    *sorted((TESTS / "sgx").glob("*.edl")),
    ROOT / "examples/vault/vault.edl",
]
#: Generates everything from the EDL files in a folder, by the commands that people type.
GENERATE = """
import pathlib, sys
from hotcalls import cli
from hotcalls.edl import edger8r

def run(main, *words):
    try:
        status = main([str(word) for word in words])
    except SystemExit as error:
        status = error.code
    if status:
        sys.exit(f"{words}: {status}")

where, out = map(pathlib.Path, sys.argv[1:])
for edl in sorted(where.rglob("*.edl")):
    name = edl.parent.name + "-" + edl.stem
    kinds = ["sgx-sdk"] if edl.parent.name == "sgx" else ["process"]
    for kind in kinds:
        run(cli.main, "edl", "--target", kind, "--out-dir", out / kind / name, edl)
    if edl.parent.name == "sgx":
        target = out / "edger8r" / name
        run(edger8r.main, "--search-path", edl.parent, "--trusted-dir", target,
            "--untrusted-dir", target, edl)
"""


@functools.cache
def pythons() -> dict[str, str]:
    """Every supported Python that is found here: its version, and where it is."""
    homes = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [sys.executable]
    for minor in range(10, 14):
        candidates += [str(path) for path in sorted(homes.glob(f"3.{minor}.*/bin/python3"))]
        candidates += [path for path in [shutil.which(f"python3.{minor}")] if path]
    found: dict[str, str] = {}
    for path in candidates:
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        done = subprocess.run([path, "-c", code], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            found.setdefault(done.stdout.strip(), path)
    return found


def generated(
    folder: Path, python: str = sys.executable, *, relative: bool = False, **variables: str
) -> dict[str, bytes]:
    """Generate everything in a folder of its own, and return the files that came of it."""
    where, out = folder / "interfaces", folder / "out"
    for edl in EDLS:
        target = where / edl.parent.name
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(edl, target)
    done = subprocess.run(
        [python, "-s", "-c", GENERATE, "interfaces" if relative else str(where), str(out)],
        cwd=folder if relative else "/",
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": PATHS,
            "PYTHONDONTWRITEBYTECODE": "1",
            **variables,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What comes out here, in one way of many."""
    return generated(tmp_path_factory.mktemp("first"), PYTHONHASHSEED="0", LC_ALL="C", TZ="UTC")


def differing(first: dict[str, bytes], second: dict[str, bytes]) -> list[str]:
    assert first.keys() == second.keys()
    return [name for name in first if first[name] != second[name]]


def test_every_generator_is_among_what_is_compared(first: dict[str, bytes]) -> None:
    assert {name.partition("/")[0] for name in first} == {"process", "sgx-sdk", "edger8r"}
    assert len(first) > 25
    assert all(first.values())


@pytest.mark.claim("B-REPRODUCIBLE")
@pytest.mark.parametrize(
    ("relative", "variables"),
    [
        (False, {"PYTHONHASHSEED": "1"}),
        (False, {"PYTHONHASHSEED": "4242", "LC_ALL": "tr_TR.UTF-8", "LANGUAGE": "tr"}),
        (True, {"PYTHONHASHSEED": "random", "TZ": "Asia/Kathmandu", "LC_ALL": "C.UTF-8"}),
        (True, {"SOURCE_DATE_EPOCH": "1", "COLUMNS": "20", "PYTHONUTF8": "0", "USER": "somebody"}),
    ],
    ids=["hash seed", "locale", "time zone and folder", "variables"],
)
def test_surroundings_change_no_byte(
    first: dict[str, bytes],
    relative: bool,
    variables: dict[str, str],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    second = generated(tmp_path / "a folder with spaces, é", relative=relative, **variables)
    record_property("count:generated files compared", len(second))
    assert differing(first, second) == []


@pytest.mark.claim("B-REPRODUCIBLE")
@pytest.mark.parametrize("version", pythons())
def test_every_python_writes_the_same_bytes(
    first: dict[str, bytes],
    version: str,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    second = generated(tmp_path, pythons()[version], PYTHONHASHSEED=version.partition(".")[2])
    record_property("count:generated files compared", len(second))
    assert differing(first, second) == []


@pytest.mark.claim("B-REPRODUCIBLE")
def test_table_of_system_calls_is_the_same_again(repository: Path, tmp_path: Path) -> None:
    texts = []
    for seed in ("0", "4242"):
        out = tmp_path / seed
        out.mkdir()
        inputs = [repository / "native" / name for name in ("syscalls.edl", "syscall_local.h")]
        subprocess.run(
            [sys.executable, repository / "scripts/generate_syscalls.py", *inputs, out],
            cwd=tmp_path,
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
        )
        texts.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert len(texts[0]) == 3
    assert texts[0] == texts[1]


def test_difference_of_one_byte_is_noticed(first: dict[str, bytes]) -> None:
    name = next(iter(first))
    assert differing(first, {**first, name: first[name][:-1] + b" "}) == [name]
