# SPDX-License-Identifier: Apache-2.0
"""What the paper reports, to stand beside what is measured here. Pure.

O. Weisse, V. Bertacco, T. Austin, "Regaining Lost Cycles with HotCalls: A Fast Interface for SGX
Secure Enclaves", ISCA 2017. All of it is from the abstract.
"""

from __future__ import annotations

from typing import NamedTuple


class Range(NamedTuple):
    """From the least to the most of what the paper saw."""

    low: float
    high: float

    def words(self, unit: str = "") -> str:
        """Write it."""
        return f"{self.low:,g}–{self.high:,g}{unit}"


SOURCE = "HotCalls, ISCA 2017, abstract"
#: Cycles of an ecall or ocall through the SDK, and of a system call.
CROSSING_CYCLES = Range(8200, 17000)
SYSCALL_CYCLES = 150
#: How much faster a hot call is than the SDK's.
CALL_SPEEDUP = Range(13, 27)
#: Loss of throughput of a server in an ordinary SGX enclave, at worst.
DEGRADATION = 0.79
#: memcached, openVPN and lighttpd with hot calls against the SDK's ordinary calls.
THROUGHPUT = Range(2.6, 3.7)
LATENCY_LESS = Range(0.62, 0.74)
