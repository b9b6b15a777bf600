# SPDX-License-Identifier: Apache-2.0
"""The ways of docs/keys.md by which a key gets in that the host cannot read again.

What anybody can run is run where the other documents' examples are. Here are the programs that are
started with more rights than they keep.
"""

from __future__ import annotations

import hmac
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .unprivileged import ENVIRONMENT, NOBODY, python_of_an_ordinary_user

KEY = bytes(range(100, 132))
TAG = hmac.digest(KEY, b"message", "sha256").hex()
OWNER = NOBODY - 1
ROOT = os.geteuid() == 0


@pytest.fixture(scope="module")
def folder(repository: Path) -> Iterator[Path]:
    """The programs of the document, in a directory that everybody may read."""
    text = (repository / "docs/keys.md").read_text(encoding="utf-8")
    made = Path(tempfile.mkdtemp(prefix="hotcalls-keys-"))
    made.chmod(0o755)
    for name, code in re.findall(r"```python\n# (\w+\.py) -- [^\n]*\n(.*?)```", text, re.DOTALL):
        (made / name).write_text(code)
        (made / name).chmod(0o644)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def key_file(tmp_path: Path) -> Iterator[Path]:
    """A key that only its owner may read, in a directory that everybody may enter."""
    with tempfile.NamedTemporaryFile(prefix="hotcalls-key-") as file:
        file.write(KEY)
        file.flush()
        os.fchmod(file.fileno(), 0o400)
        yield Path(file.name)


def run(folder: Path, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [python_of_an_ordinary_user(), *map(str, arguments)],
        cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60,
        **options,
    )  # fmt: skip


def test_document_has_the_programs(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        "front.py",
        "owner.py",
        "service.py",
        "started.py",
        "vault.py",
    }


def test_descriptor_opened_before_root_is_given_up_is_the_only_way_to_the_key(
    folder: Path, key_file: Path
) -> None:
    done = run(folder, "service.py", key_file)
    if ROOT:
        assert done.stdout == f"the host: Permission denied\nthe vault: {TAG}\n", done.stderr
    else:
        assert "Operation not permitted" in done.stderr
        assert done.returncode != 0


def test_descriptor_that_is_handed_over_reaches_the_vault(folder: Path, key_file: Path) -> None:
    with key_file.open("rb") as file:
        third = f'exec 3<&{file.fileno()}; exec "$0" started.py'
        done = subprocess.run(
            ["bash", "-c", third, python_of_an_ordinary_user()],
            cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60,
            pass_fds=[file.fileno()],
            **({"user": NOBODY, "group": NOBODY, "extra_groups": []} if ROOT else {}),
        )  # fmt: skip
    assert done.stdout == f"the vault: {TAG}\n", done.stderr


def test_enclave_of_another_user_reads_a_key_that_the_host_cannot(
    folder: Path, key_file: Path
) -> None:
    if ROOT:
        os.chown(key_file, OWNER, OWNER)
    done = run(folder, "front.py", key_file, OWNER)
    if ROOT:
        assert done.stdout == f"the host: Permission denied\nthe vault: {TAG}\n", done.stderr
    else:
        assert "only a privileged process can run an enclave as" in done.stderr
        assert done.returncode != 0


def test_key_of_the_wrong_size_is_refused_at_launch(folder: Path, key_file: Path) -> None:
    key_file.chmod(0o600)
    key_file.write_bytes(KEY[:16])
    with key_file.open("rb") as file:
        done = run(
            folder,
            "-c",
            f"import hotcalls; hotcalls.launch('vault.py', secrets={{'key': {file.fileno()}}})",
            pass_fds=[file.fileno()],
        )
    assert "ValueError: the key has to have 32 bytes" in done.stderr
    assert "LaunchError" in done.stderr
