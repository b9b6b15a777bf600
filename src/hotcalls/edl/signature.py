# SPDX-License-Identifier: Apache-2.0
"""How a C function of an interface looks in Python: which parameters, which results.

One rule, used by the marshalling code and by the stub generator alike; it is written down in
:mod:`hotcalls.edl.pystub`.  Works on the description of an interface
(:mod:`hotcalls.edl.description`), so it needs no EDL text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Description = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Derivation:
    """A size parameter that is computed from buffers: ``len(buffer) == unit * value``."""

    buffer: str
    unit: int


@dataclass(frozen=True, slots=True)
class Signature:
    """The Python side of a function, by the C names of its parameters.

    Attributes
    ----------
    inputs
        Parameters that the caller gives, in order.
    derived
        Parameters that leave the signature, and the buffers that each is computed from.
    outputs
        Parameters that come back behind the return value, in order.
    has_result
        Whether the function returns something itself.
    """

    inputs: tuple[str, ...]
    derived: Mapping[str, tuple[Derivation, ...]]
    outputs: tuple[str, ...]
    has_result: bool


def is_value(parameter: Description) -> bool:
    """Whether a parameter is passed by value."""
    return bool(parameter["direction"] == "value")


def is_fixed_array(parameter: Description) -> bool:
    """Whether a parameter is an array whose size the EDL gives."""
    return bool(parameter.get("dims"))


def element_of(parameter: Description) -> Description:
    """The type of the elements of a pointer or array."""
    type_: Description = parameter["type"]
    if type_["kind"] == "pointer" and not parameter.get("dims"):
        target: Description = type_["to"]
        return target
    return type_


def sizes_of(interface: Description) -> dict[str, int]:
    """The size of every struct of an interface whose size is known."""
    return {
        item["name"]: item["size"]
        for item in interface["structs"]
        if item["tag"] == "struct" and item["size"] is not None
    }


def type_size(type_: Description, structs: Mapping[str, int]) -> int:
    """Bytes of a type; what has no known size counts as single bytes."""
    if type_["kind"] == "struct":
        return structs.get(type_["name"], 1)
    if type_["kind"] == "pointer":
        return 8
    return int(type_.get("size", 1))


def members_signature(item: Description, structs: Mapping[str, int]) -> Signature:
    """The same for the members of a struct that is copied deep, by the same rule."""
    parameters = [
        {**member, "direction": "inout" if member["type"]["kind"] == "pointer" else "value"}
        for member in item["members"]
    ]
    return signature_of({"parameters": parameters, "returns": {"kind": "void"}}, structs)


def signature_of(function: Description, structs: Mapping[str, int]) -> Signature:
    """Derive the Python signature of a function."""
    parameters = function["parameters"]
    derived: dict[str, list[Derivation]] = {}
    for parameter in parameters:
        if is_value(parameter) or is_fixed_array(parameter) or parameter.get("string"):
            continue
        if parameter["direction"] == "out":
            continue
        size, count = parameter.get("size"), parameter.get("count")
        if isinstance(size, str) and isinstance(count, str):
            continue
        if isinstance(size, str):
            name, unit = size, 1 if count is None else count
        elif isinstance(count, str):
            name = count
            unit = type_size(element_of(parameter), structs) if size is None else size
        else:
            continue
        if unit > 0:
            derived.setdefault(name, []).append(Derivation(parameter["name"], unit))
    return Signature(
        tuple(
            p["name"] for p in parameters if p["direction"] != "out" and p["name"] not in derived
        ),
        {name: tuple(places) for name, places in derived.items()},
        tuple(p["name"] for p in parameters if p["direction"] in ("out", "inout")),
        function["returns"]["kind"] != "void",
    )
