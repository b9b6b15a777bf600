# SPDX-License-Identifier: Apache-2.0
"""Where in a TOML file a key or one of its strings stands: the parser does not tell. Pure."""

from __future__ import annotations

import json
import re

_KEY = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*(?:=|\.)""")
_TABLE = re.compile(r"\s*\[+\s*[\"']?([^\]\"'.]+)")


class Lines:
    """The lines of a file."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()

    def find(self, key: str, item: object = None) -> int:
        """Return the line of `item` within the value of `key`, of `key` itself, or 0."""
        begin = next((i for i, line in enumerate(self._lines) if _names(line) == key), None)
        if begin is None:
            return 0
        if isinstance(item, (str, int, float)) and not isinstance(item, bool):
            for i in range(begin, len(self._lines)):
                if i > begin and _names(self._lines[i]) is not None:
                    break
                if any(form in self._lines[i] for form in _forms(item)):
                    return i + 1
        return begin + 1


def _names(line: str) -> str | None:
    """Return the key or table that a line begins, or None."""
    found = _KEY.match(line) or _TABLE.match(line)
    if found is None:
        return None
    return next(group for group in found.groups() if group is not None)


def _forms(item: str | float) -> tuple[str, ...]:
    """Return the ways to write `item`."""
    if not isinstance(item, str):
        return (str(item),)
    return (json.dumps(item), json.dumps(item, ensure_ascii=False), f"'{item}'", f'"~{item}')


def line_of_error(message: str, text: str) -> int:
    """Return the line of `text` that an error of the TOML parser names."""
    found = re.search(r"at line (\d+)", message)
    return int(found[1]) if found else max(1, len(text.splitlines()))
