# SPDX-License-Identifier: Apache-2.0
"""A page of sections, tables and pictures, in one file that needs nothing else.

Host side; pure. Knows nothing of benchmarks: every command that shows figures draws with it.
Every figure in a table carries its exact value (``data-key``, ``data-value``) beside the text,
so that a test, or a reader's script, can compare the page with the JSON it was drawn from.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import jinja2
from markupsafe import Markup

Tone = Literal["", "good", "bad", "warn", "dim", "strong"]


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Parameters
    ----------
    text
        What is shown.
    value
        What it stands for, exactly; None for words.
    key
        The name of the value within its row.
    tone
        How it is coloured.
    picture
        SVG, from `chart`; trusted, so never made of foreign text.
    note
        Small, below the text.
    """

    text: str
    value: float | None = None
    key: str = ""
    tone: Tone = ""
    picture: Markup | None = None
    note: str = ""


@dataclass(frozen=True)
class Line:
    """One row of a table; `name` and `place` find it again. `words` replaces the cells."""

    name: str
    cells: Sequence[Cell]
    place: str = ""
    words: str = ""
    note: str = ""
    #: Whether the line begins a new subject: drawn a little apart.
    opens: bool = True


@dataclass(frozen=True)
class Table:
    """A table; columns whose head begins with ``>`` stand to the right."""

    head: Sequence[str]
    lines: Sequence[Line]
    title: str = ""
    note: str = ""
    #: Whether the second column holds sentences, which may go over several lines.
    wraps: bool = False


@dataclass(frozen=True)
class Figure:
    """A picture: PNG, embedded, and written beside the page under `name`."""

    name: str
    png: bytes
    alt: str
    caption: str = ""

    @property
    def source(self) -> str:
        """Return the picture as a data URL."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True)
class Point:
    """A piece of advice: a heading, what to do, and the figures it stands on.

    Words between backticks are shown as code.
    """

    title: str
    text: str
    evidence: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Points:
    """Several of them."""

    points: Sequence[Point]


@dataclass(frozen=True)
class Tile:
    """A large figure on top of the page."""

    name: str
    figure: str
    unit: str
    words: str
    value: float
    accent: bool = False


@dataclass(frozen=True)
class Section:
    """A heading, a few sentences, and what belongs under it."""

    name: str
    title: str
    lead: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    points: Points | None = None


@dataclass(frozen=True)
class Report:
    """A page."""

    title: str
    subtitle: str
    sections: Sequence[Section]
    tiles: Sequence[Tile] = ()
    #: Short words on top, with a tone: ``OVERSUBSCRIBED``, ``unstable``.
    stamps: Sequence[tuple[str, str, Tone]] = ()
    lead: str = ""
    footer: str = ""
    facts: Sequence[tuple[str, str]] = field(default_factory=tuple)

    def figures(self) -> list[Figure]:
        """Return every picture of the page."""
        return [figure for section in self.sections for figure in section.figures]


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("hotcalls.bench", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def code(text: str) -> Markup:
    """Return `text` with its words between backticks as code, everything else escaped."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts)
    )


def exact(value: float | None) -> str:
    """Write a value so that reading it gives the same float again."""
    return "" if value is None else repr(float(value))


def render(report: Report) -> str:
    """Return the page as HTML."""
    environment = _environment()
    environment.filters["exact"] = exact
    environment.filters["code"] = code
    return environment.get_template("report.html.j2").render(report=report)


def write(stem: Path, data: bytes, build: Callable[[], Report]) -> list[Path]:
    """Write a result, its page and its pictures; return the files, the page last.

    Parameters
    ----------
    stem
        What the names of all files begin with.
    data
        The JSON. Written first: whatever goes wrong while drawing, the figures are there.
    build
        Makes the page.
    """
    files = [stem.with_name(stem.name + ".json")]
    files[0].write_bytes(data)
    report = build()
    for figure in report.figures():
        path = stem.with_name(f"{stem.name}-{figure.name}.png")
        path.write_bytes(figure.png)
        files.append(path)
    page = stem.with_name(stem.name + ".html")
    page.write_text(render(report), encoding="utf-8")
    return [*files, page]
