# SPDX-License-Identifier: Apache-2.0
"""Each safety check of the generated trusted side is there for a reason: without it a test fails.

Three are not in the list, because nothing that a test can do depends on them: that the sum of
buffer sizes overflows (each buffer was found inside the enclave before), that a region is larger
than its geometry (which is compared with the size next), and the mask behind the id of a hot ecall
(it stops speculation only). Of wide strings the two checks go together: without the first alone,
what the second reads too far is seen by AddressSanitizer only.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import native

HERE = Path(__file__).resolve().parent
FLAGS = ["-std=gnu11", "-O1", "-w", "-pthread", f"-I{native.INCLUDE}", f"-I{HERE}",
         f"-I{HERE / 'sdk'}", f"-I{native.ROOT / 'src/hotcalls/sgx/stand_in/include'}",
         f"-I{native.TESTS / 'c'}"]  # fmt: skip
TESTS = [
    "test_every_shape_by_ordinary_calls",
    "test_lies_about_arguments_are_refused",
    "test_answers_of_a_hostile_host_stay_in_their_buffers",
    "test_channel_is_attached_once_and_checked",
    "test_only_hot_functions_come_over_the_channel",
]
STOP = (
    r"        if \({}\) \{{\n            hc_status = \w+;\n            goto hc_end;\n        \}}\n"
)
RETURN = r"    if \({}\)\n        return \w+;\n"

#: What is taken away, and what stands there instead.
MUTANTS = {
    "marshalling struct outside": (r" *CHECK_REF_POINTER\(pms,.*\n", ""),
    "channel outside": (r" *CHECK_REF_POINTER\(ms\.ms_region,.*\n", ""),
    "buffers outside": (r" *CHECK_UNIQUE_POINTER\(ms\..*\n", ""),
    "buffers of ocalls inside": (r" *CHECK_ENCLAVE_POINTER\([a-z]+, hc_size.*\n", ""),
    "fence behind the struct": (r"(CHECK_REF_POINTER\(pms, .*\n) *sgx_lfence\(\);\n", r"\1"),
    "fence behind the buffers": (r"(CHECK_UNIQUE_POINTER\(ms.*\n) *sgx_lfence\(\);\n", r"\1"),
    "overflow of the product": (
        r"return !__builtin_mul_overflow\(count, size, product\);",
        "*product = count * size; return 1;",
    ),
    "whole elements": (STOP.format(r"hc_size_\w+ % sizeof\(uint32_t\) != 0"), ""),
    "no memory": (STOP.format(r"hc_copy_\w+ == NULL"), ""),
    "terminator": (STOP.format(r".*strlen\(.*"), ""),
    "wide terminator": (
        f"(?:{STOP.format(r'.*% sizeof.wchar_t. != 0.*')})(?:{STOP.format(r'.wcslen.*')})",
        "",
    ),
    "zeros of out buffers": (r"        memset\(\(void \*\)hc_copy_\w+, 0, .*\n", ""),
    "zeros of out buffers outside": (r"        hc_sgx_zero\(.*\n", ""),
    "terminator of answers": (r"            s\[hc_size_s - 1u\] = 0;\n", ""),
    "no struct where none belongs": (RETURN.format(r"pms != NULL"), ""),
    "no memory outside": (r"    if \(u_hc_area == NULL\) \{\n.*\n.*\n    \}\n", ""),
    "page of the channel": (
        r"\(uintptr_t\)ms\.ms_region % HC_PAGE != 0 \|\| ",
        "",
    ),
    "geometry": (RETURN.format(r"hc_geometry_check\(.*"), ""),
    "board": (r"geometry\.shared_size < sizeof\(struct hc_sgx_board\) \|\|\s*", ""),
    "slots": (r" \|\|\s*geometry\.slot_count > HC_SGX_SLOTS_MAX", ""),
    "attached once": (
        r"    if \(!__atomic_compare_exchange_n\(&g_hot\.state(?:.*\n){1,2}?        return \w+;\n",
        "",
    ),
    "serve before attach": (RETURN.format(r"__atomic_load_n\(&g_hot\.state.*"), ""),
    "alignment of serve": (RETURN.format(r"\(uintptr_t\)pms % 8u != 0"), ""),
    "id of a hot ecall": (
        r"    if \(id >= \d+u\)\n        return .*\n    id = hc_index_nospec.*\n",
        "",
    ),
    "hot functions only": (RETURN.replace(r"\w+", ".*").format(r"g_hot_ecalls\[id\] == NULL"), ""),
}


@pytest.fixture(scope="module")
def objects(generated: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The untrusted side and the stand-ins, compiled once."""
    folder = tmp_path_factory.mktemp("objects")
    made = []
    for name in ("shapes_test", "stand_in"):
        made.append(folder / f"{name}.o")
        command = ["gcc", *FLAGS, f"-I{generated}", "-c", HERE / f"{name}.c", "-o", made[-1]]
        subprocess.run(list(map(str, command)), check=True)
    return made


def failures(
    text: str, generated: Path, objects: list[Path], folder: Path, patience: float = 10
) -> list[str]:
    """The tests that do not pass with this text as the trusted side."""
    (folder / "shapes_t.c").write_text(text)
    (folder / "shapes_t.h").write_text((generated / "shapes_t.h").read_text())
    program = folder / "program"
    command = ["gcc", f"-I{folder}", *FLAGS, HERE / "trusted.c", *objects, "-o", program]
    subprocess.run(list(map(str, command)), check=True)
    failed = []
    for test in TESTS:
        try:
            done = subprocess.run(
                [program, test], capture_output=True, timeout=patience, check=False
            )
        except subprocess.TimeoutExpired:
            failed.append(test)
            break
        if done.returncode != 0:
            failed.append(test)
            break
    return failed


def test_unchanged_text_passes(generated: Path, objects: list[Path], tmp_path: Path) -> None:
    text = (generated / "shapes_t.c").read_text()
    assert failures(text, generated, objects, tmp_path, patience=200) == []


@pytest.mark.parametrize("mutant", native.some(MUTANTS))
def test_removed_check_is_noticed(
    mutant: str, generated: Path, objects: list[Path], tmp_path: Path
) -> None:
    pattern, instead = MUTANTS[mutant]
    text, count = re.subn(pattern, instead, (generated / "shapes_t.c").read_text())
    assert count > 0, "the check is not in the generated text"
    assert failures(text, generated, objects, tmp_path), f"nobody misses it ({count} places)"
