# SPDX-License-Identifier: Apache-2.0
"""`make demo`: a Python enclave; one from its EDL, called both ways in both modes, and attacked.

Runs in the host. Builds examples/vault into build/demo and leaves the report of a short benchmark
there. Exits with 1 when something did not happen as it should.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import hotcalls
from hotcalls.launching import loader_path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "demo"
ENCLAVE = OUT / "vault.enclave.so"
REPORT = OUT / "report"
NOBODY = 65534
CALLS = 2_000
PR_SET_DUMPABLE = 4
PTRACE_ATTACH = 16

console = Console(highlight=False)


def say(text: str) -> None:
    """Print a heading."""
    console.print(f"\n[bold cyan]{text}[/]")


def python_enclave() -> None:
    """Run a Python module as an enclave, and call it in the ways there are."""
    source = (ROOT / "scripts/demo_vault.py").relative_to(ROOT)
    say(f"1. Run a Python module as an enclave ({source})")
    import demo_vault

    start = time.perf_counter()
    with hotcalls.launch(demo_vault) as vault:
        tag = vault.sign(b"a message of the usual length for figures, which is 64 bytes....")
        took = time.perf_counter() - start
        console.print(f"{vault}, launched and called in {took * 1e3:.0f} ms")
        message = bytes(64)
        assert vault.sign(message) == vault.sign.submit(message).result(timeout=10) != tag
        assert asyncio.run(vault.sign.aio(message)) == vault.sign(message)
        assert set(vault.sign.map([message] * 100)) == {vault.sign(message)}
        assert len(vault.pay(demo_vault.Payment("bob", 10_00))) == len(tag)
        for text, attempt in (
            ("pay(…, cents='10')", lambda: vault.pay(demo_vault.Payment("bob", "10"))),  # type: ignore[arg-type]
            ("pay(…, cents=99900)", lambda: vault.pay(demo_vault.Payment("bob", 999_00))),
            ("steal('/etc/passwd')", lambda: vault.steal("/etc/passwd")),
        ):
            try:
                attempt()
            except (TypeError, hotcalls.RemoteError) as error:
                said = textwrap.shorten(str(error), 110, placeholder=" …")
                line = f"  {text:20} [green]{type(error).__name__}[/]: {said}"
                console.print(line, soft_wrap=True)
            else:
                raise AssertionError(f"{text} was not refused")
        vault.wake()
        hot = median_us(lambda: vault.echo(message))
        many = median_us(lambda: list(vault.echo.map([message] * 100)), calls=50) / 100
    table = Table(box=None, pad_edge=False)
    table.add_column("64 bytes to Python and back, median µs", no_wrap=True)
    for head in ("hot", "map, each", "pipe to a process"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_row("a call of echo()", f"{hot:.2f}", f"{many:.2f}", f"{pipe_us():.2f}")
    console.print(table)


def build() -> None:
    """Make the enclave with the command that a user would type."""
    say("2. Build an enclave from its interface (EDL) and its C code")
    source = (ROOT / "examples/vault").relative_to(ROOT)
    arguments = ["build", f"{source}/vault.edl", f"{source}/vault.c", "-o"]
    target = str(ENCLAVE.relative_to(ROOT))
    console.print(f"$ hotcalls {' '.join(arguments)} {target}", soft_wrap=True)
    subprocess.run([sys.executable, "-m", "hotcalls.cli", *arguments, target], cwd=ROOT, check=True)


def median_us(call: Callable[[], object], calls: int = CALLS) -> float:
    """Return the median of some calls in µs, after as many that warm up."""
    times = []
    for _ in range(2 * calls):
        start = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - start)
    return statistics.median(times[calls:]) / 1e3


def pipe_us() -> float:
    """Return the median of a round trip over two pipes to another Python process in µs."""
    echo = "import os\nwhile b := os.read(0, 64): os.write(1, b)\n"
    with subprocess.Popen(
        [sys.executable, "-c", echo], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        there, back = process.stdin.fileno(), process.stdout.fileno()

        def trip() -> None:
            os.write(there, b"x" * 32)
            os.read(back, 64)

        result = median_us(trip)
        process.stdin.close()
    return result


def call() -> None:
    """Call in and out, hot and by switch, and check every result."""
    say("3. Launch it, and call it both ways in both modes")
    heard: list[str] = []
    with hotcalls.launch(ENCLAVE, ocalls={"audit": heard.append}) as vault:
        message = b"pay 10 to bob"
        tag = vault.sign(message)
        assert vault.verify(message, tag) == 1
        assert vault.verify(b"pay 99 to bob", tag) == 0
        console.print(f"{vault}: sign({message!r}) = {tag.hex()[:16]}…", soft_wrap=True)
        rows: list[tuple[str, dict[str, float]]] = []
        for text, name, arguments in (
            ("an ecall without arguments", "signed_count", ()),
            ("sign(): buffers, and an ocall from inside", "sign", (message,)),
        ):
            medians = {}
            for mode in ("hot", "switch"):
                function = getattr(vault, name).options(mode=mode)
                vault.wake()
                medians[mode] = median_us(lambda f=function, a=arguments: f(*a))  # type: ignore[misc]
            rows.append((text, medians))
        assert vault.sign(message) == tag
        assert len(heard) == vault.signed_count()
    pipe = pipe_us()
    table = Table(box=None, pad_edge=False)
    table.add_column("one call from Python, median µs", no_wrap=True)
    for head in ("hot", "switch", "pipe to a process"):
        table.add_column(head, justify="right")
    for index, (text, medians) in enumerate(rows):
        table.add_row(
            text,
            f"{medians['hot']:.2f}",
            f"{medians['switch']:.2f}",
            f"{pipe:.2f}" if index == 0 else "",
        )
    console.print(table)
    console.print(f"[dim]{len(heard)} ocalls were made, each counted inside and heard outside.[/]")


def attempts(pid: int) -> Iterator[tuple[str, str | None]]:
    """Try to look into process `pid`; yields each try, and what refused it, None if nothing."""
    for name in ("mem", "maps", "environ"):
        path = f"/proc/{pid}/{name}"
        try:
            with open(path, "rb") as file:
                file.read(1)
        except OSError as error:
            yield f"open {path}", error.strerror
        else:
            yield f"open {path}", None
    try:
        os.listdir(f"/proc/{pid}/fd")
    except OSError as error:
        yield f"list /proc/{pid}/fd", error.strerror
    else:
        yield f"list /proc/{pid}/fd", None
    libc: Any = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(8)
    vector = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8)
    result = libc.process_vm_readv(pid, vector, ctypes.c_ulong(1), vector, ctypes.c_ulong(1), 0)
    # EFAULT would mean that reading was allowed and only the address was wrong.
    refused = result == -1 and ctypes.get_errno() == errno.EPERM
    yield "process_vm_readv", os.strerror(errno.EPERM) if refused else None
    result = libc.ptrace(ctypes.c_long(PTRACE_ATTACH), pid, None, None)
    yield "ptrace attach", os.strerror(ctypes.get_errno()) if result == -1 else None


def attack() -> int:
    """Launch an enclave and try to read it as the same user."""
    with hotcalls.launch(ENCLAVE, ocalls={"audit": lambda event: None}) as vault:
        tag = vault.sign(b"a secret is at work")
        table = Table(box=None, pad_edge=False, show_header=False)
        failed = 0
        for tried, refused in attempts(vault.pid):
            failed += refused is None
            table.add_row(tried, f"[green]{refused}[/]" if refused else "[bold red]SUCCEEDED[/]")
        console.print(table)
        # And it still works.
        failed += vault.verify(b"a secret is at work", tag) != 1
    return 1 if failed else 0


def attack_unprivileged() -> int:
    """Run `attack` as an ordinary user: as root, in a child that has become nobody."""
    global ENCLAVE
    if os.geteuid() != 0:
        say(f"4. Try to read it as the same user (uid {os.geteuid()})")
        return attack()
    say(f"4. Try to read it as the same user (as uid {NOBODY}: root could)")
    with tempfile.TemporaryDirectory(prefix="hotcalls-demo-") as folder:
        # The clone may be in a directory that nobody cannot enter.
        os.chmod(folder, 0o755)
        loader = Path(shutil.copy(loader_path(), folder))
        enclave = Path(shutil.copy(ENCLAVE, folder))
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
                # A change of user takes away a process's access to its own /proc/self.
                ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
                os.environ["HOTCALLS_LOADER"] = str(loader)
                ENCLAVE = enclave
                status = attack()
            finally:
                sys.stdout.flush()
                os._exit(status)
        _, code = os.waitpid(child, 0)
    return 0 if code == 0 else 1


def bench() -> None:
    """Measure, and say where the report is."""
    say("5. Measure what each crossing costs on this machine (hotcalls bench --quick)")
    subprocess.run(
        [sys.executable, "-m", "hotcalls.cli", "bench", "--quick", "-o", str(REPORT)],
        cwd=ROOT,
        check=True,
    )
    console.print(f"\n[bold]Open this report:[/] {REPORT}.html", soft_wrap=True)


def evaluate() -> None:
    """Run a real server natively and in an enclave, where it is installed."""
    say("5. Run memcached, unmodified, in an enclave (hotcalls evaluate --quick memcached)")
    if platform.machine() != "x86_64":
        console.print("Left out: hotcalls run needs x86-64.")
        return
    if shutil.which("memcached") is None:
        console.print("Left out: memcached is not installed; so is the rest of hotcalls evaluate.")
        console.print("  sudo apt-get install memcached libmemcached-tools")
        return
    page = OUT / "evaluate"
    subprocess.run(
        [sys.executable, "-m", "hotcalls.cli", "evaluate", "--quick", "-o", str(page), "memcached"],
        cwd=ROOT,
        check=True,
    )
    console.print(f"\n[bold]Open this report:[/] {page}.html", soft_wrap=True)


def main() -> int:
    """Do all of it."""
    OUT.mkdir(parents=True, exist_ok=True)
    # Said below, where it matters.
    warnings.filterwarnings("ignore", message="this program runs as root")
    console.print("[dim]A process enclave is not SGX: the kernel and root are trusted.[/]")
    python_enclave()
    build()
    call()
    failed = attack_unprivileged()
    if failed:
        console.print("[bold red]The enclave could be read: see above.[/]")
        return 1
    bench()
    evaluate()
    return 0


if __name__ == "__main__":
    sys.exit(main())
