# SPDX-License-Identifier: Apache-2.0
"""Lets the tests of this folder import native.py and stepped.py, wherever pytest is started."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
