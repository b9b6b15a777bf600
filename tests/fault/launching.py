# SPDX-License-Identifier: Apache-2.0
"""Run under nth.c: launches enclaves while the n-th system call fails, and looks what is left.

    launching.py each WHAT SIDE STRIDE NAME=NUMBER:WHAT …     each n, in this one process
    launching.py limit WHAT LIMIT FIRST STEP [USER]           with more and more, until it suffices
    launching.py inside WHAT                                  each allocation of the loader fails
    launching.py starve WHAT SIDE                             calls while no thread can be started
    launching.py killed WHAT STRIDE                           a host that ends at each n-th call
    launching.py serving WHAT                                 a server, called as a client
    launching.py run NAME ARGUMENTS …                         `hotcalls ARGUMENTS …`, likewise

WHAT is the file of an enclave, of Python or of C; what becomes of a call is an errno, or "kill";
behind an @ the first n.
One process makes all the launches of a matrix, so what each of them leaves behind adds up and is
seen.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import mmap
import os
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

import hotcalls
from hotcalls import cli
from hotcalls.apps import launcher as _launcher  # noqa: F401 (loaded late, but not while it fails)
from hotcalls.apps import run as _run  # noqa: F401
from hotcalls.monitor import registry
from hotcalls.serving import command as _command  # noqa: F401

#: What processes are called that have not become enclaves: threads inherit it, exec ends it.
NAME = b"hc-host"
SERVER = "hc-server"
VICTIM = b"hc-victim"
PR_SET_NAME = 15
PR_SET_DUMPABLE = 4
#: nth.h: armed, number, n, action, error, others, seen, triggered, hit, name.
LAYOUT = struct.Struct("<9I16s")
ANY = 0xFFFFFFFF
#: No launch makes so many calls of one kind.
MOST = 20000
SETTLE_SECONDS = 30.0
#: What Python itself raises when a system call of its own fails is as good as an error of ours.
TYPED = (hotcalls.HotcallsError, OSError, MemoryError)


class Nth:
    """What nth.c looks at."""

    def __init__(self) -> None:
        with open(os.environ["HOTCALLS_NTH"], "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), LAYOUT.size)

    def arm(self, number: int, n: int, what: str, others: bool, name: bytes = NAME) -> None:
        """Fail the n-th call from now on (with +: all behind it as well), or kill who makes it."""
        action = 1 if what == "kill" else 2 if what.endswith("+") else 0
        error = 0 if action == 1 else int(what.removesuffix("+"))
        LAYOUT.pack_into(self._memory, 0, 0, number, n, action, error, others, 0, 0, 0, name)
        self._memory[0] = 1

    def go_on(self) -> None:
        """Begin what the test has prepared: it has killing in mind."""
        self._memory[0] = 1

    def disarm(self) -> bool:
        """Fail nothing any more; return whether the n-th call came."""
        self._memory[0] = 0
        return bool(LAYOUT.unpack_from(self._memory)[7])


def launch(what: str, **options: Any) -> Any:
    """Launch as a user does."""
    if what.endswith(".py"):
        ocalls = {"ask": str.upper}
        return hotcalls.launch(what, ocalls=ocalls, args={"greeting": "hello"}, **options)
    return hotcalls.launch(what, ocalls={"audit": lambda text: None}, **options)


def use(enclave: Any, what: str) -> None:
    """Make a call that calls back."""
    if what.endswith(".py"):
        assert enclave.greet("you") == "hello YOU"
        assert enclave.greet.submit("me").result() == "hello ME"
    else:
        before = enclave.add(1)
        assert enclave.add(1) == before + 1


def others() -> set[str]:
    """The processes that were left to our parent, which is nth.c, besides this one."""
    parent = os.getppid()
    found = set(Path(f"/proc/{parent}/task/{parent}/children").read_text().split())
    return found - {str(os.getpid())}


def files() -> list[str]:
    """The files that the runtime may have made."""
    places = [tempfile.gettempdir(), os.environ["XDG_RUNTIME_DIR"], "/dev/shm"]
    return sorted(
        str(path)
        for place in places
        for path in Path(place).rglob("*")
        if path.is_file() and (not place.startswith("/dev") or is_ours(path.name))
    )


def is_ours(name: str) -> bool:
    """Of memory that everybody shares; what a benchmark has there meanwhile is the benchmark's."""
    return "hotcalls" in name and not name.startswith("hotcalls-bench-")


def threads(but: str) -> int:
    """How many threads there are that are not called so."""
    names = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            names.append((task / "comm").read_text().strip())
    return len(names) - names.count(but)


def standing(but: str = "") -> dict[str, Any]:
    """Count what a launch must not leave behind; of threads those that are not called `but`."""
    gc.collect()
    descriptors = sorted(
        os.readlink(f"/proc/self/fd/{name}").partition(":[")[0]
        for name in os.listdir("/proc/self/fd")
        if os.path.exists(f"/proc/self/fd/{name}") or os.path.islink(f"/proc/self/fd/{name}")
    )
    maps = Path("/proc/self/maps").read_text().splitlines()
    return {
        "descriptors": descriptors,
        "mappings of channels": sum("/memfd:" in line for line in maps),
        "threads": threads(but),
        "processes": others(),
        "files": files(),
    }


def more(before: Any, now: Any) -> Any:
    """Return what there is now and was not before; what ends by itself may have gone since."""
    if isinstance(now, int):
        return max(now - before, 0)
    return sorted((Counter(now) - Counter(before)).elements())


def check(before: dict[str, Any], where: str, but: str = "") -> None:
    """Fail if there is more than before; ending takes a moment."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        now = standing(but)
        left = {name: extra for name in now if (extra := more(before[name], now[name]))}
        if not left:
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"{where} leaves behind: {left}")
        time.sleep(0.01)


def attempt(what: str, **options: Any) -> str:
    """One launch with a call; return what it came to."""
    enclave = None
    try:
        enclave = launch(what, **options)
        use(enclave, what)
        return "did without"
    except TYPED as error:
        text = str(error)
        if len(text) < 8 and not isinstance(error, MemoryError):
            raise SystemExit(f"not a readable error: {error!r}") from error
        return f"{type(error).__name__}: {text}"
    finally:
        if enclave is not None:
            enclave.close()


def each(what: str, side: str, stride: int, kinds: list[str]) -> None:
    """Take each n-th call of each kind, until a launch needs fewer."""
    nth = Nth()
    for _ in range(2):  # modules are imported late, stacks of threads are kept
        print("as it is:", attempt(what))
    before = standing()
    for kind in kinds:
        name, _, rest = kind.partition("=")
        number, _, becomes = rest.partition(":")
        becomes, _, first = becomes.partition("@")
        n, failed = int(first or 1), 0
        while n < MOST:
            nth.arm(int(number), n, becomes, side == "enclave")
            try:
                outcome = attempt(what)
            except BaseException as wrong:
                nth.disarm()
                raise SystemExit(f"{name}, the {n}.: {wrong!r}") from wrong
            if not nth.disarm():
                break
            failed += 1
            print(f"{name} {n}: {outcome}", flush=True)
            check(before, f"{name}, the {n}.,")
            n += stride
        else:
            raise SystemExit(f"{name} does not end")
        print(f"failed={failed} of {name}", flush=True)
        final = attempt(what)
        if final != "did without":
            raise SystemExit(f"after failures of {name}: {final}")
        check(before, "the launch after failures")


def inside(what: str) -> None:
    """Fail each allocation of a C enclave, whose loader malloc_inside.c is in."""
    wish = Path("malloc-n")
    for _ in range(2):
        attempt(what)
    before = standing()
    failed = 0
    for n in range(1, MOST):
        wish.write_text(str(n))
        with tempfile.TemporaryFile() as log:
            outcome = attempt(what, log=log.fileno())
            log.seek(0)
            said = log.read()
        wish.unlink()
        if b"malloc fails" not in said:
            break
        print(f"malloc {n}: {outcome}", flush=True)
        failed += 1
        check(before, f"malloc, the {n}.,")
    print(f"failed={failed} of malloc")


def limit(what: str, name: str, first: int, step: int, user: str = "") -> None:
    """Launch under a limit that is raised until a launch succeeds.

    `first` is how far beyond what this process has in use the limit lies at first.
    """
    if user:
        become(int(user))
    for _ in range(2):
        attempt(what)
    before = standing()
    kind = getattr(resource, f"RLIMIT_{name}")
    hard = resource.getrlimit(kind)[1]
    used = {
        "NOFILE": lambda: 0,
        "AS": lambda: int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE,
        "NPROC": lambda: 0,
    }[name]()
    refused = 0
    for n in range(MOST):
        most = used + first + n * step
        resource.setrlimit(kind, (most, hard))
        try:
            outcome = attempt(what)
        finally:
            resource.setrlimit(kind, (hard, hard))
        print(f"{name} {most}: {outcome}", flush=True)
        check(before, f"{name} {most}")
        if outcome == "did without":
            break
        refused += 1
    print(f"failed={refused} of {name}")


def become(user: int) -> None:
    """Become an ordinary user, who may still look at what is its own."""
    for path in (tempfile.gettempdir(), os.environ["XDG_RUNTIME_DIR"]):
        os.chown(path, user, user)
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)


def starve(what: str, side: str) -> None:
    """Call an enclave while one side can start no thread; and when it can again."""
    nth = Nth()
    for mode in ("hot", "switch"):
        with launch(what, mode=mode) as enclave:
            nth.arm(ANY, 1, f"{errno.EAGAIN}+", side == "enclave")
            for _ in range(20):
                plain(enclave, what)
            print(f"{mode}: refused a thread: {nth.disarm()}")
            for _ in range(20):
                plain(enclave, what)


def plain(enclave: Any, what: str) -> None:
    """Make a call that needs no thread of the host's own."""
    if what.endswith(".py"):
        assert enclave.greet("you") == "hello YOU"
    else:
        enclave.add(1)


def killed(what: str, stride: int) -> None:
    """Fork hosts that are killed at each n-th call, until one needs fewer.

    Forked, they have imported what they need: the interpreter's own start has no enclave to leave.
    """
    nth = Nth()
    for _ in range(2):
        attempt(what)
    before = standing()
    kills = told = 0
    for n in range(1, MOST, stride):
        nth.arm(ANY, n, "kill", False, VICTIM)
        host = os.fork()
        if host == 0:
            victim(what)
        status = os.waitstatus_to_exitcode(os.waitpid(host, 0)[1])
        triggered = nth.disarm()
        # Of a host that was killed the entry stays in the list, until somebody looks at it.
        list(registry.entries())
        check(before, f"a host that was killed at its {n}. call")
        if status not in (0, -signal.SIGKILL) or (status != 0 and not triggered):
            raise SystemExit(f"the host, at its {n}. call: {status}")
        if not triggered:
            break
        kills += status != 0
        told += status == 0  # it was a step of the spawn, which is a process of its own
    print(f"killed={kills} told={told} of {what}")


def victim(what: str) -> NoReturn:
    """Be a host: launch, call, close."""
    status = 1
    try:
        ctypes.CDLL(None).prctl(PR_SET_NAME, VICTIM, 0, 0, 0)
        attempt(what)
        status = 0
    finally:
        os._exit(status)


def serving(what: str) -> None:
    """A server that ends at any step: its client gets an answer or is told, and nothing is left."""
    with tempfile.TemporaryDirectory() as folder:
        before = standing()
        path = f"{folder}/socket"
        command = [sys.executable, __file__, "run", SERVER, "serve", what, "--socket", path]
        server = subprocess.Popen([*command, "--args", '{"greeting": "hello"}'])
        try:
            print(visit(path, server, what))
        finally:
            server.terminate()
            server.wait()
        # A server that was killed could not take itself off the list: whoever looks at it does.
        list(registry.entries())
        # Here and not below: the folder goes with what a killed server has left in it.
        check({**before, "files": files()}, "it")
    check(before, "it")


def visit(path: str, server: subprocess.Popen[bytes], what: str) -> str:
    """Connect as soon as that is possible, and call."""
    while True:
        try:
            with hotcalls.connect(path, ocalls={"ask": str.upper}) as enclave:
                for _ in range(5):
                    use(enclave, what)
                return "answered"
        except hotcalls.ConnectError as error:
            if server.poll() is not None:
                return f"refused: {error}"
            time.sleep(0.02)
        except TYPED as error:
            return f"told: {type(error).__name__}: {error}"


def main() -> None:
    """As above."""
    warnings.simplefilter("ignore", RuntimeWarning)
    threading.stack_size(256 * 1024)
    how, what, *rest = sys.argv[1:]
    name = what.encode() if how == "run" else NAME
    ctypes.CDLL(None).prctl(PR_SET_NAME, name, 0, 0, 0)
    if how == "each":
        each(what, rest[0], int(rest[1]), rest[2:])
    elif how == "limit":
        limit(what, rest[0], int(rest[1]), int(rest[2]), *rest[3:])
    elif how == "inside":
        inside(what)
    elif how == "starve":
        starve(what, rest[0])
    elif how == "killed":
        killed(what, int(rest[0]))
    elif how == "serving":
        serving(what)
    else:
        Nth().go_on()
        cli.main(rest)


if __name__ == "__main__":
    main()
