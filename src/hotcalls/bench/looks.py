# SPDX-License-Identifier: Apache-2.0
"""How a result is shown: its headings, its unit, and which ratios stand in a table.

Host side; pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from hotcalls.bench import words
from hotcalls.bench.model import Result, SgxMode


@dataclass(frozen=True)
class Look:
    """How results of one kind are shown.

    Parameters
    ----------
    unit
        What figures without a unit are in: head of the first column.
    figure
        Writes a number of cycles.
    groups
        Groups of rows in the order of a reader's interest, and their titles.
    ratios
        Columns of ratios: the name of the ratio, and the head.
    marked
        Groups of which one must have been measured for the marks to be shown.
    lead
        What a reader of the figures must know.
    marks_lead
        What a reader of the marks must know.
    """

    unit: str
    figure: Callable[[Result, float], str]
    groups: dict[str, str]
    ratios: dict[str, str]
    marked: frozenset[str]
    lead: str
    marks_lead: str

    @property
    def in_cycles(self) -> bool:
        """Whether figures are in cycles, so that a time must stand beside them."""
        return self.unit == "cycles"

    def title(self, group: str) -> str:
        """Return the title of a group."""
        return self.groups.get(group, group)


_CROSSINGS = Look(
    unit="cycles",
    figure=lambda _, cycles: words.cycles(cycles),
    groups={
        "call": "calls of a process enclave",
        "payload": "calls of a process enclave with a payload",
        "load": "many requesters",
        "cost": "what it costs to have an enclave",
        "basic": "calls, traps and exits",
        "kernel": "hand-over to another process through the kernel, and back",
        "mailbox": "bare mailboxes between two cores",
        "memory": "memory",
    },
    ratios={"syscall": "to syscall", "switch": "to switch"},
    marked=frozenset({"call"}),
    lead="Every figure is in cycles of the time-stamp counter unless it says otherwise; a process "
    "enclave is not SGX, and its calls are compared with what this kernel takes to hand over to "
    "another process.",
    marks_lead="What the project has set itself. Ours is measured against a kernel hand-over of "
    "the same run; the paper's 13–27 × were against SGX's EENTER.",
)

_PYTHON = Look(
    unit="time",
    figure=lambda result, cycles: words.time(result.ns(cycles)),
    groups={
        "empty": "empty call",
        "bytes": "64 bytes to bytes",
        "typed": "(int, str, bytes) to dict",
        "mib": "1 MiB to 1 MiB",
        "unpinned": "processes where the kernel puts them",
        "map": "many calls at once, for each of them",
        "wake": "the call that wakes the far end",
        "cost": "what it costs",
    },
    ratios={"bare": "to bare", "hotcalls": "to hotcalls"},
    marked=frozenset({"empty", "bytes", "typed", "mib", "unpinned", "map", "wake", "cost"}),
    lead="A function in another process, called from Python: the answer of every call was "
    "checked. A Python enclave is locked down and takes what it reads for hostile; none of the "
    "others is locked down. A process enclave is not SGX.",
    marks_lead="What the project has set itself for calls from Python to Python. Each peer is a "
    "client and a server of its own in this run, placed as ours is.",
)


def _sgx(mode: SgxMode) -> Look:
    """Return how calls of an SGX enclave are shown: with what it ran on, wherever they stand."""
    label, meaning = words.SGX_MODES[mode]
    title = f"calls of an SGX enclave, through the stubs of the target sgx-sdk: {label}"
    return replace(
        _CROSSINGS,
        groups={**_CROSSINGS.groups, "sgx": title},
        marked=frozenset({"sgx"}),
        lead="Every figure is in cycles of the time-stamp counter unless it says otherwise; "
        + meaning,
        marks_lead=f"What the project has set itself. {meaning}",
    )


def look_of(result: Result) -> Look:
    """Return how `result` is shown."""
    if result.sgx is not None:
        return _sgx(result.sgx)
    return _PYTHON if result.kind == "python" else _CROSSINGS
