# SPDX-License-Identifier: Apache-2.0
"""Print what the attacks on the promises came to: `make trust` runs them and calls this.

Reads the JUnit file of the tests that carry a claim, in which each test has said what it counted,
and the results that longer commands have left (`make fuzz`, `make soak`). Writes the same as
results/trust.json, so that a figure in a document can be traced.

Usage: trust.py TESTS.xml [RESULT.json]
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from claims import ROOT, claims
from rich.console import Console
from rich.table import Table

COUNT = "count:"


@dataclass
class Attacks:
    """What the tests of one promise came to."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def read_tests(file: Path) -> dict[str, Attacks]:
    """Return what the tests in a JUnit file came to, by the id that they attack."""
    found: dict[str, Attacks] = {}
    # The file was written a moment ago by our own pytest.
    for case in ET.parse(file).iter("testcase"):  # noqa: S314
        properties = [
            (entry.get("name", ""), entry.get("value", "")) for entry in case.iter("property")
        ]
        name = f"{case.get('classname')}::{case.get('name')}"
        for claim in dict.fromkeys(value for key, value in properties if key == "claim"):
            attacks = found.setdefault(claim, Attacks())
            if case.find("failure") is not None or case.find("error") is not None:
                attacks.failed.append(name)
            elif case.find("skipped") is not None:
                attacks.skipped.append(name)
            else:
                attacks.passed += 1
            for key, value in properties:
                if key.startswith(COUNT):
                    attacks.counts[key.removeprefix(COUNT)] += int(value)
    return found


def counted(counts: Counter[str]) -> str:
    """Return counts as text, largest first."""
    return ", ".join(f"{number:,} {what}" for what, number in counts.most_common())


def attack_table(attacked: dict[str, Attacks]) -> Table:
    """Return one row per promise."""
    table = Table(title="promises and the attacks on them", title_justify="left", box=None)
    table.add_column("id", no_wrap=True)
    table.add_column("attacks", justify="right")
    table.add_column("failed", justify="right")
    table.add_column("skipped", justify="right")
    table.add_column("counted")
    for name in claims():
        attacks = attacked.get(name, Attacks())
        table.add_row(
            name,
            str(attacks.passed + len(attacks.failed)) if name in attacked else "[red]none[/]",
            f"[red]{len(attacks.failed)}[/]" if attacks.failed else "0",
            str(len(attacks.skipped)),
            counted(attacks.counts),
        )
    return table


def stored(name: str) -> dict[str, Any] | None:
    """Return a result of a longer command, None when it was never run."""
    file = ROOT / "results" / name
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def fuzz_table(ledger: dict[str, Any]) -> Table:
    """Return one row per fuzz target: what `make fuzz` has added up."""
    table = Table(title="fuzzing so far (make fuzz)", title_justify="left", box=None)
    table.add_column("target", no_wrap=True)
    for name in ("executions", "goal", "edges", "lines"):
        table.add_column(name, justify="right")
    for name, target in sorted(ledger["targets"].items()):
        lines = target["lines"]
        table.add_row(
            name,
            f"{target['executions']:,}",
            f"{target['goal']:,}",
            f"{target['edges']:,}",
            f"{100 * lines['reached'] // max(1, lines['of'])} %",
        )
    return table


def soak_line(result: dict[str, Any]) -> str:
    """Return what the last `make soak` came to."""
    calls = result["calls"]
    return (
        f"soak of {result['seconds'] / 60:.1f} minutes ({result['date']}): "
        f"{calls['sent']:,} calls, "
        f"{calls['answered']:,} answered, {calls['errors']:,} errors that their callers saw, "
        f"{calls['lost']} lost, {calls['doubled']} doubled; {result['kills']} kills, "
        f"{result['restarts']} restarts"
    )


def main() -> int:
    """Print the tables; the exit status is 1 when an attack succeeded or was not made."""
    if len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    attacked = read_tests(Path(sys.argv[1]))
    console = Console()
    console.print(attack_table(attacked))
    ledger, soak = stored("fuzz.json"), stored("soak.json")
    console.print(fuzz_table(ledger) if ledger else "never fuzzed: make fuzz")
    console.print(soak_line(soak) if soak else "no soak yet: make soak")
    open_promises = [name for name in claims() if name not in attacked or attacked[name].failed]
    for attacks in attacked.values():
        for name in attacks.failed:
            console.print(f"[red]failed[/]  {name}", highlight=False)
        for name in attacks.skipped:
            console.print(f"skipped {name}", highlight=False)
    console.print(
        f"{len(claims())} promises, {len(open_promises)} of them broken or not attacked"
        + (": " + ", ".join(open_promises) if open_promises else "")
    )
    if len(sys.argv) == 3:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True
        ).stdout.strip()
        result = {
            "commit": commit,
            "machine": {"kernel": platform.release(), "python": platform.python_version()},
            "promises": {
                name: {
                    "attacks": attacked[name].passed + len(attacked[name].failed),
                    "failed": attacked[name].failed,
                    "skipped": attacked[name].skipped,
                    "counts": dict(sorted(attacked[name].counts.items())),
                }
                for name in claims()
                if name in attacked
            },
        }
        Path(sys.argv[2]).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 1 if open_promises else 0


if __name__ == "__main__":
    sys.exit(main())
