# SPDX-License-Identifier: Apache-2.0
"""Runs a target in Python, as libFuzzer runs one in C: same options, same output.

With atheris, which is libFuzzer with the coverage of Python code; without it (there are no wheels
for every processor) with random mutations of the corpus, which finds less. ``--lines FOLDER``
counts the lines that a corpus reaches instead.
"""

from __future__ import annotations

import importlib
import random
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "python")]

from targets import ROOT, Target, named  # noqa: E402

Run = Callable[[bytes], None]


def files_of(folder: Path) -> list[bytes]:
    """What lies in a folder."""
    return [path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()]


# ---- lines --------------------------------------------------------------------------------------


def _lines_of(code: CodeType) -> set[int]:
    found = {line for _, _, line in code.co_lines() if line}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _lines_of(constant)
    return found


def count_lines(target: Target, corpus: Path) -> None:
    """Print how many lines of the measured files the corpus reaches, imports included."""
    import hotcalls

    installed = Path(hotcalls.__file__).resolve().parent
    wanted = {
        str(installed / Path(name).relative_to("src/hotcalls")): ROOT / name
        for name in target.measured
    }
    seen: set[tuple[str, int]] = set()

    def look(frame: FrameType, event: str, _: Any) -> Any:
        file = frame.f_code.co_filename
        if file not in wanted:
            return None
        if event in ("call", "line"):
            seen.add((file, frame.f_lineno))
        return look

    sys.settrace(look)
    run: Run = importlib.import_module(target.name).run
    for data in files_of(corpus):
        run(data)
    sys.settrace(None)
    there = {
        (file, line)
        for file, source in wanted.items()
        for line in _lines_of(compile(source.read_text(), file, "exec"))
    }
    print(f"lines: {len(seen & there)} of {len(there)}")


# ---- without atheris ----------------------------------------------------------------------------


def _mutated(data: bytes, pool: list[bytes], words: list[bytes], most: int) -> bytes:
    """Change it in one to four places, as libFuzzer does."""
    out = bytearray(data)
    for _ in range(random.randint(1, 4)):
        at = random.randint(0, len(out))
        other = random.choice(pool) if pool else b""
        how = random.randrange(6)
        if how == 0 and out:
            out[at - 1] = random.randrange(256)
        elif how == 1:
            del out[at : at + random.randint(1, 16)]
        elif how == 2:
            out[at:at] = bytes(random.choices(range(256), k=random.randint(1, 8)))
        elif how == 3 and other:
            start = random.randrange(len(other))
            out[at:at] = other[start : start + random.randint(1, 64)]
        elif how == 4 and words:
            out[at:at] = random.choice(words)
        elif out:
            out[at - 1] ^= 1 << random.randrange(8)
    return bytes(out[:most])


def _dictionary(path: str) -> list[bytes]:
    lines = Path(path).read_text().splitlines() if path else []
    words = (line.partition('"')[2].rpartition('"')[0] for line in lines if line[:1] == '"')
    return [word.encode().decode("unicode_escape").encode("latin-1") for word in words]


def plainly(run: Run, arguments: list[str]) -> int:
    """Fuzz without coverage."""
    options = dict(word[1:].split("=", 1) for word in arguments if word.startswith("-"))
    folders = [Path(word) for word in arguments if not word.startswith("-")]
    if "set_cover_merge" in options:
        return 0
    random.seed(int(options.get("seed", 1)))
    pool = [data for folder in folders for data in files_of(folder)]
    words = _dictionary(options.get("dict", ""))
    runs, most = int(options.get("runs", -1)), int(options.get("max_len", 4096))
    end = time.monotonic() + float(options.get("max_total_time", 1e9))
    count = 0
    while count < len(pool) or (count != runs and runs != 0 and time.monotonic() < end):
        known = count < len(pool)
        data = pool[count] if known else _mutated(random.choice([*pool, b""]), pool, words, most)
        count += 1
        try:
            run(data)
        except BaseException:
            traceback.print_exc()
            (Path(options.get("artifact_prefix", "./")) / "crash-input").write_bytes(data)
            return 77
    print(f"stat::number_of_executed_units: {count}")
    return 0


# ---- with ---------------------------------------------------------------------------------------


def main(arguments: list[str]) -> int:
    """Run the target that is named first."""
    target = named(arguments[0])
    if arguments[1:2] == ["--lines"]:
        count_lines(target, Path(arguments[2]))
        return 0
    try:
        import atheris
    except ImportError:
        return plainly(importlib.import_module(target.name).run, arguments[1:])
    modules = [
        name.removeprefix("src/").removesuffix(".py").replace("/", ".") for name in target.measured
    ]
    with atheris.instrument_imports(include=modules):
        run = importlib.import_module(target.name).run
    atheris.Setup([target.name, *arguments[1:]], run)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
