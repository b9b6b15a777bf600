# SPDX-License-Identifier: Apache-2.0
"""The document on what is reproduced: every claim, and no figure that was typed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import evaluation as known
import pytest

from hotcalls.bench import model


@pytest.fixture(scope="module")
def script(repository: Path) -> ModuleType:
    """scripts/reproduction.py, as a module."""
    import importlib.util

    path = repository / "scripts" / "reproduction.py"
    spec = importlib.util.spec_from_file_location("reproduction", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_claim_has_a_command_and_a_verdict(repository: Path, script: ModuleType) -> None:
    bench = model.read(repository / "results" / "bench.json")
    claims = script.claims(bench, known.result("memcached-c50"))
    assert len(claims) == 7
    for claim in claims:
        assert "hotcalls" in claim.command
        assert claim.why
        assert any(word in claim.kind for word in ("same", "analogue", "not measurable here"))


def test_the_ceiling_stands_beside_every_speed_up(repository: Path, script: ModuleType) -> None:
    bench = model.read(repository / "results" / "bench.json")
    text = script.document(bench, known.result("memcached-c50", "memcached-c1"))
    rows = [line for line in text.splitlines() if line.startswith("| memcached | title")]
    assert len(rows) == 2
    assert all("| 2.45× (2.40 … 2.50) | 4.00× (4.00 … 4.00) |" in row for row in rows)
    assert "memcached 2.45× (native: 4.00×)" in text


def test_what_was_not_measured_is_said(repository: Path, script: ModuleType) -> None:
    bench = model.read(repository / "results" / "bench.json")
    text = script.document(bench, None)
    assert text.count("not measured yet") == 4
    assert "there is no result file yet" in text


def test_wrong_usage_is_named(repository: Path) -> None:
    script = repository / "scripts" / "reproduction.py"
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "usage" in done.stderr


def test_the_document_was_made_of_the_results_in_the_repository(
    repository: Path, script: ModuleType
) -> None:
    from hotcalls.apps.evaluate import model as evaluation

    bench = model.read(repository / "results" / "bench.json")
    file = repository / "results" / "evaluate.json"
    servers = evaluation.read(file) if file.exists() else None
    assert (repository / "docs" / "reproduction.md").read_text() == script.document(bench, servers)
