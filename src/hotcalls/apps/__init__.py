# SPDX-License-Identifier: Apache-2.0
"""Unmodified programs in a process enclave: policies, traces, and the servers that are measured.

Host side, and outside both processes of ``hotcalls run``: what is here starts them, tells them
what is allowed, and reads what they report.
"""
