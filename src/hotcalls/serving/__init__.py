# SPDX-License-Identifier: Apache-2.0
"""One enclave for many processes: ``hotcalls serve`` and :func:`hotcalls.connect`.

Host side, both of them. The server launches the enclave with a number of channels, hands one to
each client process, and is in no call's way from then on.
"""
