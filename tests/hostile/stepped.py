# SPDX-License-Identifier: Apache-2.0
"""Running the scenarios of script.c, in which a peer writes between any two accesses of the code.

A file of scenarios is compiled together with the code that it is about, so that each access to the
channel is seen (steps.h); where the code has threads of its own, they are fibers (fibers.h).
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import native

HERE = Path(__file__).resolve().parent
#: What touches memory that the other side can write: steps.h has a macro for each.
ACCESS = re.compile(
    r"\b(__atomic_(load|store|exchange|compare_exchange)_n|__atomic_\w+_fetch|__atomic_fetch_\w+"
    r"|hc_untrusted_\w+|hc_copy_(in|out))\("
)
#: (structure, member, kind) of each.
FIELDS = re.findall(r"FIELD\((hc_\w+), (\w+), (\w+)\)", (HERE / "fields.h").read_text())
#: Names of fields that are rewritten.
NAMES = len([what for *_, what in FIELDS if what != "PART"]) + len(["window"])


@dataclass
class Outcome:
    """What a scenario printed."""

    text: str
    sites: Counter[tuple[str, int]]

    def __getitem__(self, name: str) -> int:
        return int(re.findall(rf"\b{name}=(\d+)", self.text)[-1])


def forced(header: str = "steps.h") -> tuple[str, ...]:
    """How the code under test is compiled: with each access to the channel seen."""
    return (*native.ADDRESS, "-include", str(HERE / header), "-Wno-shadow")


def scenarios_in(file: str) -> list[str]:
    """The names of the scenarios of a file."""
    return re.findall(r'\{"(\w+)", \w+\}', (HERE / file).read_text())


def outcome(
    command: Sequence[str], name: str, how: str, rounds: int, environment: dict[str, str] | None
) -> Outcome:
    """Run a scenario with everything that may happen to it."""
    seed = os.environ.get("HOTCALLS_SEED", str(time.time_ns() % (1 << 32)))
    text = native.run(
        [*command, name, how, str(rounds), seed], timeout=3000, environment=environment
    ).stdout
    sites = Counter[tuple[str, int]]()
    for path, line, reached in re.findall(r"^site (.*):(\d+) \w+ (\d+) \d+$", text, re.MULTILINE):
        sites[Path(path).name, int(line)] += int(reached)
    return Outcome(re.sub(r"(?m)^site .*\n", "", text), sites)


def missed(
    code: Sequence[Path], sites: Counter[tuple[str, int]], known: Sequence[str]
) -> list[str]:
    """Accesses in these files that were no steps of any scenario, but for those of `known`."""
    found = []
    for path in code:
        function = ""
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if defined := re.match(r"(?!#|\s|/\*).*?(\w+)\(", line):
                function = defined[1]
            inside = line.startswith(" ") and not line.lstrip().startswith(("*", "/*"))
            if inside and ACCESS.search(line) and function not in known:
                found += [] if (path.name, number) in sites else [f"{path.name}:{number}: {line}"]
    return found
