# SPDX-License-Identifier: Apache-2.0
"""The interface as canonical JSON.

Its text is what ``--dump json`` prints, what the digest that both sides compare is taken of, and
what an enclave carries in its section ``.hotcalls.interface``, so that Python can call it without a
compiler.  Keys are sorted, nothing but the interface itself is in it (no paths, no positions), and
equal interfaces give equal text.

The form: ``name``, ``includes``, ``enums`` (``name``, ``values``), ``structs`` (``tag``, ``name``,
``size``, ``align``, ``members`` with ``offset``), ``ecalls`` and ``ocalls``; a function has ``id``,
``name``, ``returns``, ``parameters`` and ``ms``, the layout of its message
(:mod:`hotcalls.edl.layout`), which is null when the size of a type is known to the C compiler only.
An attribute that was not given is left out.
"""

from __future__ import annotations

import json
from typing import Any

from hotcalls.edl.layout import Layouts, Marshalling
from hotcalls.edl.model import (
    Composite,
    Enum,
    Function,
    Interface,
    NamedType,
    Parameter,
    PointerType,
    ScalarType,
    Type,
    VoidType,
)

ABI = 1
"""Version of everything that the two sides of a channel must agree on (``HC_ABI``)."""


def canonical(description: dict[str, Any]) -> str:
    """JSON with one spelling: sorted keys, no spaces, ASCII."""
    return json.dumps(description, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def describe(interface: Interface) -> dict[str, Any]:
    """The interface as plain data."""
    layouts = Layouts(interface)
    return {
        "name": interface.name,
        "includes": {
            "both": list(interface.includes),
            "trusted": list(interface.trusted_includes),
            "untrusted": list(interface.untrusted_includes),
        },
        "enums": [_enum(t) for t in interface.types if isinstance(t, Enum)],
        "structs": [
            _composite(interface, layouts, t) for t in interface.types if isinstance(t, Composite)
        ],
        "ecalls": [_function(interface, layouts, f) for f in interface.ecalls],
        "ocalls": [_function(interface, layouts, f) for f in interface.ocalls],
    }


def section_text(interface: Interface) -> str:
    """What an enclave carries: the interface with the ABI version and the digest around it."""
    head = canonical({"abi": ABI, "digest": interface.digest.hex()})
    # The interface is large and its text known; its key is the last in the order of keys.
    return f'{head[:-1]},"interface":{interface.to_json()}}}'


def _type(interface: Interface, type_: Type) -> dict[str, Any]:
    type_ = interface.resolve(type_)
    if isinstance(type_, VoidType):
        return {"kind": "void"}
    if isinstance(type_, ScalarType):
        return {
            "kind": type_.kind,
            "name": type_.name,
            "size": type_.size,
            "signed": type_.signed,
        }
    if isinstance(type_, PointerType):
        return {"kind": "pointer", "to": _type(interface, type_.to)}
    assert isinstance(type_, NamedType)
    if type_.tag == "enum":
        return {"kind": "enum", "name": type_.name, "size": 4, "signed": True}
    return {"kind": type_.tag, "name": type_.name}


def _enum(enum: Enum) -> dict[str, Any]:
    return {"name": enum.name, "values": [[name, value] for name, value in enum.values().items()]}


def _composite(interface: Interface, layouts: Layouts, item: Composite) -> dict[str, Any]:
    found = layouts.composite(item.tag, item.name)
    members = []
    for index, member in enumerate(item.members):
        members.append(
            {
                "name": member.name,
                "type": _type(interface, member.type),
                "offset": found[1][index].offset if found else None,
                **_given(dims=list(member.dims), size=member.size, count=member.count),
            }
        )
    return {
        "tag": item.tag,
        "name": item.name,
        "size": found[0].size if found else None,
        "align": found[0].align if found else None,
        "members": members,
    }


def _parameter(interface: Interface, parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "type": _type(interface, parameter.type),
        "direction": parameter.direction.value,
        **_given(
            dims=list(parameter.dims),
            size=parameter.size,
            count=parameter.count,
            string=parameter.string,
            const=parameter.const,
            isptr=parameter.isptr,
            isary=parameter.isary,
            nrz=parameter.nrz,
        ),
    }


def _given(**values: Any) -> dict[str, Any]:
    """What was written in the EDL: everything but None, False and empty lists."""
    return {
        key: value
        for key, value in values.items()
        if value is not None and value is not False and value != []
    }


def _marshalling(interface: Interface, layout: Marshalling | None) -> dict[str, Any] | None:
    if layout is None:
        return None
    return {
        "size": layout.size,
        "fields": [
            {
                "role": field.role,
                "parameter": field.parameter,
                "offset": field.offset,
                "size": field.size,
                "type": _type(interface, field.type),
            }
            for field in layout.fields
            if field.role != "padding"
        ],
    }


def _function(interface: Interface, layouts: Layouts, function: Function) -> dict[str, Any]:
    data: dict[str, Any] = {
        "id": function.id,
        "name": function.name,
        "hot": function.hot,
        "returns": _type(interface, function.returns),
        "parameters": [_parameter(interface, p) for p in function.parameters],
        "ms": _marshalling(interface, layouts.marshalling(function)),
    }
    if function.trusted:
        data["public"] = function.public
    else:
        data["allow"] = list(function.allow)
        data["propagate_errno"] = function.propagate_errno
        data["convention"] = function.convention
        data["dllimport"] = function.dllimport
    return data
