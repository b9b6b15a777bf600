# SPDX-License-Identifier: Apache-2.0
"""``hotcalls bench --python``: what a call from Python into Python in another process costs.

Host side. ``python -m hotcalls.bench.python`` is the worker: one process of it is one repetition,
started by ``hotcalls.bench.measure`` and speaking as the worker in C does. ``peers`` has what
people use today, each as a client and a server of its own, ``floor`` the bare extension that a
call is measured against, ``enclaves`` the Python enclave. Nothing here is used outside of the
benchmark.
"""
