# SPDX-License-Identifier: Apache-2.0
"""What ``import hotcalls`` gives inside an enclave: the decorators, errors and secrets.

Enclave side. The package itself is not run there: it launches enclaves, for which it imports much
that has no business inside.
"""

from __future__ import annotations

import sys
from typing import Any

from hotcalls import errors

#: Where each name comes from; besides them, every error.
NAMES = {
    "ecall": "hotcalls.declare",
    "ocall": "hotcalls.declare",
    "startup": "hotcalls.declare",
    "SharedArray": "hotcalls.wire",
    "SecretBytes": "hotcalls.secret_memory",
    "secret_bytes": "hotcalls.secret_memory",
    **{name: "hotcalls.errors" for name in errors.__all__ if name not in ("EdlError", "error_for")},
}


def lookup(name: str) -> Any:
    """Find a name: the ``__getattr__`` of the package."""
    if name not in NAMES:
        raise AttributeError(
            f"hotcalls.{name} is not there inside an enclave; there are {', '.join(sorted(NAMES))}"
        )
    __import__(NAMES[name])
    value = getattr(sys.modules[NAMES[name]], name)
    setattr(sys.modules["hotcalls"], name, value)
    return value


def fill() -> None:
    """Make the names there are attributes of the package, while modules can be imported."""
    package = sys.modules["hotcalls"]
    package.__dict__["__all__"] = sorted(NAMES)
    for name in NAMES:
        lookup(name)
    package.__dict__["__getattr__"] = lookup
