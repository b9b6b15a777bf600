# SPDX-License-Identifier: Apache-2.0
"""The n-th system call fails, or kills who makes it: on each side of a launch, of a call, of a run.

In each case a readable error of ours or success; and no process, thread, descriptor, mapping or
file is left behind. HOTCALLS_TRUST=1 takes every n; else some are taken.
"""

from __future__ import annotations

import errno
import os
import platform
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import nth
import pytest

import native
from hotcalls.apps import launcher

pytestmark = [
    pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of x86-64's system calls"),
    pytest.mark.timeout(1500 if nth.TRUST else 120),
]

#: What a host calls while it launches and calls, and what an enclave does.
HOST = nth.kinds(
    "memfd_create", "mmap", "clone", "clone3", "pipe2", "fcntl", "read", "write", "pwrite64",
    "openat", "eventfd2", "pidfd_open", "execveat", "ftruncate", "prctl", "poll", "mprotect",
    "madvise", "futex",
)  # fmt: skip
ENCLAVE = nth.kinds(
    "mmap", "memfd_secret", "clone", "clone3", "seccomp", "landlock_restrict_self", "prctl",
    "prlimit64", "close_range", "mprotect", "madvise", "read", "write", "openat", "fcntl", "poll",
    "futex",
)  # fmt: skip
KILL = f"any={nth.ANY}:kill"


@pytest.fixture
def place(tmp_path: Path) -> nth.Place:
    return nth.Place(tmp_path)


Record = Callable[[str, object], None]


def stride(short: int) -> int:
    """Return how far apart the calls are that are failed."""
    return 1 if nth.TRUST else short


def numbers_of(kinds: list[str]) -> str:
    """Return the numbers of the calls to look at, for nth.c."""
    numbers = [kind.partition("=")[2].partition(":")[0] for kind in kinds]
    return "all" if str(nth.ANY) in numbers else ",".join(numbers)


def name_of(value: object) -> str:
    """Return what stands for it in the name of a test."""
    if not isinstance(value, list):
        return str(value)
    return value[0].partition(":")[2] if value[0].startswith(KILL) else "fail"


@pytest.mark.claim("P-FAULTS", "P-DEATH")
@pytest.mark.parametrize(
    ("what", "side", "kinds", "step"),
    [
        ("c", "host", HOST, stride(7)),
        ("python", "host", HOST, stride(25)),
        ("c", "enclave", ENCLAVE, stride(7)),
        ("python", "enclave", ENCLAVE, stride(60)),
        ("c", "enclave", [KILL], stride(40)),
        *(
            ("python", "enclave", [f"{KILL}@{first}"], step)
            for first, step in nth.shares(short=450, of=4)
        ),
    ],
    ids=name_of,
)
def test_launch_with_a_failing_call_is_an_error_that_leaves_nothing(
    place: nth.Place,
    enclaves: dict[str, str],
    record_property: Record,
    what: str,
    side: str,
    kinds: list[str],
    step: int,
) -> None:
    done = place.launching(
        "each", enclaves[what], side, str(step), *kinds, numbers=numbers_of(kinds), timeout=1400
    )
    print(done.output, done.errors)
    assert done.status == 0, done.errors[-2000:]
    assert (done.left, done.hung) == (0, False)
    assert place.files() == []
    # No memory is no matter of SELinux, of changed files or of bugs to report. What was killed
    # as it started is no matter of Python's version, or of rights to its files.
    for line in done.output.splitlines():
        if "(signal 9)" in line and "while it started" in line:
            assert "memory runs out" in line
            assert "has to be Python" not in line
        if "LockdownError" in line and "Cannot allocate memory" in line:
            assert "Free some memory" in line
    failed = sum(map(int, re.findall(r"^failed=(\d+)", done.output, re.MULTILINE)))
    assert failed >= len(kinds) / 2
    killed = kinds[0].startswith(KILL)
    record_property("count:kills" if killed else "count:faults injected", failed)


@pytest.mark.claim("L-MEMORY", "P-FAULTS")
@pytest.mark.parametrize("what", ["c", "python"])
def test_enclave_that_cannot_be_started_from_a_copy_is_not_started_from_its_file(
    place: nth.Place, enclaves: dict[str, str], what: str
) -> None:
    """It was, without a word: then whoever is quick looks in before it is hardened."""
    number, _ = nth.X86_64["memfd_create"]
    kinds = [f"memfd_create={number}:{errno.EMFILE}", f"execveat={nth.X86_64['execveat'][0]}:13"]
    done = place.launching("each", enclaves[what], "host", "1", *kinds, numbers=numbers_of(kinds))
    assert (done.status, done.left, done.hung) == (0, 0, False), done.errors[-2000:]
    launches = re.findall(r"^(memfd_create|execveat) \d+: (.*)$", done.output, re.MULTILINE)
    copied = [came for name, came in launches if name == "memfd_create"]
    # The channel, the loader, the enclave or what it says.
    assert len(copied) >= 3
    assert [came for _, came in launches if came == "did without"] == []
    refused = [came for name, came in launches if name == "execveat"]
    assert len(refused) == 1
    assert "hotcalls doctor" in refused[0]


@pytest.mark.claim("P-DEATH")
@pytest.mark.parametrize(("what", "step"), [("c", stride(23)), ("python", stride(97))])
def test_host_killed_at_any_step_of_a_launch_and_of_calls_leaves_nothing(
    place: nth.Place, enclaves: dict[str, str], record_property: Record, what: str, step: int
) -> None:
    done = place.launching("killed", enclaves[what], str(step), timeout=1400)
    print(done.output, done.errors)
    assert done.status == 0, done.errors[-2000:]
    assert (done.left, done.hung) == (0, False)
    assert place.files() == []
    killed, told = map(int, re.findall(r"^killed=(\d+) told=(\d+)", done.output, re.MULTILINE)[0])
    assert killed >= 3
    record_property("count:kills", killed + told)


@pytest.mark.claim("P-DEATH")
@pytest.mark.parametrize(("first", "step"), nth.shares(short=400, of=3))
def test_server_killed_at_any_step_leaves_nothing_and_its_client_is_told(
    place: nth.Place, enclaves: dict[str, str], record_property: Record, first: int, step: int
) -> None:
    kills = 0
    for n in range(first, 6000, step):
        done = place.launching("serving", enclaves["python"], name="hc-server", n=n)
        assert (done.status, done.left, done.hung) == (0, 0, False), (n, done)
        if not done.triggered:
            assert "answered" in done.output
            break
        assert re.search("^(answered|refused: |told: )", done.output, re.MULTILINE), (n, done)
        kills += 1
    assert kills > 0
    record_property("count:kills", kills)


SERVER = nth.kinds(
    "memfd_create", "sendmsg", "recvmsg", "eventfd2", "pidfd_open", "ftruncate", "clone", "mmap",
    "fcntl", "pipe2", "execveat", "socketpair",
)  # fmt: skip


@pytest.mark.claim("P-FAULTS")
@pytest.mark.parametrize("kind", native.some(SERVER, every=4))
def test_server_with_a_failing_call_says_so_or_serves_and_leaves_nothing(
    place: nth.Place, enclaves: dict[str, str], record_property: Record, kind: str
) -> None:
    number, error = map(int, kind.partition("=")[2].split(":"))
    failed = 0
    for n in range(1, 500, stride(12)):
        done = place.launching(
            "serving", enclaves["python"], name="hc-server", numbers=str(number), number=number,
            n=n, error=error,
        )  # fmt: skip
        assert (done.status, done.left, done.hung) == (0, 0, False), (n, done)
        assert "Traceback" not in done.errors, (n, done)
        if not done.triggered:
            assert "answered" in done.output
            break
        assert re.search("^(answered|refused: |told: )", done.output, re.MULTILINE), (n, done)
        failed += 1
    record_property("count:faults injected", failed)


# ---- hotcalls run ----------------------------------------------------------------------------

TEXT = "seventeen\n"
#: The processes of a run by name. The launcher becomes the host process by exec.
RUN = {"launcher": "hc-host", "host": "hotcalls-run", "program": "cat"}
RUN_KINDS = {
    "launcher": ["memfd_create", "openat", "fcntl", "execve", "mmap", "write"],
    "host": [
        "memfd_create", "ftruncate", "mmap", "fcntl", "prlimit64", "pipe2", "clone", "clone3",
        "execve", "seccomp", "read", "write", "openat", "prctl", "madvise", "poll", "futex",
    ],
    "program": ["mmap", "mprotect", "openat", "read", "seccomp", "prctl", "prlimit64",
                "close_range"],
}  # fmt: skip


def run_cat(place: nth.Place, who: str, *words: str, **options: object) -> nth.Outcome:
    """``hotcalls run -- cat FILE``; only for the launcher's sake with the launcher."""
    file = place.folder / "text"
    file.write_text(TEXT)
    if who == "launcher":
        command = ["run", *words, "--", "cat", str(file)]
        return place.launching("run", RUN[who], *command, name=RUN[who], **options)
    command = [str(launcher.host_path()), *words, "--", "/bin/cat", "cat", str(file)]
    return place.run(command, name=RUN[who], armed=True, **options)  # type: ignore[arg-type]


@pytest.mark.claim("P-FAULTS")
@pytest.mark.parametrize("who", RUN)
def test_run_with_a_failing_call_says_so_and_leaves_nothing(
    place: nth.Place, record_property: Record, who: str
) -> None:
    failed = 0
    step = stride(5)
    for kind in RUN_KINDS[who]:
        number, error = nth.X86_64[kind]
        for n in range(1, 500, step):
            done = run_cat(place, who, numbers=str(number), number=number, n=n, error=error)
            where = (kind, n, done)
            assert (done.left, done.hung) == (0, False), where
            if not done.triggered:
                break
            failed += 1
            if done.status == 0:
                assert done.output == TEXT, where
            else:
                assert done.signal != 0 or len(done.errors) > 10, where
                assert "Traceback" not in done.errors, where
            if who == "launcher" and done.status != 0:
                assert done.status == 125, where
                assert done.errors.startswith("hotcalls run: "), where
                assert "[Errno" not in done.errors, where
    assert failed >= len(RUN_KINDS[who]) / 2
    # What `hotcalls top` lists; the next run removes what this one has left.
    assert all(name.endswith((".stats", ".json")) for name in place.files()), place.files()
    record_property("count:faults injected", failed)


@pytest.mark.claim("P-DEATH", "D-END")
@pytest.mark.parametrize("who", RUN)
def test_run_killed_at_any_step_leaves_nothing(
    place: nth.Place, record_property: Record, who: str
) -> None:
    kills = 0
    for n in range(1, 3000, stride(20 if who == "launcher" else 30)):
        done = run_cat(place, who, n=n)
        assert (done.left, done.hung) == (0, False), (n, done)
        if not done.triggered:
            assert (done.status, done.output) == (0, TEXT)
            break
        assert done.signal == signal.SIGKILL or done.status != 0 or done.output == TEXT, (n, done)
        kills += 1
    assert kills >= 3
    record_property("count:kills", kills)


DEVICE = """
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <sys/ioctl.h>
int main(void)
{
    struct ifreq wanted = {.ifr_name = "@%d", .ifr_flags = IFF_TUN};
    int tun = open("/dev/net/tun", O_RDWR);
    if (tun < 0 || ioctl(tun, TUNSETIFF, &wanted) != 0) {
        perror("tun");
        return 1;
    }
    puts(wanted.ifr_name);
    return 0;
}
"""


#: Of this process: others may be at the same test.
PREFIX = f"hcn{os.getpid()}-"


def devices() -> list[str]:
    """The tun devices of DEVICE's that there are."""
    return [path.name for path in Path("/sys/class/net").glob(f"{PREFIX}*")]


@pytest.mark.hardware  # containers may have no such device
@pytest.mark.skipif(not os.access("/dev/net/tun", os.R_OK | os.W_OK), reason="no /dev/net/tun")
@pytest.mark.claim("P-DEATH", "P-FAULTS", "D-END")
@pytest.mark.parametrize("way", ["kill", "fail"])
def test_run_that_ends_at_any_step_leaves_no_device(
    place: nth.Place, record_property: Record, way: str
) -> None:
    source = place.folder / "device.c"
    source.write_text(DEVICE.replace("@", PREFIX))
    program = native.build("device", [source], ["-O1", "-w"], compiler=(native.CC,))
    command = [str(launcher.host_path()), "--", str(program), "device"]
    plain = place.run(command, armed=True, name="hotcalls-run", n=0)
    if plain.status != 0:
        pytest.skip(f"no tun devices here: {plain.errors}")
    assert plain.output.startswith(PREFIX)
    assert devices() == []
    number, error = nth.X86_64["ioctl"] if way == "fail" else (nth.ANY, 0)
    ended = 0
    for n in range(1, 3000, stride(60) if way == "kill" else 1):
        done = place.run(command, armed=True, name="hotcalls-run", n=n, number=number, error=error)
        assert (done.left, done.hung, devices()) == (0, False, []), (n, done)
        if not done.triggered:
            break
        ended += 1
    assert ended >= 1
    record_property("count:kills" if way == "kill" else "count:faults injected", ended)


# ---- no thread at all ------------------------------------------------------------------------

THREADS = ",".join(str(nth.X86_64[name][0]) for name in ("clone", "clone3"))


@pytest.mark.claim("P-FAULTS")
@pytest.mark.parametrize("what", ["c", "python"])
def test_calls_go_on_where_an_enclave_can_start_no_companion(
    place: nth.Place, enclaves: dict[str, str], what: str
) -> None:
    """It hung: a call by the switch waited for a thread that nobody could start."""
    done = place.launching("starve", enclaves[what], "enclave", numbers=THREADS)
    assert (done.status, done.left, done.hung) == (0, 0, False), done
    assert "switch: refused a thread: True" in done.output


@pytest.mark.claim("P-FAULTS")
def test_program_whose_host_process_can_start_no_companion_is_ended_with_a_word(
    place: nth.Place,
) -> None:
    """It hung: the host process tried for ever."""
    # The program, the watcher, the steward; then companions.
    done = run_cat(
        place, "host", "--mode", "switch", numbers=THREADS, n=4, error=errno.EAGAIN, starve=True
    )
    assert (done.left, done.hung, done.status) == (0, False, 125), done
    assert "there is no thread for a call that waits: Resource temporarily" in done.errors


# ---- the check itself ------------------------------------------------------------------------


def test_what_is_left_behind_is_seen(place: nth.Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOTCALLS_NTH_SETTLE_MS", "200")
    done = place.run(["/bin/sh", "-c", "sleep 100 & exit 0"])
    assert (done.left, done.status) == (1, 0)
    assert "left behind: " in done.errors


def test_the_call_that_is_meant_fails_and_no_other(place: nth.Place) -> None:
    number, error = nth.X86_64["pipe2"]
    script = (
        "import os\n"
        "for _ in range(4):\n"
        "    try:\n"
        "        os.pipe()\n"
        "        print('made')\n"
        "    except OSError as error:\n"
        "        print(error.errno)\n"
    )
    done = place.run(
        [sys.executable, "-c", script],
        numbers=str(number), number=number, n=3, error=error, armed=True,
    )  # fmt: skip
    assert done.output.split() == ["made", "made", str(error), "made"]
    assert (done.seen, done.triggered, done.hit) == (4, True, number)
