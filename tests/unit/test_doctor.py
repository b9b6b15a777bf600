# SPDX-License-Identifier: Apache-2.0
"""``hotcalls doctor``: it says what it finds, on this machine and on made-up ones."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from hotcalls import doctor, doctor_probes
from hotcalls.doctor_probes import NO, OK, UNKNOWN, Check, Machine


def made_up(folder: Path, files: dict[str, str]) -> Machine:
    for name, text in files.items():
        path = folder / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return Machine(folder)


def only(checks: list[Check], name: str) -> Check:
    (found,) = [check for check in checks if check.name == name]
    return found


def test_doctor_on_this_machine_names_everything_once() -> None:
    checks = doctor.examine()
    names = [check.name for check in checks]
    assert len(set(names)) == len(names)
    assert {"cores", "SMT siblings", "not root", "no swap", "memlock limit", "WAITPKG / MWAITX",
            "memfd_secret", "memfd", "seccomp", "Landlock", "user namespaces", "/dev/kvm", "SGX",
            "SEV guest", "TDX guest", "C compiler", "perf", "steal"} <= set(names)  # fmt: skip
    assert {check.state for check in checks} <= {OK, NO, UNKNOWN}
    assert all(check.detail for check in checks)


def test_doctor_here_says_enclaves_can_run() -> None:
    assert doctor.can_run(doctor.examine())


def test_json_has_every_check_and_the_verdict() -> None:
    result = CliRunner().invoke(doctor.doctor_command, ["--json"])
    report = json.loads(result.stdout)
    assert report["schema"] == doctor.SCHEMA
    assert report["usable"] is (result.exit_code == 0)
    assert set(report["checks"][0]) == {"group", "name", "state", "detail", "advice", "needed"}


def test_table_shows_advice_for_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = [Check("kernel", "Landlock", NO, "off", "boot with lsm=landlock")]
    monkeypatch.setattr(doctor, "examine", lambda: checks)
    result = CliRunner().invoke(doctor.doctor_command, [])
    assert result.exit_code == 0
    assert "boot with lsm=landlock" in result.stdout
    assert "not SGX" in result.stdout


def test_missing_need_exits_with_1_and_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = [Check("kernel", "seccomp", NO, "refused", "allow it", needed=True)]
    monkeypatch.setattr(doctor, "examine", lambda: checks)
    result = CliRunner().invoke(doctor.doctor_command, [])
    assert result.exit_code == 1
    assert "cannot run here: seccomp" in result.stdout


def test_unknown_need_does_not_forbid() -> None:
    assert doctor.can_run([Check("kernel", "seccomp", UNKNOWN, "?", needed=True)])


def test_probe_that_fails_becomes_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def check_strange(machine: Machine) -> list[Check]:
        raise OSError(errno.EIO, "a strange machine")

    monkeypatch.setattr(doctor, "PROBES", (check_strange,))
    (check,) = doctor.examine()
    assert (check.name, check.state) == ("strange", UNKNOWN)
    assert "a strange machine" in check.detail


def test_empty_machine_breaks_no_probe(tmp_path: Path) -> None:
    checks = doctor.examine(Machine(tmp_path))
    assert not [check for check in checks if check.group == "failed"]


@pytest.mark.parametrize(
    "files, quota",
    [
        ({"/proc/self/cgroup": "0::/a/b\n", "/sys/fs/cgroup/a/b/cpu.max": "50000 100000"}, 0.5),
        ({"/proc/self/cgroup": "0::/a/b\n", "/sys/fs/cgroup/a/cpu.max": "150000 100000"}, 1.5),
        ({"/proc/self/cgroup": "0::/a\n", "/sys/fs/cgroup/a/cpu.max": "max 100000"}, None),
        ({"/proc/self/cgroup": "0::/\n"}, None),
        ({}, None),
        (
            {
                "/proc/self/cgroup": "4:cpu,cpuacct:/x\n",
                "/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "200000",
                "/sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000",
            },
            2.0,
        ),
        (
            {
                "/proc/self/cgroup": "4:cpu:/x\n",
                "/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "-1",
                "/sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000",
            },
            None,
        ),
    ],
)
def test_cgroup_quota_is_the_smallest_of_the_ancestors(
    tmp_path: Path, files: dict[str, str], quota: float | None
) -> None:
    assert doctor_probes.cgroup_cpus(made_up(tmp_path, files)) == quota


def test_one_cpu_says_that_spinning_is_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_probes.os, "sched_getaffinity", lambda pid: {3})
    check = only(list(doctor_probes.check_cores(Machine(tmp_path))), "cores")
    assert check.state == NO
    assert "spinning is off" in check.detail


def test_quota_below_two_cpus_says_that_spinning_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_probes.os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    machine = made_up(
        tmp_path, {"/proc/self/cgroup": "0::/a\n", "/sys/fs/cgroup/a/cpu.max": "100000 100000"}
    )
    assert only(list(doctor_probes.check_cores(machine)), "cores").state == NO


def test_siblings_are_counted_by_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_probes.os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    siblings = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    machine = made_up(
        tmp_path, {siblings.format(cpu): f"{cpu % 2},{cpu % 2 + 2}" for cpu in range(4)}
    )
    check = only(list(doctor_probes.check_cores(machine)), "SMT siblings")
    assert "4 CPUs on 2 cores" in check.detail


@pytest.mark.parametrize(
    "flags, state", [("fpu waitpkg", OK), ("fpu mwaitx", OK), ("fpu monitor", NO)]
)
def test_waiting_instructions_are_read_from_flags(tmp_path: Path, flags: str, state: str) -> None:
    machine = made_up(tmp_path, {"/proc/cpuinfo": f"processor : 0\nflags\t\t: {flags}\n"})
    (check,) = doctor_probes.check_waiting(machine)
    assert check.state == state


def test_swap_is_a_no_that_names_the_device(tmp_path: Path) -> None:
    machine = made_up(
        tmp_path, {"/proc/swaps": "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n"}
    )
    check = only(list(doctor_probes.check_limits(machine)), "no swap")
    assert check.state == NO
    assert "/dev/sda2" in check.detail
    assert "memfd_secret" in check.advice


def test_foreign_user_namespace_is_a_no(tmp_path: Path) -> None:
    machine = made_up(
        tmp_path,
        {"/proc/self/uid_map": "0 1000 1\n", "/proc/self/status": "CapEff:\t0000000000000000\n"},
    )
    assert only(list(doctor_probes.check_privilege(machine)), "user namespace").state == NO


def test_cap_sys_ptrace_without_root_is_a_no(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_probes.os, "geteuid", lambda: 1000)
    machine = made_up(tmp_path, {"/proc/self/status": "CapEff:\t0000000000080000\n"})
    check = only(list(doctor_probes.check_privilege(machine)), "not root")
    assert check.state == NO
    assert "CAP_SYS_PTRACE" in check.detail


@pytest.mark.parametrize("name", ["_pidfd", "_memfd", "_seccomp"])
def test_needed_call_that_is_refused_is_a_no(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> int:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(doctor_probes.os, "pidfd_open", refuse)
    monkeypatch.setattr(doctor_probes.os, "memfd_create", refuse)
    monkeypatch.setattr(doctor_probes, "syscall", lambda *arguments: (-1, errno.EPERM))
    checks = list(doctor_probes.check_kernel(Machine(tmp_path)))
    check = only(checks, name.lstrip("_"))
    assert (check.state, check.needed) == (NO, True)
    assert check.advice
    assert not doctor.can_run(checks)


def test_sgx_device_is_seen(tmp_path: Path) -> None:
    machine = made_up(tmp_path, {"/dev/sgx_enclave": ""})
    assert only(list(doctor_probes.check_hardware(machine)), "SGX").state == OK


def test_sgx_without_driver_says_what_to_do(tmp_path: Path) -> None:
    machine = made_up(tmp_path, {"/proc/cpuinfo": "flags : sgx\n"})
    check = only(list(doctor_probes.check_hardware(machine)), "SGX")
    assert check.state == NO
    assert "CONFIG_X86_SGX" in check.advice


def test_steal_above_the_limit_is_a_no(tmp_path: Path) -> None:
    machine = made_up(tmp_path, {"/proc/stat": "cpu  10 0 10 70 0 0 0 10 0 0\n"})
    (check,) = doctor_probes.check_steal(machine)
    assert check.state == NO
    assert "10.0% since boot" in check.detail


def test_no_compiler_leaves_launching_possible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(doctor_probes.shutil, "which", lambda name: None)
    check = only(list(doctor_probes.check_tools(Machine(tmp_path))), "C compiler")
    assert (check.state, check.needed) == (NO, False)
    assert "gcc" in check.advice
