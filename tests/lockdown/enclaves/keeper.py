# SPDX-License-Identifier: Apache-2.0
"""A Python enclave that keeps a secret, and says where."""

import ctypes

import hotcalls

# In no file in one piece.
PLAIN = b"-".join([b"EXTIRPATE", b"THE", b"BADGERS"])
HIDDEN = hotcalls.secret_bytes(len(PLAIN))
memoryview(HIDDEN)[:] = PLAIN


@hotcalls.ecall
def plain_address() -> int:
    buffer = (ctypes.c_char * len(PLAIN)).from_buffer_copy(PLAIN)
    KEPT.append(buffer)
    return ctypes.addressof(buffer)


KEPT: list[object] = []
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long


@hotcalls.ecall
def raw(number: int, arguments: list[int]) -> tuple[int, int]:
    """One system call by its number; its result and errno."""
    ctypes.set_errno(0)
    result = LIBC.syscall(ctypes.c_long(number), *(ctypes.c_ulong(each) for each in arguments))
    return result, ctypes.get_errno()


@hotcalls.ecall
def secret_address() -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(HIDDEN))


@hotcalls.ecall
def work(value: int, times: int) -> int:
    for _ in range(times):
        value = value * 1
    return value


@hotcalls.ecall
def code_sum() -> int:
    """Of all code and constants that are mapped from what was imported."""
    return sum(ctypes.string_at(start, size).count(b"\xcc") for start, size in CODE)


def _code() -> list[tuple[int, int]]:
    found = []
    with open("/proc/self/maps") as maps:
        for line in maps:
            fields = line.split()
            if "x" in fields[1] and fields[-1].endswith(".so"):
                start, end = (int(each, 16) for each in fields[0].split("-"))
                found.append((start, end - start))
    return found


CODE = _code()
