# SPDX-License-Identifier: Apache-2.0
"""From samples to a result: classes, medians with intervals, ratios of pairs, noise.

Host side; pure but for the clock and what `machine` reads.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from hotcalls.bench import machine, stats
from hotcalls.bench.measure import Block, RowInfo, Run
from hotcalls.bench.model import (
    CLASSES,
    HERE,
    SCHEMA,
    Noise,
    Placed,
    Placement,
    Plan,
    Ratio,
    Result,
    Row,
    Timer,
    Value,
)
from hotcalls.bench.subjects import CROSSINGS, Subject

#: Ticks of /proc/stat in a second, always 100 for user space.
_TICKS_HZ = 100

# Thresholds of the complaints. A fixed loop that slows by 5 % says that the clock changed; steal
# above 2 % moves the tail of a microsecond's work; 50 preemptions a second is one in 20 ms.
_SPIN_DRIFT = 1.05
_SPIN_SPREAD = 1.10
_STEAL = 0.02
_PREEMPTIONS_HZ = 50.0


@dataclass(frozen=True)
class _Taken:
    """One block with its class and its median."""

    block: Block
    placement: str
    median: float


def _floor(block: Block) -> float:
    return (block.probe_before + block.probe_after) / 2


class _Analysis:
    def __init__(self, run: Run, subject: Subject) -> None:
        self.run = run
        self.subject = subject
        self.step = run.states[0][0].timer_step
        self.hz = run.tsc_hz()
        self.rng = np.random.default_rng(run.plan.seed)
        self.infos = {row.name: row for row in run.rows}
        probes = [
            probe
            for name, blocks in run.blocks.items()
            if self.infos[name].cross
            for block in blocks
            for probe in (block.probe_before, block.probe_after)
            if probe > 0
        ]
        nominal = tuple(ns * self.hz / 1e9 for ns in stats.NOMINAL_CUTS_NS)
        self.cuts = stats.cuts(probes, (nominal[0], nominal[1]))
        self.dropped: dict[str, int] = {}
        self.taken = {name: self._take(name) for name in run.blocks}
        self.at = {
            name: {(taken.block.process, taken.block.round): taken for taken in all_taken}
            for name, all_taken in self.taken.items()
        }

    def _fastest(self, names: Sequence[str]) -> str | None:
        """Return the row with the least median, wherever it was placed."""
        medians = {
            name: float(np.median([item.median for item in self.taken[name]]))
            for name in names
            if self.taken.get(name)
        }
        return min(medians, key=lambda name: medians[name]) if medians else None

    def _take(self, name: str) -> list[_Taken]:
        """Class the blocks of a row; those in which the class changed are dropped."""
        taken = []
        self.dropped[name] = 0
        for block in self.run.blocks[name]:
            placed: str | None = HERE
            if self.infos[name].cross:
                placed = stats.placement_of_block(block.probe_before, block.probe_after, self.cuts)
            if placed is None:
                self.dropped[name] += 1
                continue
            taken.append(_Taken(block, placed, stats.grouped_median(block.samples, self.step)))
        return taken

    def placement(self) -> Placement:
        """Say which classes occurred."""
        probes: dict[str, list[float]] = {}
        for name, taken in self.taken.items():
            if self.infos[name].cross:
                for item in taken:
                    probes.setdefault(item.placement, []).append(_floor(item.block))
        return Placement(
            cuts=self.cuts,
            floor={c: float(np.median(probes[c])) for c in CLASSES if c in probes},
            blocks={c: len(probes[c]) for c in CLASSES if c in probes},
        )

    def _pairs(self, name: str, taken: Sequence[_Taken], base: str) -> Ratio | None:
        """Compare with the block of another row in the same round of the same process."""
        above, below, processes = [], [], []
        scale = self.infos[name].batch
        for item in taken:
            other = self.at.get(base, {}).get((item.block.process, item.block.round))
            if other is None:
                continue
            if self.infos[base].cross and other.placement != item.placement:
                continue
            above.append(item.median / scale)
            below.append(other.median / self.infos[base].batch)
            processes.append(item.block.process)
        return stats.ratio(np.array(above), np.array(below), np.array(processes), self.rng)

    def _ratios(self, info: RowInfo, taken: Sequence[_Taken]) -> dict[str, Ratio]:
        processes = np.array([item.block.process for item in taken])
        medians = np.array([item.median for item in taken]) / info.batch
        found: dict[str, Ratio | None] = {}
        if info.cross:
            floors = np.array([_floor(item.block) for item in taken])
            found["floor"] = stats.ratio(medians, floors, processes, self.rng)
        if info.reference is not None and info.cross:
            bare = np.array(
                [(i.block.reference_before + i.block.reference_after) / 2 for i in taken]
            )
            found["reference"] = stats.ratio(medians, bare, processes, self.rng)
        for key, base in self.subject.bases(info.name, self._fastest).items():
            if base != info.name:
                found[key] = self._pairs(info.name, taken, base)
        return {key: ratio for key, ratio in found.items() if ratio is not None}

    def _placed(self, info: RowInfo, taken: Sequence[_Taken]) -> Placed:
        blocks = [item.block for item in taken]
        samples = np.concatenate([block.samples for block in blocks])
        calls = len(samples) * info.batch
        wall_s = sum(block.wall_ns for block in blocks) / 1e9
        ticks = sum(block.steal_ticks for block in blocks)
        return Placed(
            cycles=stats.distribution(
                samples,
                np.array([item.median for item in taken]),
                np.array([block.process for block in blocks]),
                self.step,
                info.batch,
                self.rng,
            ),
            blocks=len(blocks),
            ratios=self._ratios(info, taken),
            cpu_s_per_million=sum(b.cpu_ns for b in blocks) / calls / 1e3 if info.cpu else None,
            peer_cpu_s_per_million=(
                sum(b.peer_cpu_ns for b in blocks) / calls / 1e3 if info.cpu else None
            ),
            steal=ticks / _TICKS_HZ / (wall_s * len(self.run.cpus)),
            involuntary_switches=sum(block.involuntary for block in blocks),
        )

    def row(self, info: RowInfo) -> Row:
        """Describe one row in every class in which it was seen."""
        taken = self.taken.get(info.name, [])
        classes = {}
        for placed in (*CLASSES, HERE):
            chosen = [item for item in taken if item.placement == placed]
            if chosen:
                classes[placed] = self._placed(info, chosen)
        observed = self.run.values.get(info.name, [])
        values = {}
        for key in dict.fromkeys(key for one in observed for key in one):
            column = [one[key] for one in observed if key in one]
            values[key] = Value(float(np.median(column)), min(column), max(column), len(column))
        return Row(
            name=info.name,
            group=info.group,
            title=info.title,
            batch=info.batch,
            size_bytes=info.size,
            cross=info.cross,
            note=info.note,
            cold=info.cold,
            reference=info.reference,
            skipped=self.run.skipped.get(info.name),
            classes=classes,
            dropped_blocks=self.dropped.get(info.name, 0),
            values=values,
            checked=self.run.checked.get(info.name, 0)
            + sum(block.checked for block in self.run.blocks.get(info.name, [])),
        )

    def noise(self) -> Noise:
        """Say how quiet the machine was, and complain where it was not."""
        starts = [start for start, _ in self.run.states]
        ends = [end for _, end in self.run.states]
        wall_s = sum(e.wall_ns - s.wall_ns for s, e in self.run.states) / 1e9
        ticks = sum(e.steal_ticks - s.steal_ticks for s, e in self.run.states)
        steal = ticks / _TICKS_HZ / (wall_s * len(self.run.cpus))
        before = float(np.median([state.spin_median for state in starts]))
        after = float(np.median([state.spin_median for state in ends]))
        least = min(state.spin_least for state in starts + ends)
        # Handing over to the other process on one core counts as a preemption too.
        alone = [
            block
            for name, blocks in self.run.blocks.items()
            if self.subject.alone(self.infos[name])
            for block in blocks
        ]
        switches = sum(block.involuntary for block in alone)
        measured_s = sum(block.wall_ns for block in alone) / 1e9
        per_second = switches / measured_s if measured_s else 0.0
        complaints = []
        if max(before, after) / min(before, after) > _SPIN_DRIFT:
            change = after / before - 1
            complaints.append(f"a fixed loop took {change:+.0%} at the end of a process")
        elif max(before, after) / least > _SPIN_SPREAD:
            complaints.append(
                f"a fixed loop took {max(before, after) / least - 1:.0%} longer than at its best"
            )
        if steal > _STEAL:
            complaints.append(f"the hypervisor took {steal:.1%} of the CPUs away")
        if per_second > _PREEMPTIONS_HZ:
            complaints.append(f"preempted {per_second:.0f} times a second")
        if self.run.load > len(self.run.cpus) / 2:
            complaints.append(f"load average {self.run.load:.2f} before it began")
        return Noise(
            spin_before=before,
            spin_after=after,
            spin_least=least,
            steal=steal,
            involuntary_per_second=per_second,
            load=self.run.load,
            complaints=complaints,
        )


def analyse(run: Run, oversubscribed: str | None, subject: Subject = CROSSINGS) -> Result:
    """Return the result of `run`.

    Parameters
    ----------
    run
        All samples.
    oversubscribed
        Why more threads wanted to run than could, or None.
    subject
        What the run is about.
    """
    analysis = _Analysis(run, subject)
    first = run.states[0][0]
    result = Result(
        schema=SCHEMA,
        created=dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        build=machine.build(first.compiler, first.flags),
        machine=machine.machine(run.cpus, run.tsc_hz(), run.load),
        plan=Plan(
            mode="full" if run.plan.full else "quick",
            processes=run.plan.processes,
            rounds=run.plan.rounds,
            block_us=run.plan.block_us,
            seed=run.plan.seed,
            seeds=run.plan.seeds(),
            duration_s=run.duration_s,
        ),
        timer=Timer(
            overhead=float(np.mean([start.timer_overhead for start, _ in run.states])),
            step=first.timer_step,
        ),
        noise=analysis.noise(),
        placement=analysis.placement(),
        oversubscribed=oversubscribed,
        rows=[analysis.row(info) for info in run.rows],
        marks=[],
        kind=subject.kind,
        sgx=subject.sgx,
    )
    return msgspec.structs.replace(result, marks=subject.marks(result))
