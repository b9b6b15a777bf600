# SPDX-License-Identifier: Apache-2.0
"""What may be imported, from where, and that no arrangement of imports harms."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from hotcalls.edl import EdlError, Interface, parse_file, parse_text

ROOT = "enclave {{ {imports} trusted {{ public void root(); }}; }};"


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.edl").write_text(text)
    return folder / "root.edl"


def names(interface: Interface) -> tuple[list[str], list[str]]:
    return [f.name for f in interface.ecalls], [f.name for f in interface.ocalls]


def rules(path: Path, *search: Path) -> set[str]:
    with pytest.raises(EdlError) as caught:
        parse_file(path, search)
    return {error.rule for error in caught.value.errors}


def test_star_imports_everything(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        root=ROOT.format(imports='from "a.edl" import *;'),
        a='enclave { include "a.h" struct s { int x; }; trusted { void e(); };'
        " untrusted { void o() allow(e); }; };",
    )
    interface = parse_file(root)
    assert names(interface) == (["root", "e"], ["o"])
    assert interface.includes == ("a.h",)
    assert ("struct", "s") in interface.composites


def test_named_import_takes_these_functions_and_all_types(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        root=ROOT.format(imports='from "a.edl" import o2, e;'),
        a="enclave { struct s { int x; }; trusted { public void e(); void e2(); };"
        " untrusted { void o1(); void o2(); }; };",
    )
    interface = parse_file(root)
    assert names(interface) == (["root", "e"], ["o2"])
    assert ("struct", "s") in interface.composites


def test_named_import_reaches_through_imports(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        root=ROOT.format(imports='from "a.edl" import deep;'),
        a='enclave { from "b.edl" import *; untrusted { void shallow(); }; };',
        b="enclave { untrusted { void deep(); void other(); }; };",
    )
    assert names(parse_file(root)) == (["root"], ["deep"])


def test_file_imported_twice_counts_once(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        root=ROOT.format(imports='from "a.edl" import *; from "b.edl" import *;'),
        a='enclave { from "c.edl" import *; untrusted { void a(); }; };',
        b='enclave { from "c.edl" import *; untrusted { void b(); }; };',
        c="enclave { struct s { int x; }; untrusted { void c(); }; };",
    )
    assert names(parse_file(root)) == (["root"], ["a", "c", "b"])


def test_search_path_is_looked_at_after_the_files_directory(tmp_path: Path) -> None:
    library = tmp_path / "library"
    folder = tmp_path / "project"
    library.mkdir()
    folder.mkdir()
    write(
        library,
        a="enclave { untrusted { void from_library(); }; };",
        b="enclave { untrusted { void b(); }; };",
    )
    root = write(
        folder,
        root=ROOT.format(imports='from "a.edl" import *; from "b.edl" import *;'),
        a="enclave { untrusted { void from_project(); }; };",
    )
    assert names(parse_file(root, [library]))[1] == ["from_project", "b"]
    assert rules(root) == {"import"}


def test_text_imports_from_the_search_path_only(tmp_path: Path) -> None:
    write(tmp_path, a="enclave { untrusted { void o(); }; };")
    text = ROOT.format(imports='from "a.edl" import *;')
    assert names(parse_text(text, "root.edl", [tmp_path]))[1] == ["o"]
    with pytest.raises(EdlError):
        parse_text(text, "root.edl")


@pytest.mark.parametrize(
    "cycle",
    [
        {"root": ROOT.format(imports='from "root.edl" import *;')},
        {
            "root": ROOT.format(imports='from "a.edl" import *;'),
            "a": 'enclave { from "b.edl" import *; };',
            "b": 'enclave { from "a.edl" import *; };',
        },
        {
            "root": ROOT.format(imports='from "a.edl" import x;'),
            "a": 'enclave { from "root.edl" import *; untrusted { void x(); }; };',
        },
    ],
)
def test_circular_import_is_refused(tmp_path: Path, cycle: dict[str, str]) -> None:
    assert "import-cycle" in rules(write(tmp_path, **cycle))


def test_missing_file_and_missing_function_are_refused(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        root=ROOT.format(imports='from "none.edl" import *; from "a.edl" import o, p, q;'),
        a="enclave { untrusted { void o(); }; };",
    )
    with pytest.raises(EdlError) as caught:
        parse_file(root)
    messages = [error.message for error in caught.value.errors]
    assert len(messages) == 3
    assert "no file `none.edl`" in messages[0]
    assert messages[1].endswith("a.edl declares no function `p`")
    assert messages[2].endswith("a.edl declares no function `q`")


def test_import_out_of_the_directory_is_refused(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    write(tmp_path, secret="enclave { untrusted { void o(); }; };")
    root = write(inner, root=ROOT.format(imports='from "../secret.edl" import *;'))
    assert rules(root) == {"import-escape"}
    assert names(parse_file(root, [tmp_path]))[1] == ["o"]


def test_import_through_a_link_out_of_the_directory_is_refused(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    write(tmp_path, secret="enclave { untrusted { void o(); }; };")
    (inner / "link.edl").symlink_to(tmp_path / "secret.edl")
    assert rules(write(inner, root=ROOT.format(imports='from "link.edl" import *;'))) == {
        "import-escape"
    }


@pytest.mark.parametrize("path", ["/etc/passwd", "", "a\tb.edl"])
def test_import_path_must_be_relative_and_printable(tmp_path: Path, path: str) -> None:
    root = write(tmp_path, root=ROOT.format(imports=f'from "{path}" import *;'))
    assert rules(root) == {"import-path"}


def test_error_in_an_imported_file_is_shown_there(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        root=ROOT.format(imports='from "a.edl" import *;'),
        a="enclave {\n untrusted { void o(int *p); }; };",
    )
    with pytest.raises(EdlError) as caught:
        parse_file(root)
    (error,) = caught.value.errors
    assert (os.path.basename(error.path), error.line) == ("a.edl", 2)


def test_same_name_in_two_files_is_refused(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        root=ROOT.format(imports='from "a.edl" import *; from "b.edl" import *;'),
        a="enclave { untrusted { void o(); }; };",
        b="enclave { untrusted { void o(); }; };",
    )
    assert rules(root) == {"duplicate"}


def test_fifo_and_directory_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.edl")
    (tmp_path / "folder.edl").mkdir()
    for name in ("fifo", "folder"):
        assert rules(write(tmp_path, root=ROOT.format(imports=f'from "{name}.edl" import *;'))) == {
            "unreadable"
        }
        assert rules(tmp_path / f"{name}.edl") == {"unreadable"}


def test_unreadable_root_is_refused(tmp_path: Path) -> None:
    assert rules(tmp_path / "none.edl") == {"unreadable"}
    assert rules(tmp_path / "a\0b.edl") == {"unreadable"}


def test_text_that_is_not_utf8_is_refused_at_its_place(tmp_path: Path) -> None:
    path = tmp_path / "root.edl"
    path.write_bytes(b"enclave {\n  /* \xc3\xa9 \xff */ trusted { public void f(); }; };")
    with pytest.raises(EdlError) as caught:
        parse_file(path)
    (error,) = caught.value.errors
    assert (error.rule, error.line, error.column) == ("encoding", 2, 8)


def test_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "root.edl"
    path.write_bytes(b"\xef\xbb\xbf" + ROOT.format(imports="").encode())
    parse_file(path)


def test_imports_that_double_at_each_level_take_linear_time(tmp_path: Path) -> None:
    files = {
        f"f{i}": f'enclave {{ from "f{i + 1}.edl" import *; from "f{i + 1}.edl" import o; }};'
        for i in range(40)
    }
    files["f40"] = "enclave { untrusted { void o(); }; };"
    start = time.process_time()
    root = write(tmp_path, root=ROOT.format(imports='from "f0.edl" import *;'), **files)
    assert names(parse_file(root))[1] == ["o"]
    assert time.process_time() - start < 5


def test_endless_chain_of_imports_is_refused(tmp_path: Path) -> None:
    files = {f"f{i}": f'enclave {{ from "f{i + 1}.edl" import *; }};' for i in range(200)}
    root = write(tmp_path, root=ROOT.format(imports='from "f0.edl" import *;'), **files)
    assert rules(root) == {"import-limit"}
