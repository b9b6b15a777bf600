# SPDX-License-Identifier: Apache-2.0
"""Beginning and end of a program in an enclave: status, signals, and nothing left over."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import enclosed
import pytest

SLEEPER = ["/bin/sh", "-c", "echo ready; read line"]


def child_of(pid: int) -> int:
    """Return the only child of a process: the program of a host process."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def is_gone(pid: int) -> bool:
    """Whether a process has ended, waited for or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


@contextlib.contextmanager
def sleeping(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in an enclave until it waits for its input."""
    process = subprocess.Popen(
        enclosed.inside("hot", *command), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.mark.parametrize("mode", enclosed.MODES)
def test_the_exit_status_is_the_programs(mode: str) -> None:
    assert enclosed.run(enclosed.inside(mode, "/bin/sh", "-c", "exit 7")).returncode == 7


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGSEGV, signal.SIGKILL])
def test_a_program_that_a_signal_ends_ends_its_host_by_it(number: signal.Signals) -> None:
    done = enclosed.run(enclosed.inside("hot", "/bin/sh", "-c", f"kill -{int(number)} $$"))
    assert done.returncode == -number


def test_the_handler_of_the_program_gets_what_its_host_is_sent() -> None:
    script = "trap 'echo caught; exit 5' TERM; echo ready; read line"
    with sleeping(["/bin/sh", "-c", script]) as process:
        assert process.stdout is not None
        # A shell that is just about to read notices a signal when the next one interrupts it.
        for _ in range(10):
            process.send_signal(signal.SIGTERM)
            if select.select([process.stdout], [], [], 6)[0]:
                break
        assert process.stdout.readline() == b"caught\n"
        assert process.wait(60) == 5


@pytest.mark.parametrize(
    "number", [signal.SIGUSR1, signal.SIGABRT, signal.SIGIO, signal.SIGRTMIN + 1, signal.SIGRTMAX]
)
def test_a_signal_to_the_host_is_one_to_the_program(number: int) -> None:
    script = f"""
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [{int(number)}])
print("ready", flush=True)
print(int(signal.sigwait([{int(number)}])), flush=True)
"""
    with sleeping(["/usr/bin/python3", "-ISc", script]) as process:
        process.send_signal(number)
        assert process.stdout is not None
        assert process.stdout.readline() == b"%d\n" % number
        assert process.wait(60) == 0


def test_killing_the_host_ends_the_program() -> None:
    with sleeping(SLEEPER) as process:
        program = child_of(process.pid)
        process.kill()
        process.wait(60)
        until = time.monotonic() + 60
        while not is_gone(program):
            assert time.monotonic() < until
            time.sleep(0.01)


def test_killing_the_program_ends_the_host() -> None:
    with sleeping(SLEEPER) as process:
        os.kill(child_of(process.pid), signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL


def test_a_stopped_program_goes_on() -> None:
    with sleeping(SLEEPER) as process:
        program = child_of(process.pid)
        os.kill(program, signal.SIGSTOP)
        time.sleep(0.05)
        assert process.poll() is None
        os.kill(program, signal.SIGCONT)
        assert process.stdin is not None
        process.stdin.write(b"x\n")
        process.stdin.flush()
        assert process.wait(60) == 0


def test_an_idle_program_takes_no_processor() -> None:
    with sleeping(SLEEPER) as process:
        time.sleep(0.3)
        pids = (process.pid, child_of(process.pid))

        def ticks() -> int:
            total = 0
            for pid in pids:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
            return total

        # To fall asleep, a responder needs the processor, which others may have.
        for _ in range(10):
            before = ticks()
            time.sleep(1)
            if ticks() - before <= 1:
                return
        raise AssertionError("it never was idle")


def test_descriptors_of_the_caller_are_the_programs(tmp_path: Path) -> None:
    file = tmp_path / "passed"
    file.write_text("through a descriptor")
    with file.open() as passed:
        number = passed.fileno()
        script = f"import os; print(os.read({number}, 99).decode(), os.fstat({number}).st_size)"
        done = enclosed.run(
            enclosed.inside("hot", "/usr/bin/python3", "-c", script), pass_fds=[number]
        )
    assert done.stdout == "through a descriptor 20\n"
