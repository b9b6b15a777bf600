# SPDX-License-Identifier: Apache-2.0
"""The channel of an enclave that this process calls, for tests that write into it."""

from __future__ import annotations

import ctypes
from pathlib import Path

#: Of channel.h: words of a cell that are used, words from one cell to the next, words of a slot's
#: control.
CELL_WORDS = 8
CELL_STRIDE = 16
CONTROL_WORDS = 80


class Region:
    """The channel, as 64-bit words that anybody may write."""

    def __init__(self, before: set[str]) -> None:
        (line,) = [each for each in mappings() if each not in before]
        start, end = (int(number, 16) for number in line.split()[0].split("-"))
        self.words = (ctypes.c_uint64 * ((end - start) // 8)).from_address(start)
        # struct hc_geometry: slot_count and host_slots, cell_count; then from window_size on.
        counts, self.cells = self.words[3], self.words[4] & 0xFFFFFFFF
        self.slots = counts & 0xFFFFFFFF
        self.window_size, self._slots_at, self._stride, self._windows_at = self.words[5:9]

    def cell(self, slot: int, lane: int, number: int) -> int:
        """Index of the first word of a cell."""
        return self.control(slot) + CONTROL_WORDS + (lane * self.cells + number) * CELL_STRIDE

    def control(self, slot: int) -> int:
        """Index of the first word of a slot."""
        return (self._slots_at + self._stride * slot) // 8

    def window(self, slot: int, lane: int) -> int:
        """Index of the first word of a window."""
        return (self._windows_at + (slot * 3 + lane) * self.window_size) // 8


def mappings() -> set[str]:
    """The lines of this process's channels."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {line for line in lines if "/memfd:hotcalls" in line and " rw-s " in line}
