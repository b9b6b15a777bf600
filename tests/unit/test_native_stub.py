# SPDX-License-Identifier: Apache-2.0
"""``_native.pyi`` says what the compiled extension has: names, methods, attributes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import hotcalls
from hotcalls import _native

STUB = Path(hotcalls.__file__).parent / "_native.pyi"


def declared() -> ast.Module:
    return ast.parse(STUB.read_text(encoding="utf-8"))


def names(body: list[ast.stmt]) -> set[str]:
    found = set()
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
    return found


def public(value: object) -> set[str]:
    return {name for name in vars(value) if not name.startswith("_")}


def test_stub_names_everything_public_and_nothing_else() -> None:
    assert names(declared().body) == public(_native)


@pytest.mark.parametrize(
    "name", [node.name for node in declared().body if isinstance(node, ast.ClassDef)]
)
def test_stub_class_has_the_methods_and_attributes_of_the_extension(name: str) -> None:
    node = next(n for n in declared().body if isinstance(n, ast.ClassDef) and n.name == name)
    said = {each for each in names(node.body) if not each.startswith("_")}
    class_ = getattr(_native, name)
    if issubclass(class_, Exception):
        there = public(class_("HC_OK", "x")) | public(class_)
    else:
        there = public(class_)
    assert said == there


@pytest.mark.parametrize("name", ["Enclave", "Function", "Posted"])
def test_stub_methods_take_the_parameters_of_the_extension(name: str) -> None:
    node = next(n for n in declared().body if isinstance(n, ast.ClassDef) and n.name == name)
    for method in node.body:
        if not isinstance(method, ast.FunctionDef) or method.name.startswith("_"):
            continue
        text = getattr(_native, name).__dict__[method.name]
        arguments = [argument.arg for argument in method.args.args]
        code = getattr(text, "__code__", None)
        if code is not None:
            assert list(code.co_varnames[: code.co_argcount]) == arguments, method.name


def test_status_names_and_texts_belong_together() -> None:
    assert _native.STATUS_NAMES[0] == "HC_OK"
    assert set(_native.STATUS_TEXTS) == set(_native.STATUS_NAMES)
    assert _native.INLINE_SIZE >= 40
