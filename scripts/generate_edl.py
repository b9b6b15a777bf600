# SPDX-License-Identifier: Apache-2.0
"""Generate C from an EDL file while hotcalls itself is being built.

    generate_edl.py FILE.edl DIRECTORY

The wheel holds the benchmark's enclave ready made, so that `hotcalls bench` needs no compiler. The
EDL compiler is taken from the source tree: `hotcalls` stands for its directory alone, since the
package's own __init__ may want the extension that is not built yet.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "hotcalls"


def main() -> int:
    """Write NAME_t.c, NAME_t.h, NAME_u.c and NAME_u.h."""
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(PACKAGE.parent))
    package = types.ModuleType("hotcalls")
    package.__path__ = [str(PACKAGE)]
    sys.modules["hotcalls"] = package
    from hotcalls.edl.check import parse_file
    from hotcalls.edl.process import emit

    edl, directory = Path(sys.argv[1]), Path(sys.argv[2])
    for name, text in emit(parse_file(edl), stub=False).items():
        (directory / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
