# SPDX-License-Identifier: Apache-2.0
"""Watching the enclaves that run: which there are, and what their channels say.

Host side. Whoever watches is no part of any call: it reads files of its own user, and memory that
the processes watched can write as they like.
"""
