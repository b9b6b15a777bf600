# SPDX-License-Identifier: Apache-2.0
"""Unmodified programs in process enclaves: the program runner and what is built on it."""
