# SPDX-License-Identifier: Apache-2.0
"""Each check of the code that copies structs deep is needed: without it test_deep.py fails.

Both sides run under AddressSanitizer. The sides without a check are compiled here, and test_deep.py
runs with them in a process of its own, a fork of one that has imported everything.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import DEVNULL, PIPE

import pytest

import native
from hotcalls.edl import parse_file
from hotcalls.edl.process import emit

HERE = Path(__file__).resolve().parent
FLAGS = ["-fsanitize=address", "-O0", "-Wno-error"]
FAIL = r"\n +return [\w= :?]+;\n"

#: Which side, what is taken away, and what stands there instead.
MUTANTS = {
    "bridge: whole structs": (
        "t", r"(deep_open\((?:.*\n)*?)    if \(size % type->stride != 0\)" + FAIL, r"\1"),
    "bridge: no such size": (
        "t", r"(deep_open\((?:.*\n)*?        status = )(type->sizes.*\n) +if.*\n.*\n",
        r"\1HC_OK; (void)\2"),
    "bridge: negative size": ("t", r"    if \(s->bytes < 0\)" + FAIL, ""),
    "bridge: overflow": (
        "t", r"    if \(!hc_size_mul\(s->height, s->width, &sizes\[2\]\)\)" + FAIL,
        "    sizes[2] = s->height * s->width;\n"),
    "bridge: rest of the message": (
        "t", r"(hc_frame_inout\(frame, one->size,.*\n) +if .*\n +return status;\n", r"\1"),
    "bridge: truth of what is pointed to": (
        "t", r"(deep_open\((?:.*\n)*?) +if \(type->targets\[i\] != NULL\)\n.*\n", r"\1"),
    "bridge: pointers are its own": (
        "t", r"            deep_set\(s \+ type->at\[i\], one->pointer\);\n", ""),
    "reply: no such size": (
        "t", r"(deep_reply\((?:.*\n)*?        enum hc_status status = )(type->sizes.*\n)\n"
        r" +if.*\n.*\n", r"\1HC_OK; (void)\2(void)status;\n"),
    "reply: no more than came": (
        "t", r"            if \(sizes\[i\] > deep->size\)\n +return HC_ERR_ARGUMENT;\n", ""),
    "reply: pointers stay": (
        "t", r"            deep_mark\(s \+ type->at\[i\], deep->pointer != NULL\);\n", ""),
    "reply: padding of what is pointed to": (
        "t", r"(deep_reply\((?:.*\n)*?) +if \(type->targets\[i\] != NULL\)\n.*\n", r"\1"),
    "bridge: error of opening": (
        "t", r"(deep_open\(frame.*\n) +if .*\n +return status;\n", r"\1"),
    "bridge: error of replying": (
        "t", r"(deep_reply\(frame.*\n) +if .*\n +return status;\n", r"\1"),
    "proxy: whole structs": (
        "u", r"(deep_pack\((?:.*\n)*?)    if \(size % type->stride != 0\)" + FAIL, r"\1"),
    "proxy: space of addresses": ("u", r"    if \(size > SIZE_MAX / 8\)" + FAIL, ""),
    "proxy: no such size": (
        "u", r"(deep_pack\((?:.*\n)*?        enum hc_status status = )(type->sizes.*\n)\n"
        r" +if.*\n.*\n", r"\1HC_OK; (void)\2(void)status;\n"),
    "proxy: addresses stay": (
        "u", r"            deep_mark\(s \+ type->at\[i\], one->pointer != NULL\);\n", ""),
    "proxy: padding": ("t", r"    if \(type->own != NULL\)\n        clear_padding\(copy.*\n", ""),
    "proxy: padding of what is pointed to": (
        "t", r"        if \(places != NULL && one->size != 0\) \{\n(?:.*\n)*?        \}\n",
        "        (void)places;\n"),
    "answer: no such size": (
        "u", r"(deep_check\((?:.*\n)*?)        status = type->sizes\(s, sizes\);\n",
        r"\1        (void)type->sizes(s, sizes);\n"),
    "answer: no more than was sent": (
        "u", r"                if \(sizes\[i\] > deep->size\)\n +return HC_ERR_MESSAGE;\n", ""),
    "answer: pointers of the caller": (
        "u", r"            deep_set\(s \+ type->at\[i\], deep->pointer\);\n", ""),
    "answer: looked at first": ("u", r"        status = (deep_check\(&)", r"        (void)\1"),
    "proxy: error of packing": (
        "u", r"(deep_pack\(&.*\n) +if .*\n +goto failed;\n", r"\1"),
    "answer to the enclave: no more than was sent": (
        "t", r"                if \(sizes\[i\] > deep->size\)\n +return HC_ERR_MESSAGE;\n", ""),
}  # fmt: skip


@pytest.fixture(scope="module")
def sanitizer(gcc: str) -> str:
    """The library of AddressSanitizer, which has to be there before Python's allocator."""
    if gcc != "gcc" or shutil.which("gcc") is None:
        pytest.skip("no gcc")
    found = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True
    ).stdout.strip()
    if not Path(found).is_absolute():
        pytest.skip("no AddressSanitizer for gcc")
    return found


@pytest.fixture(scope="module")
def sides(
    tmp_path_factory: pytest.TempPathFactory, build_deep_side: Callable[..., None], sanitizer: str
) -> Path:
    """Both sides of deep.edl with nothing taken away."""
    del sanitizer
    folder = tmp_path_factory.mktemp("whole")
    for name, text in emit(parse_file(HERE / "data" / "deep.edl")).items():
        (folder / name).write_text(text)
    for side in ("enclave", "host"):
        build_deep_side(folder, side, *FLAGS)
    return folder


@pytest.fixture(scope="module")
def passes(sanitizer: str) -> Iterator[Callable[[Path], bool]]:
    """Whether test_deep.py passes with the sides in a folder."""
    environment = {
        **os.environ,
        "LD_PRELOAD": sanitizer,
        "ASAN_OPTIONS": "detect_leaks=0:exitcode=99:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "",
    }
    command = [sys.executable, str(HERE / "forked_tests.py"), "-q", "-x", "-p", "no:cacheprovider",
               "-k", "not wrong_", str(HERE / "test_deep.py")]  # fmt: skip
    with subprocess.Popen(
        command, env=environment, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        answers, questions = process.stdout, process.stdin
        assert answers.readline() == "ready\n"

        def ask(folder: Path) -> bool:
            questions.write(f"{folder}\n")
            questions.flush()
            return int(answers.readline()) == 0

        yield ask
        questions.close()


def test_whole_sides_pass_under_the_sanitizer(sides: Path, passes: Callable[[Path], bool]) -> None:
    assert passes(sides)


@pytest.mark.parametrize("mutant", native.some(MUTANTS))
def test_removed_check_is_noticed(
    mutant: str,
    sides: Path,
    passes: Callable[[Path], bool],
    tmp_path: Path,
    build_deep_side: Callable[..., None],
) -> None:
    side, pattern, instead = MUTANTS[mutant]
    for path in sides.iterdir():
        shutil.copy(path, tmp_path)
    source = tmp_path / f"deep_{side}.c"
    text, count = re.subn(pattern, instead, source.read_text())
    assert count > 0, "the check is not in the generated text"
    source.write_text(text)
    build_deep_side(tmp_path, "enclave" if side == "t" else "host", *FLAGS)
    assert not passes(tmp_path), f"nobody misses it ({count} places)"
