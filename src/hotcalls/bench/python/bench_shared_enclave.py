# SPDX-License-Identifier: Apache-2.0
"""The Python enclave that works on shared memory, of ``hotcalls bench --python``.

Runs inside; trusts its host.
"""

import hotcalls


@hotcalls.ecall
def look_at(data: hotcalls.SharedArray, position: int) -> int:
    """Return one element."""
    return int(data.array[position])
