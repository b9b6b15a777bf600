# SPDX-License-Identifier: Apache-2.0
"""Structs that are copied deep, in bytes that anybody could have written: a value, or refused."""

from __future__ import annotations

import struct
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from hotcalls.edl import parse_file
from hotcalls.edl.marshal import MessageError, codecs

TABLES = codecs(parse_file(Path(__file__).parent / "data" / "deep.edl").description())
ECALLS = {codec.name: codec for codec in TABLES.ecalls}
OCALLS = {codec.name: codec for codec in TABLES.ocalls}
LINES = [
    (5, True, [(1, True, 10), (2, False, 20)], b"\1\2\3", b"\1" * 6, 2, 3),
    (5, True, [(1, True, 10)], None, b"\1" * 6, 2, 3),
]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(OCALLS)), st.data())
def test_any_ocall_is_decoded_or_refused(name: str, data: st.DataObject) -> None:
    codec = OCALLS[name]
    small = st.sampled_from([0, 1, 2, 8, 64, 65, 1 << 31, 1 << 40, (1 << 64) - 1])
    ms = b"".join(struct.pack("<Q", data.draw(small)) for _ in range(codec.ms_size // 8 + 1))
    area = b"".join(
        struct.pack("<Q", data.draw(small)) for _ in range(data.draw(st.integers(0, 40)))
    )
    try:
        arguments = codec.decode_arguments(ms[: codec.ms_size], area)
    except MessageError:
        return
    _, writes = codec.encode_result(codec.failure, ms[: codec.ms_size], len(area), 5, arguments)
    for position, content in writes:
        assert 0 <= position <= len(area) - len(content)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_answer_is_decoded_or_refused(data: st.DataObject) -> None:
    codec = ECALLS["change"]
    message = codec.encode((LINES, 0))
    area = bytearray(message.buffers)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, 127))
        area[at] = data.draw(st.sampled_from([0, 1, 3, 0x7F, 0x80, 0xFF]))
    cut = data.draw(st.sampled_from([len(area), 128, 130, 64]))
    try:
        _, back, _ = codec.decode(message, message.ms, bytes(area[:cut]))
    except MessageError:
        return
    assert len(back[0].spots) <= 2
    assert back[1].raw is None
