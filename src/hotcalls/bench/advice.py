# SPDX-License-Identifier: Apache-2.0
"""What follows from the figures: one practice, one measurement. Host side; pure.

Says nothing that the result does not show: a practice whose rows were not measured is left out.
What the paper found on SGX stands apart from it (`Practice.sgx`), because there a call crosses
EENTER and EEXIT, and here a kernel hand-over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hotcalls.bench import words
from hotcalls.bench.model import HERE, Placed, Result
from hotcalls.bench.report import Point


@dataclass(frozen=True)
class Practice:
    """One piece of advice with the measurement that it stands on."""

    name: str
    title: str
    text: str
    #: What was measured, and the figure.
    evidence: list[tuple[str, str]]
    #: What the paper (HotCalls, ISCA 2017) found on SGX; empty when it says nothing of it.
    sgx: str = ""


@dataclass
class _Facts:
    """Shorthands for what practices ask of a result."""

    result: Result
    place: str | None = field(init=False)

    def __post_init__(self) -> None:
        blocks = self.result.placement.blocks
        self.place = max(blocks, key=lambda name: blocks[name]) if blocks else None

    def placed(self, name: str, place: str | None = None) -> Placed | None:
        row = self.result.row(name)
        if row is None:
            return None
        place = place or self.place
        return row.classes.get(HERE) or (row.classes.get(place) if place else None)

    def median(self, name: str) -> float | None:
        placed = self.placed(name)
        return None if placed is None else placed.cycles.median

    def value(self, row: str, key: str) -> float | None:
        found = self.result.row(row)
        value = None if found is None else found.values.get(key)
        return None if value is None else value.median

    def where(self) -> str:
        return "" if self.place is None else f", class {words.place(self.place)}"

    def cycles(self, value: float) -> str:
        return f"{words.cycles(value)} cycles ({words.time(self.result.ns(value))})"


def _when(facts: _Facts) -> Practice | None:
    hot, switch = facts.placed("ecall_hot"), facts.placed("ecall_switch")
    caller = facts.value("cpu_hot", "caller_cpu_s_per_million")
    there = facts.value("cpu_switch", "caller_cpu_s_per_million")
    other = facts.value("cpu_switch", "enclave_cpu_s_per_million")
    if hot is None or switch is None or caller is None or there is None or other is None:
        return None
    both = there + other
    rate = 1e6 / (both - caller) if both > caller else None
    text = "A hot call buys latency with a core that spins. "
    if rate is not None:
        about = words.count(int(float(f"{rate:.2g}")))
        text += (
            f"From about {about} calls a second on, the spinning responder is even the cheaper way "
            "in CPU time; below that it costs CPU time, and is worth it where the caller's latency "
            "is what counts. "
        )
    text += (
        "Calls rarer than the idle bound find the responder asleep and go by switch by "
        "themselves, so leaving hot mode on costs such a program nothing."
    )
    evidence = [
        ("hot ecall, median" + facts.where(), facts.cycles(hot.cycles.median)),
        ("switch ecall, median", facts.cycles(switch.cycles.median)),
        ("CPU time of a million hot ecalls, caller's side", f"{caller:.2f} s"),
        ("CPU time of a million switch ecalls, both sides", f"{both:.2f} s"),
    ]
    ratio = hot.ratios.get("switch")
    if ratio is not None:
        evidence.insert(2, ("ratio, median of pairs", f"{1 / ratio.median:.1f} times less"))
    return Practice(
        "when",
        "Use hot calls where latency counts or calls are many",
        text,
        evidence,
        "A hot call took 620 cycles against 8,640 (warm) to 14,170 (cold) for the SDK's ecall and "
        "8,314 to 14,160 for its ocall: 13 to 27 times less.",
    )


def _responders(facts: _Facts) -> Practice | None:
    evidence = []
    pays = []
    for requesters in (1, 2, 4, 8):
        rows = [facts.result.row(f"load_{requesters}x{responders}") for responders in (1, 2)]
        one, two = (None if row is None else row.values.get("calls_per_s") for row in rows)
        if one is None or two is None:
            continue
        # In every process: medians of a few runs on a shared machine differ by chance.
        if two.least > one.most:
            pays.append((requesters, two.median / one.median))
        figures = (words.quantity("calls_per_s", value.median)[1] for value in (one, two))
        plural = "s" if requesters > 1 else ""
        evidence.append(
            (f"{requesters} requester{plural}, 1 and 2 responders", " and ".join(figures))
        )
    if not evidence:
        return None
    if pays:
        requesters, gain = pays[0]
        advice = (
            f"A second responder pays from {requesters} requester{'s' if requesters > 1 else ''} "
            f"on: {gain:.2f} times the throughput. "
        )
    else:
        advice = (
            "One responder is enough: for no number of requesters was a second one better in "
            "every process. "
        )
    cpus = len(facts.result.machine.processor.allowed)
    return Practice(
        "responders",
        "One responder first, a second when it is measured to help",
        advice + f"Each responder wants a core of its own; this machine has {cpus}. Empty calls "
        "are the worst case for a second one: the longer the calls, the sooner it pays.",
        evidence,
    )


def _zeroing(facts: _Facts) -> Practice | None:
    evidence = []
    gains = []
    for name, text in (("ecall_hot_2k_out_nrz", "2 KiB"), ("ecall_hot_out_nrz_64k", "64 KiB")):
        placed = facts.placed(name)
        ratio = None if placed is None else placed.ratios.get("zeroed")
        if ratio is None:
            continue
        gain = 1 - ratio.median
        gains.append((gain, text))
        interval = (
            f" ({1 - ratio.high:+.0%} to {1 - ratio.low:+.0%})"
            if ratio.low is not None and ratio.high is not None
            else ""
        )
        evidence.append((f"saved at {text}", f"{gain:+.0%}{interval}"))
    if not gains:
        return None
    most, at = max(gains)
    if most < 0.05:
        text = (
            "Not zeroing `out` buffers saves less than 5 % here: leave the default, which can "
            "never show a caller what was in the enclave's memory."
        )
    else:
        text = (
            f"Not zeroing an `out` buffer saves {most:.0%} at {at}. Declare `[out, nrz]` only "
            "where every path fills the whole buffer: what it leaves alone leaves the enclave."
        )
    return Practice("zeroing", "Zeroing: keep it unless a buffer is large and hot", text, evidence)


def _sweep(facts: _Facts) -> list[tuple[int, float, float | None]]:
    """Return size, hot median and switch median of the buffer sweep."""
    found = []
    for row in facts.result.rows:
        if row.name.startswith("ecall_hot_sweep_"):
            hot = facts.median(row.name)
            switch = facts.median(row.name.replace("_hot_", "_switch_"))
            if hot is not None:
                found.append((row.size_bytes, hot, switch))
    return sorted(found)


def _copies(facts: _Facts) -> Practice | None:
    sweep, empty = _sweep(facts), facts.median("ecall_hot")
    if len(sweep) < 3 or empty is None:
        return None
    doubled = next((size for size, hot, _ in sweep if hot >= 2 * empty), None)
    lost = next((size for size, hot, switch in sweep if switch and switch < 2 * hot), None)
    if doubled is None:
        return None
    text = (
        f"From {words.size(doubled)} on, a buffer that is copied in and out takes at least as long "
        "as the hot call itself: send what is needed, and only in the direction in which it is "
        "needed. "
    )
    if lost is not None:
        text += (
            f"From {words.size(lost)} on, the copies leave less than a factor of 2 between hot "
            "and switch: there the mode hardly matters. "
        )
    shared, inout = facts.median("ecall_hot_2k_shared"), facts.median("ecall_hot_2k_inout")
    evidence = [(f"{words.size(size)} in,out", facts.cycles(hot)) for size, hot, _ in sweep]
    evidence.insert(0, ("hot ecall, empty" + facts.where(), facts.cycles(empty)))
    if shared is not None and inout is not None:
        text += (
            "Data that both sides keep using can live in shared memory (`user_check`): nothing is "
            "copied, but the enclave must expect it to change under its hands."
        )
        evidence.append(("2 KiB in shared memory, all of it read", facts.cycles(shared)))
    return Practice("copies", f"Copies dominate from {words.size(doubled)} on", text, evidence)


def _flight(facts: _Facts) -> Practice | None:
    single, batch = facts.median("ecall_hot"), facts.median("ecall_batch")
    piped = facts.median("ecall_pipelined")
    if single is None or batch is None or piped is None:
        return None
    best = min(batch, piped)
    return Practice(
        "batch",
        "Put independent calls in flight together",
        f"Calls that do not wait for each other's results cost {single / best:.1f} times less "
        "each when 32 are submitted before the first answer is collected.",
        [
            ("one at a time" + facts.where(), facts.cycles(single)),
            ("batch of 32, each", facts.cycles(batch)),
            ("32 pipelined, each", facts.cycles(piped)),
        ],
    )


def _nested(facts: _Facts) -> Practice | None:
    one, eight = facts.median("ecall_hot_nest_1"), facts.median("ecall_hot_nest_8")
    switch = facts.median("ecall_switch_nest_8")
    if one is None or eight is None:
        return None
    evidence = [
        ("hot, 1 level" + facts.where(), facts.cycles(one)),
        ("hot, 8 levels", facts.cycles(eight)),
        ("each further level", facts.cycles((eight - one) / 7)),
    ]
    if switch is not None:
        evidence.append(("switch, 8 levels", facts.cycles(switch)))
    return Practice(
        "nested",
        "Calls back are as cheap as calls",
        "The thread that waits serves what comes back itself, so that an ocall inside of an ecall "
        "costs one more hot call, and no number of responders can deadlock.",
        evidence,
    )


def _asleep(facts: _Facts) -> Practice | None:
    wake, switch = facts.median("responder_wake"), facts.median("ecall_switch")
    asleep = facts.median("ecall_asleep")
    if wake is None or switch is None or asleep is None:
        return None
    return Practice(
        "bursts",
        "Wake responders ahead of a burst, not for one call",
        f"Waking a responder on another core takes as long as {wake / switch:.1f} switch calls, so "
        "that a single call does not wait for it: it goes by switch, and a burst wakes one on the "
        "way. A program that knows of a burst ahead says so (`hc_wake_responders`).",
        [
            ("waking a responder, until it spins", facts.cycles(wake)),
            ("call that finds them asleep", facts.cycles(asleep)),
            ("switch call", facts.cycles(switch)),
        ],
    )


def _placement(facts: _Facts) -> Practice | None:
    seen = [
        (name, placed.cycles.median)
        for name in facts.result.seen()
        if (placed := facts.placed("ecall_hot", name)) is not None
    ]
    if len(seen) < 2:
        return None
    nearest, farthest = seen[0], seen[-1]
    return Practice(
        "placement",
        "Keep caller and responder close",
        f"The same call takes {farthest[1] / nearest[1]:.1f} times as long between "
        f"{words.place(farthest[0])} cores as between {words.place(nearest[0])} ones. Pin both to "
        "one cache complex where the machine lets you; a virtual machine's cores may move.",
        [(f"hot ecall, class {words.place(name)}", facts.cycles(m)) for name, m in seen],
    )


def _one_cpu(facts: _Facts) -> Practice | None:
    ratio = facts.value("one_cpu", "hot_to_switch")
    if ratio is None:
        return None
    return Practice(
        "one-cpu",
        "On one CPU nothing spins",
        "Where affinity or a cgroup leaves one CPU, hot mode behaves like switch mode by itself; "
        "nothing has to be configured.",
        [("time in hot mode, to switch mode, on one CPU", f"{ratio:.2f} ×")],
    )


_PRACTICES: tuple[Callable[[_Facts], Practice | None], ...] = (
    _when,
    _copies,
    _flight,
    _responders,
    _asleep,
    _nested,
    _placement,
    _zeroing,
    _one_cpu,
)


def practices(result: Result) -> list[Practice]:
    """Return what the figures of `result` support, the most important first."""
    facts = _Facts(result)
    return [found for make in _PRACTICES if (found := make(facts)) is not None]


def points(result: Result) -> list[Point]:
    """Return the practices as they stand on the page."""
    return [
        Point(practice.title, practice.text, practice.evidence) for practice in practices(result)
    ]
