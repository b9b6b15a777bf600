# SPDX-License-Identifier: Apache-2.0
"""What `launch` takes for a Python module, and what it says when there is none or it fails."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable
from pathlib import Path

import pytest

import hotcalls
from hotcalls import pymodule

Writer = Callable[..., Path]

WHO = """
import sys

@hotcalls.ecall
def who() -> list[str]:
    return [__name__, __file__, str(__package__)]
"""


def test_path_of_a_file_is_launched_under_its_name(write: Writer) -> None:
    path = write(WHO)
    for given in (path, str(path), Path(os.path.relpath(path))):
        with hotcalls.launch(given) as enclave:
            assert enclave.who() == ["vault", str(path), ""]


def test_dotted_name_is_found_without_running_anything(
    write: Writer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write("raise SystemExit('__init__ of the package')", "pack/__init__.py")
    path = write(WHO, "pack/deep/vault.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(hotcalls.LaunchError, match="__init__ of the package"):
        hotcalls.launch("pack.deep.vault")
    write("", "pack/__init__.py")
    with hotcalls.launch("pack.deep.vault") as enclave:
        assert enclave.who() == ["pack.deep.vault", str(path), "pack.deep"]
    assert not any(name.partition(".")[0] == "pack" for name in sys.modules)


def test_module_imports_its_package_and_its_neighbours(
    write: Writer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write("COLOUR = 'red'", "neighbour_pack/__init__.py")
    write("SIZE = 4", "neighbour_pack/sizes.py")
    write(
        """
        from . import COLOUR
        from .sizes import SIZE

        @hotcalls.ecall
        def what() -> str:
            return f"{COLOUR} {SIZE}"
        """,
        "neighbour_pack/vault.py",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with hotcalls.launch("neighbour_pack.vault") as enclave:
        assert enclave.what() == "red 4"


def test_file_imports_what_lies_beside_it(write: Writer) -> None:
    write("SIZE = 4", "beside.py")
    path = write("from beside import SIZE\n@hotcalls.ecall\ndef size() -> int:\n    return SIZE\n")
    with hotcalls.launch(path) as enclave:
        assert enclave.size() == 4


def test_package_itself_is_launched(
    write: Writer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write("SIZE = 5", "whole_pack/sizes.py")
    write(
        """
        from whole_pack.sizes import SIZE

        @hotcalls.ecall
        def size() -> int:
            return SIZE
        """,
        "whole_pack/__init__.py",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with hotcalls.launch("whole_pack") as enclave:
        assert enclave.size() == 5


def test_imported_module_is_launched_and_its_functions_call_the_enclave(
    write: Writer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(
        """
        import os

        @hotcalls.startup
        def never_here():
            global STARTED
            STARTED = os.getpid()

        @hotcalls.ecall
        def started_as() -> int:
            return STARTED
        """,
        "imported_vault.py",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("imported_vault")
    assert not hasattr(module, "STARTED")
    with hotcalls.launch(module) as enclave:
        assert module.started_as() == enclave.started_as() == enclave.pid
    assert not hasattr(module, "STARTED")


def test_script_launches_itself(write: Writer) -> None:
    path = write(
        """
        @hotcalls.ecall
        def label() -> str:
            return __name__

        if __name__ == "__main__":
            with hotcalls.launch(__file__) as enclave:
                print(enclave.label())
        """,
        "script.py",
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(path)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("script\n", "")


def test_host_does_not_run_the_module(write: Writer, tmp_path: Path) -> None:
    path = write(
        f"""
        import os, pathlib
        pathlib.Path({str(tmp_path)!r}, "ran").write_text(str(os.getpid()))

        @hotcalls.ecall
        def nothing() -> None: ...
        """
    )
    with hotcalls.launch(path) as enclave:
        assert (tmp_path / "ran").read_text() == str(enclave.pid)


def test_two_enclaves_of_one_module_are_apart(write: Writer) -> None:
    path = write(
        """
        COUNT = 0

        @hotcalls.ecall
        def count() -> int:
            global COUNT
            COUNT += 1
            return COUNT
        """
    )
    with hotcalls.launch(path) as one, hotcalls.launch(path) as two:
        assert [one.count(), one.count(), two.count()] == [1, 2, 1]
        assert one.pid != two.pid


def test_what_was_read_is_what_runs(write: Writer) -> None:
    path = write(
        """
        with open(__file__, "a") as file:
            file.write("raise SystemExit('changed')\\n")

        @hotcalls.ecall
        def nothing() -> None: ...
        """
    )
    with hotcalls.launch(path) as enclave:
        enclave.nothing()
    assert path.read_text().endswith("raise SystemExit('changed')\n")


# ---- refusals ---------------------------------------------------------------------------------


def refusal(path: object, **options: object) -> str:
    with pytest.raises(hotcalls.LaunchError) as caught:
        hotcalls.launch(path, **options)  # type: ignore[arg-type]
    return str(caught.value)


def test_syntax_error_is_shown_as_python_shows_it(write: Writer) -> None:
    path = write("def broken(:\n    pass\n")
    text = refusal(path)
    assert f'File "{path}", line 2' in text
    assert "def broken(:" in text
    assert text.rstrip().endswith("SyntaxError: invalid syntax")
    assert "hotcalls/inside" not in text


def test_failing_import_comes_with_its_whole_traceback(write: Writer) -> None:
    write("def f():\n    return 1 / 0\nf()\n", "helper.py")
    path = write("import helper\n")
    text = refusal(path)
    assert f'File "{path}", line 2, in <module>' in text
    assert "helper.py" in text
    assert "return 1 / 0" in text
    assert text.rstrip().endswith("ZeroDivisionError: division by zero")


def test_control_characters_of_an_exception_stay_inside(write: Writer) -> None:
    text = refusal(write("raise RuntimeError('\\x1b[2Jgone')\n"))
    assert "\x1b" not in text
    assert "[2Jgone" in text


def test_missing_module_is_named(write: Writer) -> None:
    text = refusal(write("import no_such_module_anywhere\n"))
    assert "ModuleNotFoundError: No module named 'no_such_module_anywhere'" in text


def test_failing_start_up_comes_with_its_traceback(write: Writer) -> None:
    text = refusal(
        write(
            """
            @hotcalls.startup
            def start():
                raise RuntimeError("no key today")

            @hotcalls.ecall
            def nothing() -> None: ...
            """
        )
    )
    assert "in start" in text
    assert 'raise RuntimeError("no key today")' in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def f(x) -> int: return 1", r"f\(\): parameter 'x' has no annotation"),
        ("def f(x: int): return 1", r"f\(\): the result has no annotation"),
        ("def f(x: 'socket.socket') -> int: return 1", "socket"),
        ("def f(x: object) -> int: return 1", r"f\(\): parameter 'x'"),
        ("def close() -> None: ...", "close"),
        ("def stats() -> None: ...", "stats"),
        ("def pid() -> None: ...", "pid"),
    ],
)
def test_function_that_cannot_be_served_fails_the_launch_by_name(
    write: Writer, text: str, words: str
) -> None:
    with pytest.raises(hotcalls.LaunchError, match=words):
        hotcalls.launch(write(f"@hotcalls.ecall\n{text}\n"))


def test_module_without_ecalls_is_refused(write: Writer) -> None:
    assert "declares no ecall" in refusal(write("x = 1\n"))


def test_module_that_exits_is_refused(write: Writer) -> None:
    assert "SystemExit: 3" in refusal(write("raise SystemExit(3)\n"))
    assert "the enclave ended while it started" in refusal(write("import os\nos._exit(7)\n"))


def test_module_that_crashes_is_refused(write: Writer) -> None:
    text = refusal(write("import ctypes\nctypes.string_at(8)\n"))
    assert "signal 11" in text


def test_module_that_takes_too_long_is_given_up(write: Writer) -> None:
    text = refusal(write("import time\ntime.sleep(60)\n"), timeout=0.5)
    assert "did not start within 500 ms" in text


def test_module_that_leaves_a_process_running_is_refused(write: Writer) -> None:
    path = write(
        "import subprocess\nP = subprocess.Popen(['sleep', '20'])\n@hotcalls.ecall\n"
        "def f() -> None: ...\n"
    )
    with pytest.raises(hotcalls.LockdownError, match="child process"):
        hotcalls.launch(path)


def test_ocall_that_the_module_does_not_make_is_refused(write: Writer) -> None:
    path = write("@hotcalls.ecall\ndef f() -> None: ...\n")
    with pytest.raises(ValueError, match="makes no ocall 'audit'; it makes none"):
        hotcalls.launch(path, ocalls={"audit": print})


def test_missing_file_is_named(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none.py")


def test_missing_module_name_is_named() -> None:
    assert "there is no module 'no.such.module': 'no' is not found" in refusal("no.such.module")
    assert "'json.x' is not found" in refusal("json.x")
    assert "is not a package" in refusal("string.x")


def test_module_without_source_is_refused() -> None:
    assert "is no Python source" in refusal("math")


def test_module_that_was_typed_in_is_refused() -> None:
    module = types.ModuleType("typed_in")
    assert "has no file" in refusal(module)


def test_file_that_cannot_be_a_module_is_refused(write: Writer) -> None:
    assert "cannot be the name of a module" in refusal(write("", "my-vault.py"))


def test_missing_interpreter_is_named(write: Writer) -> None:
    path = write("@hotcalls.ecall\ndef f() -> None: ...\n")
    assert "/no/such/python" in refusal(path, python="/no/such/python")


def test_program_that_is_no_interpreter_is_told_apart_from_a_crash(write: Writer) -> None:
    path = write("@hotcalls.ecall\ndef f() -> None: ...\n")
    text = refusal(path, python="/bin/true")
    assert "/bin/true did not come as far as loading hotcalls" in text
    assert f"has to be Python {sys.version_info.major}.{sys.version_info.minor}" in text
    assert "as far as" not in refusal(write("import os\nos._exit(1)\n"))


def test_preload_that_does_not_exist_names_the_option(write: Writer) -> None:
    path = write("@hotcalls.ecall\ndef f() -> None: ...\n")
    text = refusal(path, preload=["no_such_module"])
    assert "launch(preload=['no_such_module'])" in text


def test_preload_makes_a_module_importable(write: Writer) -> None:
    path = write("@hotcalls.ecall\ndef f() -> str:\n    import wave\n    return wave.__name__\n")
    with hotcalls.launch(path, preload=["wave"]) as enclave:
        assert enclave.f() == "wave"


@pytest.mark.parametrize("value", ["wave", [1], [b"wave"]])
def test_preload_of_another_type_is_refused(write: Writer, value: object) -> None:
    path = write("@hotcalls.ecall\ndef f() -> None: ...\n")
    with pytest.raises(TypeError, match="preload"):
        hotcalls.launch(path, preload=value)  # type: ignore[arg-type]


@pytest.mark.parametrize("option", [{"args": 1}, {"secrets": {"a": b""}}, {"preload": ["wave"]}])
def test_c_enclave_takes_no_option_of_python_modules(tmp_path: Path, option: object) -> None:
    with pytest.raises(TypeError, match="is for Python modules"):
        hotcalls.launch(tmp_path / "x.so", **option)  # type: ignore[arg-type]


# ---- the environment --------------------------------------------------------------------------


def test_launch_imports_nothing_large_that_the_module_does_not(write: Writer) -> None:
    module = """
        import sys

        @hotcalls.ecall
        def imported() -> set[str]:
            return set(sys.modules)
        """
    with hotcalls.launch(write(module)) as enclave:
        unwanted = {"_hashlib", "asyncio", "concurrent", "logging", "numpy", "typing_extensions"}
        assert not enclave.imported() & unwanted


def test_code_that_both_sides_run_knows_every_error(write: Writer) -> None:
    module = """
        def known() -> list[str]:
            return [issubclass(hotcalls.EnclaveLost, RuntimeError), hotcalls.ForkedError.__name__]

        @hotcalls.ecall
        def inside() -> list[bool | str]:
            return known()
        """
    with hotcalls.launch(write(module)) as enclave:
        assert enclave.inside() == [True, "ForkedError"]


def test_typing_extensions_are_there_for_a_module_that_imports_them(write: Writer) -> None:
    pytest.importorskip("typing_extensions")
    module = """
        import typing_extensions

        class Entry(typing_extensions.TypedDict):
            name: str
            size: typing_extensions.NotRequired[int]

        @hotcalls.ecall
        def sizes(entries: list[Entry]) -> list[int]:
            return [each.get("size", 0) for each in entries]
        """
    with hotcalls.launch(write(module)) as enclave:
        assert enclave.sizes([{"name": "a"}, {"name": "b", "size": 5}]) == [0, 5]


def test_garbage_is_collected_in_the_module_and_after(write: Writer) -> None:
    module = """
        import gc

        ENABLED = gc.isenabled()

        @hotcalls.ecall
        def enabled() -> list[bool]:
            return [ENABLED, gc.isenabled()]
        """
    with hotcalls.launch(write(module)) as enclave:
        assert enclave.enabled() == [True, True]


def test_nothing_of_the_hosts_environment_arrives(write: Writer, tmp_path: Path) -> None:
    write("raise SystemExit('from PYTHONPATH')", "elsewhere/json.py")
    path = write(
        """
        import json, os, sys

        @hotcalls.ecall
        def seen() -> list[str]:
            return [*sorted(os.environ), CWD, str(sys.flags.isolated)]

        CWD = os.getcwd()
        """
    )
    script = textwrap.dedent(
        f"""
        import hotcalls
        with hotcalls.launch({str(path)!r}) as enclave:
            print(enclave.seen())
        """
    )
    variables = {
        **os.environ,
        "PYTHONSTARTUP": "/no/such/file",
        "PYTHONINSPECT": "1",
        "PYTHONHASHSEED": "1",
        "PYTHONWARNINGS": "ignore",
        "GLIBC_TUNABLES": "glibc.malloc.check=3",
        "LD_LIBRARY_PATH": "/tmp",
        "KEY": "of the host",
    }
    done = subprocess.run(
        [sys.executable, "-"], input=script, capture_output=True, text=True, check=False,
        env=variables, cwd=tmp_path,
    )  # fmt: skip
    # LC_CTYPE is what Python itself sets where no locale is chosen.
    assert done.stdout in ("['LC_CTYPE', '/', '1']\n", "['/', '1']\n"), done.stderr


def test_user_site_is_never_run(write: Writer, tmp_path: Path) -> None:
    site = tmp_path / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    site.mkdir(parents=True)
    (site / "usercustomize.py").write_text("raise SystemExit('usercustomize')\n")
    path = write(
        "import sys\n@hotcalls.ecall\ndef f() -> bool:\n    return 'usercustomize' in sys.modules\n"
    )
    script = f"import hotcalls\nwith hotcalls.launch({str(path)!r}) as e: print(e.f())\n"
    done = subprocess.run(
        [sys.executable, "-s", "-W", "ignore", "-"], input=script, capture_output=True, text=True,
        check=False, env={**os.environ, "PYTHONUSERBASE": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout == "False\n", done.stderr


def test_code_of_the_venv_runs_only_after_hardening(write: Writer) -> None:
    path = write(
        """
        import sys, site

        @hotcalls.ecall
        def order() -> bool:
            names = list(sys.modules)
            return names.index("hotcalls._inside") < names.index("site")
        """
    )
    with hotcalls.launch(path) as enclave:
        assert enclave.order() is True


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"\x7fELF/../lib:$ORIGIN/../lib", True),
        (b"${ORIGIN}/lib", True),
        (b"\x7fELF/usr/lib", False),
    ],
)
def test_interpreter_that_finds_itself_is_started_by_its_path(
    tmp_path: Path, content: bytes, found: bool
) -> None:
    (tmp_path / "python").write_bytes(content)
    assert pymodule.finds_itself(str(tmp_path / "python")) is found
    with (tmp_path / "python").open("r+b") as file:
        file.truncate(8 << 20)  # a whole interpreter, which has no library
    assert pymodule.finds_itself(str(tmp_path / "python")) is False


@pytest.mark.parametrize(
    ("given", "is_module"),
    [("a.py", True), ("a", True), ("a.b", True), ("a/b", False), ("a.so", False), ("a.b-c", False)],
)
def test_what_is_a_module_and_what_a_file(given: str, is_module: bool) -> None:
    assert pymodule.is_module(given) is is_module
