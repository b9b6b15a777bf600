# SPDX-License-Identifier: Apache-2.0
"""What cannot be launched is refused at once: the right error, what is wrong, nothing left over."""

from __future__ import annotations

import math
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import hotcalls
from hotcalls.build import BuildError, build
from hotcalls.edl.elf import read_interface

HERE = Path(__file__).resolve().parent


@pytest.fixture(autouse=True)
def nothing_left(footprint: Any) -> None:
    """Every refusal here is checked for what it leaves behind."""


def refused(
    path: str | os.PathLike[str],
    kind: type[Exception],
    match: str,
    **options: Any,
) -> Any:
    start = time.monotonic()
    with pytest.raises(kind, match=match) as caught:
        hotcalls.launch(path, **options)
    # At once, instead of at the end of the launch's own 30 seconds.
    assert time.monotonic() - start < 29
    return caught.value


class TestFile:
    def test_missing_file_is_named(self, tmp_path: Path) -> None:
        error = refused(tmp_path / "no.so", hotcalls.LaunchError, r"no\.so: No such file")
        assert error.errno == 2

    def test_directory_is_refused(self, tmp_path: Path) -> None:
        refused(tmp_path, hotcalls.LaunchError, "directory|not a regular file")

    @pytest.mark.parametrize("path", ["/dev/zero", "/dev/null"])
    def test_device_is_refused(self, path: str) -> None:
        refused(path, hotcalls.LaunchError, "not a regular file")

    def test_fifo_is_refused_without_waiting_for_its_writer(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        refused(tmp_path / "fifo", hotcalls.LaunchError, "not a regular file")

    @pytest.mark.skipif(os.geteuid() != 0, reason="covered by the next test then")
    def test_unreadable_file_is_refused_to_another_user(
        self, run_script: Any, calls_path: Path, tmp_path: Path
    ) -> None:
        closed = Path(shutil.copy(calls_path, tmp_path / "closed.enclave.so"))
        closed.chmod(0)
        done = run_script(
            """
            hotcalls.launch  # imported before the identity is dropped
            os.setresuid(65534, 65534, 65534)
            try:
                hotcalls.launch(path)
            except hotcalls.LaunchError as error:
                print(type(error).__name__, error.errno, error)
            """,
            path=str(closed),
        )
        assert done.stdout.startswith("LaunchError 13 "), done.stderr
        assert "Permission denied" in done.stdout

    def test_empty_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "e.so").touch()
        refused(tmp_path / "e.so", hotcalls.InterfaceMismatch, r"e\.so: not an ELF file")

    def test_source_file_is_refused_with_what_to_do(self) -> None:
        refused(HERE / "enclaves/calls.c", hotcalls.InterfaceMismatch, "hotcalls build calls.edl")

    def test_shared_object_without_interface_is_refused(self) -> None:
        import hotcalls._native as native

        refused(native.__file__, hotcalls.InterfaceMismatch, "not an enclave built by")

    def test_program_is_refused(self) -> None:
        refused(Path(sys.executable).resolve(), hotcalls.InterfaceMismatch, "not a")

    @pytest.mark.parametrize("share", [0.001, 0.01, 0.3, 0.6, 0.9, 0.99, 0.9999])
    def test_truncated_enclave_is_refused(
        self, calls_path: Path, tmp_path: Path, share: float
    ) -> None:
        data = calls_path.read_bytes()
        (tmp_path / "t.so").write_bytes(data[: int(len(data) * share)])
        refused(tmp_path / "t.so", hotcalls.InterfaceMismatch, r"t\.so")

    def test_other_version_of_the_interface_is_refused_with_both_numbers(
        self, calls_path: Path, tmp_path: Path
    ) -> None:
        abi = read_interface(calls_path)["abi"]
        data = calls_path.read_bytes()
        old, new = f'"abi":{abi}'.encode(), f'"abi":{abi + 1}'.encode()
        if old not in data:
            old, new = f'"abi": {abi}'.encode(), f'"abi": {abi + 1}'.encode()
        assert data.count(old) == 1
        (tmp_path / "v.so").write_bytes(data.replace(old, new))
        error = refused(tmp_path / "v.so", hotcalls.InterfaceMismatch, "build it again")
        assert str(abi) in str(error)
        assert str(abi + 1) in str(error)

    def test_damaged_description_is_refused(self, calls_path: Path, tmp_path: Path) -> None:
        data = calls_path.read_bytes()
        assert data.count(b'"ask_twice"') >= 1
        (tmp_path / "d.so").write_bytes(data.replace(b'"ask_twice"', b'"ask_twixe"'))
        refused(tmp_path / "d.so", hotcalls.InterfaceMismatch, "damaged")

    def test_enclave_whose_code_is_of_another_edl_is_refused(
        self, build_enclave: Any, calls_path: Path, tmp_path: Path
    ) -> None:
        # The description is that of the file; the digest in the code is another.
        digest = bytes.fromhex(read_interface(calls_path)["digest"])
        data = calls_path.read_bytes()
        assert data.count(digest) == 1
        (tmp_path / "x.so").write_bytes(data.replace(digest, bytes(reversed(digest))))
        refused(tmp_path / "x.so", hotcalls.InterfaceMismatch, "another EDL")

    def test_symbol_that_does_not_exist_is_named(self, build_enclave: Any) -> None:
        path = build_enclave("faults", "NEEDS_SYMBOL")
        refused(path, hotcalls.LaunchError, "no_such_function_anywhere")


class TestStart:
    @pytest.mark.parametrize(
        "macro, kind, match",
        [
            ("START_FAILS", hotcalls.LaunchError, r"hc_enclave_start\(\) returned 42"),
            ("START_CRASHES", hotcalls.LaunchError, "signal 11|Segmentation|while it started"),
            ("START_EXITS", hotcalls.LaunchError, "while it started"),
        ],
    )
    def test_start_that_fails_is_reported(
        self, build_enclave: Any, macro: str, kind: type[Exception], match: str
    ) -> None:
        refused(build_enclave("faults", macro), kind, match)

    def test_start_that_never_returns_is_bounded_by_the_timeout(self, build_enclave: Any) -> None:
        path = build_enclave("faults", "START_HANGS")
        start = time.monotonic()
        with pytest.raises(hotcalls.LaunchError, match="200 ms"):
            hotcalls.launch(path, timeout=0.2)
        # Not before its time, and long before the 30 seconds that nobody asked for.
        assert 0.2 <= time.monotonic() - start < 29

    def test_start_that_never_returns_can_be_interrupted(
        self, build_enclave: Any, run_script: Any
    ) -> None:
        done = run_script(
            """
            start = time.monotonic()
            try:
                threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
                hotcalls.launch(path, timeout=200)
            except KeyboardInterrupt:
                print("interrupted", time.monotonic() - start < 100)
            """,
            path=str(build_enclave("faults", "START_HANGS")),
        )
        assert done.stdout == "interrupted True\n", done.stderr

    def test_start_may_write_to_the_log(self, build_enclave: Any, tmp_path: Path) -> None:
        with open(tmp_path / "log", "wb") as log:
            hotcalls.launch(build_enclave("faults", "START_TALKS"), log=log.fileno()).close()
        assert (tmp_path / "log").read_text() == "the enclave starts\n"

    def test_failed_launches_leave_no_process(self, build_enclave: Any) -> None:
        for _ in range(3):
            with pytest.raises(hotcalls.LaunchError):
                hotcalls.launch(build_enclave("faults", "START_FAILS"))


class TestOptions:
    def test_unknown_ocall_names_the_known_ones(self, calls_path: Path) -> None:
        with pytest.raises(ValueError, match=r"no ocall 'sing'.*twice"):
            hotcalls.launch(calls_path, ocalls={"sing": print})

    def test_ocall_that_cannot_be_called_is_refused(self, calls_path: Path) -> None:
        with pytest.raises(TypeError, match="'twice' is not callable"):
            hotcalls.launch(calls_path, ocalls={"twice": 5})  # type: ignore[dict-item]

    @pytest.mark.parametrize(
        "option, value",
        [
            ("threads", 0), ("threads", 1000), ("ocall_threads", -1), ("callers", 0),
            ("callers", 100000), ("enclave_callers", -1), ("cells", 3), ("cells", 128),
            ("window", 0), ("shared_size", -1), ("idle", 0), ("idle", -1),
            ("spin", math.nan), ("timeout", 0), ("timeout", -1), ("timeout", math.nan),
            ("timeout", math.inf), ("log", 9999), ("log", -1),
        ],
    )  # fmt: skip
    def test_option_outside_its_range_is_refused(
        self, calls_path: Path, option: str, value: Any
    ) -> None:
        with pytest.raises((ValueError, hotcalls.HotcallsError)) as caught:
            hotcalls.launch(calls_path, **{option: value})
        assert len(str(caught.value)) > 15

    @pytest.mark.parametrize(
        "option, value",
        [("threads", "1"), ("callers", 1.5), ("cells", None), ("window", True), ("log", "x"),
         ("user", 1.5), ("user", True)],
    )  # fmt: skip
    def test_option_of_another_type_is_refused(
        self, calls_path: Path, option: str, value: Any
    ) -> None:
        with pytest.raises(TypeError, match=option):
            hotcalls.launch(calls_path, **{option: value})

    @pytest.mark.parametrize("user", ["no-such-user-here", "root", 0, -5, 1 << 40])
    def test_user_that_does_not_exist_or_is_root_is_refused(
        self, calls_path: Path, user: Any
    ) -> None:
        with pytest.raises(hotcalls.LaunchError, match="user"):
            hotcalls.launch(calls_path, user=user)

    def test_missing_loader_is_named(
        self, calls_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOTCALLS_LOADER", "/no/such/loader")
        refused(calls_path, hotcalls.LaunchError, "/no/such/loader")

    def test_loader_that_is_no_program_is_refused(
        self, calls_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "loader").write_text("not a program")
        monkeypatch.setenv("HOTCALLS_LOADER", str(tmp_path / "loader"))
        refused(calls_path, hotcalls.LaunchError, "loader")

    def test_another_program_as_loader_is_reported(
        self, calls_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOTCALLS_LOADER", "/bin/true")
        refused(calls_path, hotcalls.LaunchError, "while it started")

    def test_no_descriptors_left_is_reported(self, run_script: Any, calls_path: Path) -> None:
        done = run_script(
            """
            import resource
            hotcalls.launch(path).close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
            taken = []
            while True:
                try:
                    taken.append(os.open("/dev/null", os.O_RDONLY))
                except OSError:
                    break
            for spare in range(0, 20):
                try:
                    hotcalls.launch(path).close()
                    print("launched with", spare)
                    break
                except hotcalls.LaunchError as error:
                    assert "open files" in str(error), error
                    assert error.errno == 24, error.errno
                os.close(taken.pop())
            """,
            path=str(calls_path),
        )
        assert done.returncode == 0, done.stderr
        assert "launched with" in done.stdout

    def test_low_limit_of_descriptors_is_enough(self, run_script: Any, calls_path: Path) -> None:
        done = run_script(
            """
            import resource
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
            with hotcalls.launch(path) as enclave:
                print(enclave.i32(5))
            """,
            path=str(calls_path),
        )
        assert done.stdout == "5\n", done.stderr

    def test_no_memory_is_reported(self, run_script: Any, calls_path: Path) -> None:
        done = run_script(
            """
            import resource
            hotcalls.launch(path).close()
            size = int(open("/proc/self/statm").read().split()[0]) * 4096
            resource.setrlimit(resource.RLIMIT_AS, (size + (1 << 20), size + (1 << 20)))
            try:
                hotcalls.launch(path, window=1 << 20, callers=60)
            except (hotcalls.LaunchError, MemoryError) as error:
                print(type(error).__name__)
            """,
            path=str(calls_path),
        )
        assert done.stdout.strip() in ("LaunchError", "MemoryError"), done.stderr


class TestBuild:
    def test_no_compiler_is_said_with_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("CC", raising=False)
        with pytest.raises(BuildError, match="apt install gcc"):
            build(HERE / "enclaves/calls.edl", [HERE / "enclaves/calls.c"], tmp_path / "c.so")
        assert list(tmp_path.iterdir()) == []

    def command(self, *arguments: str | Path, **environment: str) -> Any:
        return subprocess.run(
            [sys.executable, "-m", "hotcalls.cli", "build", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **environment},
        )

    def test_command_without_compiler_exits_with_1(self, tmp_path: Path) -> None:
        done = self.command(
            HERE / "enclaves/calls.edl", HERE / "enclaves/calls.c", "-o", tmp_path / "c.so",
            PATH=str(tmp_path), CC="",
        )  # fmt: skip
        assert done.returncode == 1
        assert "apt install gcc" in done.stderr
        assert "Traceback" not in done.stderr

    def test_wrong_edl_exits_with_3_and_points_at_the_place(self, tmp_path: Path) -> None:
        edl = tmp_path / "bad.edl"
        edl.write_text(
            "enclave {\n    trusted {\n        public void f([in, size] int *p);\n    };\n};\n"
        )
        done = self.command(edl, HERE / "enclaves/calls.c", "-o", tmp_path / "c.so")
        assert done.returncode == 3
        first, *rest = done.stderr.splitlines()
        assert first.startswith(f"{edl}:3:")
        assert int(first.split(":")[2])
        assert "public void f([in, size] int *p);" in done.stderr
        assert any(line.strip().startswith("^") for line in rest)
        assert not (tmp_path / "c.so").exists()

    def test_missing_edl_and_missing_source_are_named(self, tmp_path: Path) -> None:
        done = self.command(tmp_path / "no.edl", HERE / "enclaves/calls.c")
        assert done.returncode in (1, 3)
        assert "no.edl" in done.stderr
        done = self.command(HERE / "enclaves/calls.edl", tmp_path / "no.c", "-o", tmp_path / "c.so")
        assert done.returncode == 1
        assert "no.c" in done.stderr

    def test_ecall_that_no_source_defines_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "empty.c").write_text("")
        with pytest.raises(BuildError, match="ask_twice"):
            build(HERE / "enclaves/calls.edl", [tmp_path / "empty.c"], tmp_path / "c.so")

    def test_error_of_the_compiler_is_shown(self, tmp_path: Path) -> None:
        (tmp_path / "wrong.c").write_text("this is not C\n")
        done = self.command(
            HERE / "enclaves/calls.edl", tmp_path / "wrong.c", "-o", tmp_path / "c.so"
        )
        assert done.returncode == 1
        assert "wrong.c:1" in done.stderr

    def test_directory_that_cannot_be_written_is_named(self) -> None:
        with pytest.raises(BuildError, match="/proc/nowhere"):
            build(HERE / "enclaves/calls.edl", [HERE / "enclaves/calls.c"], "/proc/nowhere/c.so")

    def test_built_enclave_is_not_writable_code(self, calls_path: Path) -> None:
        headers = subprocess.run(
            ["readelf", "-lW", str(calls_path)], capture_output=True, text=True, check=True
        ).stdout
        assert "RWE" not in headers
        assert stat.S_ISREG(calls_path.stat().st_mode)
