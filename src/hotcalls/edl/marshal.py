# SPDX-License-Identifier: Apache-2.0
"""Calls of an enclave, and of the host, as bytes: Python's counterpart of the generated C.

Used by the host's Python runtime, which moves the bytes and knows nothing of their meaning.  The
layout is that of :mod:`hotcalls.edl.layout`, taken from the description that the enclave carries.
What the caller gives is refused with an error that names function, parameter, what was expected and
what was given; what the enclave sends is untrusted, and what does not follow the interface is a
:class:`MessageError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from hotcalls.edl.deep import deep_structs
from hotcalls.edl.ecalls import EcallCodec
from hotcalls.edl.messages import Message, SharedMemory
from hotcalls.edl.ocalls import OcallCodec
from hotcalls.edl.signature import Description, sizes_of
from hotcalls.edl.values import MessageError, Types

__all__ = [
    "Codecs",
    "EcallCodec",
    "Message",
    "MessageError",
    "OcallCodec",
    "SharedMemory",
    "codecs",
]


class Codecs(NamedTuple):
    """All functions of an interface, by id."""

    ecalls: tuple[EcallCodec, ...]
    ocalls: tuple[OcallCodec, ...]


def codecs(
    interface: Description,
    shared: SharedMemory | None = None,
    factories: Mapping[str, Callable[..., Any]] | None = None,
) -> Codecs:
    """Make the codecs for every function of an interface.

    Parameters
    ----------
    interface
        Its description (``read_interface(path)["interface"]``).
    shared
        The channel's shared memory, for ``user_check`` parameters.
    factories
        What to make structs of, by their names; named tuples otherwise.
    """
    types = Types(interface, factories)
    structs = sizes_of(interface)
    deep = deep_structs(interface, types, structs, factories)
    return Codecs(
        tuple(EcallCodec(f, types, structs, shared, deep) for f in interface["ecalls"]),
        tuple(OcallCodec(f, types, structs, shared, deep) for f in interface["ocalls"]),
    )
