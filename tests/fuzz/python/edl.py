# SPDX-License-Identifier: Apache-2.0
"""Any text as an interface: code that is the same each time, or an EdlError that says where."""

from __future__ import annotations

from hotcalls.edl import EdlError, parse_text
from hotcalls.edl.process import emit
from hotcalls.edl.sgx import emit_sgx

#: What most texts need around them to be anything at all; the first byte says which.
_AROUND = (
    "{}",
    "enclave {{ trusted {{ public void root(void); {} }}; }};",
    "enclave {{ {} trusted {{ public void root(void); }}; untrusted {{ void o(void); }}; }};",
    "enclave {{ struct s {{ {} }}; trusted {{ public void f([in] struct s *p); }}; }};",
    "enclave {{ trusted {{ public void root(void); }}; untrusted {{ {} }}; }};",
    "enclave {{ trusted {{ public int f({}); }}; }};",
)


def run(data: bytes) -> None:
    """Compile it."""
    text = data[1:].decode("utf-8", "replace")
    text = _AROUND[(data[0] if data else 0) % len(_AROUND)].format(text)
    try:
        interface = parse_text(text, "fuzz.edl")
    except EdlError as error:
        lines = text.count("\n") + 2
        assert error.errors, "an error without a diagnostic"
        for diagnostic in error.errors:
            assert diagnostic.rule
            assert diagnostic.message
            assert 0 <= diagnostic.line <= lines, diagnostic
        assert "fuzz.edl" in str(error)
        return
    for make in (emit, emit_sgx):
        try:
            first = make(interface)
        except EdlError as error:
            # The SGX target lacks some of what process enclaves have.
            assert error.errors
            continue
        assert make(interface) == first, "the same interface made other text"
