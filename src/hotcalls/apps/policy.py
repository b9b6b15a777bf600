# SPDX-License-Identifier: Apache-2.0
"""What a program in a process enclave may do: TOML policies with the names that systemd uses.

Host side. A policy is read and checked whole before anything starts; what is wrong is named with
file, line and key. The host process of ``hotcalls run`` gets it as lines of text (`compiled`),
whose format native/run_policy.h describes.
"""

from __future__ import annotations

import errno
import importlib.resources
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:  # the same parser under its older name
    import tomli as tomllib

from hotcalls.apps import policy_groups, policy_values
from hotcalls.apps.policy_lines import Lines, line_of_error
from hotcalls.apps.policy_values import TOTALS, AddressRule, Bad, Total
from hotcalls.errors import PolicyError

VERSION = 1
_SUFFIX = ".toml"
#: A policy that includes itself would otherwise never end.
_DEPTH = 8
#: RUN_TOTALS_MAX of native/run_total.h, less those that learning needs.
TOTALS_MAX = 26


@dataclass
class Policy:
    """A policy that has been checked.

    Parameters
    ----------
    read_only, read_write, inaccessible
        Absolute prefixes of whole path components; the longest that fits decides.
    address_allow, address_deny, bind_allow, bind_deny
        Addresses and ports of ``connect`` and ``send``, and of ``bind``; allowing comes first.
    families
        AF_ numbers of other address families: None where there is no restriction.
    families_denied
        Whether `families` are those that are refused.
    calls
        Names of system calls: None where there is no filter.
    calls_denied
        Whether `calls` are those that are refused.
    call_errnos
        What a call is refused with, where its entry says so.
    totals
        How many bytes may be moved; each that fits a descriptor holds.
    asked
        Names of calls of which a function of the user is asked, too; see `policy_hook`.
    error_number
        What everything else is refused with; None: EPERM for calls, EDQUOT for totals, EACCES for
        the rest.
    """

    read_only: list[str] = field(default_factory=list)
    read_write: list[str] = field(default_factory=list)
    inaccessible: list[str] = field(default_factory=list)
    address_allow: list[AddressRule] = field(default_factory=list)
    address_deny: list[AddressRule] = field(default_factory=list)
    bind_allow: list[AddressRule] = field(default_factory=list)
    bind_deny: list[AddressRule] = field(default_factory=list)
    families: set[int] | None = None
    families_denied: bool = False
    calls: set[str] | None = None
    calls_denied: bool = False
    call_errnos: dict[str, int] = field(default_factory=dict)
    totals: list[Total] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    error_number: int | None = None

    def compiled(self) -> str:
        """Return the text that the host process reads."""
        lines = [f"hotcalls-policy {VERSION}"]
        lines += self._call_lines() + self._path_lines() + self._address_lines()
        refused = errno.EDQUOT if self.error_number is None else self.error_number
        for total in self.totals:
            lines += total.lines(refused)
        silent = errno.EPERM if self.error_number is None else self.error_number
        asked = sorted(set(policy_groups.decided(self.asked).values()))
        lines += [f"ask {name} {silent}" for name in asked]
        return "\n".join([*lines, "end", ""])

    def _refuse(self, fallback: int) -> str:
        return f"refuse {fallback if self.error_number is None else self.error_number}"

    def _call_lines(self) -> list[str]:
        if self.calls is None:
            return []
        refused = self._refuse(errno.EPERM)
        asked = policy_groups.decided(self.calls)
        if not self.calls_denied:
            names = sorted(set(asked.values()))
            return [f"call default {refused}", *(f"call {name} allow" for name in names)]
        numbers = {
            asked[name]: number for name, number in self.call_errnos.items() if name in asked
        }
        return [
            f"call {name} " + (f"refuse {numbers[name]}" if name in numbers else refused)
            for name in sorted(set(asked.values()))
        ]

    def _path_lines(self) -> list[str]:
        refused = self._refuse(errno.EACCES)
        lines = []
        # In the order of the prefix, so that the same policy is the same text.
        for prefixes, read, write in (
            (self.inaccessible, refused, refused),
            (self.read_only, "allow", refused),
            (self.read_write, "allow", "allow"),
        ):
            for prefix in sorted(prefixes):
                shown = policy_values.escaped(prefix)
                lines += [f"path read {read} {shown}", f"path write {write} {shown}"]
        return lines

    def _address_lines(self) -> list[str]:
        refused = self._refuse(errno.EACCES)
        lines = []
        for kind in ("connect", "send", "bind"):
            allow = self.bind_allow if kind == "bind" else self.address_allow
            deny = self.bind_deny if kind == "bind" else self.address_deny
            lines += [f"address {kind} allow {rule.words()}" for rule in allow]
            lines += [f"address {kind} {refused} {rule.words()}" for rule in deny]
            if self.families is not None:
                action = (refused, "allow") if self.families_denied else ("allow", refused)
                lines += [
                    f"address {kind} {action[0]} other {family}"
                    for family in sorted(self.families)
                    if family not in policy_values.INTERNET
                ]
                # What families say of IPv4 and IPv6 comes after what addresses say of them.
                lines += [
                    f"address {kind} {action[self._unlisted(family)]} {rule.words()}"
                    for family, rule in policy_values.ALL_OF.items()
                ]
                lines.append(f"address {kind} default {action[1]}")
        return lines

    def _unlisted(self, family: int) -> int:
        assert self.families is not None
        return 0 if family in self.families else 1


class _Reader:
    """Turns one file into a policy, key by key."""

    def __init__(self, path: Path, depth: int = 0) -> None:
        self.path = path
        self.depth = depth
        self.policy = Policy()
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise PolicyError("is not UTF-8 text", path=str(path)) from error
        self.lines = Lines(text)
        try:
            self.data: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            line = line_of_error(str(error), text)
            raise PolicyError(f"is not TOML: {error}", path=str(path), line=line) from error

    def fail(self, key: str, message: str, item: object = None) -> PolicyError:
        """Return the error for `key`, at the line of `item` where that is found."""
        return PolicyError(message, path=str(self.path), line=self.lines.find(key, item), key=key)

    def strings(self, key: str) -> list[str]:
        """Return a list of strings; one string stands for a list of one."""
        return self._strings_of(key, self.data[key])

    def _strings_of(self, key: str, value: object) -> list[str]:
        if isinstance(value, str):
            return [value]
        if not isinstance(value, list):
            raise self.fail(key, f"is {_kind(value)}; must be a string or a list of strings")
        for item in value:
            if not isinstance(item, str):
                raise self.fail(key, f"holds {_kind(item)}; must be a list of strings", item)
        return list(value)

    def each(self, key: str, parse: Any) -> list[Any]:
        """Return what `parse` makes of each string; it says what is wrong by raising `Bad`."""
        found = []
        for item in self.strings(key):
            try:
                made = parse(item)
            except Bad as bad:
                raise self.fail(key, str(bad), item) from bad
            found += made if isinstance(made, list) else [made]
        return found

    def read(self) -> Policy:
        """Return the policy."""
        for key in self.data:
            if key not in _KEYS:
                raise self.fail(key, policy_values.unknown("key", key, sorted(_KEYS)))
        # First, whatever its place: what a file includes comes before what it says itself.
        if "Include" in self.data:
            self._include()
        for key in self.data:
            _KEYS[key](self, key)
        self._check()
        return self.policy

    def _include(self) -> None:
        if self.depth >= _DEPTH:
            raise self.fail("Include", f"files include each other more than {_DEPTH} deep")
        for name in self.strings("Include"):
            path = self.path.parent / name if "/" in name or name.endswith(_SUFFIX) else None
            if path is None:
                if name not in shipped():
                    message = policy_values.unknown("policy", name, shipped())
                    raise self.fail("Include", f"{message}; or the path of a file", name)
                path = shipped_path(name)
            try:
                merge(self.policy, _Reader(path, self.depth + 1).read())
            except OSError as error:
                raise self.fail("Include", f"{path}: {error.strerror}", name) from error

    def include(self, key: str) -> None:
        """Do nothing: `_include` has."""

    def paths(self, key: str) -> None:
        """Read a list of path prefixes."""
        prefixes = getattr(self.policy, _FIELDS[key])
        prefixes += self.each(key, policy_values.path_prefix)

    def addresses(self, key: str) -> None:
        """Read a list of addresses with ports."""
        rules = getattr(self.policy, _FIELDS[key])
        rules += self.each(key, policy_values.address)

    def binds(self, key: str) -> None:
        """Read a list of what sockets may be bound to."""
        rules = getattr(self.policy, _FIELDS[key])
        rules += self.each(key, policy_values.bind)

    def totals(self, key: str) -> None:
        """Read a list of totals of bytes; a number alone is one."""
        value = self.data[key]
        given = value if isinstance(value, list) else [value]
        numbers = [str(each) if type(each) is int else each for each in given]
        for item in self._strings_of(key, numbers):
            try:
                self.policy.totals.append(policy_values.total(TOTALS[key], item))
            except Bad as bad:
                raise self.fail(key, str(bad), item) from bad

    def families(self, key: str) -> None:
        """Read a list of address families."""
        names, denied = policy_values.negated(self.strings(key))
        if self.policy.families is not None and self.policy.families_denied != denied:
            raise self.fail(key, "one list allows and the other, with ~, refuses: use one way")
        found = set()
        for name in names:
            try:
                found.add(policy_values.family(name))
            except Bad as bad:
                raise self.fail(key, str(bad), name) from bad
        self.policy.families = (self.policy.families or set()) | found
        self.policy.families_denied = denied

    def calls(self, key: str) -> None:
        """Read a list of system calls and groups of them."""
        names, denied = policy_values.negated(self.strings(key))
        if self.policy.calls is not None and self.policy.calls_denied != denied:
            raise self.fail(key, "one list allows and the other, with ~, refuses: use one way")
        found = set()
        for item in names:
            name, _, number = item.partition(":")
            try:
                members = policy_groups.members(name, denied)
                if number and not denied:
                    raise Bad(f"`{item}`: an errno belongs to what is refused: begin with ~")
                if number:
                    value = policy_values.errno_number(number)
                    self.policy.call_errnos.update(dict.fromkeys(members, value))
            except Bad as bad:
                raise self.fail(key, str(bad), item) from bad
            found |= members
        self.policy.calls = (self.policy.calls or set()) | found
        self.policy.calls_denied = denied

    def error_number(self, key: str) -> None:
        """Read the errno for what is refused."""
        value = self.data[key]
        if not isinstance(value, (str, int)) or isinstance(value, bool):
            raise self.fail(key, f'is {_kind(value)}; must be the name of an errno, like "EPERM"')
        try:
            self.policy.error_number = policy_values.errno_number(str(value))
        except Bad as bad:
            raise self.fail(key, str(bad)) from bad

    def _check(self) -> None:
        """Refuse what has no effect or contradicts itself: it is not what was meant."""
        if self.depth:
            return
        for allow, deny in (("IPAddressAllow", "IPAddressDeny"), ("SocketBindAllow",
                                                                   "SocketBindDeny")):  # fmt: skip
            if getattr(self.policy, _FIELDS[allow]) and not getattr(self.policy, _FIELDS[deny]):
                raise self.fail(
                    allow, f'has no effect, because nothing is denied; add {deny} = "any"'
                )
        if len(self.policy.totals) > TOTALS_MAX:
            key = next(key for key in self.data if key in TOTALS or key == "Include")
            raise self.fail(key, f"there are more than {TOTALS_MAX} totals; leave some out")
        seen: dict[str, str] = {}
        for key in ("ReadOnlyPaths", "ReadWritePaths", "InaccessiblePaths"):
            for prefix in getattr(self.policy, _FIELDS[key]):
                if seen.setdefault(prefix, key) != key:
                    raise self.fail(key, f"{prefix} is in {seen[prefix]} as well; keep one", prefix)


_FIELDS = {
    "ReadOnlyPaths": "read_only",
    "ReadWritePaths": "read_write",
    "InaccessiblePaths": "inaccessible",
    "IPAddressAllow": "address_allow",
    "IPAddressDeny": "address_deny",
    "SocketBindAllow": "bind_allow",
    "SocketBindDeny": "bind_deny",
}
_KEYS = {
    "Include": _Reader.include,
    "ReadOnlyPaths": _Reader.paths,
    "ReadWritePaths": _Reader.paths,
    "InaccessiblePaths": _Reader.paths,
    "IPAddressAllow": _Reader.addresses,
    "IPAddressDeny": _Reader.addresses,
    "SocketBindAllow": _Reader.binds,
    "SocketBindDeny": _Reader.binds,
    "RestrictAddressFamilies": _Reader.families,
    "SystemCallFilter": _Reader.calls,
    "SystemCallErrorNumber": _Reader.error_number,
    **dict.fromkeys(TOTALS, _Reader.totals),
}


def _kind(value: object) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", str: "a string",
             list: "a list", dict: "a table"}  # fmt: skip
    return names.get(type(value), "a date or time")


def merge(into: Policy, other: Policy) -> None:
    """Add what `other` says to `into`: lists grow, an errno of `into` stays."""
    for name in _FIELDS.values():
        getattr(into, name).extend(getattr(other, name))
    if other.families is not None:
        into.families = (into.families or set()) | other.families
        into.families_denied = other.families_denied
    if other.calls is not None:
        into.calls = (into.calls or set()) | other.calls
        into.calls_denied = other.calls_denied
    into.call_errnos.update(other.call_errnos)
    into.totals.extend(other.totals)
    if into.error_number is None:
        into.error_number = other.error_number


def _folder() -> Path:
    return Path(str(importlib.resources.files("hotcalls.apps") / "policies"))


def shipped() -> list[str]:
    """Return the names of the policies that come with the package."""
    return sorted(path.stem for path in _folder().glob(f"*{_SUFFIX}"))


def shipped_path(name: str) -> Path:
    """Return the file of a policy that comes with the package."""
    return _folder() / f"{name}{_SUFFIX}"


def load(path: Path) -> Policy:
    """Read and check a policy.

    Raises
    ------
    PolicyError
        When something in it is wrong: says where, what, and what is allowed.
    OSError
        When it cannot be read.
    """
    return _Reader(path).read()


def find(name: str) -> Path:
    """Return the file that ``--policy NAME`` means: a path, or the name of one that is shipped."""
    if "/" not in name and not name.endswith(_SUFFIX) and name in shipped():
        return shipped_path(name)
    return Path(name)
