# SPDX-License-Identifier: Apache-2.0
"""What a run is about: which rows are compared with which, and which marks it is held to.

Host side; pure. `analysis` computes the same from every run; what differs is here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hotcalls.bench import marks
from hotcalls.bench.measure import RowInfo
from hotcalls.bench.model import Kind, Mark, Result, SgxMode

#: Of some rows, the one with the least median; None when none was measured.
Fastest = Callable[[Sequence[str]], str | None]


@dataclass(frozen=True)
class Subject:
    """One kind of run.

    Parameters
    ----------
    kind
        As the result says it.
    bases
        Given a row, the rows that it is compared with, by the name of the ratio.
    alone
        Whether a row runs without any other process, so that preemptions are noise.
    marks
        Evaluates the marks on a result.
    sgx
        What the enclave of ``--target sgx-sdk`` ran on.
    """

    kind: Kind
    bases: Callable[[str, Fastest], dict[str, str]]
    alone: Callable[[RowInfo], bool]
    marks: Callable[[Result], list[Mark]]
    sgx: SgxMode | None = None


#: What the switch call is measured against: the best of these in the run.
KERNEL = ("futex_same", "pipe_same", "eventfd_same", "unix_same")


def _bases(name: str, fastest: Fastest) -> dict[str, str]:
    bases = {
        "syscall": "syscall",
        "switch": "ocall_switch" if name.startswith("ocall") else "ecall_switch",
    }
    kernel = fastest(KERNEL)
    if name in ("ecall_switch", "ocall_switch") and kernel is not None:
        bases["kernel"] = kernel
    if name in ("ecall_batch", "ecall_pipelined", "ecall_oneway"):
        bases["single"] = "ecall_hot"
    if name == "ecall_asleep":
        bases["apart"] = "ecall_switch_apart"
    if "out_nrz" in name:
        bases["zeroed"] = name.replace("out_nrz", "out")
    return bases


#: ``hotcalls bench``: what each crossing costs.
CROSSINGS = Subject(
    kind="crossings",
    bases=_bases,
    alone=lambda row: row.group in ("basic", "memory", "mailbox"),
    marks=marks.evaluate,
)


def sgx_sdk(mode: SgxMode) -> Subject:
    """``hotcalls bench --target sgx-sdk``: calls through its stubs, of an enclave on `mode`."""

    def bases(name: str, _: Fastest) -> dict[str, str]:
        # Without hardware an ordinary call of SGX is not what was measured: no ratio.
        if mode != "hardware" or "_hot_" not in name:
            return {}
        return {"switch": name.replace("_hot_", "_ordinary_").removesuffix("_off")}

    return Subject(
        kind="sgx-sdk", bases=bases, alone=CROSSINGS.alone, marks=marks.evaluate_sgx, sgx=mode
    )
