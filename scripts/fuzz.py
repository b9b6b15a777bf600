#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fuzz the targets of tests/fuzz, and keep the ledger of what was executed.

`make fuzz MINUTES=n TARGET=name` runs this. The time is divided among the targets that are named;
with --runs each is executed so often instead, and with --rest as often as its goal still lacks.
What a run finds goes into the corpus, as little of it as reaches the same; counts go into
results/fuzz.json, and only from here.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "fuzz"))

import machine  # noqa: E402
from targets import TARGETS, Target, named  # noqa: E402

LEDGER = ROOT / "results" / "fuzz.json"
SCHEMA = 1
RUN = ("date", "source", "commit", "executions", "seconds")


def git(*arguments: str) -> str:
    """What git says, or nothing where there is no repository."""
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def commit_of(target: Target) -> str:
    """The last commit that changed what the target runs; `+` when it was changed since."""
    files = [str(path) for path in target.files if path.exists()]
    dirty = "+" if git("status", "--porcelain", "--", *files) else ""
    return git("log", "-1", "--format=%h", "--", *files) + dirty


def source_of(target: Target) -> str:
    """What the files of the target are: commits get other names when they are moved."""
    digest = hashlib.sha256()
    for path in target.files:
        if path.exists():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def read_ledger() -> dict[str, Any]:
    """The ledger, or an empty one."""
    if LEDGER.exists():
        found: dict[str, Any] = json.loads(LEDGER.read_text())
        if found.get("schema") == SCHEMA:
            return found
    return {"schema": SCHEMA, "targets": {}}


def enter(target: Target, outcome: machine.Outcome, reached: tuple[int, int], corpus: int) -> None:
    """Write a run into the ledger, next to those before it."""
    ledger = read_ledger()
    entry = ledger["targets"].setdefault(target.name, {"executions": 0, "seconds": 0.0, "runs": []})
    commit = commit_of(target)
    today = dt.datetime.now(dt.timezone.utc).date().isoformat()
    entry.update(
        language=target.language,
        claims=list(target.claims),
        goal=target.goal,
        toolchain=machine.toolchain(target),
        edges=outcome.edges,
        lines={"reached": reached[0], "of": reached[1]},
        corpus=corpus,
        crashes_kept=len(list(target.crashes.glob("*"))),
    )
    entry["executions"] += outcome.executions
    entry["seconds"] = round(entry["seconds"] + outcome.seconds, 1)
    runs, source = entry["runs"], source_of(target)
    if not runs or (runs[-1]["date"], runs[-1]["source"]) != (today, source):
        runs.append({"date": today, "source": source, "executions": 0, "seconds": 0})
    runs[-1]["commit"] = commit
    runs[-1]["executions"] += outcome.executions
    runs[-1]["seconds"] = round(runs[-1]["seconds"] + outcome.seconds, 1)
    entry["runs"] = [{key: run[key] for key in RUN} for run in runs]
    LEDGER.write_text(json.dumps(ledger, indent=1, sort_keys=True) + "\n")


def one(target: Target, seconds: float, runs: int, seed: int) -> dict[str, Any]:
    """Fuzz a target; the row of the table."""
    work = machine.BUILD / "work" / target.name
    corpus = work / "corpus"
    machine.unpack(target, corpus)
    outcome = machine.run(target, corpus, seconds=seconds, runs=runs, seed=seed)
    kept = work / "kept"
    machine.minimise(target, corpus, kept)
    # A run that only replayed has nothing to add.
    count = machine.pack(target, kept) if any(kept.iterdir()) else 0
    reached = machine.lines(target, corpus)
    enter(target, outcome, reached, count)
    total = read_ledger()["targets"][target.name]["executions"]
    if outcome.crashed:
        print(f"\n{target.name}: broken, by {', '.join(map(str, outcome.artifacts)) or 'nothing'}")
        print(outcome.output[-6000:])
        print(f"Once it is mended: keep the input as {target.crashes}/WHAT-WAS-WRONG\n")
    return {"target": target, "outcome": outcome, "reached": reached, "corpus": count, "all": total}


HEAD = ("target", "executions", "exec/s", "edges", "lines", "corpus", "crashes", "in all", "of")


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """What the table says of a run."""
    outcome, (reached, of) = row["outcome"], row["reached"]
    return (
        row["target"].name,
        f"{outcome.executions:,}",
        f"{outcome.executions / max(outcome.seconds, 0.001):,.0f}",
        str(outcome.edges),
        f"{100 * reached / of:.0f} %" if of else "-",
        str(row["corpus"]),
        str(int(outcome.crashed)),
        f"{row['all']:,}",
        f"{row['target'].goal:,}",
    )


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    table = [HEAD, *map(cells, rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(HEAD))]
    for line in table:
        first, *rest = (
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        print(first, *rest, sep="  ", flush=True)


def main() -> int:
    """Run the targets in turn; 1 when one of them broke."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10, help="for all targets together")
    parser.add_argument("--target", action="append", help="only this one; repeatable")
    parser.add_argument("--runs", type=int, help="executions of each target, in place of minutes")
    parser.add_argument("--rest", action="store_true", help="what each target's goal lacks")
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    given = parser.parse_args()
    targets = [named(name) for name in given.target] if given.target else list(TARGETS)
    rows = []
    for target in targets:
        runs, seconds = given.runs or -1, given.minutes * 60 / len(targets)
        if given.rest:
            done = read_ledger()["targets"].get(target.name, {"executions": 0})["executions"]
            runs = target.goal - done
            if runs <= 0:
                continue
        rows.append(one(target, 0 if runs > 0 else seconds, runs, given.seed))
        show(rows[-1:])
    if not rows:
        print("fuzz: every target has reached its goal")
        return 0
    print()
    show(rows)
    return int(any(row["outcome"].crashed for row in rows))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except machine.Failed as error:
        sys.exit(f"fuzz: {error}")
