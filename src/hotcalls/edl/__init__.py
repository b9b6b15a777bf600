# SPDX-License-Identifier: Apache-2.0
"""The EDL compiler: the interface language of enclaves, checked, and turned into code.

The language is that of Intel's ``edger8r``, with its rules.  What this project adds:

``nrz``
    *No redundant zeroing*, an attribute of parameters: an ``[out, nrz]`` buffer is not filled with
    zeros before the callee gets it.  Write it only where the callee is certain to overwrite the
    whole buffer, on every path: what it leaves alone reaches the caller as it was in memory.
``size=`` and ``count=`` with ``user_check``
    How much of the shared memory behind the pointer is checked; one element without them.

``parse_file(path, dialect="intel")`` refuses both.

The stages, each in its module: :mod:`~hotcalls.edl.preprocess` (text to text),
:mod:`~hotcalls.edl.parser` (text to tree),
:mod:`~hotcalls.edl.imports` (files), :mod:`~hotcalls.edl.check` (tree to model),
:mod:`~hotcalls.edl.process` (model to C and Python), :mod:`~hotcalls.edl.sgx` (model to C for the
SGX SDK), and :mod:`~hotcalls.edl.marshal`, which calls
a built enclave from its description alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hotcalls.edl.diagnostics import Diagnostic, EdlError
from hotcalls.edl.model import Interface

if TYPE_CHECKING:
    from hotcalls.edl.check import parse_file, parse_text

__all__ = ["Diagnostic", "EdlError", "Interface", "parse_file", "parse_text"]


def __getattr__(name: str) -> Any:
    # Launching an enclave needs its description only: the parser library takes long to import.
    if name in ("parse_file", "parse_text"):
        from hotcalls.edl import check

        return getattr(check, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
