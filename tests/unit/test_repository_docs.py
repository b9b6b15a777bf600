# SPDX-License-Identifier: Apache-2.0
"""Documents say what is so: their links resolve, their man pages parse, their examples run.

A fenced block of a Markdown file is run when the HTML comment ``<!-- run -->`` stands on the line
before it (``<!-- run: NAME -->`` puts a file of that name where the following blocks run). All
blocks of one document share one directory. A block ``text`` right after a block that was run,
marked ``<!-- output -->``, is what that prints.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md")]
)
MAN_PAGES = sorted(path.name for path in (ROOT / "docs/man").glob("*.[1-9]"))
BLOCK = re.compile(
    r"^<!-- (?P<what>run|output)(?:: (?P<name>\S+))? -->\n```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.M | re.S,
)


class Block(NamedTuple):
    what: str
    name: str | None
    language: str
    text: str
    line: int


def blocks(document: str) -> list[Block]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return [
        Block(
            match["what"],
            match["name"],
            match["language"],
            match["text"],
            text.count("\n", 0, match.start()) + 2,
        )
        for match in BLOCK.finditer(text)
    ]


def anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings, made as common renderers make them."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.M):
        plain = re.sub(r"[`*_]|\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        found.add(re.sub(r"[^\w\- ]", "", plain.lower()).strip().replace(" ", "-"))
    return found


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_of_document_resolve(document: str) -> None:
    path = ROOT / document
    text = path.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        known = file.suffix == ".md" and file.exists()
        if not file.exists() or (
            anchor and known and anchor not in anchors(file.read_text(encoding="utf-8"))
        ):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", MAN_PAGES)
def test_man_page_parses_without_warnings(page: str) -> None:
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    result = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z", str(ROOT / "docs/man" / page)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0
    assert result.stderr == ""


def test_man_page_exists_for_every_command() -> None:
    from hotcalls.cli import COMMANDS

    assert {"hotcalls.1", "hotcalls-channel.7"} <= set(MAN_PAGES)
    assert {f"hotcalls-{name}.1" for name in COMMANDS} <= set(MAN_PAGES)


def test_man_page_of_the_drop_in_names_every_option() -> None:
    from hotcalls.edl.edger8r import USAGE

    page = (ROOT / "docs/man/hotcalls-edger8r.1").read_text(encoding="utf-8").replace("\\-", "-")
    options = re.findall(r"^  (--?[\w-]+)", USAGE, re.MULTILINE)
    assert len(options) > 9
    assert [option for option in options if option.replace("-DNAME", "-D") not in page] == []


@pytest.mark.parametrize(
    "page", [p for p in MAN_PAGES if re.fullmatch(r"hotcalls-(?!edger8r)\w+\.1", p)]
)
def test_man_page_names_every_option(page: str) -> None:
    import click

    from hotcalls.cli import cli

    name = page.removeprefix("hotcalls-").removesuffix(".1")
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    text = (ROOT / "docs/man" / page).read_text(encoding="utf-8").replace("\\-", "-")
    commands = [command]
    if isinstance(command, click.Group):
        commands += command.commands.values()
    options = {
        option
        for each in commands
        for parameter in each.params
        if isinstance(parameter, click.Option) and not parameter.hidden
        for option in parameter.opts
        if option.startswith("--")
    }
    assert {option for option in options if option not in text} == set()


def run_block(block: Block, folder: Path, environment: dict[str, str]) -> str:
    if block.language == "python":
        command = [sys.executable, "-c", block.text]
        if block.name is not None:
            (folder / block.name).write_text(block.text, encoding="utf-8")
            command = [sys.executable, block.name]
    elif block.language in ("sh", "console"):
        lines = block.text.splitlines()
        if block.language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        command = ["bash", "-euo", "pipefail", "-c", "\n".join(lines)]
    else:
        assert block.name is not None, f"line {block.line}: a {block.language} block needs a name"
        (folder / block.name).write_text(block.text, encoding="utf-8")
        return ""
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"line {block.line}:\n{result.stdout}{result.stderr}"
    return result.stdout


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if blocks(name)])
def test_examples_of_document_run(document: str, tmp_path: Path) -> None:
    # As a person has it: the venv's hotcalls first on the PATH, and not in the source tree.
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "100",
    }
    printed = ""
    for block in blocks(document):
        if block.what == "run":
            printed = run_block(block, tmp_path, environment)
        else:
            assert printed.strip() == block.text.strip(), f"line {block.line}"


def test_readme_says_what_a_process_enclave_is_not(repository: Path) -> None:
    first_screen = (repository / "README.md").read_text(encoding="utf-8")[:4500]
    assert re.search(r"not SGX", first_screen, re.I)
    assert "kernel" in first_screen
    assert "root" in first_screen


def test_readme_has_a_place_for_results(repository: Path) -> None:
    text = (repository / "README.md").read_text(encoding="utf-8")
    assert text.count("<!-- bench:begin -->") == 1
    assert text.index("<!-- bench:begin -->") < text.index("<!-- bench:end -->")


def test_figures_of_documents_are_those_of_the_results(repository: Path, tmp_path: Path) -> None:
    results = [repository / "results" / f"{name}.json" for name in ("python", "bench", "bench-sgx")]
    documents = ["README.md", "docs/from-edger8r.md"]
    for file in ["scripts/fill_readme.py", *documents]:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy(repository / file, tmp_path / file)
    command = [sys.executable, "scripts/fill_readme.py", *filter(Path.exists, results)]
    subprocess.run(command, cwd=tmp_path, check=True)
    for file in documents:
        filled = (tmp_path / file).read_text(encoding="utf-8")
        assert filled == (repository / file).read_text(encoding="utf-8"), (
            f"run scripts/fill_readme.py {' '.join(f'results/{path.name}' for path in results)}"
        )
