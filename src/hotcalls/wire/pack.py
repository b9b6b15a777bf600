# SPDX-License-Identifier: Apache-2.0
"""Messages that are made even where memory runs out, or MemoryError: not those of calls' values.

Both sides. What msgspec 0.22 encodes goes into 32 bytes at first; where it cannot have more,
``encode`` ends the process. A bytearray that cannot grow is an error (``encode_into``). It costs a
copy, so the values of calls do without; but what went wrong is told just when memory lacks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec


def _surviving(encode_into: Callable[[Any, bytearray], None]) -> Callable[[Any], bytes]:
    def encode(value: Any) -> bytes:
        room = bytearray()
        encode_into(value, room)
        return bytes(room)

    return encode


pack = _surviving(msgspec.msgpack.Encoder().encode_into)
pack_json = _surviving(msgspec.json.Encoder().encode_into)
#: The same for equal values: to be compared.
pack_json_in_order = _surviving(msgspec.json.Encoder(order="deterministic").encode_into)
