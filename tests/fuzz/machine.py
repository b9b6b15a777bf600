# SPDX-License-Identifier: Apache-2.0
"""Building the targets, running them, and counting what they reach.

Programs are compiled once per content (as those of tests/native.py) into build/fuzz.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from targets import HERE, ROOT, Target

BUILD = ROOT / "build" / "fuzz"
#: Together they are what git has to keep of a target.
CORPUS_FILES_MAX = 200
CORPUS_BYTES_MAX = 200_000

_WARNINGS = ["-std=c11", "-D_GNU_SOURCE=", "-g", "-Wall", "-Wextra", "-Werror"]
_SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
#: How a target is compiled: to be fuzzed, to be run over files, to have its lines counted.
_COMPILERS = {
    "fuzz": ["clang", "-O1", "-fsanitize=fuzzer", *_SANITIZERS],
    "replay": ["gcc", "-O1", *_SANITIZERS],
    "lines": ["gcc", "-O0", "--coverage", "-fsanitize=address"],
}
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=1:exitcode=99:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:exitcode=99",
}


#: libFuzzer ends with it after SIGINT; what it has done until then counts.
INTERRUPTED = 72


class Failed(Exception):
    """A target does not compile, or does not start."""


@dataclass(frozen=True)
class Outcome:
    """What one run of a target came to."""

    executions: int
    seconds: float
    edges: int
    crashed: bool
    artifacts: list[Path]
    output: str


def how_to_fuzz() -> str:
    """``fuzz`` where clang has libFuzzer, ``replay`` where there is only gcc."""
    return "fuzz" if shutil.which("clang") else "replay"


def toolchain(target: Target) -> str:
    """What the figures were made with."""
    if target.language == "python":
        try:
            from importlib.metadata import version

            driver = f"atheris {version('atheris')}"
        except ImportError:
            driver = "random mutations"
        return f"Python {sys.version.split()[0]}, {driver}"
    name = _COMPILERS[how_to_fuzz()][0]
    text = subprocess.run([name, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\d+\.\d+\.\d+", text)
    return f"{name} {found[0] if found else '?'}, ASan, UBSan"


# ---- compiling -----------------------------------------------------------------------------------


def _emit(folder: Path) -> None:
    """Generate what the build generates: the code of every.edl, the table of system calls."""
    from hotcalls.edl import parse_file
    from hotcalls.edl.process import emit

    for name, text in emit(parse_file(HERE / "every.edl")).items():
        (folder / name).write_text(text)
    subprocess.run(
        [sys.executable, ROOT / "scripts" / "generate_syscalls.py", *_syscalls(folder)],
        check=True,
        capture_output=True,
    )


def _syscalls(folder: Path) -> list[str]:
    return [
        str(ROOT / "native" / "syscalls.edl"),
        str(ROOT / "native" / "syscall_local.h"),
        str(folder),
    ]


def _content(target: Target, variant: str, seeded: bool) -> str:
    """What a program is made of: all headers, and of the sources those that are its own."""
    digest = hashlib.sha256(f"{_COMPILERS[variant]} {seeded} {target}".encode())
    own = {*target.files, HERE / "mutate.c", HERE / "driver.c"}
    folders = [HERE, HERE / "python_stub", ROOT / "native", ROOT / "include" / "hotcalls"]
    for folder in folders:
        for path in sorted(folder.glob("*")):
            if path in own or path.suffix in (".h", ".edl"):
                digest.update(path.read_bytes())
    for path in sorted((ROOT / "src" / "hotcalls" / "edl").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def build(target: Target, variant: str, *, seeded: bool = False) -> Path:
    """Compile a target and return the program; `seeded`: with the bug that it has to find."""
    name = f"{target.name}-{variant}{'-seeded' if seeded else ''}"
    folder = BUILD / f"{name}-{_content(target, variant, seeded)}"
    program = folder / target.name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if program.exists():
            return program
        tree = folder / "tree"
        for part in ("include", "native", "tests/fuzz"):
            shutil.rmtree(tree / part, ignore_errors=True)
            shutil.copytree(
                ROOT / part, tree / part, ignore=shutil.ignore_patterns("corpus", "__pycache__")
            )
        if seeded:
            _seed(target, tree)
        _emit(tree / "tests" / "fuzz")
        _compile(target, variant, tree, program)
    return program


def _seed(target: Target, tree: Path) -> None:
    bug = target.seeded
    assert bug is not None
    file = tree / bug.file
    text = file.read_text()
    if text.count(bug.old) != 1:
        raise Failed(f"{target.name}: {bug.file} has not one place {bug.old!r} for a bug to go")
    file.write_text(text.replace(bug.old, bug.new))


def _compile(target: Target, variant: str, tree: Path, program: Path) -> None:
    fuzz = tree / "tests" / "fuzz"
    own = [*target.harness, "mutate.c" if variant == "fuzz" else "driver.c"]
    files = [f"tests/fuzz/{name}" for name in own] + list(target.sources)
    if target.generated:
        files.append(f"tests/fuzz/every_{target.generated}.c")
    paths = [f"-I{tree / 'include'}", f"-I{tree / 'native'}", f"-I{fuzz}"]
    flags = [flag.replace("-Ipython_stub", f"-I{fuzz / 'python_stub'}") for flag in target.flags]
    command = [*_COMPILERS[variant], *_WARNINGS, *paths, *flags, *files]
    made = program.with_suffix(".new")
    done = subprocess.run(
        [*command, "-o", str(made)], cwd=tree, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise Failed(f"{target.name} does not compile:\n{done.stderr[-4000:]}")
    made.rename(program)


# ---- corpora -------------------------------------------------------------------------------------


def unpack(target: Target, folder: Path) -> int:
    """Write the committed corpus, and what once crashed, into a folder; how many files."""
    folder.mkdir(parents=True, exist_ok=True)
    if target.corpus.exists():
        with zipfile.ZipFile(target.corpus) as packed:
            for name in packed.namelist():
                (folder / Path(name).name).write_bytes(packed.read(name))
    for path in sorted(target.crashes.glob("*")):
        (folder / path.name).write_bytes(path.read_bytes())
    return len(list(folder.iterdir()))


def pack(target: Target, folder: Path) -> int:
    """Make a folder the committed corpus: the smallest files, as many as may be."""
    crashes = {path.read_bytes() for path in target.crashes.glob("*")}
    inputs = sorted({path.read_bytes() for path in folder.iterdir()} - crashes, key=len)
    kept: list[bytes] = []
    for data in inputs[:CORPUS_FILES_MAX]:
        if sum(map(len, kept)) + len(data) <= CORPUS_BYTES_MAX:
            kept.append(data)
    target.corpus.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(target.corpus, "w", zipfile.ZIP_DEFLATED) as packed:
        for data in sorted(kept, key=lambda data: hashlib.sha1(data).digest()):
            # No date and no owner: the same inputs make the same bytes.
            info = zipfile.ZipInfo(hashlib.sha1(data).hexdigest()[:12])
            packed.writestr(info, data, zipfile.ZIP_DEFLATED)
    return len(kept)


# ---- running -------------------------------------------------------------------------------------


def command(target: Target, *, seeded: bool = False) -> list[str]:
    """What starts a target, but for libFuzzer's options and the corpus."""
    if target.language == "python":
        return [sys.executable, str(HERE / "python_driver.py"), target.name]
    return [str(build(target, how_to_fuzz(), seeded=seeded))]


def drives_itself(target: Target) -> bool:
    """Does it take libFuzzer's options? What gcc compiled runs over files only."""
    return target.language == "python" or how_to_fuzz() == "fuzz"


def run(
    target: Target, corpus: Path, *, runs: int = -1, seconds: float = 0, seed: int = 1,
    seeded: bool = False, artifacts: Path | None = None, timeout: float = 0,
) -> Outcome:  # fmt: skip
    """Fuzz, for so many runs or seconds; ``runs=0`` only replays the corpus."""
    line = command(target, seeded=seeded)
    artifacts = artifacts or corpus.parent / "artifacts"
    artifacts.mkdir(parents=True, exist_ok=True)
    before = set(artifacts.iterdir())
    if drives_itself(target):
        line += [
            f"-runs={runs}", f"-max_total_time={max(1, round(seconds))}" if seconds else "",
            f"-seed={seed}", f"-max_len={target.largest}", "-timeout=10", "-rss_limit_mb=3000",
            "-entropic=0", "-print_final_stats=1", f"-artifact_prefix={artifacts}/",
            f"-dict={HERE / target.dictionary}" if target.dictionary else "",
        ]  # fmt: skip
    start = time.monotonic()
    done = subprocess.run(
        [*filter(None, line), str(corpus)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, **OPTIONS},
        timeout=timeout or None,
    )
    took = time.monotonic() - start
    output = done.stdout + done.stderr
    counted = re.findall(r"stat::number_of_executed_units:\s*(\d+)", output)
    progress = re.findall(r"^#(\d+)\t", output, re.MULTILINE)
    executions = int(counted[-1]) if counted else int(progress[-1]) if progress else 0
    edges = re.findall(r"cov: (\d+)", output)
    return Outcome(
        executions,
        took,
        int(edges[-1]) if edges else 0,
        done.returncode not in (0, INTERRUPTED),
        sorted(set(artifacts.iterdir()) - before),
        output,
    )


def minimise(target: Target, corpus: Path, into: Path) -> None:
    """Keep the inputs of a corpus that reach something that no other one reaches."""
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    if target.language == "python":
        # libFuzzer's merge starts itself anew, which Python's driver is not. What it has kept of a
        # run reached something when it was found.
        for path in corpus.iterdir():
            shutil.copy(path, into)
        return
    if not drives_itself(target):
        return
    line = [*command(target), "-set_cover_merge=1", f"-max_len={target.largest}", "-timeout=10"]
    subprocess.run(
        [*line, str(into), str(corpus)],
        capture_output=True,
        check=False,
        env={**os.environ, **OPTIONS},
    )


# ---- coverage ------------------------------------------------------------------------------------


def lines(target: Target, corpus: Path) -> tuple[int, int]:
    """How many lines of the measured files a corpus reaches, and how many there are."""
    if target.language == "python":
        done = subprocess.run(
            [sys.executable, str(HERE / "python_driver.py"), target.name, "--lines", str(corpus)],
            capture_output=True,
            text=True,
            check=False,
        )
        found = re.search(r"lines: (\d+) of (\d+)", done.stdout)
        return (int(found[1]), int(found[2])) if found else (0, 0)
    program = build(target, "lines")
    folder = program.parent
    for old in folder.rglob("*.gcda"):
        old.unlink()
    subprocess.run([str(program), str(corpus)], cwd=folder, capture_output=True, check=False)
    reached: dict[tuple[str, int], int] = {}
    for data in sorted(folder.rglob("*.gcda")):
        found = subprocess.run(
            ["gcov", "--json-format", "--stdout", str(data)],
            cwd=folder / "tree",
            capture_output=True,
            text=True,
            check=False,
        )
        for text in filter(None, found.stdout.splitlines()):
            for file in json.loads(text)["files"]:
                name = _within(Path(folder / "tree" / file["file"]), folder / "tree")
                if name in target.measured:
                    for line in file["lines"]:
                        key = (name, line["line_number"])
                        reached[key] = max(reached.get(key, 0), line["count"])
    return sum(count != 0 for count in reached.values()), len(reached)


def _within(path: Path, folder: Path) -> str:
    try:
        return str(path.resolve().relative_to(folder.resolve()))
    except ValueError:
        return ""
