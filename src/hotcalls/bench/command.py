# SPDX-License-Identifier: Apache-2.0
"""``hotcalls bench``. Host side; results on standard output, everything else on standard error."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hotcalls.bench import model
from hotcalls.progress import bar, console

if TYPE_CHECKING:
    from hotcalls.bench import measure, subjects

_PATH = click.Path(dir_okay=False, path_type=Path)
_INPUT = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(frozen=True)
class _Job:
    """What is to be measured: which worker does it, how long, and what the run is about."""

    program: measure.Program
    enclave: Path | None
    plan: Callable[[int], measure.Plan]
    subject: subjects.Subject
    rows: list[measure.RowInfo]


def _job_of_crossings(quick: bool, worker: Path | None, enclave: Path | None) -> _Job:
    from hotcalls.bench import measure, sgx, subjects

    program = worker or measure.worker_path()
    return _Job(
        program,
        enclave or measure.enclave_path(),
        measure.quick if quick else measure.full,
        subjects.CROSSINGS,
        sgx.without(measure.list_rows(program)),
    )


def _job_of_sgx(quick: bool, worker: Path | None, folder: Path) -> _Job:
    """Build the enclave in `folder`, and say what it will run on."""
    from hotcalls.bench import measure, sgx, subjects, words

    program = worker or measure.worker_path()
    mode = sgx.build(folder)
    short, long = words.SGX_MODES[mode]
    click.echo(f"hotcalls bench: {short}. {long}", err=True)
    return _Job(
        program,
        folder,
        measure.quick if quick else measure.full,
        subjects.sgx_sdk(mode),
        sgx.labelled(measure.list_rows(program), mode),
    )


def _job_of_python(quick: bool) -> _Job:
    from hotcalls.bench import measure
    from hotcalls.bench.python import marks, plan

    return _Job(
        plan.WORKER,
        None,
        plan.quick if quick else plan.full,
        marks.PYTHON,
        measure.list_rows(plan.WORKER),
    )


@contextmanager
def _job(
    target: str, python: bool, quick: bool, worker: Path | None, enclave: Path | None
) -> Iterator[_Job]:
    # What the jobs import is late: numpy takes a while, and `hotcalls bench --help` must not
    # need it.
    if python:
        yield _job_of_python(quick)
    elif target == "sgx-sdk":
        with tempfile.TemporaryDirectory(prefix="hotcalls-bench-sgx-") as folder:
            yield _job_of_sgx(quick, worker, Path(folder))
    else:
        yield _job_of_crossings(quick, worker, enclave)


def _run(job: _Job, rows: tuple[str, ...], seed: int | None, raw: Path | None) -> model.Result:
    from hotcalls.bench import analysis, machine, measure

    wanted = [word for words in rows for word in words.split(",")] or ["*"]
    chosen = measure.select(job.rows, wanted)
    seed = secrets.randbits(32) if seed is None else seed
    plan = job.plan(seed)
    cores = machine.choose_cores(sorted(os.sched_getaffinity(0)), machine.quota())
    click.echo(f"hotcalls bench: seed {seed}, processes' seeds {plan.seeds()}", err=True)
    with bar("hotcalls bench", measure.steps(plan, chosen)) as advance:
        run = measure.measure(job.program, plan, chosen, cores.used, job.enclave, advance)
    if raw is not None:
        measure.save_raw(run, raw)
    return analysis.analyse(run, cores.complaint, job.subject)


def _rows(target: str, python: bool, worker: Path | None) -> list[measure.RowInfo]:
    """Return what can be measured; of an enclave that must be built, without building it."""
    from hotcalls.bench import measure, sgx
    from hotcalls.bench.python import plan

    known = measure.list_rows(plan.WORKER if python else worker or measure.worker_path())
    return sgx.with_bare(known) if target == "sgx-sdk" else sgx.without(known)


@click.group(
    "bench",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 measured, 1 failed, 2 wrong usage.",
)
@click.option("--quick", is_flag=True, help="Take less than half a minute; wider intervals.")
@click.option(
    "--python",
    is_flag=True,
    help="Measure calls from Python to a Python enclave, beside what people use today.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option(
    "-o",
    "--output",
    type=_PATH,
    metavar="FILE",
    help="Write FILE.json, the page FILE.html and its pictures FILE-*.png. FILE may end in either.",
)
@click.option("--raw", type=_PATH, metavar="FILE.npz", help="Write every sample.")
@click.option(
    "--rows",
    multiple=True,
    metavar="NAME,…",
    help="Measure only these: rows, groups, or beginnings such as ecall_hot*.",
)
@click.option(
    "--target",
    type=click.Choice(["process", "sgx-sdk"]),
    default="process",
    show_default=True,
    help="Whose calls: a process enclave's, or an SGX enclave's through the stubs of sgx-sdk (with "
    "the SDK that SGX_SDK names; else with stand-ins, and never shown as SGX's).",
)
@click.option("--seed", type=click.IntRange(0), help="Repeat the order of an earlier run.")
@click.option("--list", "list_rows", is_flag=True, help="List the rows and leave.")
@click.option("--worker", type=_INPUT, hidden=True)
@click.option("--enclave", type=_INPUT, hidden=True)
@click.pass_context
def bench_command(
    ctx: click.Context,
    quick: bool,
    python: bool,
    as_json: bool,
    output: Path | None,
    raw: Path | None,
    rows: tuple[str, ...],
    target: str,
    seed: int | None,
    list_rows: bool,
    worker: Path | None,
    enclave: Path | None,
) -> None:
    """Measure what each crossing costs on this machine.

    From a function call to a call into a process enclave, hot and by switch: cycles, ratios, and
    what follows for your program. A process enclave is not SGX: its crossings are compared with
    the kernel's hand-overs of the same run.

    With --python, calls from Python into a Python enclave, beside a bare extension and what people
    use today: multiprocessing, unix sockets, pyzmq, iceoryx2.
    """
    if ctx.invoked_subcommand is not None:
        return
    if python and target != "process":
        raise click.UsageError(f"--python measures a process enclave: not with --target {target}")
    if list_rows:
        for row in _rows(target, python, worker):
            click.echo(f"{row.name:26} {row.group:8} {row.title}")
        return
    if output is not None:
        from hotcalls.bench import pages

        pages.stem_of(output)  # before minutes of measuring, not after
    with _job(target, python, quick, worker, enclave) as job:
        result = _run(job, rows, seed, raw)
    if output is not None:
        for path in pages.write(result, output):
            click.echo(f"hotcalls bench: wrote {path}", err=True)
    if as_json:
        sys.stdout.buffer.write(model.encode(result))
    else:
        from hotcalls.bench import table

        table.show(result, console())


@bench_command.command("compare_to")
@click.argument("before", type=_INPUT)
@click.argument("after", type=_INPUT)
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def compare_to_command(before: Path, after: Path, as_json: bool) -> None:
    """Say what changed from result BEFORE to result AFTER, class by class."""
    import msgspec

    from hotcalls.bench import compare

    found = compare.compare(model.read(before), model.read(after))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=1).decode())
        return
    screen = console()
    for part in compare.renderables(found):
        screen.print(part)


@bench_command.command("best_practices")
@click.argument("result", type=_INPUT)
@click.option("-o", "--output", type=_PATH, help="Write to a file instead of standard output.")
def best_practices_command(result: Path, output: Path | None) -> None:
    """Write the long form of the advice, in Markdown, from a result."""
    from hotcalls.bench import practices

    text = practices.render(model.read(result))
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")


@bench_command.command("show")
@click.argument("result", type=_INPUT)
@click.option("-o", "--output", type=_PATH, metavar="FILE", help="Draw the page and its pictures.")
def show_command(result: Path, output: Path | None) -> None:
    """Show a result again: its tables, or with -o its page and pictures."""
    found = model.read(result)
    if output is not None:
        from hotcalls.bench import pages

        for path in pages.write(found, output):
            click.echo(f"hotcalls bench: wrote {path}", err=True)
        return
    from hotcalls.bench import table

    table.show(found, console())
