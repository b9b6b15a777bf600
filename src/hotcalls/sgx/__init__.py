# SPDX-License-Identifier: Apache-2.0
"""Projects of Intel's SGX SDK: how they are built, and what stands in for the SDK without it.

`project` knows the commands; `stand_in` makes a folder that looks like an installed SDK in
simulation mode, from a few hundred lines of our own.  It protects nothing and costs what no
processor with SGX costs: it is for building and running, not for measuring transitions.
"""
