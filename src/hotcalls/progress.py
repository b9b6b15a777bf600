# SPDX-License-Identifier: Apache-2.0
"""A progress bar on standard error and a console for tables, the same for every command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def console() -> Console:
    """Return a console that does not fold a table where there is no terminal."""
    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=170)


@contextmanager
def bar(title: str, total: int) -> Iterator[Callable[[str], None]]:
    """Draw a bar on standard error; on what is no terminal, nothing.

    Parameters
    ----------
    title
        Of the command.
    total
        How often the function that this gives will be called, with words, at most.
    """
    target = Console(stderr=True)
    columns = (
        TextColumn(f"[bold]{title}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=target, transient=True, disable=not target.is_terminal) as made:
        task = made.add_task("", total=total)

        def advance(words: str) -> None:
            made.update(task, advance=1, description=words)

        yield advance
