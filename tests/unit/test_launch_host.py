# SPDX-License-Identifier: Apache-2.0
"""What a launch does to the program around it: its children, signals, threads, forks, its end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hotcalls


def passed(done: subprocess.CompletedProcess[str], expected: str = "") -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert done.stdout == expected


class TestChildren:
    def test_host_has_no_child_to_wait_for(self, run_script: Any, calls_path: Path) -> None:
        passed(
            run_script(
                """
                with hotcalls.launch(path) as enclave:
                    enclave.i32(1)
                    for flags in (0, os.WNOHANG):
                        try:
                            print(os.waitpid(-1, flags))
                        except ChildProcessError:
                            pass
                try:
                    print(os.wait())
                except ChildProcessError:
                    pass
                """,
                path=str(calls_path),
            )
        )

    def test_host_gets_no_sigchld(self, run_script: Any, calls_path: Path) -> None:
        passed(
            run_script(
                """
                seen = []
                signal.signal(signal.SIGCHLD, lambda *_: seen.append(1))
                with hotcalls.launch(path) as enclave:
                    enclave.i32(1)
                enclave = hotcalls.launch(path)
                os.kill(enclave.pid, signal.SIGKILL)
                time.sleep(0.1)
                print(seen)
                """,
                path=str(calls_path),
            ),
            "[]\n",
        )

    def test_children_of_the_host_are_not_taken_from_it(
        self, run_script: Any, calls_path: Path
    ) -> None:
        passed(
            run_script(
                """
                child = subprocess.Popen(["sh", "-c", "exit 7"])
                time.sleep(0.05)
                with hotcalls.launch(path) as enclave:
                    enclave.i32(1)
                    print(subprocess.run(["echo", "works"], capture_output=True).stdout)
                print(child.wait())
                """,
                path=str(calls_path),
            ),
            "b'works\\n'\n7\n",
        )

    def test_host_that_ignores_sigchld_can_launch(self, run_script: Any, calls_path: Path) -> None:
        passed(
            run_script(
                """
                signal.signal(signal.SIGCHLD, signal.SIG_IGN)
                with hotcalls.launch(path) as enclave:
                    print(enclave.i32(3))
                """,
                path=str(calls_path),
            ),
            "3\n",
        )

    def test_host_that_is_a_subreaper_is_left_no_zombie(
        self, run_script: Any, calls_path: Path
    ) -> None:
        passed(
            run_script(
                """
                import ctypes
                ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
                for _ in range(3):
                    with hotcalls.launch(path) as enclave:
                        enclave.i32(1)
                try:
                    print(os.wait())
                except ChildProcessError:
                    print("none")
                """,
                path=str(calls_path),
            ),
            "none\n",
        )


class TestFork:
    def test_forked_child_is_refused_and_the_parent_goes_on(
        self, run_script: Any, calls_path: Path
    ) -> None:
        passed(
            run_script(
                """
                uses = {
                    "call": lambda e: e.i32(1),
                    "submit": lambda e: e.i32.submit(1),
                    "oneway": lambda e: e.tell.oneway(1),
                    "flush": lambda e: e.flush(),
                    "batch": lambda e: e.batch().__enter__(),
                    "stats": lambda e: e.stats(),
                    "wake": lambda e: e.wake(),
                    "shared": lambda e: e.shared(10),
                    "check": lambda e: e.check(),
                    "pending": lambda e: pending.result(),
                    "cancel": lambda e: pending.cancel() or e.check(),
                    "map": lambda e: e.i32.map([1]),
                }
                enclave = hotcalls.launch(path)
                pending = enclave.nap.submit(500)
                block = enclave.shared(100)
                pid = os.fork()
                if pid == 0:
                    wrong = []
                    for name, use in uses.items():
                        try:
                            use(enclave)
                            wrong.append(name)
                        except hotcalls.ForkedError as error:
                            if "forked" not in str(error):
                                wrong.append(str(error))
                    del pending, block
                    enclave.close()
                    os._exit(len(wrong))
                print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                print(pending.result(), enclave.i32(5))
                enclave.close()
                """,
                path=str(calls_path),
            ),
            "0\nNone 5\n",
        )

    def test_forked_child_may_launch_its_own(self, run_script: Any, calls_path: Path) -> None:
        passed(
            run_script(
                """
                enclave = hotcalls.launch(path)
                enclave.tell(1)
                sys.stdout.flush()
                pid = os.fork()
                if pid == 0:
                    with hotcalls.launch(path) as own:
                        own.tell(5)
                        print("child", own.told(), flush=True)
                    del enclave
                    os._exit(0)
                os.waitpid(pid, 0)
                print("parent", enclave.told())
                enclave.close()
                """,
                path=str(calls_path),
            ),
            "child 5\nparent 1\n",
        )

    def test_child_that_exits_in_an_orderly_way_does_not_end_the_enclave(
        self, run_script: Any, calls_path: Path
    ) -> None:
        passed(
            run_script(
                """
                enclave = hotcalls.launch(path)
                enclave.i32(1)
                if os.fork() == 0:
                    sys.exit(0)
                print(os.wait()[1])
                print(enclave.i32(2))
                enclave.close()
                """,
                path=str(calls_path),
            ),
            "0\n2\n",
        )

    def test_fork_in_a_thread_lets_the_child_end(self, run_script: Any, calls_path: Path) -> None:
        passed(
            run_script(
                """
                enclave = hotcalls.launch(path)
                def run():
                    enclave.i32(1)
                    pid = os.fork()
                    if pid:
                        print(os.waitpid(pid, 0)[1])
                thread = threading.Thread(target=run)
                thread.start()
                thread.join()
                if threading.current_thread() is threading.main_thread() and enclave.i32(2) == 2:
                    enclave.close()
                """,
                path=str(calls_path),
            ),
            "0\n",
        )

    def test_multiprocessing_pool_works_beside_an_enclave(
        self, run_script: Any, calls_path: Path
    ) -> None:
        passed(
            run_script(
                """
                import multiprocessing
                enclave = hotcalls.launch(path)
                with multiprocessing.get_context("fork").Pool(2) as pool:
                    print(pool.map(abs, [-1, -2, -3]))
                print(enclave.i32(5))
                """,
                path=str(calls_path),
            ),
            "[1, 2, 3]\n5\n",
        )


class TestEnd:
    @pytest.mark.parametrize(
        "end",
        [
            "pass",
            "sys.exit(0)",
            "os._exit(0)",
            "os.kill(os.getpid(), signal.SIGKILL)",
            "raise SystemExit",
            "os.abort()",
            "os.execv('/bin/true', ['true'])",
        ],
    )
    def test_enclave_ends_with_its_host(
        self, run_script: Any, calls_path: Path, gone: Callable[..., bool], end: str
    ) -> None:
        done = run_script(
            f"""
            import resource
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            enclave = hotcalls.launch(path)
            print(enclave.pid, enclave.i32(1), flush=True)
            {end}
            """,
            path=str(calls_path),
        )
        assert done.stdout, done.stderr
        assert gone(int(done.stdout.split()[0]))
        if "KILL" not in end and "abort" not in end:
            assert done.returncode == 0, done.stderr
            assert done.stderr == ""

    def test_program_ends_while_ocalls_arrive(
        self, run_script: Any, calls_path: Path, gone: Callable[..., bool]
    ) -> None:
        done = run_script(
            """
            enclave = hotcalls.launch(path, ocalls={"heard": lambda v: time.sleep(0.001)})
            print(enclave.pid, flush=True)
            for value in range(30):
                enclave.oneway_ask.oneway(value)
            """,
            path=str(calls_path),
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert gone(int(done.stdout))

    def test_program_ends_while_daemon_threads_call(
        self, run_script: Any, calls_path: Path, gone: Callable[..., bool]
    ) -> None:
        done = run_script(
            """
            enclave = hotcalls.launch(path)
            print(enclave.pid, flush=True)
            def run():
                while True:
                    enclave.nap(1)
            for _ in range(3):
                threading.Thread(target=run, daemon=True).start()
            time.sleep(0.1)
            """,
            path=str(calls_path),
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert gone(int(done.stdout))

    def test_signal_to_the_process_group_is_the_hosts(
        self, run_script: Any, calls_path: Path
    ) -> None:
        passed(
            run_script(
                """
                os.setpgid(0, 0)
                def interrupt(*_):
                    raise KeyboardInterrupt
                signal.signal(signal.SIGINT, interrupt)
                with hotcalls.launch(path) as enclave:
                    try:
                        os.killpg(0, signal.SIGINT)
                        time.sleep(1)
                    except KeyboardInterrupt:
                        pass
                    print(enclave.i32(4))
                """,
                path=str(calls_path),
            ),
            "4\n",
        )


class TestSurroundings:
    def test_enclave_outlives_the_thread_that_launched_it(
        self, run_script: Any, calls_path: Path
    ) -> None:
        passed(
            run_script(
                """
                made = []
                thread = threading.Thread(target=lambda: made.append(hotcalls.launch(path)))
                thread.start()
                thread.join()
                time.sleep(0.1)
                print(made[0].i32(6))
                made[0].close()
                """,
                path=str(calls_path),
            ),
            "6\n",
        )

    def test_threads_may_launch_at_the_same_time(self, calls_path: Path) -> None:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(6) as pool:
            enclaves = list(pool.map(lambda _: hotcalls.launch(calls_path), range(6)))
        assert len({enclave.pid for enclave in enclaves}) == 6
        for enclave in enclaves:
            assert enclave.i32(1) == 1
            enclave.close()

    @pytest.mark.skipif(shutil.which("taskset") is None, reason="taskset is not installed")
    @pytest.mark.parametrize("mode", ["hot", "switch"])
    def test_one_cpu_turns_spinning_off(self, run_script: Any, calls_path: Path, mode: str) -> None:
        done = run_script(
            """
            with hotcalls.launch(path, mode=mode, ocalls={"twice": lambda v: 2 * v}) as enclave:
                for value in range(300):
                    assert enclave.i32(value) == value
                assert enclave.ask_twice(4) == 8
                counted = enclave.stats().ecalls
                print(counted.hot, counted.fallen_back, counted.switched)
            """,
            prefix=["taskset", "-c", "0"],
            path=str(calls_path),
            mode=mode,
        )
        passed(done, "0 0 301\n")

    def test_closed_standard_descriptors_do_no_harm(self, calls_path: Path, tmp_path: Path) -> None:
        program = tmp_path / "program.py"
        program.write_text(
            textwrap.dedent(
                f"""
                import os, sys
                import hotcalls
                for fd in (0, 1, 2):
                    os.close(fd)
                enclave = hotcalls.launch({str(calls_path)!r})
                os._exit(enclave.i32(42))
                """
            )
        )
        done = subprocess.run([sys.executable, "-W", "ignore", str(program)], check=False)
        assert done.returncode == 42

    def test_environment_of_the_host_does_not_change(self, calls_path: Path) -> None:
        before = (dict(os.environ), os.getcwd(), signal.getsignal(signal.SIGINT))
        hotcalls.launch(calls_path).close()
        assert (dict(os.environ), os.getcwd(), signal.getsignal(signal.SIGINT)) == before

    def test_idle_enclave_uses_no_processor_time(self, calls_path: Path) -> None:
        def ticks(pid: int) -> int:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            return int(fields[11]) + int(fields[12])

        with hotcalls.launch(calls_path) as enclave:
            enclave.i32(1)
            # To fall asleep, a responder needs the processor, which others may have.
            for _ in range(20):
                before = ticks(enclave.pid)
                time.sleep(0.5)
                if ticks(enclave.pid) - before <= 1:
                    return
            raise AssertionError("it never was idle")

    def test_first_answer_comes_soon_and_memory_is_small(self, calls_path: Path) -> None:
        # The marks are 50 ms and 8 MiB; these bounds only tell a machine from a mistake.
        start = time.monotonic()
        with hotcalls.launch(calls_path) as enclave:
            assert enclave.i32(1) == 1
            assert time.monotonic() - start < 10
            status = Path(f"/proc/{enclave.pid}/status").read_text()
            resident = next(
                int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")
            )
            assert resident < 8 * 1024


def test_launch_as_root_says_once_what_root_means(run_script: Any, calls_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("not root")
    done = run_script(
        """
        import warnings
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            for _ in range(2):
                hotcalls.launch(path).close()
        print(len(seen), seen[0].category.__name__, "root" in str(seen[0].message))
        print(os.path.basename(seen[0].filename))
        """,
        path=str(calls_path),
    )
    passed(done, "1 RuntimeWarning True\nprogram.py\n")
