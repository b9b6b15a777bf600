# SPDX-License-Identifier: Apache-2.0
"""The same signer without an enclave, as it is usually written: the process holds the key itself.

Only for attack.py to have something to compare with. Gets its key from the environment, prints its
public key, and lives until its standard input is closed.
"""

from __future__ import annotations

import os
import sys

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

KEY = load_pem_private_key(os.environ["SIGNING_KEY"].encode(), None)
PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
print(PUBLIC.decode(), flush=True)
sys.stdin.read()
