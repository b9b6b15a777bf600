# SPDX-License-Identifier: Apache-2.0
"""A peer that rewrites the channel: right answers, typed errors or a lost enclave, and no more.

`script.c` rewrites one field at each step of a call, in one thread; HOTCALLS_TRUST=1 tries every
value of every field in every place, and then several at once at random. What the fields are is
asked of the compiler, and what the steps are of the code itself (steps.h): the runtime of both
sides, and what reads and writes messages in a Python enclave. `scribble_host.c` has a real enclave
that scribbles while threads call.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import stepped
from stepped import FIELDS, Outcome

import native

HERE = Path(__file__).resolve().parent
TRUST = native.LONG
#: Random runs of each scenario, and rounds of each scribbling enclave.
RANDOM = 30_000 if TRUST else 300
OVER = ["words", "cells", "boards", "controls", "windows", "all"]
ROUNDS = os.environ.get("HOTCALLS_HOSTILE_ROUNDS", "30" if TRUST else "4")

CODE = [native.INCLUDE / "hotcalls" / name for name in ("lane.h", "port.h", "call.h", "marshal.h")]
CODE.append(native.NATIVE / "python_serve.c")
IN_PYTHON = """
import ctypes, sys
words = [word.encode() for word in sys.argv[1:]]
sys.exit(ctypes.PyDLL(sys.argv[1]).main(len(words), (ctypes.c_char_p * len(words))(*words)))
"""
#: Accesses that this test does not make: for sgx_channel.h alone.
ELSEWHERE = ("hc_finish_quick",)

SCENARIOS = [
    f"{prefix}{name}"
    for prefix, file in (("", "scenarios.h"), ("python ", "python_scenarios.h"))
    for name in stepped.scenarios_in(file)
]


def script(*flags: str) -> list[str]:
    """The command that starts the scenarios of the runtime; `flags` come before all else."""
    which = (*stepped.forced(), '-DSCENARIOS="scenarios.h"')
    return [str(native.build("script", [HERE / "script.c"], (*flags, *which)))]


def python_script() -> list[str]:
    """The same for those of a Python enclave: in an interpreter, as a library."""
    which = (*stepped.forced(), '-DSCENARIOS="python_scenarios.h"', "-fPIC", "-shared")
    include = ("-isystem", sysconfig.get_path("include"))
    sources = [HERE / "script.c", native.NATIVE / "python_serve.c"]
    library = native.build("python_script.so", sources, (*which, *include))
    return [sys.executable, "-c", IN_PYTHON, str(library)]


def preloaded() -> dict[str, str]:
    """What an interpreter needs to load a library that was compiled with sanitizers."""
    libraries = [
        subprocess.run(
            [native.CC, f"-print-file-name={name}.so"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan", "libubsan")
    ]
    # The interpreter does not free what it has until its end.
    options = f"{native.SANITIZER_OPTIONS['ASAN_OPTIONS']}:detect_leaks=0"
    return {"LD_PRELOAD": ":".join(libraries), "ASAN_OPTIONS": options}


def outcome(scenario: str, how: str, rounds: int) -> Outcome:
    """Run a scenario with so much of what may happen to it."""
    *python, name = scenario.split()
    command = python_script() if python else script()
    return stepped.outcome(command, name, how, rounds, preloaded() if python else None)


@pytest.mark.claim("H-VALIDATED", "E-VALIDATED")
def test_every_field_of_the_channel_is_in_the_list(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    source, objects = tmp_path / "fields.c", tmp_path / "fields.o"
    source.write_text(
        "#include <hotcalls/channel.h>\n"
        "struct hc_header header; struct hc_slot_control control; struct hc_cell cell;\n"
        "struct hc_histogram histogram;\n"
    )
    command = [native.CC, "-g", "-c", f"-I{native.INCLUDE}", "-o", str(objects), str(source)]
    subprocess.run(command, check=True)
    dumped = subprocess.run(
        ["readelf", "--debug-dump=info", "-W", str(objects)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found, structure = set[tuple[str, ...]](), ""
    for kind, body in re.findall(r"\(DW_TAG_(\w+)\)\n((?:(?!.*\(DW_TAG_).*\n)*)", dumped):
        name = re.search(r"DW_AT_name .*\b(\w+)\s*$", body, re.MULTILINE)
        if kind == "structure_type":
            structure = name[1] if name else ""
        elif kind == "member" and name and not name[1].endswith("apart"):
            found.add((structure, name[1]))
    assert {structure for structure, _ in found} >= {"hc_cell", "hc_geometry", "hc_report"}
    assert found == {(structure, member) for structure, member, _ in FIELDS}
    record_property("count:fields of the channel", len(FIELDS))


@pytest.mark.claim("H-MEMORY", "H-VALIDATED", "H-ONCE", "H-BOUND")
@pytest.mark.claim("E-MEMORY", "E-VALIDATED", "E-ONCE", "E-ANSWER", "E-BOUND")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_field_rewritten_at_any_step_is_survived(
    scenario: str, record_property: Callable[[str, object], None]
) -> None:
    found = outcome(scenario, "all" if TRUST else "each", RANDOM)
    print(found.text)
    assert found["steps"] > 40
    assert found["errors"] > 0
    assert found["names"] == stepped.NAMES
    assert found["runs"] >= found["steps"] * found["names"] + RANDOM
    record_property("count:steps of the protocol", found["steps"])
    record_property("count:fields × steps", found["steps"] * found["names"])
    record_property("count:rewrites of the channel", found["runs"])


@pytest.mark.claim("H-VALIDATED", "E-VALIDATED")
def test_every_access_of_the_code_was_a_step(
    record_property: Callable[[str, object], None],
) -> None:
    sites = Counter[tuple[str, int]]()
    for scenario in SCENARIOS:
        sites.update(outcome(scenario, "none", 0).sites)
    missed = stepped.missed(CODE, sites, ELSEWHERE)
    assert not missed, "\n".join(missed)
    record_property("count:accesses in the code", sum(count > 0 for count in sites.values()))


#: Mistakes that this test is there for: what to write in place of what, and how it is noticed.
MISTAKES = {
    "read again": (
        "frame.u_message += offset;",
        "frame.u_message += hc_untrusted_u32(&u_cell->offset);",
        "of the channel again",
    ),
    "read in passing": (
        "uint32_t offset = hc_untrusted_u32(&u_cell->offset);",
        "uint32_t offset = u_cell->offset;",
        "AddressSanitizer: SEGV",
    ),
    "not checked": (
        "!hc_range_inside(offset, frame.size, lane->window_size)",
        "!hc_range_inside(0, frame.size, lane->window_size)",
        "not true|AddressSanitizer",
    ),
    "status believed": (
        "hc_status_from_peer(hc_untrusted_u32(&call->u_cell->status))",
        "(enum hc_status)hc_untrusted_u32(&call->u_cell->status)",
        "hc_status_from_peer.* is",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES if TRUST else ["read again"])
def test_mistake_that_is_made_is_found(mistake: str, tmp_path: Path) -> None:
    right, wrong, noticed = MISTAKES[mistake]
    copy = tmp_path / "include"
    shutil.copytree(native.INCLUDE, copy)
    where = [path for path in copy.rglob("*.h") if right in path.read_text()]
    assert len(where) > 0
    for path in where:
        path.write_text(path.read_text().replace(right, wrong))
    program = script(f"-I{copy}")
    with pytest.raises(pytest.fail.Exception, match=noticed):
        native.run([*program, "window", "all"], timeout=300)


@pytest.mark.claim("E-MEMORY", "E-BOUND")
@pytest.mark.parametrize("over", OVER)
def test_host_survives_an_enclave_that_scribbles(over: str) -> None:
    host = native.build(
        "scribble_host", [HERE / "scribble_host.c", *native.sources(*native.HOST)], native.ADDRESS
    )
    image = native.build_enclave(HERE / "scribble_enclave.c")
    loader = native.build_loader()
    done = native.run(
        [host, image, str(OVER.index(over)), ROUNDS],
        environment={"HOTCALLS_LOADER": str(loader)},
        timeout=280,
    )
    print(done.stdout)
