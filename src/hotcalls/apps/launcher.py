# SPDX-License-Identifier: Apache-2.0
"""Starts the host process of ``hotcalls run``: descriptors, policy, command line. Host side.

The host process is the C program ``hotcalls-run``. Where nobody has to wait for it, Python makes
way by exec: then its memory is not there beside the enclave's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from hotcalls.apps.program import Program
from hotcalls.failure import HotcallsError
from hotcalls.monitor import registry

if TYPE_CHECKING:
    import subprocess

    from hotcalls.apps.policy import Policy
    from hotcalls.apps.policy_hook import Hook

MODES = ("hot", "switch", "switch-unpinned")
#: The exit code for what is not the program's own doing, as env(1) and timeout(1) have it.
EXIT_FAILED = 125


class RunError(HotcallsError):
    """``hotcalls run`` itself failed."""


def host_path() -> Path:
    """Return the host process that was built with this package.

    Raises
    ------
    RunError
        When there is none: the package was installed without its compiled part.
    """
    path = Path(__file__).resolve().parent.parent / "bin" / "hotcalls-run"
    if not path.is_file():
        raise RunError(f"{path} is missing: install hotcalls with `make build` or from a wheel")
    return path


@dataclass
class Options:
    """How to run a program.

    Parameters
    ----------
    mode
        One of `MODES`.
    policy
        A checked policy; None for what the user may do.
    hook
        Who is asked about some calls, too: by this process, which stays for it.
    log_fd, trace_fd, stats_fd
        Descriptors for lines on what was refused, for the trace, and for statistics.
    counters
        The file of `stats_fd` where `hotcalls top` can find it; see `counting`.
    learn
        Whether what is allowed is logged, too.
    trace
        Names of calls to trace; none means all.
    """

    mode: str = "hot"
    policy: Policy | None = None
    hook: Hook | None = None
    log_fd: int | None = None
    trace_fd: int | None = None
    stats_fd: int | None = None
    counters: registry.Counters | None = None
    learn: bool = False
    trace: Sequence[str] = field(default_factory=tuple)


def memory_file(name: str, text: str) -> int:
    """Return a descriptor from which `text` can be read once; the caller closes it."""
    descriptor = os.memfd_create(name, 0)
    data = text.encode("utf-8", "surrogateescape")
    while data:
        data = data[os.write(descriptor, data) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


@contextlib.contextmanager
def command(program: Program, options: Options) -> Iterator[tuple[list[str], list[int]]]:
    """Give the command line of the host process, and the descriptors that it must inherit."""
    line = [str(host_path()), "--mode", options.mode]
    inherited = []
    with contextlib.ExitStack() as stack:
        policy = options.policy
        if options.hook is not None:
            from hotcalls.apps import policy as policies
            from hotcalls.apps import policy_hook

            policy = dataclasses.replace(policy or policies.Policy(), asked=options.hook.names())
            end = stack.enter_context(policy_hook.serving(options.hook, options.log_fd))
            line += ["--hook-fd", str(end.fileno())]
            line += ["--hook-ms", str(max(1, round(options.hook.timeout_s * 1000)))]
            inherited.append(end.fileno())
        if policy is not None:
            descriptor = memory_file("hotcalls-policy", policy.compiled())
            stack.callback(os.close, descriptor)
            line += ["--policy-fd", str(descriptor)]
            inherited.append(descriptor)
        for name, number in (
            ("--log-fd", options.log_fd),
            ("--trace-fd", options.trace_fd),
            ("--stats-fd", options.stats_fd),
        ):
            if number is not None:
                line += [name, str(number)]
                inherited.append(number)
        if options.learn:
            line.append("--learn")
        if options.trace:
            line += ["--trace", ",".join(options.trace)]
        yield [*line, "--", program.path, *program.argv], inherited


@contextlib.contextmanager
def counting(options: Options) -> Iterator[int]:
    """Give the host process a file to count in, which ``hotcalls top`` finds if that is possible.

    Gives a descriptor of it; `options` name it until the block is left.
    """
    counters = registry.create_counters()
    if counters is not None:
        options.counters, options.stats_fd = counters, counters.descriptor
    else:
        options.stats_fd = os.memfd_create("hotcalls-counters", os.MFD_CLOEXEC)
    try:
        yield options.stats_fd
    finally:
        os.close(options.stats_fd)
        if counters is not None:
            registry.forget(counters.path)
        options.counters = options.stats_fd = None


def _list(program: Program, host: int, options: Options) -> tuple[Path, ...]:
    """Be found by ``hotcalls top``."""
    if options.counters is None:
        return ()
    return registry.register_run(os.path.basename(program.argv[0]), host, options.counters)


def _as_our_parent_had_them() -> None:
    """Undo what Python does to signals: the program has to find them as this process did."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)


def replace(program: Program, options: Options) -> NoReturn:
    """Become the host process; does not return."""
    with contextlib.ExitStack() as stack:
        if options.stats_fd is None:
            stack.enter_context(counting(options))
        # Before that, as its name is that of this process, which stays.
        for path in _list(program, os.getpid(), options):
            stack.callback(registry.forget, path)
        _replace(program, options)


def _replace(program: Program, options: Options) -> NoReturn:
    with command(program, options) as (line, inherited):
        for descriptor in inherited:
            os.set_inheritable(descriptor, True)
        _as_our_parent_had_them()
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(line[0], line)  # noqa: S606 (no shell is what is wanted)


@contextlib.contextmanager
def started(program: Program, options: Options) -> Iterator[subprocess.Popen[bytes]]:
    """Run the host process beside this one; signals that ask this one to end go to it."""
    # Late, as much here: a program that takes Python's place must not wait for it.
    import subprocess

    with contextlib.ExitStack() as stack:
        if options.stats_fd is None:
            stack.enter_context(counting(options))
        line, inherited = stack.enter_context(command(program, options))
        # Popen undoes by itself what Python does to signals.
        process = subprocess.Popen(line, pass_fds=inherited)
        for path in _list(program, process.pid, options):
            stack.callback(registry.forget, path)

        def forward(number: int, frame: object) -> None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)

        # The terminal's own signals reach it without us; these would end us alone.
        old = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGHUP)}
        old[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            for number, handler in old.items():
                signal.signal(number, handler)


def leave_like(status: int) -> NoReturn:
    """End as the program ended: by the same signal, or with the same exit status."""
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        # The program's core, if any, has been written; ours would say nothing.
        with contextlib.suppress(ValueError, OSError):
            import resource

            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.kill(os.getpid(), -status)
        sys.exit(128 - status)
    sys.exit(status)
