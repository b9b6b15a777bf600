# SPDX-License-Identifier: Apache-2.0
"""``docs/best-practices.md``, from one result. Host side; pure."""

from __future__ import annotations

import jinja2

from hotcalls.bench import advice
from hotcalls.bench.errors import BenchError
from hotcalls.bench.model import Result


def render(result: Result) -> str:
    """Return the document.

    Raises
    ------
    BenchError
        When the result has none of the rows that practices are derived from.
    """
    found = advice.practices(result)
    if not found:
        raise BenchError("this result measured no calls of an enclave: there is nothing to advise")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hotcalls.bench", "templates"),
        autoescape=False,  # noqa: S701 (Markdown, from our own result)
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    machine = result.machine
    facts = [
        (
            "processor",
            machine.processor.model
            + (" (a virtual machine)" if machine.processor.hypervisor else ""),
        ),
        ("counter", f"{machine.tsc_hz / 1e9:.3f} GHz"),
        ("system", f"{machine.kernel}, {machine.distribution}"),
        ("CPUs", str(len(machine.processor.allowed))),
        (
            "measured",
            f"{result.created[:10]}, {result.plan.processes} processes, "
            f"{result.plan.rounds} rounds, seed {result.plan.seed}",
        ),
        ("hotcalls", f"{result.build.version}, commit {(result.build.commit or 'unknown')[:12]}"),
    ]
    warnings = list(result.noise.complaints)
    if result.oversubscribed:
        warnings.insert(0, f"OVERSUBSCRIBED: {result.oversubscribed}")
    if result.plan.mode == "quick":
        warnings.append("measured with --quick")
    return environment.get_template("best-practices.md.j2").render(
        practices=found,
        facts=facts,
        overhead=f"{result.timer.overhead:.0f}",
        warnings=warnings,
    )
