# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with a benchmark. Host side."""

from __future__ import annotations

from hotcalls.errors import HotcallsError


class BenchError(HotcallsError):
    """A benchmark cannot be run, or its result cannot be read; the message says what to do."""


class WrongResultError(BenchError):
    """A measured call returned something else than it had to: its figures mean nothing.

    Attributes
    ----------
    row : str
        The row whose results were wrong.
    wrong, checked : int
        How many results were wrong, of how many.
    fault : str or None
        What the first call that failed said; None when calls returned, but the wrong thing.
    """

    def __init__(self, row: str, wrong: int, checked: int, fault: str | None = None) -> None:
        super().__init__(
            f"row {row}: {wrong} of {checked} results were wrong"
            + (f" ({fault})" if fault else "")
            + "; its figures mean nothing, and this is a bug worth reporting"
        )
        self.fault = fault
        self.row = row
        self.wrong = wrong
        self.checked = checked
