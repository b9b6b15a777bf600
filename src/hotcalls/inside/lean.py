# SPDX-License-Identifier: Apache-2.0
"""Imports msgspec without what it can do without; imported before everything else of the package.

Enclave side. msgspec takes from typing_extensions, where that is installed, what typing has had
since Python 3.11. Importing it is a tenth of a launch. A user's module that imports it gets it.
"""

from __future__ import annotations

import importlib
import sys

if sys.version_info >= (3, 11) and "typing_extensions" not in sys.modules:
    # None: importing it fails.
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]
    try:
        importlib.import_module("msgspec")
    finally:
        del sys.modules["typing_extensions"]
