# SPDX-License-Identifier: Apache-2.0
"""The same tests as programs of an SDK: the enclave is a file, signed, and loaded by its name.

Always with the stand-in SDK, which takes the place of the real one and nothing else: the commands,
the flags and the tests are those that a machine with the SDK runs, in simulation mode where
``SGX_SDK`` is set, and on hardware where the device is there too.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

import native
from hotcalls.sgx.compiling import SgxError
from hotcalls.sgx.project import (
    DEVICE,
    Sdk,
    build_host,
    find_sdk,
    link_enclave,
    sign_enclave,
)

HERE = Path(__file__).resolve().parent
#: Needs to reach into the runtime.
STAND_IN_ONLY = {"test_answers_of_a_hostile_host_stay_in_their_buffers"}
TESTS = [name for name in native.tests_in(HERE / "shapes_test.c") if name not in STAND_IN_ONLY]
WARNINGS = ["-Wall", "-Wextra", "-Werror"]
TCS = (2, 3, 4, 8)


@dataclasses.dataclass(frozen=True)
class Project:
    """A program with its enclaves."""

    sdk: Sdk
    program: Path


@pytest.fixture(
    scope="module",
    params=[
        "stand-in",
        pytest.param("simulation", marks=pytest.mark.hardware),
        pytest.param("hardware", marks=pytest.mark.hardware),
    ],
)
def project(
    request: pytest.FixtureRequest, generated: Path, tmp_path_factory: pytest.TempPathFactory
) -> Project:
    folder = tmp_path_factory.mktemp(request.param)
    variables = {}
    if request.param != "stand-in":
        if not os.environ.get("SGX_SDK"):
            pytest.skip("SGX_SDK is not set: the SGX SDK is not installed")
        if request.param == "hardware" and not DEVICE.exists():
            pytest.skip(f"there is no {DEVICE}: this is no machine with SGX")
        mode = "SIM" if request.param == "simulation" else "HW"
        variables = {"SGX_SDK": os.environ["SGX_SDK"], "SGX_MODE": mode}
    sdk = find_sdk(folder / "sdk", variables)
    assert sdk.mode == request.param
    includes = [f"-I{generated}", f"-I{HERE}", f"-I{native.TESTS / 'c'}"]
    flags = ["-DSHAPES_SDK", *WARNINGS, *includes]
    enclave = link_enclave(sdk, [HERE / "trusted.c"], folder / "shapes.so", flags=flags)
    for tcs in TCS:
        sign_enclave(sdk, enclave, folder / f"shapes-{tcs}.signed.so", tcs=tcs)
    program = build_host(sdk, [HERE / "shapes_test.c"], folder / "shapes", flags=flags)
    return Project(sdk, program)


@pytest.mark.parametrize("test", TESTS)
def test_as_a_program_of_an_sdk(project: Project, test: str) -> None:
    environment = {**project.sdk.environment, "SHAPES_ENCLAVES": str(project.program.parent)}
    native.run([project.program, test], environment=environment, timeout=100)


def test_unsigned_enclave_is_refused(project: Project, tmp_path: Path) -> None:
    unsigned = (project.program.parent / "shapes.so").read_bytes()
    (tmp_path / "shapes-2.signed.so").write_bytes(unsigned)
    environment = {**project.sdk.environment, "SHAPES_ENCLAVES": str(tmp_path)}
    with pytest.raises(pytest.fail.Exception, match="sgx_create_enclave"):
        native.run([project.program, TESTS[0]], environment=environment)


@pytest.mark.parametrize(
    "variables, words",
    [
        ({"SGX_SDK": "/nonexistent"}, "there is no include/sgx_urts.h"),
        ({"SGX_MODE": "sim"}, "it can be HW or SIM"),
        ({"SGX_MODE": "HW"}, "set SGX_MODE=SIM"),
    ],
)
def test_unusable_sdk_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: str
) -> None:
    monkeypatch.setattr("hotcalls.sgx.project.DEVICE", tmp_path / "sgx_enclave")
    (tmp_path / "include").mkdir()
    (tmp_path / "include/sgx_urts.h").touch()
    with pytest.raises(SgxError, match=words):
        find_sdk(tmp_path / "made", {"SGX_SDK": str(tmp_path), **variables})


@pytest.mark.parametrize("device, mode", [(True, "hardware"), (False, "simulation")])
def test_hardware_is_used_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: bool, mode: str
) -> None:
    (tmp_path / "include").mkdir()
    (tmp_path / "include/sgx_urts.h").touch()
    if device:
        (tmp_path / "sgx_enclave").touch()
    monkeypatch.setattr("hotcalls.sgx.project.DEVICE", tmp_path / "sgx_enclave")
    assert find_sdk(tmp_path / "made", {"SGX_SDK": str(tmp_path)}).mode == mode


def test_stand_in_is_not_taken_for_the_sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = find_sdk(tmp_path / "made", {})
    (tmp_path / "sgx_enclave").touch()
    monkeypatch.setattr("hotcalls.sgx.project.DEVICE", tmp_path / "sgx_enclave")
    for mode in ("", "HW", "SIM"):
        found = find_sdk(tmp_path / "other", {"SGX_SDK": str(made.folder), "SGX_MODE": mode})
        assert found == Sdk(made.folder, "stand-in")
