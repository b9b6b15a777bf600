# SPDX-License-Identifier: Apache-2.0
"""Arrays in the channel's memory: both sides see every element, and nothing outside of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import hotcalls

# numpy is there though the module does not import it: the annotation asks for it.
MODULE = """
@hotcalls.ecall
def double(image: hotcalls.SharedArray) -> int:
    image.array[:] *= 2
    return int(image.array.sum())
"""


def test_shared_array_is_seen_by_both_sides(start: Callable[..., hotcalls.Enclave]) -> None:
    enclave = start(MODULE)
    memory = enclave.shared(4 * 1000)
    image = hotcalls.SharedArray(memory.view, "int32", (10, 100))
    image.array[:] = np.arange(1000).reshape(10, 100)
    assert enclave.double(image) == 999 * 1000
    assert image.array[9, 99] == 1998
    del image
    memory.close()


def test_array_elsewhere_is_refused(start: Callable[..., hotcalls.Enclave]) -> None:
    enclave = start(MODULE)
    image = hotcalls.SharedArray(memoryview(bytearray(64)), "int32", 16)
    with pytest.raises((TypeError, ValueError), match=r"double\(image=…\)|not memory of"):
        enclave.double(image)
