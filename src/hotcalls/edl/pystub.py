# SPDX-License-Identifier: Apache-2.0
"""The typed Python stub of an enclave, ``NAME_u.py``, and the rule by which C looks in Python.

The rule, which :mod:`hotcalls.edl.signature` and :mod:`hotcalls.edl.marshal` carry out:

- A parameter that is the ``size=`` or ``count=`` of an ``[in]``, ``[in, out]`` or ``[user_check]``
  buffer is computed from the length of the buffer and leaves the signature; several buffers that
  share it must agree.  One that only ``[out]`` buffers use stays, as an int.  With both ``size=``
  and ``count=`` by name nothing can be computed, and both stay.
- Numbers, enums and characters are int or float, ``bool`` is bool, strings are str (UTF-8, with
  surrogate escapes for other bytes).  A struct is a named tuple; tuples, mappings and objects with
  its fields are taken too.
- A pointer without ``size=`` and ``count=`` is the value that it points to.
- A struct that is copied deep is a named tuple without the members that only say how much its
  pointers point to; these are buffers, or None.  The same two rules apply to them.  Several structs
  are a sequence of such.
- Buffers of bytes (``void``, ``char``, ``uint8_t``, ``int8_t``, and types that only a C header
  knows) are bytes-like going in and bytes coming out.  Buffers of anything wider are sequences
  going in, or bytes-like objects of such elements (``array``, NumPy), and lists coming out.
- Fixed arrays follow the same rule, nested for several dimensions; of bytes they are flat.
- ``[user_check]`` takes a memoryview of the enclave's shared memory.
- None is NULL, where a pointer goes in.  ``[out]`` buffers are never NULL.
- The result is the return value, or a tuple of it and the ``[out]`` and ``[in, out]`` buffers in
  the order of the parameters; None when there is neither.
- Ocalls are the mirror image: the callable gets what goes in and returns what comes out; bytes that
  it returns may be shorter than the buffer, the rest is zero.
- A private ecall is called like any other, from within an ocall that allows it.
- A name that Python reserves gets ``_`` behind it (so do ``count`` and ``index`` in structs); one
  that begins with ``_`` gets ``x`` before it.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from typing import Any

from hotcalls.edl.description import describe
from hotcalls.edl.model import Interface
from hotcalls.edl.names import field_name, python_name
from hotcalls.edl.signature import (
    Description,
    element_of,
    is_fixed_array,
    is_value,
    members_signature,
    signature_of,
    sizes_of,
    type_size,
)

_COLUMNS = 88  # ruff's and black's


def emit_stub(interface: Interface, enclave_file: str) -> str:
    """Generate the stub of an interface that the ``process`` target accepts."""
    from hotcalls.edl.process import render

    stub = _Stub(describe(interface))
    return render(
        "stub.py.j2",
        {
            "file": interface.file,
            "name": interface.name,
            "enclave_file": json.dumps(enclave_file),
            "class_name": stub.class_name,
            "structs": stub.structs(),
            "enums": stub.enums(),
            "ecalls": stub.ecalls(),
            "ocalls": stub.ocalls(),
            "ocalls_as_class": all(key.isidentifier() for key in stub.ocall_keys()),
            "uses": stub.used,
        },
    )


class _Stub:
    def __init__(self, description: Description) -> None:
        self._description = description
        self._sizes = sizes_of(description)
        self._deep = {
            item["name"]
            for item in description["structs"]
            if any(member.get("size") or member.get("count") for member in item["members"])
        }
        self.used: set[str] = set()
        taken = {
            "Any",
            "Buffer",
            "Callable",
            "IntEnum",
            "NamedTuple",
            "Ocalls",
            "Path",
            "Protocol",
            "Self",
            "Sequence",
            "TypedDict",
            "cast",
            "hotcalls",
            "launch",
        }
        self.class_name = _class_name(description["name"], taken)
        self._class_of = {
            item["name"]: _class_name(item["name"], taken)
            for item in description["structs"]
            if item["tag"] == "struct"
        }
        self._enum_class = {
            item["name"]: _class_name(item["name"], taken)
            for item in description["enums"]
            if item["name"]
        }

    def ocall_keys(self) -> list[str]:
        return [
            function["name"] if python_name(function["name"]) == function["name"] else "-"
            for function in self._description["ocalls"]
        ]

    def structs(self) -> list[dict[str, Any]]:
        known = []
        for item in self._description["structs"]:
            if item["tag"] != "struct" or item["size"] is None:
                continue
            if any(self._untyped(member) for member in item["members"]):
                continue
            by_name = {member["name"]: member for member in item["members"]}
            fields = [
                (field_name(name), self._member(by_name[name]))
                for name in members_signature(item, self._sizes).inputs
            ]
            self.used.add("NamedTuple")
            known.append(
                {"name": item["name"], "class": self._class_of[item["name"]], "fields": fields}
            )
        return known

    def enums(self) -> list[dict[str, Any]]:
        enums = []
        for item in self._description["enums"]:
            values = [
                (f"{name}_" if name == "mro" else python_name(name), value)
                for name, value in item["values"]
                if value is not None
            ]
            if item["name"] and values:
                self.used.add("IntEnum")
                enums.append({"class": self._enum_class[item["name"]], "values": values})
        return enums

    @staticmethod
    def _untyped(member: Description) -> bool:
        kind = member["type"]["kind"]
        if kind == "pointer":
            return member.get("size") is None and member.get("count") is None
        return kind in ("union", "foreign")

    def _member(self, member: Description) -> str:
        if member["type"]["kind"] == "pointer":
            return self._type({**member, "direction": "inout"}, given=True, null=True)
        type_ = self._scalar(member["type"])
        if not member.get("dims"):
            return type_
        return self._fixed(member, type_, given=False)

    def _scalar(self, type_: Description) -> str:
        kind = type_["kind"]
        if kind == "struct":
            return self._class_of.get(type_["name"], "Any")
        return {"float": "float", "bool": "bool"}.get(kind, "int")

    def _fixed(self, declaration: Description, element: str, *, given: bool) -> str:
        type_ = declaration["type"]
        if type_["kind"] in ("int", "char") and type_["size"] == 1:
            return self._buffer(given)
        container = "Sequence" if given else "list"
        text = element
        for _ in declaration["dims"]:
            text = f"{container}[{text}]"
        if given:
            self.used.add("Sequence")
            return f"{text} | {self._buffer(given)}"
        return text

    def _buffer(self, given: bool) -> str:
        if given:
            self.used.add("Buffer")
        return "Buffer" if given else "bytes"

    def _type(self, parameter: Description, *, given: bool, null: bool) -> str:
        """The type of a parameter that Python gives, or that it gets."""
        element = element_of(parameter)
        if is_value(parameter):
            return self._scalar(parameter["type"])
        if parameter["direction"] == "user_check":
            text = "memoryview"
        elif parameter.get("string"):
            text = "str"
        elif is_fixed_array(parameter):
            text = self._fixed(parameter, self._scalar(element), given=given)
        elif element["kind"] in ("void", "foreign", "union") or (
            element["kind"] == "struct" and element["name"] not in self._sizes
        ):
            text = self._buffer(given)
        elif parameter.get("size") is None and parameter.get("count") is None:
            text = self._scalar(element)
        elif type_size(element, self._sizes) == 1 and element["kind"] in ("int", "char"):
            text = self._buffer(given)
        elif given and element["kind"] == "struct" and element["name"] in self._deep:
            self.used.add("Sequence")
            text = f"Sequence[{self._scalar(element)}]"
        elif given:
            self.used.add("Sequence")
            text = f"Sequence[{self._scalar(element)}] | {self._buffer(given)}"
        else:
            text = f"list[{self._scalar(element)}]"
        return f"{text} | None" if null else text

    def _result(self, function: Description, outputs: Sequence[str], *, given: bool) -> str:
        parts = []
        if function["returns"]["kind"] != "void":
            parts.append(self._scalar(function["returns"]))
        by_name = {p["name"]: p for p in function["parameters"]}
        for name in outputs:
            # An [in, out] buffer that was None comes back as None.
            null = by_name[name]["direction"] == "inout"
            parts.append(self._type(by_name[name], given=given, null=null))
        if not parts:
            return "None"
        return parts[0] if len(parts) == 1 else f"tuple[{', '.join(parts)}]"

    def ecalls(self) -> list[dict[str, str]]:
        methods = []
        for function in self._description["ecalls"]:
            allowed = self._allowed_by(function)
            if not function["public"] and not allowed:
                continue
            signature = signature_of(function, self._sizes)
            by_name = {p["name"]: p for p in function["parameters"]}
            arguments = ["self"] + [
                f"{python_name(name)}: {self._type(by_name[name], given=True, null=True)}"
                for name in signature.inputs
            ]
            result = self._result(function, signature.outputs, given=False)
            methods.append(
                {
                    "text": _wrap(f"    def {python_name(function['name'])}", arguments, result),
                    "name": function["name"],
                    "note": "" if function["public"] else _note(allowed),
                }
            )
        return methods

    def _allowed_by(self, function: Description) -> list[str]:
        """The ocalls during which a private ecall may be made."""
        ocalls = self._description["ocalls"]
        return [ocall["name"] for ocall in ocalls if function["name"] in ocall["allow"]]

    def ocalls(self) -> list[dict[str, str]]:
        callables = []
        for function in self._description["ocalls"]:
            signature = signature_of(function, self._sizes)
            by_name = {p["name"]: p for p in function["parameters"]}
            arguments = ", ".join(
                self._type(by_name[name], given=False, null=True) for name in signature.inputs
            )
            result = self._result(function, signature.outputs, given=True)
            self.used.update(("Callable", "TypedDict"))
            callables.append(
                {"name": function["name"], "type": f"Callable[[{arguments}], {result}]"}
            )
        return callables


def _note(allowed: Sequence[str]) -> str:
    names = [f"``{name}``" for name in allowed]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
    text = f"It is private: call it from within {listed}, during which it is allowed."
    indent = " " * 8
    return textwrap.fill(
        text, _COLUMNS, initial_indent=indent, subsequent_indent=indent, break_long_words=False
    )


def _class_name(name: str, taken: set[str]) -> str:
    words = [word for word in name.split("_") if word]
    text = "".join(word[0].upper() + word[1:] for word in words) or "X"
    if text[0].isdigit():
        text = f"X{text}"
    while text in taken:
        text += "_"
    taken.add(text)
    return text


def _wrap(head: str, arguments: Sequence[str], result: str) -> str:
    line = f"{head}({', '.join(arguments)}) -> {result}:"
    if len(line) <= _COLUMNS:
        return line
    inner = f"        {', '.join(arguments)}"
    if len(inner) <= _COLUMNS:
        return f"{head}(\n{inner}\n    ) -> {result}:"
    listed = "".join(f"        {argument},\n" for argument in arguments)
    return f"{head}(\n{listed}    ) -> {result}:"
