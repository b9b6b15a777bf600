# SPDX-License-Identifier: Apache-2.0
"""The n-th allocation of the host process of `hotcalls run` fails, for every n; the program's side,
the shim, allocates nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import nth
import pytest

import native

HERE = Path(__file__).resolve().parent
#: write(2): nth.c only has to count what is left.
NUMBERS = "1"
TEXT = "seventeen\n"
SAID = "an allocation fails\n"
#: Rules and totals of each kind: what is allocated for a policy.
POLICY = """
ReadOnlyPaths = ["/usr", "/etc"]
InaccessiblePaths = ["/not/there"]
IPAddressDeny = ["10.0.0.0/8", "fd00::/8"]
IPEgressBytesMax = ["127.0.0.0/8 1M", "10.0.0.0/8 10"]
IOWriteBytesMax = ["/not/there 1M"]
"""


@pytest.fixture(scope="module")
def preloaded() -> Path:
    return native.build(
        "malloc_of_run.so", [HERE / "malloc_of_run.c"], [*native.PLAIN, "-fPIC", "-shared"]
    )


@pytest.mark.claim("P-FAULTS")
def test_run_with_a_failing_allocation_says_so_or_runs_under_its_whole_policy(
    tmp_path: Path,
    preloaded: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    place = nth.Place(tmp_path)
    policy, file = tmp_path / "policy.toml", tmp_path / "text"
    policy.write_text(POLICY)
    file.write_text(TEXT)
    # In the shell: a rule holds when the program has started, whatever had no memory before.
    script = f"read line < {file}; echo $line; true 3<> /etc/passwd && echo open"
    command = [sys.executable, "-m", "hotcalls.cli", "run", "--policy", str(policy), "--"]
    monkeypatch.setenv("LD_PRELOAD", str(preloaded))
    failed = refused = 0
    for n in range(1, 1000):
        monkeypatch.setenv("FAULT_MALLOC", str(n))
        done = place.run([*command, "sh", "-c", script], numbers=NUMBERS)
        assert (done.left, done.hung) == (0, False), (n, done)
        if SAID not in done.errors:
            break
        failed += 1
        if done.status == 125:
            refused += 1
            assert done.errors.startswith(f"{SAID}hotcalls run: "), (n, done)
        else:
            assert done.output == TEXT, (n, done)
    assert failed > refused > 10
    assert [name for name in place.files() if not name.endswith((".stats", ".json"))] == []
    record_property("count:allocations failed", failed)
