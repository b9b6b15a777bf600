# SPDX-License-Identifier: Apache-2.0
"""At their ends: no descriptor left, a disk that is full, a file that may not grow."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Sequence
from pathlib import Path

import enclosed
import pytest


def both(command: Sequence[str], start: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """Return what a program tells outside, and in an enclave."""
    told = []
    for line in (list(command), enclosed.inside("hot", *command)):
        done = enclosed.run([*start, *line])
        assert done.returncode == 0, done.stderr
        told.append(done.stdout.splitlines())
    return told[0], told[1]


def test_without_a_free_descriptor_the_program_is_told_what_the_kernel_tells(
    tmp_path: Path,
) -> None:
    script = 'mkdir -p "$1"; cd "$1"; rm -rf *; shift; exec "$@" .'
    start = ["/bin/sh", "-c", script, "-", str(tmp_path / "place")]
    outside, inside = both([enclosed.program("exhausted")], start)
    assert len(outside) > 50
    assert sum("EMFILE" in line for line in outside) > 15
    assert inside == outside


def test_a_full_disk_gives_short_counts_and_then_an_error(tmp_path: Path) -> None:
    script = f'mount -t tmpfs -o size=512k none "{tmp_path}" && exec "$@" "{tmp_path}"'
    start = ["unshare", "--user", "--map-root-user", "--mount", "/bin/sh", "-c", script, "-"]
    if subprocess.run([*start, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no user namespaces here")
    outside, inside = both([enclosed.program("full")], start)
    assert sum("ENOSPC" in line for line in outside) > 3
    assert sum("EFBIG" in line for line in outside) > 2
    assert inside == outside


@pytest.mark.parametrize(
    ("limit", "value", "words"),
    [
        (resource.RLIMIT_NOFILE, 64, "256 are needed: raise ulimit -Hn"),
        (resource.RLIMIT_FSIZE, 1 << 20, "KiB to the kernel: raise ulimit -Hf"),
        (resource.RLIMIT_AS, 300 << 20, "Cannot allocate memory; raise ulimit -v"),
    ],
)
def test_a_limit_that_is_too_low_is_named(limit: int, value: int, words: str) -> None:
    done = enclosed.run(
        enclosed.inside("hot", "/bin/true"),
        preexec_fn=lambda: resource.setrlimit(limit, (value, value)),
    )
    assert done.returncode == 125
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_soft_limit_of_file_sizes_is_the_programs() -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))

    done = enclosed.run(enclosed.inside("hot", "/bin/sh", "-c", "ulimit -f"), preexec_fn=limit)
    assert done.stdout == "8\n", done.stderr


def test_more_threads_than_slots_are_told_in_one_line() -> None:
    done = enclosed.run(enclosed.inside("hot", enclosed.program("crowd")))
    refused, again = map(int, done.stdout.split())
    assert refused == 300 + 1 - 249
    assert again == 0
    assert len(done.stderr.splitlines()) == 1
    assert "more threads make system calls" in done.stderr


def test_descriptors_of_the_host_process_do_not_grow(tmp_path: Path) -> None:
    # What fails and what succeeds, many times: nothing stays open on either side.
    script = (
        "import os, socket, sys\n"
        "def once():\n"
        "    for path in ('/none', '/proc/self/mem', '/etc/hostname'):\n"
        "        try:\n"
        "            os.close(os.open(path, os.O_RDONLY))\n"
        "        except OSError:\n"
        "            pass\n"
        "    os.readlink('/proc/self/exe')\n"
        "    pair = socket.socketpair()\n"
        "    socket.send_fds(pair[0], [b'x'], [0])\n"
        "    for fd in socket.recv_fds(pair[1], 1, 1)[1]:\n"
        "        os.close(fd)\n"
        "    for each in pair:\n"
        "        each.close()\n"
        "for round in range(50):\n"
        "    once()\n"
        "print(os.getppid(), len(os.listdir('/proc/self/fd')), flush=True)\n"
        "sys.stdin.readline()\n"
    )
    command = enclosed.inside("hot", "/usr/bin/python3", "-c", script)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        _, own = map(int, process.stdout.readline().split())
        numbers = [int(name) for name in os.listdir(f"/proc/{process.pid}/fd")]
        process.communicate("\n")
    # Its own listing was open while the program counted.
    assert own == 4
    assert len([number for number in numbers if number < 1000]) == 3
    assert len(numbers) < 20
