# SPDX-License-Identifier: Apache-2.0
"""The vault from Python: sign a message, check tags, say what it cost.

hotcalls build vault.edl vault.c
python host.py ["a message"]
"""

from __future__ import annotations

import sys
import time

import vault_u

import hotcalls

CALLS = 20_000


def main() -> int:
    """Sign the message given on the command line."""
    message = sys.argv[1].encode() if len(sys.argv) > 1 else b"pay 100 to Alice"
    events: list[str] = []

    with vault_u.launch(ocalls={"audit": events.append}) as vault:
        tag = vault.sign(message)
        print(f"{message.decode(errors='replace')!r} is signed: {tag.hex()}")
        print("the tag is right:", bool(vault.verify(message, tag)))
        print("for another message:", bool(vault.verify(message + b"0", tag)))

        start = time.perf_counter()
        for _ in range(CALLS):
            vault.signed_count()
        each = (time.perf_counter() - start) / CALLS
        print(f"{CALLS} calls into the vault, {each * 1e6:.2f} microseconds each")

        vault.new_key()
        print("after a new key:", bool(vault.verify(message, tag)))
    print("the vault reported:", ", ".join(events))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except hotcalls.HotcallsError as error:
        print(f"host.py: {error}", file=sys.stderr)
        sys.exit(1)
