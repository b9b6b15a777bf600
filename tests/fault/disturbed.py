# SPDX-License-Identifier: Apache-2.0
"""A host that calls an enclave until it is told to stop, while test_disturbed.py disturbs it.

disturbed.py WHAT prints the enclave's pid once it calls; reads a line; prints how many calls were
made, and ends with 1 unless each was run once and answered once, in turn.
"""

from __future__ import annotations

import sys
import threading

import hotcalls


def main() -> None:
    """As above."""
    heard: list[str] = []
    over, calls = threading.Event(), threading.Event()
    answers: list[int] = []

    def call() -> None:
        while not over.is_set():
            answers.append(enclave.add(1))
            calls.set()

    with hotcalls.launch(sys.argv[1], ocalls={"audit": heard.append}) as enclave:
        caller = threading.Thread(target=call, daemon=True)
        caller.start()
        calls.wait(60)
        print(enclave.pid, flush=True)
        sys.stdin.readline()
        over.set()
        caller.join()
    print(len(answers), flush=True)
    sys.exit(not (answers == list(range(1, len(answers) + 1)) and len(heard) == len(answers)))


if __name__ == "__main__":
    main()
