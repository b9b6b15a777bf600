# SPDX-License-Identifier: Apache-2.0
"""The values of a policy: paths, addresses, ports, families, errnos. Pure.

Each function raises `Bad`, which says what is wrong and what is allowed.
"""

from __future__ import annotations

import difflib
import errno
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass


class Bad(Exception):
    """A value that is refused."""


@dataclass(frozen=True)
class AddressRule:
    """Some addresses of IPv4 or IPv6, and some of their ports."""

    network: ipaddress.IPv4Network | ipaddress.IPv6Network
    first: int = 0
    last: int = 65535

    def words(self) -> str:
        """Write it as the host process reads it."""
        kind = "inet" if self.network.version == 4 else "inet6"
        return f"{kind} {self.network.with_prefixlen} {self.first}-{self.last}"


#: Keys of totals, and what the host process calls them.
TOTALS = {
    "IPIngressBytesMax": "ip-in",
    "IPEgressBytesMax": "ip-out",
    "IOReadBytesMax": "io-read",
    "IOWriteBytesMax": "io-write",
}


@dataclass(frozen=True)
class Total:
    """A total of bytes, and what it is of.

    Parameters
    ----------
    kind
        As the host process calls it: ``ip-in``, ``ip-out``, ``io-read`` or ``io-write``.
    size
        In bytes.
    prefix, addresses
        Of files below a path; of peers. Without both, of everything.
    """

    kind: str
    size: int
    prefix: str = ""
    addresses: tuple[AddressRule, ...] = ()

    def lines(self, refused: int) -> list[str]:
        """Write it as the host process reads it."""
        found = [f"total {self.kind} {self.size} {refused}"]
        found += [f"only {rule.words()}" for rule in self.addresses]
        if self.prefix:
            found.append(f"only path {escaped(self.prefix)}")
        return found


#: The names that systemd has for addresses.
NAMED = {
    "any": ("0.0.0.0/0", "::/0"),
    "localhost": ("127.0.0.0/8", "::1/128"),
    "link-local": ("169.254.0.0/16", "fe80::/64"),
    "multicast": ("224.0.0.0/4", "ff00::/8"),
}
INTERNET = (int(socket.AF_INET), int(socket.AF_INET6))
ALL_OF = {
    int(socket.AF_INET): AddressRule(ipaddress.ip_network("0.0.0.0/0")),
    int(socket.AF_INET6): AddressRule(ipaddress.ip_network("::/0")),
}
_FAMILIES = {
    "AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16, "AF_PACKET": 17, "AF_ALG": 38,
    "AF_VSOCK": 40, "AF_BLUETOOTH": 31, "AF_CAN": 29, "AF_XDP": 44, "AF_TIPC": 30, "AF_KCM": 41,
}  # fmt: skip


def unknown(kind: str, name: str, known: Sequence[str]) -> str:
    """Say that there is no such thing; name what comes close, or else all there is."""
    close = difflib.get_close_matches(name, known, 1)
    if close:
        return f"no {kind} is called `{name}`; did you mean `{close[0]}`?"
    return f"no {kind} is called `{name}`; there are {', '.join(known)}"


def path_prefix(text: str) -> str:
    """Return a path that covers itself and everything below."""
    if text[:1] in ("-", "+"):
        raise Bad(f"`{text}`: a path has no prefix here; one that does not exist matches nothing")
    if not text.startswith("/"):
        raise Bad(f"`{text}` is not absolute; write it from / on")
    if "\0" in text:
        raise Bad(f"`{text!r}` holds a zero byte; no path does")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Bad(f"`{text}` goes up with ..; write where it leads")
    if any(sign in text for sign in "*?["):
        raise Bad(f"`{text}`: there are no patterns; a path covers all that is below it")
    return "/" + "/".join(parts)


def escaped(path: str) -> str:
    """Write a path such that it is one line."""
    return path.replace("\\", "\\\\").replace("\n", "\\n")


_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
#: What the host process counts with.
_BYTES_MAX = (1 << 62) - 1


def size(text: str) -> int:
    """Return the bytes of ``65536`` or ``64K``: K, M, G and T are powers of 1024."""
    digits, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS and text else (text, "")
    if not (digits.isascii() and digits.isdecimal()):
        raise Bad(f"`{text}` is no number of bytes; write 65536, 64K, 10M, 2G or 1T")
    value = int(digits) << _UNITS[unit]
    if value > _BYTES_MAX:
        raise Bad(f"`{text}` is more than can be counted; leave the total out")
    return value


def total(kind: str, text: str) -> Total:
    """Return the total of ``SIZE``, ``PATH SIZE`` or ``ADDRESS[/BITS] [PORT[-PORT]] SIZE``."""
    of, _, last = text.strip().rpartition(" ")
    if not of:
        return Total(kind, size(last))
    if kind.startswith("io-"):
        return Total(kind, size(last), prefix=path_prefix(of.strip()))
    return Total(kind, size(last), addresses=tuple(address(of)))


def ports(text: str) -> tuple[int, int]:
    """Return the first and the last of ``80`` or ``8000-8100``."""
    first, dash, last = text.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise Bad(f"`{text}` is no port; write a number from 0 to 65535, or FIRST-LAST")
    low, high = int(first), int(last) if dash else int(first)
    if high > 65535 or low > high:
        raise Bad(f"`{text}`: ports go from 0 to 65535, and FIRST is not above LAST")
    return low, high


def address(text: str) -> list[AddressRule]:
    """Return the rules for ``ADDRESS[/BITS] [PORT[-PORT]]``; a name may mean two of them."""
    words = text.split()
    if not 1 <= len(words) <= 2:
        raise Bad(f"`{text}`: write ADDRESS[/BITS], then a blank and ports if only some are meant")
    first, last = ports(words[1]) if len(words) == 2 else (0, 65535)
    networks = NAMED.get(words[0], (words[0],))
    found = []
    for name in networks:
        try:
            network = ipaddress.ip_network(name)
        except ValueError as error:
            if "host bits set" in str(error):
                meant = ipaddress.ip_network(name, strict=False)
                raise Bad(f"`{name}` has bits below its prefix; write {meant}") from error
            raise Bad(
                f"`{name}` is no address; write 192.0.2.1, 192.0.2.0/24, 2001:db8::/32, or one "
                f"of {', '.join(NAMED)}"
            ) from error
        if getattr(network.network_address, "scope_id", None):
            raise Bad(f"`{name}` names an interface; leave out what follows %")
        found.append(AddressRule(network, first, last))
    return found


def bind(text: str) -> list[AddressRule]:
    """Return the rules for what systemd writes (``ipv4:80-90``) or what `address` takes."""
    if " " in text.strip() or text in NAMED or "." in text or "::" in text:
        return address(text)
    *parts, last_word = text.split(":")
    families = []
    for part in parts:
        if part in ("tcp", "udp"):
            raise Bad(f"`{text}`: TCP and UDP are not told apart; leave out `{part}:`")
        if part not in ("ipv4", "ipv6"):
            raise Bad(f"`{text}`: write [ipv4:|ipv6:]PORT[-PORT], ADDRESS PORT, or any")
        families.append(int(socket.AF_INET if part == "ipv4" else socket.AF_INET6))
    if len(families) > 1:
        raise Bad(f"`{text}` names two families; leave both out to mean both")
    low, high = (0, 65535) if last_word == "any" else ports(last_word)
    return [AddressRule(ALL_OF[family].network, low, high) for family in families or INTERNET]


def family(text: str) -> int:
    """Return the number of an address family."""
    if text not in _FAMILIES:
        raise Bad(unknown("address family", text, list(_FAMILIES)))
    return _FAMILIES[text]


def negated(items: list[str]) -> tuple[list[str], bool]:
    """Return a list without the ``~`` that its first entry may begin with, and whether it did."""
    words = [word for item in items for word in item.split()]
    denied = bool(words) and words[0].startswith("~")
    if denied:
        words[0] = words[0][1:]
    return [word for word in words if word], denied


def errno_number(text: str) -> int:
    """Return the number of an errno, by its name or itself."""
    known = {name: number for number, name in errno.errorcode.items()}
    if text in known:
        return known[text]
    if text.isdecimal() and int(text) in errno.errorcode:
        return int(text)
    close = difflib.get_close_matches(text.upper(), list(known), 1)
    meant = close[0] if close else "EPERM"
    raise Bad(f"`{text}` is no errno; write its name, like {meant}")
