# SPDX-License-Identifier: Apache-2.0
"""Makes signatures of single types."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from hotcalls.wire import Signature


def echo_of(annotation: Any) -> Signature:
    def echo(value):  # type: ignore[no-untyped-def]
        return value

    echo.__annotations__ = {"value": annotation, "return": annotation}
    return Signature.from_function(echo)


@pytest.fixture
def echo() -> Callable[[Any], Signature]:
    """Return the signature of ``def echo(value: T) -> T``."""
    return echo_of
