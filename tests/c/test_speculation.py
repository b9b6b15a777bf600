# SPDX-License-Identifier: Apache-2.0
"""Spectre v1: an index that the peer supplies is masked after its check, or a fence stands behind
the check; shown in the machine code of what is installed. And the widths that SGX wants."""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import hotcalls
import native

pytestmark = [
    pytest.mark.skipif(platform.machine() != "x86_64", reason="instructions of x86-64"),
    pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump (binutils)"),
]

INSTALLED = Path(hotcalls.__file__).parent
FENCE = re.compile(r"\blfence\b")
#: All ones or none, from the borrow of a comparison: hc_index_mask() in arch.h.
MASK = re.compile(r"\bsbb\s+%(r\w+),%\1\b")
#: A jump that a comparison of unsigned numbers decides.
BOUND = re.compile(r"\b(ja|jae|jb|jbe|jc|jnc)\b")
#: A load through an index: 0x0(%rax,%rcx,8).
INDEXED = re.compile(r"\(%\w+,%\w+(,\d)?\),%|\b(?:mov|movz|movs|movl|movq)\w*\s+[^,]*\(%\w+,%\w+")

#: Where the peer's numbers are checked, by file and function: masks and fences that are there.
SITES = {
    # The id of a call, into the table of bridges; its message's offset into the window.
    ("bin/hotcalls-enclave", "hc_drain_claimed"): (2, 2),
    ("_native", "hc_drain_claimed"): (2, 2),
    ("_inside", "hc_drain_claimed"): (2, 2),
    ("lib/libhotcalls_shim.so", "hc_drain_claimed"): (1, 1),
    ("bench/bench.enclave.so", "hc_drain_claimed"): (1, 1),
    # The host process of hotcalls run: rows, descriptors, strings, messages.
    ("bin/hotcalls-run", "run_unpack"): (1, 2),
    ("bin/hotcalls-run", "run_fd_owned"): (1, 0),
    ("bin/hotcalls-run", "run_job_start"): (0, 1),
    # What the host process answers: which of the program's epoll sets.
    ("lib/libhotcalls_shim.so", "shim_epoll_wait"): (1, 0),
    # Python enclaves: the function, what is kept for a caller, the length of a message.
    ("_inside", "python_bridge"): (1, 1),
    ("_inside", "python_fetch"): (1, 0),
    ("_inside", "python_clients_bridge"): (1, 0),
    ("_inside", "python_ocall"): (0, 1),
    # The host of a Python enclave, and which call the report of an ended enclave names.
    ("_native", "host_read_report"): (1, 0),
    ("_native", "__pyx_f_8hotcalls_7_native_8Messages__serve"): (0, 1),
    # Generated code: each bridge that takes a buffer, or a position in shared memory.
    ("bench/bench.enclave.so", "bench_in_bridge"): (0, 1),
    ("bench/bench.enclave.so", "bench_out_bridge"): (0, 1),
    ("bench/bench.enclave.so", "bench_out_nrz_bridge"): (0, 1),
    ("bench/bench.enclave.so", "bench_inout_bridge"): (0, 1),
    ("bench/bench.enclave.so", "bench_serve_bridge"): (0, 1),
    ("bench/bench.enclave.so", "bench_shared_bridge"): (0, 1),
}


def functions(path: Path) -> dict[str, list[str]]:
    """The instructions of each function of a file."""
    text = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", str(path)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    found: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        head = re.match(r"[0-9a-f]+ <([^>]+)>:", line)
        if head is not None:
            name = head[1]
        elif "\t" in line and name:
            found.setdefault(name, []).append(line.split("\t", 1)[1])
    return found


def guards(code: dict[str, list[str]], function: str) -> tuple[int, int]:
    """Masks and fences in a function and in the parts that the compiler has split off it."""
    lines = [
        line
        for name, body in code.items()
        if name == function or name.startswith(f"{function}.")
        for line in body
    ]
    return (
        sum(MASK.search(line) is not None for line in lines),
        sum(FENCE.search(line) is not None for line in lines),
    )


def installed(name: str) -> Path:
    if name.startswith("_"):
        spec = importlib.util.find_spec(f"hotcalls.{name}")
        assert spec is not None
        assert spec.origin is not None
        return Path(spec.origin)
    return INSTALLED / name


@pytest.fixture(scope="module")
def machine_code() -> dict[str, dict[str, list[str]]]:
    return {name: functions(installed(name)) for name in {name for name, _ in SITES}}


@pytest.mark.claim("H-SPECULATION")
@pytest.mark.parametrize("site", SITES, ids=lambda site: f"{site[0]}-{site[1]}")
def test_check_of_the_peers_number_is_followed_by_a_mask_or_a_fence(
    site: tuple[str, str],
    machine_code: dict[str, dict[str, list[str]]],
    record_property: pytest.RecordProperty,
) -> None:
    masks, fences = guards(machine_code[site[0]], site[1])
    wanted = SITES[site]
    assert (masks >= wanted[0], fences >= wanted[1]) == (True, True), (masks, fences)
    record_property("count:masks and fences in machine code", sum(wanted))


PROBE = """
#include <hotcalls/call.h>
#include <hotcalls/marshal.h>

uint64_t by_index(const uint64_t *table, uint64_t index, uint64_t count);
uint64_t by_index(const uint64_t *table, uint64_t index, uint64_t count)
{
    if (index >= count)
        return 0;
    return table[hc_index_nospec(index, count)];
}

enum hc_status call_of(struct hc_end *end, struct hc_frame *frame);
enum hc_status call_of(struct hc_end *end, struct hc_frame *frame)
{
    return hc_dispatch(end, frame, false);
}

uint64_t by_position(struct hc_frame *frame, size_t size);
uint64_t by_position(struct hc_frame *frame, size_t size)
{
    size_t position;
    if (hc_frame_next(frame, size, &position) != HC_OK)
        return 0;
    return frame->u_message[position];
}

uint64_t shared(struct hc_frame *frame, uint64_t offset);
uint64_t shared(struct hc_frame *frame, uint64_t offset)
{
    void *pointer;
    if (hc_frame_shared(frame, offset, 8, &pointer) != HC_OK || pointer == NULL)
        return 0;
    return *(const volatile uint64_t *)pointer;
}
"""


def guarded(body: list[str]) -> bool:
    """Whether no load through an index lies between a check of a bound and a mask or a fence."""
    checked = False
    for line in body:
        if BOUND.search(line):
            checked = True
        elif FENCE.search(line) or MASK.search(line):
            return True
        elif checked and INDEXED.search(line):
            return False
    return False


def compiled(folder: Path, include: Path, *flags: str) -> dict[str, list[str]]:
    source = folder / "probe.c"
    source.write_text(PROBE)
    target = folder / "probe.o"
    command = ["gcc", "-std=c11", "-O2", *flags, f"-I{include}", "-c", str(source)]
    subprocess.run([*command, "-o", str(target)], check=True)
    return functions(target)


FUNCTIONS = ("by_index", "call_of", "by_position", "shared")


@pytest.mark.claim("H-SPECULATION")
@pytest.mark.parametrize("level", ["-O1", "-O3"])
def test_nothing_is_loaded_between_the_check_and_the_guard(tmp_path: Path, level: str) -> None:
    code = compiled(tmp_path, native.INCLUDE, level)
    assert [name for name in FUNCTIONS if not guarded(code[name])] == []


def test_code_without_guards_is_found_out(tmp_path: Path) -> None:
    """The check can fail: the same headers, without the fence and the mask."""
    bare = tmp_path / "include"
    shutil.copytree(native.INCLUDE, bare)
    arch = bare / "hotcalls/arch.h"
    text = arch.read_text()
    for instruction, instead in (
        ('"lfence" : : : "memory"', '"" : : : "memory"'),
        ('"cmp %2, %1\\n\\tsbb %0, %0"', '"mov $-1, %0 # %1 %2"'),
    ):
        assert text.count(instruction) == 1
        text = text.replace(instruction, instead)
    arch.write_text(text)
    code = compiled(tmp_path, bare)
    assert [name for name in FUNCTIONS if guarded(code[name])] == []
    assert [name for name in FUNCTIONS if guards(code, name) != (0, 0)] == []


COPIES = """
#include <hotcalls/untrusted.h>

void in(void *to, const void *u_from);
void in(void *to, const void *u_from)
{
    hc_copy_in(to, u_from, 57);
}

void out(void *u_to, const void *from);
void out(void *u_to, const void *from)
{
    hc_copy_out(u_to, from, 57);
}
"""


def copies(folder: Path, *flags: str) -> str:
    source, target = folder / "copies.c", folder / "copies.o"
    source.write_text(COPIES)
    command = ["gcc", "-O2", *flags, f"-I{native.INCLUDE}", "-c", str(source), "-o", str(target)]
    subprocess.run(command, check=True)
    return "\n".join(line for body in functions(target).values() for line in body)


@pytest.mark.claim("H-COPIES")
def test_narrow_writes_stand_between_verw_and_fences(tmp_path: Path) -> None:
    """That all reads are whole aligned words is in aligned_test.c, which notes each."""
    plain, careful = copies(tmp_path), copies(tmp_path, "-DHC_ALIGNED_COPIES")
    assert re.search(r"%xmm|memcpy", plain)
    assert "verw" not in plain
    # Neither vectors nor a function of the C library, which would choose widths of its own.
    assert not re.search(r"%[xyz]mm|memcpy|movsb", careful)
    assert re.search(r"\bverw\b.*?\bmovb?\s+%\w+l?,.*?\bmfence\b.*?\blfence\b", careful, re.S)


@pytest.mark.claim("H-COPIES")
def test_core_works_with_aligned_copies() -> None:
    path = Path(__file__).parent / "call_test.c"
    native.run([native.build("call-aligned", [path], ["-O1", "-DHC_ALIGNED_COPIES"])])
