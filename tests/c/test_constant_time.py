# SPDX-License-Identifier: Apache-2.0
"""Secrets are compared in a time that does not depend on where they differ.

The runtime itself compares none: what it has of tokens and digests is public to both sides. So each
comparison of bytes in it is listed here, with what it compares; and the example that does compare a
secret shows in its machine code that nothing branches on it.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import native
from hotcalls.build import build

COMPARING = re.compile(r"\b(memcmp|bcmp)\s*\(")
#: The comparisons of bytes in the runtime, on either side of the boundary, and why none of them is
#: of a secret.
PUBLIC = {
    ("native/enclave_main.c", "memcmp"): "digests of the interface, which is in the enclave's file",
    (
        "native/python_serve.c",
        "memcmp",
    ): "the message of a call with that of a call without arguments",
}
FILES = ("enclave_*.c", "sandbox_*.c", "endpoint*.c", "python_*.c", "host_*.c")


@pytest.mark.claim("H-CONSTANT-TIME")
def test_no_function_of_the_runtime_compares_bytes_that_are_not_public() -> None:
    files = [*native.sources(*FILES), *sorted((native.INCLUDE / "hotcalls").glob("*.h"))]
    assert len(files) > 30
    found = set()
    for path in files:
        text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
        found |= {(str(path.relative_to(native.ROOT)), name) for name in COMPARING.findall(text)}
    assert found == set(PUBLIC)


def compare(folder: Path, source: str) -> list[str]:
    """What `verify` does once it has computed what it compares with, as machine code."""
    example = native.ROOT / "examples/vault"
    shutil.copy(example / "sha256.h", folder)
    (folder / "vault.c").write_text(source)
    build(example / "vault.edl", [folder / "vault.c"], folder / "vault.enclave.so")
    text = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", str(folder / "vault.enclave.so")],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    body = text.partition("<verify>:\n")[2].partition("\n\n")[0].splitlines()
    lines = [line.split("\t", 1)[1] for line in body if "\t" in line]
    last_hash = max(i for i, line in enumerate(lines) if re.search(r"call.*<(hmac_)?sha256", line))
    # The stack protector's jump is taken on its own value.
    return [line for line in lines[last_hash + 1 :] if "__stack_chk_fail" not in line]


#: A comparison of the loop's counter, or by the stack protector.
PLAIN = re.compile(r"%fs:0x28|cmp\s+\$0x[0-9a-f]+,%r|cmp\s+%r\w+,%r")


def branches(lines: list[str]) -> list[str]:
    """Jumps that depend on what was compared, and calls of functions that would."""
    found = []
    for before, line in zip(["", *lines], lines, strict=False):
        if re.search(r"\bcall\b.*(memcmp|bcmp|strcmp)", line) or (
            re.match(r"j(?!mp)[a-z]+\s", line) and not PLAIN.search(before)
        ):
            found.append(line)
    return found


EARLY = """    for (size_t i = 0; i < TAG_SIZE; i++)
        if (expected[i] != tag[i])
            return 0;
"""
LOOP = """    for (size_t i = 0; i < TAG_SIZE; i++)
        difference |= (uint8_t)(expected[i] ^ tag[i]);
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="instructions of x86-64")
@pytest.mark.claim("H-CONSTANT-TIME")
def test_example_compares_its_secret_without_a_branch(tmp_path: Path) -> None:
    source = (native.ROOT / "examples/vault/vault.c").read_text()
    assert LOOP in source
    assert branches(compare(tmp_path, source)) == []


@pytest.mark.skipif(platform.machine() != "x86_64", reason="instructions of x86-64")
@pytest.mark.parametrize("instead", [EARLY, "    difference = memcmp(expected, tag, 32) != 0;\n"])
def test_comparison_that_stops_early_is_found_out(tmp_path: Path, instead: str) -> None:
    """The check can fail."""
    source = (native.ROOT / "examples/vault/vault.c").read_text().replace(LOOP, instead)
    assert branches(compare(tmp_path, source)) != []
