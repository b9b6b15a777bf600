# SPDX-License-Identifier: Apache-2.0
"""A program that rewrites the channel at any step of its host process of `hotcalls run`.

`run_scenarios.h` drives all of the host process that a call goes through, above the kernel of the
fuzzing targets; each field is rewritten at some of the steps, with HOTCALLS_TRUST=1 at every one.
"""

from __future__ import annotations

import platform
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import stepped

import native

HERE = Path(__file__).resolve().parent
FUZZ = native.TESTS / "fuzz"
SCENARIOS = stepped.scenarios_in("run_scenarios.h")
RANDOM = 50_000 if native.LONG else 75
#: All that a call goes through.
CODE = [
    native.NATIVE / f"run_{name}.c"
    for name in (
        "job", "table", "fd", "path", "open", "names", "mounts", "proc", "socket", "wait",
        "identity", "stream", "ask", "serve", "companion",
    )
]  # fmt: skip
FIELDS = re.findall(r"FIELD\(run_shared, (\w+), \w+\)", (HERE / "fields.h").read_text())

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="hotcalls run needs x86-64")


def script(job: Path = CODE[0]) -> list[str]:
    """The command that starts the scenarios."""
    which = ("-include", str(FUZZ / "kernel.h"), *stepped.forced())
    paths = (f"-I{HERE}", f"-I{FUZZ}", f"-I{native.syscall_headers()}")
    # The kernel converts as kernels do; of what scenarios share these need a part.
    quiet = ("-Wno-conversion", "-Wno-sign-conversion", "-Wno-missing-prototypes")
    quiet += ("-Wno-unused-function", "-Wno-type-limits")
    wrapped = ('-DSCENARIOS="run_scenarios.h"', "-Wl,--wrap=run_unpack,--wrap=run_execute")
    sources = [HERE / "script.c", FUZZ / "kernel.c", FUZZ / "run_state.c", job, *CODE[1:]]
    return [str(native.build("run_script", sources, (*which, *paths, *quiet, *wrapped)))]


@pytest.mark.claim("D-ARGUMENTS")
def test_every_field_beside_the_channel_is_in_the_list(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    source, objects = tmp_path / "shared.c", tmp_path / "shared.o"
    source.write_text("#include <run_shared.h>\nstruct run_shared shared;\n")
    command = [native.CC, "-g", "-c", f"-I{native.INCLUDE}", f"-I{native.NATIVE}"]
    subprocess.run([*command, "-o", str(objects), str(source)], check=True)
    dumped = subprocess.run(
        ["readelf", "--debug-dump=info", "-W", str(objects)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found, structure = set[str](), ""
    for kind, body in re.findall(r"\(DW_TAG_(\w+)\)\n((?:(?!.*\(DW_TAG_).*\n)*)", dumped):
        name = re.search(r"DW_AT_name .*\b(\w+)\s*$", body, re.MULTILINE)
        if kind == "structure_type":
            structure = name[1] if name else ""
        elif kind == "member" and name and structure == "run_shared":
            found.add(name[1])
    assert found - {"beat_apart", "apart", "tail"} == set(FIELDS)
    record_property("count:fields beside the channel", len(FIELDS))


@pytest.mark.claim("D-ARGUMENTS", "D-DEPUTY")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_field_rewritten_at_any_step_of_a_system_call_is_survived(
    scenario: str, record_property: Callable[[str, object], None]
) -> None:
    how = "each" if native.LONG else "some"
    found = stepped.outcome(script(), scenario, how, RANDOM, None)
    print(found.text)
    assert found["steps"] > 100
    assert found["names"] == stepped.NAMES + len(FIELDS)
    assert found["runs"] - RANDOM >= found["steps"] * found["names"] // (1 if native.LONG else 25)
    record_property("count:steps of system calls", found["steps"])
    record_property("count:fields × steps", found["runs"] - RANDOM)
    record_property("count:rewrites of the channel", found["runs"])


@pytest.mark.claim("D-ARGUMENTS")
def test_every_access_of_the_host_process_was_a_step() -> None:
    sites: Counter[tuple[str, int]] = stepped.outcome(script(), "streams", "none", 0, None).sites
    missed = stepped.missed([*CODE, native.NATIVE / "run_total.c"], sites, ())
    assert not missed, "\n".join(missed)


def test_mistake_that_the_host_process_makes_is_found(tmp_path: Path) -> None:
    copy = tmp_path / "run_job.c"
    right, wrong = "lane->u_window + offset;", "lane->u_window + hc_untrusted_u32(&u_cell->offset);"
    text = CODE[0].read_text()
    assert text.count(right) == 1
    copy.write_text(text.replace(right, wrong))
    with pytest.raises(pytest.fail.Exception, match="of the channel again"):
        native.run([*script(copy), "streams", "none"], timeout=100)
