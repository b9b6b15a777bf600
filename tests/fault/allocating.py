# SPDX-License-Identifier: Apache-2.0
"""Run under nth.c: the n-th allocation of a Python interpreter fails, and looks what is left.

    allocating.py SIDE MODULE WHAT STRIDE [FIRST]      for each n, until WHAT needs fewer

SIDE is whose interpreter: host or enclave. WHAT is a part of the life of an enclave: launch, close,
start, first, tables or one of `CALLS`. nomemory.c has to be importable; MODULE is one that has
imported it, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import launching
import msgspec
import nomemory

import hotcalls
from hotcalls import background, pylaunch
from hotcalls.futures import LOOK_SECONDS

#: No part of an enclave's life needs so many.
MOST = 200000
# CPython loses threads that have no memory to begin with; each is waited for.
background.START_SECONDS = 0.5
#: What CPython itself says instead of MemoryError: where it has no memory for a frame, for a lock,
#: for the text of a path; after a wait that had none.
CPYTHONS = (
    "returned NULL without setting an exception", "error return without exception set",
    "can't allocate ", "not PosixPath", "cannot release un-acquired lock",
)  # fmt: skip
TYPED = (*launching.TYPED, SystemError, RuntimeError, TypeError)
#: Threads that start when they are first needed, on a loaded machine in the middle of a call, and
#: end with the enclave.
COMPANION = "hc-companion"
#: A launch needs more behind what the enclave has said of its functions.
BEHIND = 20
#: So many calls in flight.
FEW = 3


def greet(enclave: Any) -> None:
    """Make a call that calls back."""
    expect(enclave.greet("you"), "hello YOU")


def plain(enclave: Any) -> None:
    """Make a call that does not."""
    expect(enclave.length("four"), 4)


def large(enclave: Any) -> None:
    """Make a call whose answer does not fit into what is reserved at first."""
    # Bytes: of msgspec 0.22, encoding a long text without memory for it ends the process.
    expect(enclave.repeat(b"x"), b"x" * 100_000)


def refused(enclave: Any) -> None:
    """Make a call that raises inside."""
    try:
        enclave.refuse("nobody")
    except hotcalls.RemoteError as error:
        if not any(
            each in str(error)
            for each in ("nobody", "MemoryError", "raised an exception", *CPYTHONS)
        ):
            raise SystemExit(f"not the error that was raised inside: {error!r}") from error
    else:
        raise SystemExit("an exception was lost")


def futures(enclave: Any) -> None:
    """Have several calls in flight."""
    flying = []
    wrong: BaseException | None = None
    try:
        flying = [enclave.length.submit("n" * n) for n in range(FEW)]
    except TYPED as error:
        wrong = error
    # Waiting is CPython's: a `with` of a Condition that has no memory to end leaves the lock held.
    nomemory.disarm()
    for n, each in enumerate(flying):
        try:
            expect(each.result(60), n)
        except TYPED as error:
            wrong = error
    if wrong is not None:
        raise wrong


def batch(enclave: Any) -> None:
    """Make several calls at once."""
    expect(enclave.length.map(["a", "bb", "ccc"]), [1, 2, 3])


def beside(enclave: Any) -> None:
    """Make a call while the enclave's responder is busy: another thread of it has to serve it."""
    with contextlib.suppress(*TYPED):
        napping = enclave.nap.submit(0.03)
        time.sleep(0.01)
    try:
        expect(enclave.length("four"), 4)
    finally:
        nomemory.disarm()
        with contextlib.suppress(*TYPED):
            napping.result(60)


def behind(enclave: Any) -> None:
    """Have a call call back while we do something else: a thread of the runtime has to serve it."""
    flying = enclave.greet.submit("you")
    time.sleep(0.03)
    nomemory.disarm()
    expect(flying.result(60), "hello YOU")


def awaited(enclave: Any) -> None:
    """Await a call, in a loop that is there already."""
    expect(LOOP.run_until_complete(enclave.length.aio("five!")), 5)


LOOP = asyncio.new_event_loop()
CALLS: dict[str, Callable[[Any], None]] = {
    "plain": plain, "greet": greet, "large": large, "refused": refused, "futures": futures,
    "batch": batch, "awaited": awaited,
}  # fmt: skip


def expect(found: object, right: object) -> None:
    """Fail at an answer that is wrong: no memory is no reason for one."""
    if isinstance(right, list):
        found = list(found)  # type: ignore[call-overload]
    if found != right:
        raise SystemExit(f"a wrong answer: {found!r:.80} instead of {right!r:.80}")


def launch(module: str) -> Any:
    """Launch as a user does."""
    return hotcalls.launch(module, ocalls={"ask": str.upper}, args={"greeting": "hello"})


def read(error: BaseException) -> str:
    """Return what an error says; it has to say something."""
    text = str(error)
    ours = isinstance(error, launching.TYPED)
    if not ours and not any(each in text for each in CPYTHONS):
        raise SystemExit(f"not an error of no memory: {error!r}")
    if not isinstance(error, MemoryError) and (len(text) < 8 or text.rstrip().endswith(":")):
        raise SystemExit(f"not a readable error: {error!r}")
    return f"{type(error).__name__}: {text}"


def in_host(n: int, what: Callable[[], None]) -> tuple[str, bool]:
    """Do it while the n-th allocation fails here; what came of it, and whether it was met."""
    try:
        nomemory.arm(n)
        what()
        outcome = None
    except TYPED as error:
        outcome = error
    finally:
        triggered = nomemory.disarm()[1]
    return ("did without" if outcome is None else read(outcome)), triggered


def in_enclave(n: int, what: Callable[[], None], enclave: Any) -> tuple[str, bool]:
    """Do it while the n-th allocation of the enclave's interpreter fails."""
    outcome = None
    try:
        enclave.arm(n)  # its own answer allocates, too
        what()
    except TYPED as error:
        outcome = error
    # Again, if it was this that was met; the n-th comes once.
    for again in (True, True, False):
        try:
            triggered = enclave.disarm()
            break
        except (MemoryError, hotcalls.CallError, hotcalls.RemoteError):
            if not again:
                raise
    return ("did without" if outcome is None else read(outcome)), triggered


def calls(side: str, enclave: Any, name: str, stride: int) -> int:
    """Fail each allocation of one kind of call; return how many."""
    what = CALLS[name]
    for _ in range(3):
        what(enclave)
    before = launching.standing(COMPANION)
    failed = 0
    for n in range(1, MOST, stride):
        if side == "host":
            outcome, triggered = in_host(n, lambda: what(enclave))
        else:
            outcome, triggered = in_enclave(n, lambda: what(enclave), enclave)
        if not triggered:
            break
        print(f"{name} {n}: {outcome}", flush=True)
        failed += 1
        what(enclave)
    # What one leaves behind adds up.
    launching.check(before, f"{name} on no memory", COMPANION)
    return failed


def firsts(side: str, module: str, stride: int, first: int) -> int:
    """Fail each allocation of the first call that a thread of the runtime serves; return how many.

    It is new to the interpreter, which needs memory for that.
    """
    before = None
    failed = 0
    for n in range(first, MOST, stride):
        with launch(module) as enclave:
            plain(enclave)
            if side == "host":
                outcome, triggered = in_host(n, lambda: behind(enclave))
            else:
                outcome, triggered = in_enclave(n, lambda: beside(enclave), enclave)
            greet(enclave)
            if not triggered:
                break
        print(f"first {n}: {outcome}", flush=True)
        failed += 1
        if before is None:
            before = launching.standing()
        launching.check(before, f"a first call, at allocation {n},")
    return failed


def spared(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with the memory that it needs."""

    def call(*args: Any, **kwargs: Any) -> Any:
        nomemory.pause(True)
        try:
            return function(*args, **kwargs)
        finally:
            nomemory.pause(False)

    return call


def launches(module: str, stride: int, first: int) -> int:
    """Fail each allocation of a launch, a call and a close; return how many."""

    def whole() -> None:
        with launch(module) as enclave:
            plain(enclave)

    # Of msgspec 0.22, without memory for it that ends the process.
    msgspec.json.decode = spared(msgspec.json.decode)  # type: ignore[assignment]
    for _ in range(2):
        whole()
    before = launching.standing()
    failed = 0
    for n in range(first, MOST, stride):
        outcome, triggered = in_host(n, whole)
        if not triggered:
            break
        print(f"launch {n}: {outcome}", flush=True)
        failed += 1
        launching.check(before, f"a launch, at allocation {n},")
    whole()
    launching.check(before, "the launch after that")
    return failed


def starts(module: str, stride: int, first: int) -> int:
    """Fail each allocation of an enclave's start, from its module's import on; return how many."""
    starve = Path(module).with_name("starve")
    launch(module).close()
    before = launching.standing()
    failed = 0
    for n in range(first, MOST, stride):
        starve.write_text(str(n))
        outcome, triggered = "did without", True
        try:
            with launch(module) as enclave:
                triggered = enclave.disarm()
                greet(enclave)
        except TYPED as error:
            outcome = read(error)
        launching.check(before, f"a start, at allocation {n},")
        if not triggered:
            break
        print(f"start {n}: {outcome}", flush=True)
        failed += 1
    starve.unlink()
    launch(module).close()
    launching.check(before, "the launch after that")
    return failed


def tables(module: str) -> int:
    """Fail each allocation behind an enclave's description of its functions; return how many."""
    hear = pylaunch._Conversation.hear
    n = 0

    def then_starve(*arguments: Any) -> Any:
        described = hear(*arguments)
        nomemory.arm(n)
        return described

    pylaunch._Conversation.hear = then_starve  # type: ignore[method-assign]
    for n in range(1, BEHIND):
        outcome, triggered = in_host(MOST, lambda: launch(module).close())
        if not triggered:
            raise SystemExit(f"a launch needs no {n} allocations behind the description")
        print(f"tables {n}: {outcome}", flush=True)
    return n


def closes(module: str, stride: int) -> int:
    """Fail each allocation of a close; return how many."""
    launch(module).close()
    before = launching.standing()
    failed = 0
    for n in range(1, MOST, stride):
        enclave = launch(module)
        outcome, triggered = in_host(n, enclave.close)
        enclave.close()
        launching.check(before, f"a close, at allocation {n},")
        if not triggered:
            break
        print(f"close {n}: {outcome}", flush=True)
        failed += 1
    return failed


def main() -> None:
    """As above."""
    warnings.simplefilter("ignore", RuntimeWarning)
    threading.stack_size(256 * 1024)
    ctypes.CDLL(None).prctl(launching.PR_SET_NAME, launching.NAME, 0, 0, 0)
    side, module, what, stride, *rest = sys.argv[1:]
    first = int(rest[0]) if rest else 1
    if what == "launch":
        failed = launches(module, int(stride), first)
    elif what == "close":
        failed = closes(module, int(stride))
    elif what == "first":
        failed = firsts(side, module, int(stride), first)
    elif what == "start":
        failed = starts(module, int(stride), first)
    elif what == "tables":
        failed = tables(module)
    else:
        launch(module).close()
        before = launching.standing()
        with launch(module) as enclave:
            for name in CALLS if what == "calls" else [what]:
                # asyncio itself loses a step of a task when it has no memory to run it.
                if (name, side) == ("awaited", "host"):
                    continue
                failed = calls(side, enclave, name, int(stride))
                print(f"failed={failed} of {name}", flush=True)
        # A loop that runs lets go of what has ended.
        LOOP.run_until_complete(asyncio.sleep(1.5 * LOOK_SECONDS))
        launching.check(before, "an enclave that had no memory at times")
        return
    print(f"failed={failed} of {what}", flush=True)


if __name__ == "__main__":
    main()
