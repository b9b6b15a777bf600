# SPDX-License-Identifier: Apache-2.0
"""Reads drawings from strangers: an honest one, then three that attack their reader.

python host.py                  the ones in this folder
python host.py FILE...          yours
python host.py --unprotected    the first attack, on the same reader in a process of its own
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import drawing

import hotcalls

HERE = Path(__file__).resolve().parent
SECONDS = 2.0


class Reader:
    """A reader in an enclave, replaced by a fresh one whenever an input has done it harm."""

    def __init__(self) -> None:
        self._enclave: hotcalls.Enclave | None = None

    def read(self, svg: bytes) -> drawing.Drawing:
        """Read a drawing.

        Raises
        ------
        hotcalls.RemoteError
            The reader refused it, or was refused what it tried.
        hotcalls.CallTimeout, hotcalls.EnclaveLost
            It hung or crashed; the next drawing gets a new one.
        """
        if self._enclave is None:
            self._enclave = hotcalls.launch(drawing)
        try:
            result: drawing.Drawing = self._enclave.read.options(timeout=SECONDS)(svg)
        except (hotcalls.CallTimeout, hotcalls.EnclaveLost, hotcalls.ChannelPoisoned):
            # After a timeout it is still at work: only its end gives the processor back.
            self.close()
            raise
        return result

    def close(self) -> None:
        """End the enclave."""
        if self._enclave is not None:
            self._enclave.close()
            self._enclave = None


def main() -> int:
    """Read what the command line names."""
    if sys.argv[1:] == ["--unprotected"]:
        with hotcalls.launch(drawing, insecure_inline=True) as reader:
            print(reader.read((HERE / "reads-a-file.svg").read_bytes()))
        return 0
    files = [Path(name) for name in sys.argv[1:]] or [
        HERE / "honest.svg",
        HERE / "reads-a-file.svg",
        HERE / "loops.svg",
        HERE / "crashes.svg",
        HERE / "honest.svg",
    ]
    with contextlib.closing(Reader()) as reader:
        for file in files:
            svg = file.read_bytes()
            try:
                print(f"{file.name}: {reader.read(svg)}")
            except hotcalls.HotcallsError as error:
                print(f"{file.name}: {type(error).__name__}: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
