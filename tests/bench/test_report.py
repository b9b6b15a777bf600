# SPDX-License-Identifier: Apache-2.0
"""The page, opened in a browser: what it shows are the figures of the JSON."""

from __future__ import annotations

import html.parser
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hotcalls.bench import analysis, measure, model, pages, plots, words
from hotcalls.bench.errors import BenchError
from hotcalls.bench.report import Cell, Figure, Line, Report, Section, Table, code, render

PNG = b"\x89PNG\r\n\x1a\n"


class Page(html.parser.HTMLParser):
    """Collects the figures of a page: by row, class and key, the exact value and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.figures: dict[tuple[str, str, str], tuple[float, str]] = {}
        self.tiles: dict[str, float] = {}
        self.images: list[str] = []
        self.references: list[str] = []
        self.text = ""
        self._row = ("", "")
        self._open: tuple[str, float] | None = None
        self._cell = ""
        self._aside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        for key in ("src", "href"):
            if named.get(key):
                self.references.append(str(named[key]))
        if tag == "img":
            self.images.append(str(named["src"]))
        if "data-tile" in named:
            self.tiles[str(named["data-tile"])] = float(str(named["data-value"]))
        if tag == "tr":
            self._row = (named.get("data-row") or "", named.get("data-place") or "")
        if tag == "td":
            self._cell = ""
            self._open = None
            if "data-key" in named:
                self._open = (str(named["data-key"]), float(str(named["data-value"])))
        if tag == "span":
            self._aside = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "span":
            self._aside = False
        if tag == "td" and self._open is not None:
            key, value = self._open
            self.figures[(*self._row, key)] = (value, self._cell.strip())
            self._open = None

    def handle_data(self, data: str) -> None:
        self.text += data
        if not self._aside:
            self._cell += data


def browse(path: Path, profile: Path) -> Page:
    """Open a page in headless Chromium and return what it holds once it is drawn."""
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    done = subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={profile}",
            "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    page = Page()
    page.feed(done.stdout)
    return page


def test_page_shows_the_figures_of_the_json(result: model.Result, tmp_path: Path) -> None:
    files = pages.write(result, tmp_path / "report.html")
    stored = model.read(tmp_path / "report.json")
    page = browse(files[-1], tmp_path / "profile")
    compared = 0
    for row in stored.rows:
        for place, placed in row.classes.items():
            for key in ("median", "p90", "p99", "p999", "max"):
                value = getattr(placed.cycles, key)
                assert page.figures[(row.name, place, key)] == (value, words.cycles(value))
                compared += 1
            ns = stored.ns(placed.cycles.median)
            assert page.figures[(row.name, place, "median_ns")] == (ns, words.time(ns))
            for key, ratio in placed.ratios.items():
                if key in ("syscall", "switch"):
                    shown = page.figures[(row.name, place, f"to_{key}")]
                    assert shown == (ratio.median, words.times(ratio))
                    compared += 1
        for key, value in row.values.items():
            assert page.figures[(row.name, "", key)][0] == value.median
            compared += 1
    assert compared > 200
    hot = plots.chosen(stored, "ecall_hot")
    assert hot is not None
    assert page.tiles["ecall_hot"] == hot.cycles.median
    assert page.figures[("ecall_hot", "N", "within_620")][0] == (
        stored.placed("ecall_hot", "N").cycles.within_620  # type: ignore[union-attr]
    )
    for found in stored.marks:
        assert found.name in page.text
    assert "skipped: memfd_secret: Function not implemented" in page.text


def test_page_needs_nothing_else(result: model.Result, tmp_path: Path) -> None:
    files = pages.write(result, tmp_path / "report")
    page = Page()
    page.feed(files[-1].read_text(encoding="utf-8"))
    assert len(page.images) == 4
    for reference in page.references:
        assert reference.startswith(("data:image/png;base64,", "#"))


def test_pictures_are_written_beside_the_page(result: model.Result, tmp_path: Path) -> None:
    files = pages.write(result, tmp_path / "report.json")
    names = [path.name for path in files]
    assert names[0] == "report.json"
    assert names[-1] == "report.html"
    assert {f"report-{n}.png" for n in ("taxonomy", "latency", "sweep", "crowd")} <= set(names)
    for path in files[1:-1]:
        assert path.read_bytes().startswith(PNG)


def test_page_is_drawn_from_the_json_alone(result: model.Result, tmp_path: Path) -> None:
    first = pages.write(result, tmp_path / "first")[-1].read_text(encoding="utf-8")
    stored = model.read(tmp_path / "first.json")
    second = pages.write(stored, tmp_path / "second")[-1].read_text(encoding="utf-8")
    assert first == second


def test_oversubscribed_run_is_stamped(
    make_run: Callable[..., measure.Run], tmp_path: Path
) -> None:
    found = analysis.analyse(make_run(), "the cgroup allows 1 CPU")
    plain = analysis.analyse(make_run(), None)
    text = render(pages.build(found))
    assert "oversubscribed" in text
    assert "the cgroup allows 1 CPU" in text
    stamped, clean = plots.latency(found), plots.latency(plain)
    assert stamped is not None
    assert clean is not None
    assert stamped.png != clean.png


def test_page_without_an_enclave_has_no_marks(make_run: Callable[..., measure.Run]) -> None:
    run = make_run()
    run.rows = [row for row in run.rows if row.group in ("basic", "kernel", "mailbox")]
    run.blocks = {row.name: run.blocks[row.name] for row in run.rows if row.name in run.blocks}
    run.values = {}
    page = pages.build(analysis.analyse(run, None))
    assert "marks" not in [section.name for section in page.sections]
    assert "mailbox" in [tile.name for tile in page.tiles]


def test_missing_directory_is_named_before_anything_is_written(
    result: model.Result, tmp_path: Path
) -> None:
    with pytest.raises(BenchError, match="is no directory"):
        pages.write(result, tmp_path / "nowhere" / "report.html")


def test_report_escapes_what_it_is_given() -> None:
    evil = "<script>alert(1)</script>"
    table = Table(("what", ">figure"), [Line(evil, [Cell(evil), Cell("1", 1.0, "n")], note=evil)])
    section = Section("s", evil, lead=evil, tables=[table], figures=[Figure("f", PNG, evil, evil)])
    text = render(Report(title=evil, subtitle=evil, sections=[section], stamps=[(evil, evil, "")]))
    assert "<script" not in text
    assert str(code("a `<b>` c & d")) == "a <code>&lt;b&gt;</code> c &amp; d"
