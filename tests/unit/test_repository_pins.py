# SPDX-License-Identifier: Apache-2.0
"""What `make demo` and `make test` install is pinned: every package at a version, with hashes."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PURPOSES = ("demo", "test")
#: name, version, marker and hashes of one entry of a lock file.
ENTRY = re.compile(
    r"^([A-Za-z0-9._-]+)==(\S+)(?: ; ([^\\\n]+?))? \\\n((?: +--hash=\S+(?: \\)?\n?)+)", re.M
)


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"scripts/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def requirements(repository: Path) -> ModuleType:
    del repository
    return load("requirements")


def lock(purpose: str) -> str:
    return (ROOT / f"requirements/{purpose}.txt").read_text()


@pytest.mark.claim("B-PINNED")
@pytest.mark.parametrize("purpose", PURPOSES)
def test_every_dependency_is_locked(requirements: ModuleType, purpose: str) -> None:
    wanted = requirements.wanted_for(purpose)
    assert len(wanted) > 10
    assert requirements.missing(wanted, requirements.locked(purpose)) == []


@pytest.mark.claim("B-PINNED")
@pytest.mark.parametrize("purpose", PURPOSES)
def test_every_locked_package_has_hashes_and_nothing_else_stands_there(
    requirements: ModuleType, purpose: str, record_property: Callable[[str, object], None]
) -> None:
    text = lock(purpose)
    entries = ENTRY.findall(text)
    for name, _, _, hashes in entries:
        assert re.fullmatch(r"(?: +--hash=sha256:[0-9a-f]{64}(?: \\)?\n?)+", hashes), name
    rest = ENTRY.sub("", text)
    assert [line for line in rest.splitlines() if line and not line.startswith("#")] == []
    assert {requirements.normal(name) for name, *_ in entries} == requirements.locked(purpose)
    record_property("count:hashes of pinned files", text.count("--hash=sha256:"))


@pytest.mark.parametrize("purpose", PURPOSES)
def test_lock_names_no_host(purpose: str) -> None:
    assert "://" not in lock(purpose)
    assert not re.search(r"^\s*--(?!hash)", lock(purpose), re.M)


def test_demo_and_test_have_the_same_versions() -> None:
    pins = [
        {(name, version, marker) for name, version, marker, _ in ENTRY.findall(lock(purpose))}
        for purpose in PURPOSES
    ]
    assert {pin[:2] for pin in pins[0]} <= {pin[:2] for pin in pins[1]}


def test_package_that_is_not_locked_is_named(requirements: ModuleType) -> None:
    wanted = [*requirements.wanted_for("test"), "no-such_Package>=1"]
    assert requirements.missing(wanted, requirements.locked("test")) == ["no-such-package"]


@pytest.mark.claim("B-PINNED")
def test_pip_refuses_a_file_with_another_hash(tmp_path: Path) -> None:
    package = tmp_path / "harmless-1.0.tar.gz"
    package.write_bytes(b"not what was locked")
    listed = tmp_path / "lock.txt"
    listed.write_text(f"harmless @ {package.as_uri()} --hash=sha256:{'0' * 64}\n")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--no-deps",
         "--require-hashes", "-r", listed],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
