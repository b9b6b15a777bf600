# SPDX-License-Identifier: Apache-2.0
"""No room: on the disk, for descriptors, for memory, for processes.

A launch under each limit is a readable error that leaves nothing, until the limit suffices. What
the runtime writes for people's convenience never keeps anything from running.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nth
import pytest

import hotcalls

HOTCALLS = str(Path(sys.executable).parent / "hotcalls")
NOBODY = 65534
Record = Callable[[str, object], None]

HUNGRY = """
import hotcalls

kept = []


@hotcalls.ecall
def eat(megabytes: int) -> int:
    for _ in range(megabytes):
        kept.append(b"x" * (1 << 20))
    return len(kept)
"""


def refused_of(done: nth.Outcome) -> int:
    """Check a run of launching.py; return how many launches were refused."""
    print(done.output, done.errors)
    assert done.status == 0, done.errors[-2000:]
    assert (done.left, done.hung) == (0, False)
    return int(re.findall(r"^failed=(\d+)", done.output, re.MULTILINE)[0])


@pytest.mark.claim("P-FAULTS")
@pytest.mark.parametrize("what", ["c", "python"])
@pytest.mark.parametrize(
    ("limit", "first", "step", "least"),
    [("NOFILE", 3, 1, 10), ("AS", 0, (1 if nth.TRUST else 64) << 20, 1)],
)
def test_launch_under_a_limit_is_refused_until_it_suffices(
    tmp_path: Path,
    enclaves: dict[str, str],
    record_property: Record,
    what: str,
    limit: str,
    first: int,
    step: int,
    least: int,
) -> None:
    place = nth.Place(tmp_path)
    if what == "c" and limit == "AS":
        step = min(step, 4 << 20)
    words = ["limit", enclaves[what], limit, str(first), str(step)]
    refused = refused_of(place.launching(*words, numbers="425"))
    assert refused >= least
    assert place.files() == []
    record_property("count:faults injected", refused)


@pytest.mark.claim("P-FAULTS")
@pytest.mark.skipif(os.geteuid() != 0, reason="the limit of processes is for ordinary users")
def test_launch_without_processes_is_refused_until_there_are(
    tmp_path: Path, enclaves: dict[str, str], record_property: Record
) -> None:
    for folder in (*tmp_path.parents, Path(enclaves["c"]).parent):
        if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o755)
    tmp_path.chmod(0o755)
    place = nth.Place(tmp_path)
    words = ["limit", enclaves["c"], "NPROC", "0", "1", str(NOBODY)]
    refused = refused_of(place.launching(*words, numbers="425"))
    assert refused >= 1
    record_property("count:faults injected", refused)


# ---- a full disk -----------------------------------------------------------------------------

FULL = """
mount -t tmpfs -o size=64k none "$0" && mkdir -m 700 "$0/run" && {
    cat /dev/zero > "$0/filler" 2>/dev/null
    cd "$0" && shift 0 && exec "$@"
}
"""


@pytest.fixture(scope="module")
def full(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command where all that is written goes to a disk without room."""
    folder = tmp_path_factory.mktemp("full")
    probe = ["unshare", "-m", "mount", "-t", "tmpfs", "none", str(folder)]
    if subprocess.run(probe, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a small disk")

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["unshare", "-m", "/bin/sh", "-c", FULL, str(folder), *command],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "XDG_RUNTIME_DIR": f"{folder}/run", "TMPDIR": str(folder)},
        )

    return run


@pytest.mark.claim("P-FAULTS")
class TestFullDisk:
    def test_enclaves_are_launched_though_the_list_cannot_be_written(
        self, full: Callable[..., subprocess.CompletedProcess[str]], enclaves: dict[str, str]
    ) -> None:
        script = (
            "import hotcalls, os, warnings\n"
            "warnings.simplefilter('ignore')\n"
            f"with hotcalls.launch({enclaves['c']!r}, ocalls={{'audit': print}}) as adder:\n"
            "    print(adder.add(2))\n"
            "    print(os.listdir('run/hotcalls') if os.path.exists('run/hotcalls') else [])\n"
        )
        done = full(sys.executable, "-c", script)
        assert (done.stdout, done.stderr) == ("added something\n2\n[]\n", "")

    def test_program_runs_without_its_statistics(
        self, full: Callable[..., subprocess.CompletedProcess[str]]
    ) -> None:
        done = full(HOTCALLS, "run", "--", "/bin/echo", "runs")
        assert (done.returncode, done.stdout) == (0, "runs\n")
        assert done.stderr == (
            "hotcalls run: going on without statistics: No space left on device\n"
        )

    def test_program_that_is_refused_something_goes_on_and_the_log_says_that_it_ends(
        self, full: Callable[..., subprocess.CompletedProcess[str]]
    ) -> None:
        done = full(
            HOTCALLS,
            "run",
            "--policy",
            "memcached",
            "--log",
            "log",
            "--",
            "/bin/cat",
            "/etc/shadow",
        )
        assert done.returncode == 1
        assert "what is refused is not logged any more: No space left on device" in done.stderr

    def test_trace_that_ends_says_so(
        self, full: Callable[..., subprocess.CompletedProcess[str]]
    ) -> None:
        done = full(HOTCALLS, "trace", "-o", "trace", "--", "/bin/echo", "runs")
        assert (done.returncode, done.stdout) == (0, "runs\n")
        assert "hotcalls run: the trace ends here: No space left on device\n" in done.stderr

    def test_policy_that_cannot_be_written_is_named_and_the_old_one_stays(
        self, full: Callable[..., subprocess.CompletedProcess[str]]
    ) -> None:
        script = (
            "truncate -s -4096 filler; echo '# mine' > my.toml;"
            " cat /dev/zero >> filler 2>/dev/null;"
            f" {HOTCALLS} run --learn-policy my.toml -- /bin/echo runs; echo $?; cat my.toml; ls"
        )
        done = full("/bin/sh", "-c", script)
        assert done.stdout.split() == ["runs", "125", "#", "mine", "filler", "my.toml", "run"]
        assert "my.toml: the policy that was learnt is not written: No space left" in done.stderr


# ---- the kernel takes the memory back ---------------------------------------------------------


@contextlib.contextmanager
def memory_group(limit: int) -> Iterator[Path]:
    """Make a control group that may use `limit` bytes; of either version."""
    name = f"hotcalls-test-{os.getpid()}"
    old, new = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    folder = (old if old.is_dir() else new) / name
    try:
        folder.mkdir()
        limits = folder / ("memory.limit_in_bytes" if old.is_dir() else "memory.max")
        limits.write_text(str(limit))
    except OSError as error:
        with contextlib.suppress(OSError):
            folder.rmdir()
        pytest.skip(f"no control group with a limit of memory can be made: {error}")
    try:
        yield folder
    finally:
        until = time.monotonic() + 60
        while True:
            try:
                folder.rmdir()
                break
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.02)


@pytest.mark.claim("P-DEATH", "L-EXHAUST")
def test_enclave_that_the_kernel_ends_for_its_memory_is_lost_and_says_by_what(
    tmp_path: Path,
) -> None:
    module = tmp_path / "hungry.py"
    module.write_text(HUNGRY)
    with memory_group(64 << 20) as group, hotcalls.launch(module, restart="on-failure") as enclave:
        assert enclave.eat(1) == 1
        (group / "cgroup.procs").write_text(str(enclave.pid))
        with pytest.raises(hotcalls.EnclaveLost, match="signal 9") as caught:
            enclave.eat(200)
        assert caught.value.signal == signal.SIGKILL
        assert enclave.eat(1) == 1
