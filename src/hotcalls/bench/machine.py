# SPDX-License-Identifier: Apache-2.0
"""What machine this is, what was built, and which two CPUs a benchmark should use.

Host side; reads /proc and /sys, trusts the kernel. Every reader gives a sensible answer where a
file is missing: containers hide many.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from hotcalls.bench.model import Build, Machine, Processor

_CPU = Path("/sys/devices/system/cpu")


def _text(path: Path | str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _cpuinfo() -> dict[str, str]:
    """Return the fields of the first processor."""
    fields: dict[str, str] = {}
    for line in (_text("/proc/cpuinfo") or "").splitlines():
        if not line.strip():
            break
        key, _, value = line.partition(":")
        fields[key.strip()] = value.strip()
    return fields


def siblings_of(cpu: int) -> frozenset[int]:
    """Return the CPUs of the physical core of `cpu`, itself included."""
    text = _text(_CPU / f"cpu{cpu}/topology/thread_siblings_list") or str(cpu)
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


def quota() -> float | None:
    """Return how many CPUs the cgroup allows, or None when it sets no limit."""
    text = _text("/sys/fs/cgroup/cpu.max")
    if text is not None:
        limit, _, period = text.partition(" ")
        return None if limit == "max" else int(limit) / int(period)
    limit_us = _text("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
    period_us = _text("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
    if limit_us is None or period_us is None or int(limit_us) <= 0:
        return None
    return int(limit_us) / int(period_us)


class Cores(NamedTuple):
    """The CPUs of requester and responder, and what is wrong with them."""

    used: list[int]
    complaint: str | None


def choose_cores(allowed: list[int], limit: float | None) -> Cores:
    """Choose two CPUs on different physical cores, or say why there are none."""
    first = allowed[0]
    others = [cpu for cpu in allowed if cpu != first]
    if not others:
        return Cores([first], f"only CPU {first} may be used: nothing can cross cores")
    distinct = [cpu for cpu in others if cpu not in siblings_of(first)]
    if limit is not None and limit < 2:
        return Cores(
            [first, (distinct or others)[0]],
            f"the cgroup allows {limit:g} CPUs: two threads cannot spin at a time",
        )
    if not distinct:
        return Cores([first, others[0]], "both CPUs are threads of one physical core")
    return Cores([first, distinct[0]], None)


def _encrypted_memory(flags: set[str]) -> str | None:
    if "tdx_guest" in flags or Path("/dev/tdx_guest").exists():
        return "Intel TDX guest: all memory is encrypted"
    if Path("/dev/sev-guest").exists():
        return "AMD SEV-SNP guest: private memory is encrypted, what is shared with the host is not"
    if Path("/dev/sgx_enclave").exists():
        return "Intel SGX is there, but this benchmark's memory is not an SGX enclave's"
    return None


def _mitigations() -> dict[str, str]:
    folder = _CPU / "vulnerabilities"
    if not folder.is_dir():
        return {}
    return {path.name: _text(path) or "unknown" for path in sorted(folder.iterdir())}


def processor(used: list[int]) -> Processor:
    """Describe the CPU."""
    info = _cpuinfo()
    flags = set(info.get("flags", "").split())
    return Processor(
        model=info.get("model name", platform.processor() or platform.machine()),
        family="family {} model {} stepping {}".format(
            *(info.get(key, "?") for key in ("cpu family", "model", "stepping"))
        ),
        microcode=info.get("microcode", "not shown"),
        allowed=sorted(os.sched_getaffinity(0)),
        used=used,
        siblings=len(used) > 1 and used[1] in siblings_of(used[0]),
        quota=quota(),
        hypervisor="hypervisor" in flags,
        governor=_text(_CPU / f"cpu{used[0]}/cpufreq/scaling_governor"),
        mitigations=_mitigations(),
        encrypted_memory=_encrypted_memory(flags),
    )


def _distribution() -> str:
    for line in (_text("/etc/os-release") or "").splitlines():
        key, _, value = line.partition("=")
        if key == "PRETTY_NAME":
            return value.strip('"')
    return "unknown"


def machine(used: list[int], tsc_hz: float, load: float) -> Machine:
    """Describe the machine; `tsc_hz` and `load` are what the run saw."""
    return Machine(
        processor=processor(used),
        kernel=f"{platform.system()} {platform.release()}",
        distribution=_distribution(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        tsc_hz=tsc_hz,
        load=load,
    )


def _git(folder: Path, *arguments: str) -> str | None:
    program = shutil.which("git")
    if program is None:
        return None
    done = subprocess.run(
        [program, "-C", str(folder), *arguments], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None


def build(compiler: str, flags: str) -> Build:
    """Describe what is measured; `compiler` and `flags` are the worker's own."""
    try:
        number = version("hotcalls")
    except PackageNotFoundError:
        number = "not installed"
    # The package may be installed in a venv inside its clone, or inside somebody else's: only a
    # repository that has our headers is ours.
    top = _git(Path(__file__).parent, "rev-parse", "--show-toplevel")
    ours = top is not None and (Path(top) / "include/hotcalls/channel.h").is_file()
    commit = _git(Path(top), "rev-parse", "HEAD") if top is not None and ours else None
    status = _git(Path(top), "status", "--porcelain") if top is not None and ours else None
    return Build(
        version=number,
        commit=commit,
        dirty=None if status is None else bool(status),
        compiler=compiler,
        flags=flags,
    )
