# SPDX-License-Identifier: Apache-2.0
"""The page, the table and the command of an evaluation show what the result says."""

from __future__ import annotations

import html.parser
import json
from pathlib import Path

import evaluation as known
import pytest
from rich.console import Console

from hotcalls.apps.evaluate import model, pages, table
from hotcalls.apps.evaluate.model import HOT, NATIVE
from hotcalls.cli import main


class Page(html.parser.HTMLParser):
    """Collects the exact values of a page, by row, place and key."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[tuple[str, str, str], float] = {}
        self.text = ""
        self.images: list[str] = []
        self._row = ("", "")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "tr":
            self._row = (named.get("data-row") or "", named.get("data-place") or "")
        if tag == "td" and "data-key" in named:
            key = (*self._row, str(named["data-key"]))
            self.values[key] = float(str(named["data-value"]))
        if tag == "img":
            self.images.append(str(named["src"]))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[model.Result, list[Path], Page]:
    """A result, the files that were written of it, and its page."""
    result = known.result("memcached-c50", "memcached-c1")
    files = pages.write(result, tmp_path_factory.mktemp("page") / "r.html")
    page = Page()
    page.feed(files[-1].read_text())
    return result, files, page


def test_the_page_shows_the_figures_of_the_json(
    drawn: tuple[model.Result, list[Path], Page],
) -> None:
    result, files, page = drawn
    assert model.read(files[0]) == result
    found = result.comparison("memcached-c50")
    assert found is not None
    assert found.speedup is not None
    for mode in (NATIVE, HOT):
        assert page.values["memcached-c50", mode, "rate"] == found.rate[mode].median
        assert page.values["memcached-c50", mode, "p99_us"] == found.p99_us[mode].median
    assert page.values["memcached-c50", "compared", "speedup"] == found.speedup.median


def test_the_page_needs_no_other_file(drawn: tuple[model.Result, list[Path], Page]) -> None:
    _, files, page = drawn
    assert len(page.images) == len(files) - 2 == 2
    assert all(image.startswith("data:image/png;base64,") for image in page.images)


def test_the_page_says_what_was_left_out_and_the_paper_stands_beside(
    drawn: tuple[model.Result, list[Path], Page],
) -> None:
    text = drawn[2].text
    assert "Skipped: needs root." in text
    assert "skipped: runsc is not installed" in text
    assert "2.6–3.7×" in text
    assert "at most 4.00×: what native is to switch here" in text


def test_the_table_shows_every_mode_and_the_ceiling() -> None:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    table.show(known.result("memcached-c50"), console)
    console.file.close()
    text = console.export_text()
    for words in ("native", "switch, unpinned", "hot", "2.45×", "4.00×", "openvpn: skipped"):
        assert words in text


def test_a_result_is_shown_again_from_its_file(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(model.encode(known.result("memcached-c50")))
    with pytest.raises(SystemExit) as left:
        main(["evaluate", "--show", str(path), "--json"])
    assert left.value.code == 0
    assert json.loads(capsysbinary.readouterr().out)["created"] == "2026-01-02T03:04:05Z"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["evaluate", "apache"], "'apache' is not one of"),
        (["evaluate", "--modes", "warm"], "no mode is called `warm`; there are native"),
        (["evaluate", "-o", "/nowhere/r"], "/nowhere is no directory"),
        (["evaluate", "--rounds", "0"], "0 is not in the range"),
    ],
)
def test_wrong_usage_is_named_before_anything_is_measured(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code in (1, 2)
    assert said in capsys.readouterr().err


def test_scenarios_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "--list"])
    listed = capsys.readouterr().out
    for words in ("memcached-burst", "lighttpd-close-c50", "openvpn-udp", "open  "):
        assert words in listed
