#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keep the file lists of the meson.build files in step with the tree.

Run by `make sources` (writes) and by `make lint` (checks). A list stands between a line
``# sources: PATTERN…`` and a line ``# end``; the patterns are relative to the meson.build.
Meson itself must not glob: it would not notice a new file.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES = ("include/meson.build", "native/meson.build", "src/hotcalls/meson.build")


def listed(folder: Path, patterns: list[str]) -> list[str]:
    """Return the paths, relative to `folder`, that one of `patterns` matches, without caches."""
    found = {
        os.path.relpath(path, folder)
        for pattern in patterns
        for path in folder.glob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }
    return sorted(found)


def rewritten(build_file: Path) -> str:
    """Return the text that `build_file` should have."""
    lines: list[str] = []
    inside = False
    for line in build_file.read_text(encoding="utf-8").splitlines():
        stripped = line.strip()
        if stripped.startswith("# sources: "):
            if inside:
                raise SystemExit(f"{build_file}: two lists in a row; one of them has no end")
            indent = line[: len(line) - len(line.lstrip())]
            lines.append(line)
            patterns = stripped.removeprefix("# sources: ").split()
            lines += [f"{indent}'{name}'," for name in listed(build_file.parent, patterns)]
            inside = True
        elif stripped == "# end":
            lines.append(line)
            inside = False
        elif not inside:
            lines.append(line)
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the lists, or with --check only say which are out of step."""
    check = "--check" in sys.argv[1:]
    stale = []
    for name in FILES:
        path = ROOT / name
        text = rewritten(path)
        if text != path.read_text(encoding="utf-8"):
            stale.append(name)
            if not check:
                path.write_text(text, encoding="utf-8")
    for name in stale:
        print(f"{name}: {'out of step, run `make sources`' if check else 'updated'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
