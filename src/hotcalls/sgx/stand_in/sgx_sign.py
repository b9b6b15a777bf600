# SPDX-License-Identifier: Apache-2.0
"""Stand-in for the SDK's ``sgx_sign``: notes the number of thread contexts behind the file.

It signs nothing.  Runs as ``sgx_sign sign [-key PEM] -enclave FILE -out FILE -config XML``, where
enclaves are built.  Also clears the mark of a position-independent *executable*, as which the
SDK's samples link their enclaves and which the dynamic loader does not load into a program.
"""

from __future__ import annotations

import re
import struct
import sys
from pathlib import Path

_PT_DYNAMIC = 2
_DT_FLAGS_1 = 0x6FFFFFFB
_DF_1_PIE = 0x08000000
_TCS_MAX = 32


def _without_pie(image: bytearray) -> None:
    (header_at,) = struct.unpack_from("<Q", image, 32)
    size, count = struct.unpack_from("<HH", image, 54)
    for at in range(header_at, header_at + size * count, size):
        kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", image, at)
        if kind != _PT_DYNAMIC:
            continue
        for entry in range(offset, offset + length, 16):
            tag, value = struct.unpack_from("<QQ", image, entry)
            if tag == _DT_FLAGS_1:
                struct.pack_into("<Q", image, entry + 8, value & ~_DF_1_PIE)


def _tcs_count(config: Path) -> int:
    found = re.search(r"<TCSNum>\s*(\d+)\s*</TCSNum>", config.read_text())
    count = int(found[1]) if found else 1
    if not 1 <= count <= _TCS_MAX:
        raise ValueError(f"{config}: TCSNum is {count}; the stand-in takes 1 to {_TCS_MAX}")
    return count


def sign(arguments: list[str]) -> None:
    """Sign, as it were.

    Raises
    ------
    ValueError
        An option is missing, or a file is not what it should be.
    OSError
        A file cannot be read or written.
    """
    if not arguments or arguments[0] != "sign" or len(arguments) % 2 == 0:
        raise ValueError("usage: sgx_sign sign [-key PEM] -enclave FILE -out FILE -config XML")
    options = dict(zip(arguments[1::2], arguments[2::2], strict=True))
    missing = {"-enclave", "-out", "-config"} - options.keys()
    if missing:
        raise ValueError(f"missing: {', '.join(sorted(missing))}")
    if "-key" in options and "PRIVATE KEY" not in Path(options["-key"]).read_text():
        raise ValueError(f"{options['-key']} is no private key in PEM")
    image = bytearray(Path(options["-enclave"]).read_bytes())
    if image[:6] != b"\x7fELF\x02\x01":
        raise ValueError(f"{options['-enclave']} is no ELF file of 64 bits")
    _without_pie(image)
    image += struct.pack("<8sQ", b"HCSTANDI", _tcs_count(Path(options["-config"])))
    Path(options["-out"]).write_bytes(image)


if __name__ == "__main__":
    try:
        sign(sys.argv[1:])
    except (ValueError, OSError) as error:
        sys.exit(f"sgx_sign (stand-in): {error}")
