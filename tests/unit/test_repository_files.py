# SPDX-License-Identifier: Apache-2.0
"""Rules that hold for every file of the repository: licence, size, name, what the build lists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SOURCE_SUFFIXES = {".c", ".h", ".cpp", ".py", ".pyi", ".pyx", ".sh", ".edl", ".lark", ".toml"}
SOURCE_NAMES = {"Makefile", "meson.build", ".clang-format", "run"}
#: Made by a build, or by the tools that work here.
NOT_OURS = {".git", ".venv", "build", "dist", "__pycache__", ".hypothesis"}
#: Expected output of the EDL compiler: it says itself where it comes from.
GOLDEN = re.compile(r"(^|/)golden(/|$)")
LINES_MAX = 800


def tree(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in NOT_OURS)
        for name in sorted(files):
            yield Path(folder, name)


def sources(root: Path) -> list[Path]:
    return [
        path
        for path in tree(root)
        if (path.suffix in SOURCE_SUFFIXES or path.name in SOURCE_NAMES)
        and not GOLDEN.search(path.relative_to(root).as_posix())
    ]


def test_every_source_file_names_its_licence(repository: Path) -> None:
    # In the first two lines: a script begins with #!.
    missing = [
        path.relative_to(repository).as_posix()
        for path in sources(repository)
        if "SPDX-License-Identifier: Apache-2.0"
        not in "\n".join(path.read_text(encoding="utf-8").splitlines()[:2])
    ]
    assert missing == []


def test_no_source_file_is_longer_than_800_lines(repository: Path) -> None:
    long = {
        path.relative_to(repository).as_posix(): count
        for path in sources(repository)
        if (count := len(path.read_bytes().splitlines())) > LINES_MAX
    }
    assert long == {}


def test_no_file_is_named_utils(repository: Path) -> None:
    named = [
        path.relative_to(repository).as_posix()
        for path in tree(repository)
        if re.search(r"(^|_)utils?(_|$)", path.stem)
    ]
    assert named == [], "name a file by its role"


def test_every_c_file_says_what_it_is_for(repository: Path) -> None:
    # STYLE: a file opens with its purpose; the opening comment has more than the licence.
    silent = [
        path.relative_to(repository).as_posix()
        for path in sources(repository)
        if path.suffix in {".c", ".h"}
        and {"include", "native"} & set(path.parts)
        and not re.match(r"/\* SPDX[^\n]*\*/\n/\*\n? \*? ?\S+", path.read_text(encoding="utf-8"))
    ]
    assert silent == []


def test_meson_lists_every_source(repository: Path) -> None:
    result = subprocess.run(
        [sys.executable, str(repository / "scripts/sources.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_source_has_unfinished_work(repository: Path) -> None:
    marker = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    found = [
        f"{path.relative_to(repository)}:{number}"
        for path in sources(repository)
        if path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if marker.search(line)
    ]
    assert found == []


def test_requirements_have_an_upper_bound(repository: Path) -> None:
    result = subprocess.run(
        [sys.executable, str(repository / "scripts/requirements.py"), "test"],
        capture_output=True,
        text=True,
        check=True,
    )
    requirements = result.stdout.split("\n")[:-1]
    assert len(requirements) > 10
    assert [item for item in requirements if not re.search(r">=.*,<", item)] == []


def test_changelog_follows_keep_a_changelog(repository: Path) -> None:
    text = (repository / "CHANGELOG.md").read_text(encoding="utf-8")
    assert text.startswith("# Changelog\n")
    headings = re.findall(r"^## (.+)$", text, re.M)
    assert headings[0] == "[Unreleased]"
    for heading in headings[1:]:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", heading), heading
    allowed = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "ABI"}
    assert set(re.findall(r"^### (.+)$", text, re.M)) <= allowed
    # Every version of the project that is named has a section.
    for version in re.findall(r"^## \[(\d[\d.]*)\]", text, re.M):
        assert re.search(rf"^\[{re.escape(version)}\]: ", text, re.M) or "://" not in text


def test_make_lists_its_targets(repository: Path) -> None:
    result = subprocess.run(
        ["make", "-C", str(repository), "--no-print-directory"],
        capture_output=True,
        text=True,
        check=True,
    )
    listed = re.findall(r"^  make (\S+) +\S", result.stdout, re.M)
    assert {"demo", "test", "lint", "wheel", "clean", "bench", "format", "docs"} <= set(listed)
