# SPDX-License-Identifier: Apache-2.0
"""What runs in the process of a Python enclave, around the user's module."""
