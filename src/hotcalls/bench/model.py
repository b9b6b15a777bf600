# SPDX-License-Identifier: Apache-2.0
"""The result of a benchmark, as it is written to JSON. Everything shown is drawn from it.

Host side. Reading trusts nothing: a file of another schema or shape is refused with the place
where it differs (``$.rows[3].classes``).

Units: cycles of the time-stamp counter unless a name ends in ``_ns``, ``_s`` or ``_bytes``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from hotcalls.bench.errors import BenchError

#: Raised whenever a reader of the old files would misread the new ones.
SCHEMA = 1

#: The placement of a row that does not cross cores.
HERE = "-"
#: Placement classes, nearest first (SMT siblings, same cache complex, another one).
CLASSES = ("S", "N", "F")
CLASS_NAMES = {
    "S": "siblings",
    "N": "near",
    "F": "far",
    HERE: "same core",
}

Verdict = Literal["met", "missed", "not seen"]
#: What a run is about: the taxonomy of crossings, calls through the stubs of the target sgx-sdk, or
#: calls from Python to Python.
Kind = Literal["crossings", "sgx-sdk", "python"]
#: What the enclave of ``--target sgx-sdk`` ran on. Only the last is SGX.
SgxMode = Literal["stand-in", "simulation", "hardware"]


class Distribution(msgspec.Struct, frozen=True):
    """What one row took in one placement class.

    `p50` to `max` are samples; `median` is the median within the step of the timer that holds it
    (`stats.grouped_median`), and `low` to `high` is its 95 % bootstrap interval over processes
    and blocks, None where there are fewer than three blocks.
    """

    n: int
    p50: float
    p90: float
    p99: float
    p999: float
    max: float
    median: float
    low: float | None
    high: float | None
    within_620: float
    within_1400: float
    #: ``(lower edge, count)``, 16 buckets to an octave.
    histogram: list[tuple[float, int]]


class Ratio(msgspec.Struct, frozen=True):
    """The median of ratios between blocks taken in the same breath, with its 95 % interval."""

    median: float
    low: float | None
    high: float | None
    pairs: int


class Placed(msgspec.Struct, frozen=True):
    """One row in one placement class."""

    cycles: Distribution
    blocks: int
    #: To ``floor`` (bare mailbox), ``reference`` (same copies, bare), ``syscall``, ``switch``;
    #: of a switch call to ``kernel`` (the best of the kernel's hand-overs on one core); of calls
    #: in flight together to ``single`` ones; of calls without zeroing to those ``zeroed``. Of
    #: calls from Python to the same call of each peer, by its name, and to ``bytes`` ones.
    ratios: dict[str, Ratio]
    #: CPU seconds for a million calls, on the caller's side and on the other; None where the
    #: row flushes or waits between its calls.
    cpu_s_per_million: float | None
    peer_cpu_s_per_million: float | None
    #: Share of the blocks' time that the hypervisor gave to somebody else.
    steal: float
    involuntary_switches: int


class Value(msgspec.Struct, frozen=True):
    """One figure of a row that has no samples; one observation for each process."""

    median: float
    least: float
    most: float
    n: int


class Row(msgspec.Struct, frozen=True):
    """One line of the taxonomy."""

    name: str
    group: str
    title: str
    batch: int
    size_bytes: int
    cross: bool
    note: str | None
    #: What was flushed before each call and how; None when the caches are warm.
    cold: str | None
    reference: str | None
    #: Why it was not measured; None when it was.
    skipped: str | None
    classes: dict[str, Placed]
    #: Blocks left out because the placement changed between the probes around them.
    dropped_blocks: int
    values: dict[str, Value]
    checked: int


class Processor(msgspec.Struct, frozen=True):
    """The machine's CPU, and how the benchmark used it."""

    model: str
    family: str
    microcode: str
    #: CPUs that the process may use, then the two it used.
    allowed: list[int]
    used: list[int]
    siblings: bool
    quota: float | None
    hypervisor: bool
    governor: str | None
    mitigations: dict[str, str]
    #: SGX, SEV or TDX of this machine, in words; None when memory is not encrypted.
    encrypted_memory: str | None


class Machine(msgspec.Struct, frozen=True):
    """Where it was measured."""

    processor: Processor
    kernel: str
    distribution: str
    memory_bytes: int
    tsc_hz: float
    load: float


class Build(msgspec.Struct, frozen=True):
    """What was measured."""

    version: str
    commit: str | None
    dirty: bool | None
    compiler: str
    flags: str


class Noise(msgspec.Struct, frozen=True):
    """What says whether to trust the figures; `complaints` is what passed a threshold."""

    spin_before: float
    spin_after: float
    spin_least: float
    steal: float
    involuntary_per_second: float
    load: float
    complaints: list[str]

    @property
    def unstable(self) -> bool:
        """Whether a threshold was passed."""
        return bool(self.complaints)


class Plan(msgspec.Struct, frozen=True):
    """How it was measured."""

    mode: Literal["quick", "full"]
    processes: int
    rounds: int
    block_us: int
    seed: int
    seeds: list[int]
    duration_s: float


class Placement(msgspec.Struct, frozen=True):
    """How the probe of the bare mailbox tells the placement classes apart."""

    #: Below the first: S; below the second: N; else F. In cycles.
    cuts: tuple[float, float]
    #: Median of the probe in each class that occurred.
    floor: dict[str, float]
    #: Probed blocks in each class that occurred.
    blocks: dict[str, int]


class Timer(msgspec.Struct, frozen=True):
    """What an empty pair of time stamps takes. Contained in every figure, never subtracted."""

    overhead: float
    step: int


class Mark(msgspec.Struct, frozen=True):
    """One figure that the project has set itself, and what was measured."""

    name: str
    target: str
    #: By placement class, or ``-`` where it has none.
    measured: dict[str, str]
    verdicts: dict[str, Verdict]
    verdict: Verdict


class Result(msgspec.Struct, frozen=True):
    """One run of ``hotcalls bench``."""

    schema: int
    created: str
    build: Build
    machine: Machine
    plan: Plan
    timer: Timer
    noise: Noise
    placement: Placement
    #: Why more threads wanted to run than could; None when every one had a core.
    oversubscribed: str | None
    rows: list[Row]
    marks: list[Mark]
    kind: Kind = "crossings"
    #: Of a run about sgx-sdk; None of any other.
    sgx: SgxMode | None = None

    def row(self, name: str) -> Row | None:
        """Return the row `name`, or None when the run had none of that name."""
        return next((row for row in self.rows if row.name == name), None)

    def placed(self, name: str, placement: str | None = None) -> Placed | None:
        """Return row `name` in a class; in the one with the most samples when None."""
        row = self.row(name)
        if row is None or not row.classes:
            return None
        if placement is not None:
            return row.classes.get(placement)
        return max(row.classes.values(), key=lambda placed: placed.cycles.n)

    def seen(self) -> list[str]:
        """Return the placement classes that occurred, nearest first."""
        return [name for name in CLASSES if name in self.placement.floor]

    def ns(self, cycles: float) -> float:
        """Return `cycles` of this machine's counter in nanoseconds."""
        return cycles * 1e9 / self.machine.tsc_hz


def encode(result: Result) -> bytes:
    """Return `result` as indented JSON with a newline at its end."""
    return msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n"


def read(path: Path) -> Result:
    """Read a result.

    Raises
    ------
    BenchError
        When `path` is not a benchmark result of this schema; says where it differs.
    OSError
        When it cannot be read.
    """

    class Head(msgspec.Struct):
        schema: int

    text = path.read_bytes()
    try:
        head = msgspec.json.decode(text, type=Head)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BenchError(f"{path}: not a result of `hotcalls bench`: {error}") from error
    if head.schema != SCHEMA:
        raise BenchError(
            f"{path}: has schema {head.schema}, and this version reads schema {SCHEMA}: "
            "measure again, or use the version that wrote it"
        )
    try:
        result = msgspec.json.decode(text, type=Result)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BenchError(f"{path}: not a result of `hotcalls bench`: {error}") from error
    if result.sgx is not None and result.kind != "sgx-sdk":
        # Files of the first version name what the enclave ran on, and no kind.
        return msgspec.structs.replace(result, kind="sgx-sdk")
    return result
