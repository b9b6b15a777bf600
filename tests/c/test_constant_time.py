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
from hotcalls.edl.check import parse_file
from hotcalls.edl.process import emit

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


#: Goes where the secret says: a line of the cache tells which.
TABLE = "    static const volatile uint8_t g_table[256];\n    difference = g_table[g_key[0]];\n"
#: Of the parts that make the tag of the secret: an early end of the hash.
HASH = "    hmac_sha256(g_key, KEY_SIZE, message, size, expected);\n"
SKIPS = HASH.replace("    hmac", "    if (g_key[3] != 1)\n        hmac")


def follow_secret(folder: Path, source: str, level: str) -> subprocess.CompletedProcess[str]:
    """Run the example under valgrind, its key undefined: 9 if anything depended on the key."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        pytest.skip("valgrind is not installed (apt-get install valgrind)")
    example = native.ROOT / "examples/vault"
    for name, text in emit(parse_file(example / "vault.edl"), untrusted=False, stub=False).items():
        (folder / name).write_text(text)
    shutil.copy(example / "sha256.h", folder)
    (folder / "vault.c").write_text(source)
    program = folder / "secret_paths"
    subprocess.run(
        [native.CC, *native.WARNINGS, level, f'-DVAULT="{folder / "vault.c"}"', f"-I{folder}",
         f"-I{native.INCLUDE}", f"-I{native.NATIVE}", "-o", str(program),
         str(native.TESTS / "c/secret_paths.c")],
        check=True,
    )  # fmt: skip
    return subprocess.run(
        [valgrind, "-q", "--error-exitcode=9", str(program)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.claim("H-CONSTANT-TIME")
@pytest.mark.parametrize("level", ["-O0", "-O2", "-O3"])
def test_no_branch_and_no_address_depends_on_the_secret(tmp_path: Path, level: str) -> None:
    source = (native.ROOT / "examples/vault/vault.c").read_text()
    done = follow_secret(tmp_path, source, level)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("part", "instead", "message"),
    [
        (LOOP, EARLY, "Conditional jump"),
        (LOOP, "    difference = memcmp(expected, tag, TAG_SIZE) != 0;\n", "Conditional jump"),
        (LOOP, TABLE + LOOP, "Use of uninitialised value"),
        (HASH, SKIPS, "Conditional jump"),
    ],
    ids=["early", "memcmp", "table", "hash"],
)
def test_path_that_depends_on_the_secret_is_found_out(
    tmp_path: Path, part: str, instead: str, message: str
) -> None:
    """The check can fail."""
    source = (native.ROOT / "examples/vault/vault.c").read_text()
    assert part in source
    done = follow_secret(tmp_path, source.replace(part, instead), "-O2")
    assert done.returncode == 9
    assert message in done.stderr
