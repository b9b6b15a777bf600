# SPDX-License-Identifier: Apache-2.0
"""A peer that rewrites the channel while both sides run with all their threads.

`endpoint_*.c` of both sides, from the start over calls of every kind to the end, and the calls of
`host_async.c`: as `test_hostile_peer.py`, but that the threads are fibers, which change where the
code looks at the clock, sleeps or yields (fibers.h).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import stepped

import native

HERE = Path(__file__).resolve().parent
#: Random runs of each scenario.
RANDOM = 10_000 if native.LONG else 100
#: Each field of a name at each step, or at one step of so many (SOME of script.c).
HOW, STRIDE = ("each", 1) if native.LONG else ("some", 24)
SCENARIOS = [
    f"{kind} {name}"
    for kind in ("endpoint", "async")
    for name in stepped.scenarios_in(f"{kind}_scenarios.h")
]
CODE = [*native.sources("endpoint*.c"), native.NATIVE / "host_async.c"]
SOURCES = (*native.HOST, "enclave_report.c")


def script(kind: str, wrong: Path | None = None) -> Path:
    """The program that has the scenarios of this kind, with `wrong` in place of a file of ours."""
    sources = [path for path in native.sources(*SOURCES) if not wrong or path.name != wrong.name]
    flags = (*stepped.forced("fibers.h"), f'-DSCENARIOS="{kind}_scenarios.h"')
    return native.build(
        f"{kind}_script", [HERE / "script.c", *sources, *([wrong] if wrong else [])], flags
    )


def outcome(scenario: str, how: str, rounds: int) -> stepped.Outcome:
    """Run a scenario with so much of what may happen to it."""
    kind, name = scenario.split()
    return stepped.outcome([str(script(kind))], name, how, rounds, None)


@pytest.mark.claim("H-MEMORY", "H-VALIDATED", "H-ONCE", "H-BOUND")
@pytest.mark.claim("E-MEMORY", "E-VALIDATED", "E-ONCE", "E-ANSWER", "E-BOUND")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_field_rewritten_at_any_step_of_all_threads_is_survived(
    scenario: str, record_property: Callable[[str, object], None]
) -> None:
    found = outcome(scenario, HOW, RANDOM)
    print(found.text)
    assert found["steps"] > 10
    # Of the few rewrites of the short form it may be that none makes an error.
    assert found["errors"] > 0 or not native.LONG
    assert found["names"] == stepped.NAMES
    pairs = found["runs"] - RANDOM
    assert pairs >= found["steps"] // STRIDE * found["names"]
    record_property("count:steps of the protocol", found["steps"])
    record_property("count:fields × steps", pairs)
    record_property("count:rewrites of the channel", found["runs"])


@pytest.mark.claim("H-VALIDATED", "E-VALIDATED")
def test_every_access_of_the_threads_was_a_step(
    record_property: Callable[[str, object], None],
) -> None:
    sites = Counter[tuple[str, int]]()
    for scenario in SCENARIOS:
        sites.update(outcome(scenario, "none", 0).sites)
    missed = stepped.missed(CODE, sites, ())
    assert not missed, "\n".join(missed)
    of_code = {path.name for path in CODE}
    reached = sum(count > 0 for (file, _), count in sites.items() if file in of_code)
    assert reached > len(CODE)
    record_property("count:accesses in the code", reached)


#: Mistakes that this test is there for: where, what to write in place of what, and which scenario
#: notices it by what.
MISTAKES = {
    "call given up is taken back": (
        "endpoint_port.c",
        "(((lane->returned | lane->abandoned) >> (n & lane->mask)) & 1u) != 0",
        "n == 0",
        "endpoint given_up",
        "lane->abandoned",
    ),
    "status believed": (
        "host_async.c",
        "hc_status_from_peer(hc_untrusted_u32(&call->call.u_cell->status))",
        "(enum hc_status)hc_untrusted_u32(&call->call.u_cell->status)",
        "async with_any_status",
        "hc_status_from_peer.* is",
    ),
    "given out again": (
        "host_async.c",
        "from->calls[call->call.n & from->port->out->mask] = NULL;",
        "",
        "async several",
        "given",
    ),
    "asked for once": (
        "endpoint_companion.c",
        "endpoint_sleep(NULL, u_bell, rung, done ? 0 : STAND_IN_NS);",
        "(void)rung;\n        endpoint_sleep(NULL, u_bell, *u_bell, done ? 0 : STAND_IN_NS);",
        "endpoint switched",
        "AddressSanitizer: SEGV",
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_of_the_threads_is_found(mistake: str, tmp_path: Path) -> None:
    file, right, wrong, scenario, noticed = MISTAKES[mistake]
    text = (native.NATIVE / file).read_text()
    assert right in text
    copy = tmp_path / file
    copy.write_text(text.replace(right, wrong))
    kind, name = scenario.split()
    program = script(kind, copy)
    with pytest.raises(pytest.fail.Exception, match=noticed):
        native.run([program, name, "each"], timeout=300)
