# SPDX-License-Identifier: Apache-2.0
"""Compiling without garbage collection.

Used by the command lines.  A large interface is a million small objects that live until the end;
looking through them for garbage again and again takes a fifth of the time.  What is read is
bounded, so what is allocated is too.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def collection_paused() -> Iterator[None]:
    """Let no collection run meanwhile."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
