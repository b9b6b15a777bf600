# SPDX-License-Identifier: Apache-2.0
"""``hotcalls evaluate``: real servers with real clients, outside an enclave and inside one."""
