# SPDX-License-Identifier: Apache-2.0
"""``--learn-policy``: from what a program used to the smallest policy that allows it.

Host side; pure. Reads the ``used`` lines of the host process (native/run_policy.h). Nothing is
generalised but what has another number each time: processes and threads in /proc. What a run
did not do, the policy does not allow: exercise the program well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from hotcalls.apps.policy_values import TOTALS

#: Of another process: its number is another one the next time.
_PROCESS = re.compile(r"^/proc/\d+(?=/|$)")
_ESCAPED = re.compile(r"\\x([0-9a-fA-F]{2})")
_FAMILY_NAMES = {1: "AF_UNIX", 2: "AF_INET", 10: "AF_INET6", 16: "AF_NETLINK", 17: "AF_PACKET"}
#: Ports that the kernel hands out: a peer's or a socket's own, and another one the next time.
_ANY_PORT = 0


@dataclass
class Used:
    """What a run used.

    Parameters
    ----------
    calls
        Names of system calls.
    read, write
        Paths of the objects that were opened, asked about, or changed.
    reached, bound
        Addresses with ports, as a policy writes them.
    families
        AF_ numbers of sockets that were bound or connected.
    totals
        Bytes that were moved, by the kinds of `policy_values.Total`.
    """

    calls: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)
    write: set[str] = field(default_factory=set)
    reached: set[str] = field(default_factory=set)
    bound: set[str] = field(default_factory=set)
    families: set[int] = field(default_factory=set)
    totals: dict[str, int] = field(default_factory=dict)


def _path(text: str) -> str:
    plain = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
    if plain.startswith("/proc/self/task/"):
        # Threads have numbers, too.
        return "/proc/self/task"
    return "/proc" if _PROCESS.match(plain) else plain


def _take_address(used: Used, kind: str, words: list[str]) -> bool:
    number = words[1] if words[0] == "other" else words[-1]
    if not number.isdecimal() or len(number) > 5:
        return False
    if words[0] == "other":
        used.families.add(int(number))
        return True
    if words[0] not in ("inet", "inet6") or len(words) != 3:
        return False
    used.families.add(2 if words[0] == "inet" else 10)
    target = used.bound if kind == "bind" else used.reached
    target.add(words[1] if int(number) == _ANY_PORT else f"{words[1]} {int(number)}")
    return True


def take(used: Used, line: str) -> bool:
    """Add what one line says; False when it is no ``used`` line."""
    words = line.rstrip("\n").split(" ")
    if words[0] != "used" or len(words) < 3:
        return False
    if words[1] == "total" and len(words) == 4:
        used.totals[words[2]] = int(words[3])
    elif words[1] == "call":
        used.calls.add(words[2])
    elif words[1] == "path" and len(words) >= 5:
        target = used.write if words[2] == "write" else used.read
        used.calls.add(words[3])
        target.add(_path(line.rstrip("\n").split(" ", 4)[4]))
    elif words[1] == "address" and len(words) >= 6:
        used.calls.add(words[3])
        return _take_address(used, words[2], words[4:])
    else:
        return False
    return True


def learn(lines: Iterable[str]) -> Used:
    """Return what all lines say."""
    used = Used()
    for line in lines:
        take(used, line)
    return used


def _string(text: str) -> str:
    """Write a TOML string."""
    escaped = "".join(
        f"\\u{ord(sign):04x}" if ord(sign) < 32 or ord(sign) == 127 else "\\" + sign
        if sign in '"\\' else sign
        for sign in text
    )  # fmt: skip
    return f'"{escaped}"'


def _list(key: str, items: Iterable[str]) -> list[str]:
    ordered = sorted(items)
    if not ordered:
        return []
    if len(ordered) == 1:
        return [f"{key} = {_string(ordered[0])}"]
    return [f"{key} = [", *(f"    {_string(item)}," for item in ordered), "]"]


def _is_text(path: str) -> bool:
    return not any("\ud800" <= sign <= "\udfff" for sign in path)


def _without_covered(paths: set[str], covering: set[str]) -> set[str]:
    """Leave out paths that another one covers, being above them."""

    def covered(path: str) -> bool:
        parts = path.split("/")
        return any("/".join(parts[:i]) in covering for i in range(2, len(parts)))

    return {path for path in paths if not covered(path)}


def toml(used: Used, command: str) -> str:
    """Return the policy as text.

    Parameters
    ----------
    used
        What it has to allow.
    command
        The command line, for the comment on top.
    """
    write = _without_covered(used.write, used.write)
    read = _without_covered(used.read - used.write, used.write | used.read)
    # TOML is Unicode, and a path need not be.
    unwritable = sorted(path for path in read | write if not _is_text(path))
    read, write = ({path for path in each if _is_text(path)} for each in (read, write))
    head = " ".join(command.split())
    lines = [
        f"# What `{head}` used in one run, and nothing else.",
        "# Widen it where another run may do more: a path covers all that is below it.",
        "",
        *(f"# Left out, for it is not UTF-8: {path!a}" for path in unwritable),
        *(_list("SystemCallFilter", used.calls) or ["SystemCallFilter = []"]),
        "",
        'InaccessiblePaths = "/"',
        *_list("ReadOnlyPaths", read - {"/"}),
        *_list("ReadWritePaths", write - {"/"}),
        "",
        *_list("IPAddressAllow", used.reached),
        'IPAddressDeny = "any"',
        *_list("SocketBindAllow", used.bound),
        'SocketBindDeny = "any"',
    ]  # fmt: skip
    if used.families:
        known = [_FAMILY_NAMES[family] for family in used.families if family in _FAMILY_NAMES]
        lines += _list("RestrictAddressFamilies", known)
    if used.totals:
        lines += [
            "",
            "# The bytes of this run. For a program that ends by itself; a server needs more.",
        ]
        lines += [f'# {key} = "{used.totals.get(kind, 0)}"' for key, kind in TOTALS.items()]
    return "\n".join([*lines, ""])
