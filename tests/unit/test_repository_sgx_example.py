# SPDX-License-Identifier: Apache-2.0
"""examples/sgx-sdk builds by the command that a user types, runs, and says what it ran on.

Always with the stand-in SDK; where ``SGX_SDK`` is set also with the SDK in simulation mode, and on
hardware where its device is.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hotcalls.sgx.project import DEVICE

ROOT = Path(__file__).resolve().parent.parent.parent
#: As for a user who installed hotcalls: its commands are on the PATH.
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
SAID = {
    "STAND_INS=1": "STAND-INS for the SGX SDK, not SGX",
    "SGX_MODE=SIM": "SGX SIMULATION, not SGX",
    "SGX_MODE=HW": "SGX hardware",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    return Path(shutil.copytree(ROOT / "examples/sgx-sdk", tmp_path / "sgx-sdk"))


def make(project: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        # Also when `make test` runs this: a make below a make says where it is.
        ["make", "--no-print-directory", *arguments],
        cwd=project,
        env={**ENVIRONMENT, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "choice",
    [
        "STAND_INS=1",
        pytest.param("SGX_MODE=SIM", marks=pytest.mark.hardware),
        pytest.param("SGX_MODE=HW", marks=pytest.mark.hardware),
    ],
)
def test_example_runs_and_says_what_it_ran_on(project: Path, choice: str) -> None:
    if choice != "STAND_INS=1" and not os.environ.get("SGX_SDK"):
        pytest.skip("SGX_SDK is not set: the SGX SDK is not installed")
    if choice == "SGX_MODE=HW" and not DEVICE.exists():
        pytest.skip(f"there is no {DEVICE}: this is no machine with SGX")
    done = make(project, "run", choice)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stderr
    assert f"\n{SAID[choice]}" in done.stdout
    rows = re.findall(r"^(ecall|ocall) +(\d+) +(\d+) +([\d.]+) %$", done.stdout, re.M)
    assert [name for name, *_ in rows] == ["ecall", "ocall"]
    assert done.stdout.endswith("every answer was right\n")
    before = set(ROOT.joinpath("examples/sgx-sdk").rglob("*"))
    assert make(project, "clean", choice).returncode == 0
    left = {path.relative_to(project) for path in project.rglob("*")}
    assert left == {path.relative_to(ROOT / "examples/sgx-sdk") for path in before}


def test_too_few_thread_contexts_are_named(project: Path) -> None:
    # One, which the responder takes: no thread of the program gets in.
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("on one processor no responder is started")
    config = project / "Enclave/Enclave.config.xml"
    config.write_text(config.read_text().replace("<TCSNum>3<", "<TCSNum>1<"))
    # Where another process has the core it may have left again: until it has not.
    done = make(project, "run", "STAND_INS=1")
    for _ in range(50):
        if done.returncode != 0:
            break
        done = make(project, "run", "STAND_INS=1")
    assert done.returncode != 0
    assert "status 0x1003 (out of TCS: raise TCSNum in Enclave.config.xml)" in done.stderr


def test_stand_in_is_not_taken_for_the_sdk(project: Path) -> None:
    assert make(project, "STAND_INS=1").returncode == 0
    sdk = Path(shutil.move(project / "stand-in-sdk", project.parent / "sdk"))
    assert make(project, "clean", SGX_SDK=str(sdk)).returncode == 0
    done = make(project, "run", SGX_SDK=str(sdk), SGX_MODE="HW")
    assert done.returncode == 0, done.stdout + done.stderr
    assert SAID["STAND_INS=1"] in done.stdout


def test_missing_sdk_and_wrong_mode_are_named(project: Path) -> None:
    done = make(project, SGX_SDK="/nonexistent")
    assert done.returncode != 0
    assert "there is no SGX SDK in /nonexistent" in done.stderr
    done = make(project, "SGX_MODE=SIMULATION")
    assert "it can be HW or SIM" in done.stderr


def test_stand_in_signer_refuses_what_is_no_enclave(project: Path) -> None:
    assert make(project, "STAND_INS=1").returncode == 0
    signer = project / "stand-in-sdk/bin/x64/sgx_sign"
    config = project / "Enclave/Enclave.config.xml"

    def sign(*arguments: str) -> str:
        done = subprocess.run(
            [signer, *arguments], cwd=project, capture_output=True, text=True, check=False
        )
        assert done.returncode != 0
        return done.stderr

    good = ["sign", "-out", "x.so", "-config", str(config), "-enclave"]
    assert "usage: sgx_sign" in sign("gendata")
    assert "missing: -enclave" in sign("sign", "-out", "x.so", "-config", str(config))
    assert "is no ELF file" in sign(*good, str(config))
    assert "is no private key" in sign(*good, "enclave.so", "-key", str(config))
    config.write_text("<TCSNum>1000</TCSNum>")
    assert "TCSNum is 1000" in sign(*good, "enclave.so")
