# SPDX-License-Identifier: Apache-2.0
"""Searching the channels of this process for bytes that nobody wrote for the other side."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

#: Three in a row, as padding here is: a single byte may as well be one of a counter of cycles.
POISON = b"\xe7" * 3


def _written() -> Iterator[bytes]:
    """What is in the channels; holes, which nobody touched, aside."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if not os.readlink(f"/proc/self/fd/{name}").startswith("/memfd:hotcalls "):
                continue
        except OSError:
            continue
        fd, at = int(name), 0
        size = os.fstat(fd).st_size
        while at < size:
            try:
                start = os.lseek(fd, at, os.SEEK_DATA)
            except OSError:
                break
            at = os.lseek(fd, start, os.SEEK_HOLE)
            yield os.pread(fd, at - start, start)


def poisoned() -> int:
    """How often poison is in this process's channels."""
    return sum(data.count(POISON) for data in _written())


def addresses() -> list[int]:
    """The words in this process's channels that are addresses of memory of this process."""
    ranges = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, last = (int(word, 16) for word in line.split()[0].split("-"))
        if first >= 1 << 32:  # below are counts, too
            ranges.append((first, last))
    lowest, highest = min(ranges)[0], max(last for _, last in ranges if last < 1 << 47)
    found = []
    for data in _written():
        words = memoryview(data[: len(data) & ~7]).cast("Q")
        found += [word for word in words if lowest <= word < highest]
    return [word for word in found if any(first <= word < last for first, last in ranges)]
