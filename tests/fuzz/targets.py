# SPDX-License-Identifier: Apache-2.0
"""The fuzzing targets: what each is made of, what it attacks, and the bug that it has to find.

A target in C is a program around ``LLVMFuzzerTestOneInput``; one in Python is a module of
``tests/fuzz/python`` with a function ``run(data)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
#: Executions that make a target's ledger complete.
GOALS = {"c": 10_000_000, "python": 200_000}


@dataclass(frozen=True)
class Seeded:
    """A bug to put into a copy of the sources: a test of the target, not of the code."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Target:
    """One thing that is fuzzed."""

    name: str
    about: str
    claims: tuple[str, ...]
    #: Files of the project whose lines are counted as reached or not.
    measured: tuple[str, ...]
    language: str = "c"
    #: C: files beside this one, and of the project; flags.
    harness: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    #: C: generated from every.edl, of this side.
    generated: str = ""
    largest: int = 1024
    seeded: Seeded | None = None
    dictionary: str = ""

    @property
    def goal(self) -> int:
        """How many executions the ledger is to show."""
        return GOALS[self.language]

    @property
    def corpus(self) -> Path:
        """What is known to reach something, packed."""
        return HERE / "corpus" / f"{self.name}.zip"

    @property
    def crashes(self) -> Path:
        """Inputs that once did what nothing may do."""
        return HERE / "crashes" / self.name

    @property
    def files(self) -> list[Path]:
        """Everything in the repository that the target runs: its age is theirs."""
        if self.language == "python":
            return [HERE / "python" / f"{self.name}.py", *(ROOT / name for name in self.measured)]
        own = [HERE / name for name in self.harness]
        headers = [path for path in HERE.glob("*.h") if path.name.split(".")[0] in _words(own)]
        sources = [ROOT / name for name in (*self.sources, *self.measured)]
        return sorted({*own, *headers, *sources, *([HERE / "every.edl"] if self.generated else [])})


def _words(files: list[Path]) -> set[str]:
    return {path.name.split(".")[0] for path in files} | {"fuzz", "apart", "every", "kernel_model"}


_CALLS = (
    "include/hotcalls/marshal.h",
    "include/hotcalls/call.h",
    "include/hotcalls/lane.h",
    "include/hotcalls/port.h",
)
_APART = ("-include", "apart.h")
_RUN = tuple(
    f"native/run_{name}.c"
    for name in (
        "job", "table", "fd", "path", "open", "names", "mounts", "proc", "socket", "wait",
        "identity", "stream", "ask",
    )
)  # fmt: skip
#: Part of a file of the harness, which begins them anew with each input.
_RULES = ("native/run_policy.c", "native/run_total.c")
_SHIM = tuple(f"native/shim_{name}.c" for name in ("call", "check", "io", "hand", "fd"))
_UNMARSHAL = Seeded(
    "include/hotcalls/marshal.h",
    "if (HC_UNLIKELY(!hc_range_inside(frame->cursor, size, frame->size)))",
    "if (HC_UNLIKELY(frame->cursor > frame->size))",
)

TARGETS = (
    Target(
        "unmarshal_enclave",
        "requests of a hostile host, and its answers, as the enclave's generated code takes them",
        ("H-MEMORY", "H-VALIDATED", "H-TYPES", "H-ANSWER"),
        (*_CALLS, "tests/fuzz/every_t.c"),
        harness=("unmarshal.c", "every.c", "peer.c"),
        flags=("-DTRUSTED", *_APART),
        generated="t",
        seeded=_UNMARSHAL,
    ),
    Target(
        "unmarshal_host",
        "answers of a hostile enclave, and its requests, as the host's generated code takes them",
        ("E-MEMORY", "E-VALIDATED", "E-TYPES", "E-ANSWER"),
        (*_CALLS, "tests/fuzz/every_u.c"),
        harness=("unmarshal.c", "every.c", "peer.c"),
        flags=_APART,
        generated="u",
        seeded=_UNMARSHAL,
    ),
    Target(
        "lanes",
        "everything a side does with its lanes, while the peer rewrites words and fields",
        ("H-ONCE", "H-MEMORY", "H-BOUND", "E-ONCE", "E-MEMORY", "E-BOUND"),
        _CALLS,
        harness=("lanes.c",),
        flags=_APART,
        largest=512,
        seeded=Seeded(
            "include/hotcalls/lane.h",
            "if (size >= oldest->start)",
            "if (size > oldest->start + 64u)",
        ),
    ),
    Target(
        "python_message",
        "messages of Python enclaves in cells and windows, held answers, clients",
        ("H-MEMORY", "H-VALIDATED", "E-CLIENTS"),
        ("native/python_serve.c", "native/python_clients.c"),
        harness=("python_message.c", "peer.c"),
        sources=("native/python_serve.c",),
        flags=("-Ipython_stub", *_APART),
        seeded=Seeded(
            "native/python_serve.c",
            "    if (head->size > frame->size)\n",
            "    if (head->size > HC_WINDOW_MAX)\n",
        ),
    ),
    Target(
        "run_arguments",
        "system calls of a hostile program as H takes them apart and makes them",
        ("D-DEPUTY", "D-ARGUMENTS"),
        (*_RUN, *_RULES),
        harness=("run_arguments.c", "run_state.c", "kernel.c"),
        sources=_RUN,
        flags=("-include", "kernel.h"),
        seeded=Seeded(
            "native/run_wait.c",
            "if (size > SELECT_BYTES || (size_t)count > size * 8u)",
            "if (size > SELECT_BYTES)",
        ),
    ),
    Target(
        "shim_answers",
        "answers of a hostile H as the shim below a program takes them",
        ("D-LIES",),
        (*_SHIM, "native/shim_epoll.c"),
        harness=("shim_answers.c", "shim_state.c"),
        sources=_SHIM,
        flags=(
            "-Dshim_copy=fuzz_copy",
            "-Dshim_string_size=fuzz_string_size",
            "-Dshim_is_there=fuzz_is_there",
            *_APART,
        ),
        seeded=Seeded(
            "native/shim_check.c",
            "fine = (uint64_t)result <= most_of(id, row, a);",
            "fine = most_of(id, row, a) != 0;",
        ),
    ),
    Target(
        "policy",
        "a policy as H reads it, and the questions that a hostile program makes it answer",
        ("D-POLICY",),
        _RULES,
        harness=("policy.c",),
        flags=_APART,
        dictionary="policy.dict",
        seeded=Seeded(
            "native/run_policy.c",
            "if (c < 0x20 || c == 0x7f || c == '\\\\')",
            "if (c == '\\\\')",
        ),
    ),
    Target(
        "edl",
        "the EDL front end: parser, checks and every emitter",
        ("B-REPRODUCIBLE",),
        tuple(
            f"src/hotcalls/edl/{name}.py"
            for name in ("parser", "check", "model", "signature", "parameters", "process")
        ),
        language="python",
        largest=512,
        dictionary="edl.dict",
    ),
    Target(
        "policy_toml",
        "a policy as a person writes it: TOML in, lines for H or a PolicyError out",
        ("D-POLICY",),
        ("src/hotcalls/apps/policy.py", "src/hotcalls/apps/policy_lines.py"),
        language="python",
        largest=512,
        dictionary="policy_toml.dict",
    ),
    Target(
        "wire",
        "messages of a hostile peer as either side's codecs decode them",
        ("H-TYPES", "E-TYPES"),
        tuple(f"src/hotcalls/wire/{name}.py" for name in ("codec", "kinds", "classes", "failures")),
        language="python",
        largest=512,
    ),
    Target(
        "description",
        "the description that a hostile module gives of its functions",
        ("E-TYPES",),
        ("src/hotcalls/wire/description.py", "src/hotcalls/wire/signature.py"),
        language="python",
        dictionary="description.dict",
    ),
    Target(
        "records",
        "files and messages of others: registry, statistics, learned lines, results, handshakes",
        ("O-STATISTICS", "E-CLIENTS"),
        (
            "src/hotcalls/monitor/entries.py",
            "src/hotcalls/apps/stats.py",
            "src/hotcalls/apps/policy_learn.py",
            "src/hotcalls/serving/protocol.py",
        ),
        language="python",
        dictionary="records.dict",
    ),
)


def named(name: str) -> Target:
    """The target of that name."""
    for target in TARGETS:
        if target.name == name:
            return target
    known = ", ".join(target.name for target in TARGETS)
    raise SystemExit(f"fuzz: there is no target {name!r}; there are {known}")
