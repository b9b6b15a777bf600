# SPDX-License-Identifier: Apache-2.0
"""The probes of ``hotcalls doctor``: each looks at one thing and yields lines of the report.

Run in the host. They read /proc and /sys and try a few harmless system calls on objects of their
own; they change nothing. They take no file for granted: they have to work where no enclave can
run, which is when they are needed most. So nothing of hotcalls is imported at module level.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import platform
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

OK = "ok"
NO = "no"
UNKNOWN = "unknown"

# System call numbers. These are new enough to be the same on x86-64 and aarch64.
SYS_LANDLOCK_CREATE_RULESET = 444
SYS_MEMFD_SECRET = 447
SYS_SECCOMP = {"x86_64": 317, "aarch64": 277}

LANDLOCK_CREATE_RULESET_VERSION = 1
SECCOMP_GET_ACTION_AVAIL = 2
SECCOMP_RET_KILL_PROCESS = 0x80000000
KVM_GET_API_VERSION = 0xAE00
CAP_SYS_PTRACE = 19
#: Share of time that the hypervisor takes away from which a latency percentile says little.
STEAL_LIMIT = 0.02


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Attributes
    ----------
    group
        The section that it is shown in.
    name
        What was looked at.
    state
        ``"ok"``, ``"no"`` or ``"unknown"``.
    detail
        What was found.
    advice
        What to do about a no; empty when there is nothing to do.
    needed
        Whether a process enclave cannot run here when the state is ``"no"``.
    """

    group: str
    name: str
    state: str
    detail: str
    advice: str = ""
    needed: bool = False


class Machine:
    """Access to the files of this machine; tests put a directory in its place.

    Parameters
    ----------
    root
        The directory that stands for ``/``.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        """Return the path of the absolute file name `name`."""
        return self.root / name.lstrip("/")

    def read(self, name: str) -> str | None:
        """Return the stripped text of a file, or None when it cannot be read."""
        try:
            return self.path(name).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return None

    def integer(self, name: str) -> int | None:
        """Return the number that a file of one number holds, or None."""
        try:
            return int(self.read(name) or "")
        except ValueError:
            return None

    def field(self, name: str, key: str) -> str | None:
        """Return the value of the first line ``key: value`` of a file, or None."""
        for line in (self.read(name) or "").splitlines():
            left, colon, right = line.partition(":")
            if colon and left.strip() == key:
                return right.strip()
        return None

    def cpu_flags(self) -> frozenset[str]:
        """Return the processor's features as the kernel names them; empty when unknown."""
        flags = self.field("/proc/cpuinfo", "flags") or self.field("/proc/cpuinfo", "Features")
        return frozenset((flags or "").split())


def syscall(number: int, *arguments: int) -> tuple[int, int]:
    """Make a system call by number with integer arguments.

    Returns
    -------
    tuple of int
        The result and, when that is -1, the error number.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    ctypes.set_errno(0)
    result = int(libc.syscall(*(ctypes.c_long(value) for value in (number, *arguments))))
    return result, ctypes.get_errno() if result == -1 else 0


def _flag(group: str, name: str, found: bool, yes: str, no: str, advice: str = "") -> Check:
    return Check(group, name, OK if found else NO, yes if found else no, "" if found else advice)


# --- processor --------------------------------------------------------------------------------


def cgroup_cpus(machine: Machine) -> float | None:
    """Return the CPU quota of the own control group in CPUs, or None when there is no limit."""
    limits = []
    for line in (machine.read("/proc/self/cgroup") or "").splitlines():
        parts = line.split(":", 2)
        if len(parts) != 3:
            continue
        _, controllers, group = parts
        if controllers == "":
            # Version 2: each ancestor may have a limit of its own.
            folder = Path(group.lstrip("/"))
            for part in (folder, *folder.parents):
                text = machine.read(f"/sys/fs/cgroup/{part}/cpu.max")
                quota, _, period = (text or "max 100000").partition(" ")
                if quota.isdigit() and period.isdigit():
                    limits.append(int(quota) / int(period))
        elif "cpu" in controllers.split(","):
            base = f"/sys/fs/cgroup/cpu{group.rstrip('/')}"
            number = machine.integer(f"{base}/cpu.cfs_quota_us")
            length = machine.integer(f"{base}/cpu.cfs_period_us")
            if number is not None and length is not None and number > 0:
                limits.append(number / length)
    return min(limits, default=None)


def check_cores(machine: Machine) -> Iterator[Check]:
    """CPUs that this process may use, and which of them share a core."""
    usable = sorted(os.sched_getaffinity(0))
    quota = cgroup_cpus(machine)
    count = min(float(len(usable)), quota) if quota is not None else float(len(usable))
    detail = f"{len(usable)} usable of {os.cpu_count()}"
    if quota is not None:
        detail += f", control group allows {quota:g}"
    if count >= 2:
        yield Check("processor", "cores", OK, detail)
    else:
        yield Check(
            "processor",
            "cores",
            NO,
            detail + ": spinning is off, hot calls cost what switch calls cost",
            "give the process two CPUs (taskset, AllowedCPUs=, CPUQuota= above 200%)",
        )
    cores = {
        machine.read(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        for cpu in usable
    }
    if None in cores:
        yield Check("processor", "SMT siblings", UNKNOWN, "the kernel does not show the topology")
    elif len(cores) == len(usable):
        yield Check("processor", "SMT siblings", OK, "each usable CPU is a core of its own")
    else:
        yield Check(
            "processor",
            "SMT siblings",
            OK,
            f"{len(usable)} CPUs on {len(cores)} cores: a responder that spins on a sibling is "
            "near, and takes part of the core",
        )


def check_tsc(machine: Machine) -> Iterator[Check]:
    """Whether time can be told in user space at the price of an instruction."""
    flags = machine.cpu_flags()
    source = machine.read("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    detail = f"clock source {source or 'unknown'}"
    if platform.machine() == "aarch64":
        yield Check("processor", "counter", OK, f"the generic timer; {detail}")
        return
    frequency = tsc_frequency()
    if frequency is not None:
        detail = f"{frequency / 1e9:.3f} GHz, {detail}"
    yield _flag(
        "processor",
        "TSC",
        {"constant_tsc", "nonstop_tsc"} <= flags,
        f"invariant, {detail}",
        f"not invariant, {detail}: bounds and figures in cycles drift with the frequency",
        "fix the frequency (cpupower frequency-set -g performance)",
    )


def tsc_frequency() -> float | None:
    """Return ticks a second of the time-stamp counter as the runtime calibrates it, or None."""
    try:
        from hotcalls import _native
    except ImportError:
        return None
    return float(_native.cycles_per_us()) * 1e6


def check_waiting(machine: Machine) -> Iterator[Check]:
    """Instructions that wait for a cache line to change."""
    flags = machine.cpu_flags()
    found = [name for flag, name in (("waitpkg", "WAITPKG"), ("mwaitx", "MWAITX")) if flag in flags]
    yield _flag(
        "processor",
        "WAITPKG / MWAITX",
        bool(found),
        ", ".join(found) + ": a spinning thread saves power",
        "neither (hypervisors hide them): spins with PAUSE, which works as well",
    )


def check_steal(machine: Machine) -> Iterator[Check]:
    """How much time the hypervisor takes away."""

    def sample() -> tuple[int, int] | None:
        line = (machine.read("/proc/stat") or "").partition("\n")[0].split()
        if len(line) < 9 or line[0] != "cpu":
            return None
        values = [int(value) for value in line[1:9]]
        return values[7], sum(values)

    before = sample()
    time.sleep(0.2)
    after = sample()
    if before is None or after is None:
        yield Check("processor", "steal", UNKNOWN, "/proc/stat cannot be read")
        return
    total = after[0] / max(after[1], 1)
    now = (after[0] - before[0]) / max(after[1] - before[1], 1)
    yield _flag(
        "processor",
        "steal",
        max(total, now) < STEAL_LIMIT,
        f"{now:.1%} now, {total:.1%} since boot",
        f"{now:.1%} now, {total:.1%} since boot: expect outliers in every latency",
        "measure when the machine's neighbours are quiet, or on a machine of your own",
    )


# --- who runs this ----------------------------------------------------------------------------


def check_privilege(machine: Machine) -> Iterator[Check]:
    """Root and capabilities: who may read an enclave."""
    effective = int(machine.field("/proc/self/status", "CapEff") or "0", 16)
    ptrace = bool(effective >> CAP_SYS_PTRACE & 1)
    who = "root" if os.geteuid() == 0 else f"user {os.geteuid()}"
    yield _flag(
        "user",
        "not root",
        os.geteuid() != 0 and not ptrace,
        f"{who} without CAP_SYS_PTRACE: the host cannot read its enclaves",
        f"{who}{' with CAP_SYS_PTRACE' if ptrace else ''}: this host can read its enclaves",
        "run the host as an ordinary user, or launch(user=…) and drop privileges after it",
    )
    mapping = (machine.read("/proc/self/uid_map") or "").split()
    if len(mapping) < 3:
        yield Check("user", "user namespace", UNKNOWN, "/proc/self/uid_map cannot be read")
        return
    initial = mapping[:3] == ["0", "0", "4294967295"]
    yield _flag(
        "user",
        "user namespace",
        initial,
        "the initial one",
        "not the initial one: its owner may trace every process in it, enclaves too",
        "launch from outside, or trust the user who made this container",
    )


def check_limits(machine: Machine) -> Iterator[Check]:
    """Whether secrets can reach a disk."""
    swaps = (machine.read("/proc/swaps") or "").splitlines()[1:]
    yield _flag(
        "user",
        "no swap",
        not swaps,
        "an enclave's memory is never written to a disk",
        "swap is on: " + ", ".join(line.split()[0] for line in swaps if line.split()),
        "keep secrets in memfd_secret memory, encrypt the swap, or swapoff -a",
    )
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    unlimited = soft == resource.RLIM_INFINITY
    enough = unlimited or soft >= 1 << 20
    text = "unlimited" if unlimited else f"{soft // 1024} KiB"
    yield _flag(
        "user",
        "memlock limit",
        enough,
        text,
        text + ": bounds mlock and memfd_secret memory",
        "raise it: ulimit -l, LimitMEMLOCK=, /etc/security/limits.conf",
    )
    pattern = machine.read("/proc/sys/kernel/core_pattern")
    if pattern is None:
        yield Check("user", "core dumps", UNKNOWN, "core_pattern cannot be read")
    else:
        # Of the host: an enclave is never dumpable. A core of the host shows what crossed.
        core, _ = resource.getrlimit(resource.RLIMIT_CORE)
        yield _flag(
            "user",
            "no host core dumps",
            core == 0 and not pattern.startswith("|"),
            "a crash of the host leaves no copy of what crossed the channel",
            f"a core of the host would hold its side of the channel ({pattern.split()[:1]})",
            "ulimit -c 0 for the host; a pipe in kernel.core_pattern ignores that limit",
        )


# --- kernel -----------------------------------------------------------------------------------


def check_kernel(machine: Machine) -> Iterator[Check]:
    """What an enclave is made of."""
    arch = platform.machine()
    yield Check(
        "kernel",
        "Linux",
        OK if arch in SYS_SECCOMP else NO,
        f"{platform.release()} on {arch}",
        "" if arch in SYS_SECCOMP else "hotcalls knows x86-64 and aarch64",
        needed=True,
    )
    yield _pidfd()
    yield _memfd(machine)
    yield _seccomp(machine, arch)
    result, error = syscall(SYS_LANDLOCK_CREATE_RULESET, 0, 0, LANDLOCK_CREATE_RULESET_VERSION)
    yield _flag(
        "kernel",
        "Landlock",
        result >= 1,
        f"ABI {result}",
        f"off ({errno.errorcode.get(error, error)}): seccomp alone keeps the enclave from files",
        "boot with lsm=landlock,… (kernel 5.13 or newer, CONFIG_SECURITY_LANDLOCK)",
    )
    descriptor, error = syscall(SYS_MEMFD_SECRET, 0)
    if descriptor >= 0:
        os.close(descriptor)
    yield _flag(
        "kernel",
        "memfd_secret",
        descriptor >= 0,
        "memory that /proc/PID/mem cannot read, not even for root",
        f"not available ({errno.errorcode.get(error, error)})",
        "boot with secretmem.enable=1 (kernel 5.14 or newer)",
    )
    yield _ptrace_scope(machine)
    yield _user_namespaces(machine)


def _pidfd() -> Check:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        return Check(
            "kernel",
            "pidfd",
            NO,
            f"pidfd_open: {error.strerror}",
            "kernel 5.3 or newer; in a container, a seccomp profile that allows pidfd_open",
            needed=True,
        )
    return Check("kernel", "pidfd", OK, "a lost peer is noticed at once", needed=True)


def _memfd(machine: Machine) -> Check:
    policy = machine.integer("/proc/sys/vm/memfd_noexec")
    detail = "" if policy is None else f", vm.memfd_noexec = {policy}"
    try:
        descriptor = os.memfd_create("hotcalls-doctor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, mmap.PAGESIZE)
            mmap.mmap(
                descriptor,
                mmap.PAGESIZE,
                flags=mmap.MAP_PRIVATE,
                prot=mmap.PROT_READ | mmap.PROT_EXEC,
            ).close()
        finally:
            os.close(descriptor)
    except OSError as error:
        return Check(
            "kernel",
            "memfd",
            NO,
            f"code cannot be mapped from a sealed memfd: {error.strerror}{detail}",
            "sysctl vm.memfd_noexec=1 or 0; under SELinux, allow execmem for this program",
            needed=True,
        )
    return Check("kernel", "memfd", OK, f"sealed and mapped executable{detail}", needed=True)


def _seccomp(machine: Machine, arch: str) -> Check:
    number = SYS_SECCOMP.get(arch)
    actions = machine.read("/proc/sys/kernel/seccomp/actions_avail")
    if number is None:
        return Check("kernel", "seccomp", UNKNOWN, f"not known for {arch}", needed=True)
    wanted = ctypes.c_uint32(SECCOMP_RET_KILL_PROCESS)
    result, error = syscall(number, SECCOMP_GET_ACTION_AVAIL, 0, ctypes.addressof(wanted))
    if result == 0:
        return Check("kernel", "seccomp", OK, f"actions: {actions or 'unknown'}", needed=True)
    return Check(
        "kernel",
        "seccomp",
        NO,
        f"seccomp: {os.strerror(error)}",
        "a kernel with CONFIG_SECCOMP_FILTER; in a container, a profile that allows seccomp",
        needed=True,
    )


def _ptrace_scope(machine: Machine) -> Check:
    scope = machine.integer("/proc/sys/kernel/yama/ptrace_scope")
    if scope is None:
        return Check(
            "kernel",
            "Yama ptrace_scope",
            NO,
            "no Yama: one process of a user may trace another until it has locked itself down",
            "boot with lsm=yama,…",
        )
    return _flag(
        "kernel",
        "Yama ptrace_scope",
        scope >= 1,
        f"{scope}",
        "0: the time between exec and lock-down rests on the host alone",
        "sysctl kernel.yama.ptrace_scope=1",
    )


def _user_namespaces(machine: Machine) -> Check:
    limit = machine.integer("/proc/sys/user/max_user_namespaces")
    switch = machine.integer("/proc/sys/kernel/unprivileged_userns_clone")
    apparmor = machine.integer("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
    if limit is None:
        return Check("kernel", "user namespaces", UNKNOWN, "the kernel does not say")
    return _flag(
        "kernel",
        "user namespaces",
        limit > 0 and switch != 0 and not apparmor,
        "an enclave can be given empty namespaces without root",
        "not for ordinary users: enclaves do without namespaces of their own",
        "sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone=1",
    )


# --- hardware that holds more than a process can ----------------------------------------------


def check_hardware(machine: Machine) -> Iterator[Check]:
    """Virtualisation and confidential computing."""
    flags = machine.cpu_flags()
    yield _kvm(machine)
    enclave = machine.path("/dev/sgx_enclave").exists()
    if "sgx" in flags:
        missing = "the processor has SGX, /dev/sgx_enclave is not there"
        advice = "kernel 5.11 or newer with CONFIG_X86_SGX; in a container, pass the device"
    else:
        missing, advice = "the processor does not offer SGX, or the firmware has it off", ""
    yield _flag("hardware", "SGX", enclave, "/dev/sgx_enclave is there", missing, advice)
    yield _flag(
        "hardware",
        "SEV guest",
        machine.path("/dev/sev-guest").exists() or "sev_snp_guest" in flags,
        "memory is encrypted: rows of the benchmark on memory show it",
        "not a guest of AMD SEV-SNP",
    )
    yield _flag(
        "hardware",
        "TDX guest",
        machine.path("/dev/tdx_guest").exists() or "tdx_guest" in flags,
        "memory is encrypted: rows of the benchmark on memory show it",
        "not a guest of Intel TDX",
    )


def _kvm(machine: Machine) -> Check:
    device = machine.path("/dev/kvm")
    if not device.exists():
        return Check(
            "hardware",
            "/dev/kvm",
            NO,
            "not there: the benchmark leaves out the KVM exit",
            "load kvm_intel or kvm_amd; in a guest, turn on nested virtualisation",
        )
    try:
        descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return Check(
            "hardware", "/dev/kvm", NO, f"{error.strerror}", "add the user to the group kvm"
        )
    try:
        detail = f"API version {fcntl.ioctl(descriptor, KVM_GET_API_VERSION, 0)}"
    except OSError as error:
        return Check("hardware", "/dev/kvm", NO, f"{error.strerror}")
    finally:
        os.close(descriptor)
    return Check("hardware", "/dev/kvm", OK, detail)


# --- tools ------------------------------------------------------------------------------------


def check_installation(machine: Machine) -> Iterator[Check]:
    """The parts of this package that are not Python."""
    loader = Path(__file__).parent / "bin" / "hotcalls-enclave"
    usable = os.access(loader, os.X_OK)
    yield Check(
        "tools",
        "hotcalls-enclave",
        OK if usable else NO,
        str(loader),
        "" if usable else "install hotcalls anew, on a file system that is not mounted noexec",
        needed=True,
    )
    try:
        from hotcalls import _native  # noqa: F401  (that it loads is what is checked)
    except ImportError as error:
        yield Check(
            "tools",
            "hotcalls._native",
            NO,
            str(error),
            "install hotcalls anew with this Python",
            needed=True,
        )
    else:
        yield Check("tools", "hotcalls._native", OK, "loads", needed=True)


def check_tools(machine: Machine) -> Iterator[Check]:
    """Programs that some of the commands use."""
    compiler = os.environ.get("CC") or next(
        (name for name in ("cc", "gcc", "clang") if shutil.which(name)), None
    )
    yield _flag(
        "tools",
        "C compiler",
        compiler is not None,
        _version(compiler),
        "none: hotcalls build cannot compile C enclaves; launching built ones works",
        "apt-get install gcc libc6-dev",
    )
    paranoid = machine.integer("/proc/sys/kernel/perf_event_paranoid")
    usable = shutil.which("perf") is not None
    yield _flag(
        "tools",
        "perf",
        usable and (paranoid is None or paranoid <= 2 or os.geteuid() == 0),
        f"perf_event_paranoid = {paranoid}",
        f"perf_event_paranoid = {paranoid}" if usable else "not installed",
        "sysctl kernel.perf_event_paranoid=2" if usable else "apt-get install linux-perf",
    )


def _version(compiler: str | None) -> str:
    if compiler is None:
        return ""
    try:
        answer = subprocess.run(
            [*compiler.split(), "--version"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return f"{compiler} (does not run)"
    return answer.stdout.partition("\n")[0] or compiler


PROBES: tuple[Callable[[Machine], Iterator[Check]], ...] = (
    check_cores,
    check_tsc,
    check_waiting,
    check_steal,
    check_privilege,
    check_limits,
    check_kernel,
    check_hardware,
    check_installation,
    check_tools,
)
