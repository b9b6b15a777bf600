# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with an evaluation. Host side."""

from __future__ import annotations

from hotcalls.errors import HotcallsError


class EvaluateError(HotcallsError):
    """A server or its client cannot be run, or a result cannot be read; says what to do."""


class WrongReplyError(EvaluateError):
    """A server gave another answer than it had to: its figures mean nothing."""
