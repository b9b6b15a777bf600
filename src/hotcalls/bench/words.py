# SPDX-License-Identifier: Apache-2.0
"""How figures are written, the same in the terminal, in the page and in the documents.

Host side; pure.
"""

from __future__ import annotations

from hotcalls.bench.model import CLASS_NAMES, HERE, Placed, Ratio, Result, Row, SgxMode


def cycles(value: float) -> str:
    """Write cycles: three digits that matter, thousands apart."""
    if value < 100:
        return f"{value:.1f}"
    return f"{value:,.0f}"


def time(ns: float) -> str:
    """Write a time with the unit that suits it."""
    for limit, scale, unit in ((1e3, 1.0, "ns"), (1e6, 1e3, "µs"), (1e9, 1e6, "ms")):
        if ns < limit:
            return f"{ns / scale:.3g} {unit}" if ns / scale < 100 else f"{ns / scale:.0f} {unit}"
    return f"{ns / 1e9:.3g} s"


def times(ratio: Ratio | None) -> str:
    """Write a ratio: ``×13`` or ``÷13``, whichever is above one."""
    if ratio is None:
        return ""
    value = ratio.median
    sign, value = ("×", value) if value >= 1 else ("÷", 1 / value)
    return f"{sign}{value:.2f}" if value < 10 else f"{sign}{value:,.0f}"


def cpu(placed: Placed) -> str:
    """Write the CPU seconds of a million calls, on the caller's side and on the other."""
    if placed.cpu_s_per_million is None:
        return ""
    sides = [placed.cpu_s_per_million]
    if placed.peer_cpu_s_per_million is not None and placed.peer_cpu_s_per_million > 0.001:
        sides.append(placed.peer_cpu_s_per_million)
    return " + ".join(f"{side:.0f}" if side >= 10 else f"{side:.2g}" for side in sides)


def note(result: Result, row: Row) -> str:
    """Write what must be said beside the figures of a row."""
    parts = [row.note] if row.note else []
    if row.name.startswith("kvm") and result.machine.processor.hypervisor:
        parts.append("Nested: this machine is itself a guest, so its hypervisor is in between.")
    if row.group == "load" and row.name.startswith("load_"):
        threads = sum(int(part) for part in row.name.removeprefix("load_").split("x"))
        cpus = len(result.machine.processor.allowed)
        if threads > cpus:
            parts.append(f"OVERSUBSCRIBED: {threads} spinning threads on {cpus} CPUs.")
    if row.cold:
        parts.append(f"Flushed: {row.cold}.")
    return " ".join(parts)


def count(value: int) -> str:
    """Write a number of calls."""
    for limit, scale, unit in ((10_000, 1, ""), (10_000_000, 1e3, "k"), (10_000_000_000, 1e6, "M")):
        if value < limit:
            return f"{value / scale:.0f}{unit}" if unit else f"{value}"
    return f"{value / 1e9:.0f}G"


def size(value: int) -> str:
    """Write a size in bytes."""
    for scale, unit in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if value >= scale and value % scale == 0:
            return f"{value // scale} {unit}"
    return f"{value} B"


#: What the enclave of ``--target sgx-sdk`` ran on, and what that means for its figures.
SGX_MODES: dict[SgxMode, tuple[str, str]] = {
    "stand-in": (
        "STAND-IN, not SGX",
        "The enclave was a file loaded into the host's program, by stand-ins for the SGX SDK: two "
        "threads of one process. No ordinary call crossed EENTER or EEXIT, and no memory was "
        "encrypted.",
    ),
    "simulation": (
        "SIMULATION, not SGX hardware",
        "The enclave ran in the SGX SDK's simulation mode: no ordinary call crossed EENTER or "
        "EEXIT, and no memory was encrypted.",
    ),
    "hardware": ("SGX hardware", "The enclave ran on SGX hardware, as a debug enclave."),
}


def place(name: str) -> str:
    """Write a placement class: its letter and what it means."""
    return "" if name == HERE else f"{name} {CLASS_NAMES[name]}"


#: Endings of names of values, the unit that they say, and how the number is written.
_UNITS = (
    ("_calls_per_s", "calls/s", ""),
    ("calls_per_s", "calls/s", "throughput"),
    ("_s_per_million", "s per million calls", ""),
    ("_ms_per_s", "ms/s", ""),
    ("_percent", "%", ""),
    ("_cycles", "cycles", ""),
    ("_mib", "MiB", ""),
    ("_ms", "ms", ""),
    ("_us", "µs", ""),
)


def quantity(key: str, value: float) -> tuple[str, str]:
    """Return the name of a value without its unit, and the value with it."""
    name, unit = key, ""
    for ending, its_unit, instead in _UNITS:
        if key.endswith(ending):
            name, unit = instead or key.removesuffix(ending), its_unit
            break
    if unit == "calls/s":
        text = f"{value / 1e6:.2f} M" if value >= 999_500 else f"{value / 1e3:.0f} k"
    elif value >= 1000:
        text = f"{value:,.0f}"
    else:
        text = f"{value:.3g}"
    return name.replace("_", " "), f"{text} {unit}".rstrip()
