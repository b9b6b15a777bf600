# SPDX-License-Identifier: Apache-2.0
"""Print what the attacks on the promises came to: `make trust` runs them and calls this.

Reads the JUnit file of the tests that carry a claim, in which each test has said what it counted,
and the results that longer commands have left (`make fuzz`, `make soak`). Writes the same as
results/trust.json, so that a figure in a document can be traced.

The exit status is 0 when every promise was attacked and held, no test failed or was skipped, and
every mark is reached; 1 when not, which the last lines say; 2 when there is nothing to read.

Usage: trust.py TESTS.xml [RESULT.json]
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from claims import ROOT, claims
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from trust_marks import Case, Mark, marks, stored

COUNT = "count:"
#: Where the output is no terminal, which rich takes for one of 80 columns.
WIDTH = 100


@dataclass
class Attacks:
    """What the tests of one promise came to."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def held(self) -> bool:
        """Whether the promise was attacked, and nothing failed or was left out."""
        return self.passed > 0 and not self.failed and not self.skipped


def read_tests(file: Path) -> list[Case]:
    """Return the tests in a JUnit file. What pytest could not even begin is a failed one."""
    found = []
    # The file was written a moment ago by our own pytest.
    for each in ET.parse(file).iter("testcase"):  # noqa: S314
        case = Case(each.get("file") or each.get("classname") or "?", each.get("name") or "?")
        if each.find("failure") is not None or each.find("error") is not None:
            case.ended = "failed"
        elif each.find("skipped") is not None:
            case.ended = "skipped"
        for entry in each.iter("property"):
            key, value = entry.get("name", ""), entry.get("value", "")
            if key == "claim" and value not in case.claims:
                case.claims.append(value)
            elif key.startswith(COUNT):
                what = key.removeprefix(COUNT)
                case.counts[what] = case.counts.get(what, 0) + int(value)
        found.append(case)
    return found


def by_claim(cases: Iterable[Case]) -> dict[str, Attacks]:
    """Return what came of the attacks on each promise. A test that failed has counted nothing."""
    found: dict[str, Attacks] = {}
    for case in cases:
        for claim in case.claims:
            attacks = found.setdefault(claim, Attacks())
            if case.ended == "passed":
                attacks.passed += 1
                attacks.counts.update(case.counts)
            else:
                (attacks.failed if case.ended == "failed" else attacks.skipped).append(case.label)
    return found


def counted(counts: Counter[str]) -> str:
    """Return counts as text, largest first."""
    return ", ".join(f"{number:,} {what}" for what, number in counts.most_common())


def attack_table(promised: Iterable[str], attacked: dict[str, Attacks]) -> Table:
    """Return one row per promise."""
    table = Table(title="promises and the attacks on them", title_justify="left", box=None)
    table.add_column("id", no_wrap=True)
    for name in ("attacks", "failed", "skipped"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("counted")
    for name in promised:
        attacks = attacked.get(name, Attacks())
        number = attacks.passed + len(attacks.failed)
        table.add_row(
            name,
            str(number) if number else "[red]none[/]",
            f"[red]{len(attacks.failed)}[/]" if attacks.failed else "0",
            f"[red]{len(attacks.skipped)}[/]" if attacks.skipped else "0",
            counted(attacks.counts),
        )
    return table


def fuzz_table(ledger: dict[str, Any]) -> Table:
    """Return one row per fuzz target: what `make fuzz` has added up, and what it covers."""
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


def mark_table(reached: Iterable[Mark]) -> Table:
    """Return one row per mark."""
    table = Table(title="marks", title_justify="left", box=None)
    table.add_column("mark", no_wrap=True)
    table.add_column("counted", justify="right", no_wrap=True)
    table.add_column("goal", no_wrap=True)
    table.add_column("", no_wrap=True)
    for mark in reached:
        state = "[red]short[/]" if mark.short else "reached"
        table.add_row(mark.name, f"{mark.number:,}", mark.goal, state)
    return table


def troubles(promised: Iterable[str], cases: list[Case], reached: Iterable[Mark]) -> list[str]:
    """Return every reason why this run shows less than it should, one line each."""
    attacked = by_claim(cases)
    lines = [f"{case.ended:8}{case.label}" for case in cases if case.ended != "passed"]
    for name in promised:
        attacks = attacked.get(name, Attacks())
        if not attacks.passed and not attacks.failed and not attacks.skipped:
            lines.append(f"promise {name}: no test attacked it")
        elif not attacks.held:
            lines.append(
                f"promise {name}: {len(attacks.failed)} failed, {len(attacks.skipped)} skipped"
            )
    lines += [f"mark    {mark.name}: {why}" for mark in reached for why in mark.short]
    return lines


def record(
    promised: Iterable[str], attacked: dict[str, Attacks], reached: list[Mark]
) -> dict[str, Any]:
    """Return what results/trust.json holds."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    return {
        "commit": commit,
        "machine": {"kernel": platform.release(), "python": platform.python_version()},
        "marks": [
            {
                "name": mark.name,
                "counted": mark.number,
                "goal": mark.goal,
                "reached": not mark.short,
                "short": list(mark.short),
            }
            for mark in reached
        ],
        "promises": {
            name: {
                "held": attacked[name].held,
                "attacks": attacked[name].passed + len(attacked[name].failed),
                "failed": attacked[name].failed,
                "skipped": attacked[name].skipped,
                "counts": dict(sorted(attacked[name].counts.items())),
            }
            for name in promised
            if name in attacked
        },
    }


def main(arguments: list[str], results: Path = ROOT / "results") -> int:
    """As above."""
    if len(arguments) not in (1, 2):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        cases = read_tests(Path(arguments[0]))
    except (OSError, ET.ParseError, ValueError) as error:
        print(f"{arguments[0]}: no report of tests ({error}); run `make trust`", file=sys.stderr)
        return 2
    ledger, soak = stored(results / "fuzz.json"), stored(results / "soak.json")
    promised, attacked = list(claims()), by_claim(cases)
    reached = marks(cases, ledger, soak)
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    console.print(attack_table(promised, attacked))
    console.print()
    console.print(fuzz_table(ledger) if ledger else "never fuzzed: make fuzz")
    console.print()
    console.print(soak_line(soak) if soak else "no soak yet: make soak")
    console.print()
    console.print(mark_table(reached))
    console.print()
    found = troubles(promised, cases, reached)
    for line in found:
        # Whole, so that it can be copied: a test's name is longer than a line.
        console.print(f"[red]{escape(line)}[/]", soft_wrap=True)
    held = sum(attacked.get(name, Attacks()).held for name in promised)
    full = sum(not mark.short for mark in reached)
    console.print(
        f"{held} of {len(promised)} promises held, {full} of {len(reached)} marks reached"
    )
    if len(arguments) == 2:
        text = json.dumps(record(promised, attacked, reached), indent=1, ensure_ascii=False)
        Path(arguments[1]).write_text(text + "\n", encoding="utf-8")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
