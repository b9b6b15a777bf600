# SPDX-License-Identifier: Apache-2.0
"""Calling the module's ``@hotcalls.startup`` functions.

Enclave side, before the lock-down; and the host where it runs the module inline.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

from hotcalls.declare import declarations
from hotcalls.inside.secrets import Secrets


def run(module: ModuleType, secrets: Secrets, arguments: Any) -> None:
    """Call every start-up function, in the order of the module, with what it asks for by name.

    `secrets` are closed afterwards. `arguments` is what ``launch(args=…)`` gave: the parameter
    `args`; when it is a dict, its items go by their names to other parameters.
    """
    named = arguments if isinstance(arguments, dict) else {}
    unused = set(named)
    try:
        functions = declarations(module).startups
        for function in functions:
            given, used = _arguments(function, secrets, arguments, named)
            unused -= used
            function(**given)
    finally:
        secrets.close()
    if arguments is not None and not functions:
        raise TypeError("launch(args=…) is given, but the module has no @hotcalls.startup function")
    if unused:
        listed = ", ".join(map(repr, sorted(unused)))
        raise TypeError(
            f"launch(args=…) has {listed}, which no @hotcalls.startup function takes as a parameter"
        )


def _arguments(
    function: Callable[..., Any], secrets: Secrets, arguments: Any, named: dict[str, Any]
) -> tuple[dict[str, Any], set[str]]:
    """What to call the function with, and which of `named` it takes."""
    given: dict[str, Any] = {}
    used: set[str] = set()
    name = function.__name__
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            given.update({key: value for key, value in named.items() if key not in given})
            used |= set(named)
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            raise TypeError(
                f"{name}(): a start-up function is called by the names of its parameters, which "
                f"{parameter} has not"
            )
        elif parameter.name == "secrets":
            given["secrets"] = secrets
        elif parameter.name == "args":
            given["args"] = arguments
            used |= set(named)
        elif parameter.name in named:
            given[parameter.name] = named[parameter.name]
            used.add(parameter.name)
        elif parameter.default is parameter.empty:
            raise TypeError(
                f"{name}(): nothing is given for parameter {parameter.name!r}; a start-up function "
                f"takes 'secrets', 'args', and what launch(args={{{parameter.name!r}: …}}) gives"
            )
    return given, used
