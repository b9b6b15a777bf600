# SPDX-License-Identifier: Apache-2.0
"""From what a run used to a policy that allows it, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotcalls.apps import policy, policy_learn

pytestmark = pytest.mark.usefixtures("small_table")

LINES = [
    "used call read\n",
    "used path read openat /etc/passwd\n",
    "used path read openat /proc/self/maps\n",
    "used path write openat /var/lib/a b\n",
    "used path read openat /var/lib/a b/c\n",
    "used address bind socket inet 127.0.0.1 80\n",
    "used address connect socket inet6 ::1 443\n",
    "used address bind socket other 16\n",
    "refused call socket errno=1\n",
]


def learnt(lines: list[str], folder: Path) -> policy.Policy:
    path = folder / "learnt.toml"
    path.write_text(policy_learn.toml(policy_learn.learn(lines), "server --flag"))
    return policy.load(path)


def test_a_learnt_policy_allows_what_was_used_and_refuses_the_rest(tmp_path: Path) -> None:
    lines = learnt(LINES, tmp_path).compiled().splitlines()
    assert "call default refuse 1" in lines
    assert [line for line in lines if line.startswith("call ") and line.endswith("allow")] == [
        "call openat allow",
        "call read allow",
        "call socket allow",
    ]
    assert "path read refuse 13 /" in lines
    assert "path read allow /etc/passwd" in lines
    assert "path write refuse 13 /etc/passwd" in lines
    assert "path write allow /var/lib/a b" in lines
    assert "address bind allow inet 127.0.0.1/32 80-80" in lines
    assert "address connect allow inet6 ::1/128 443-443" in lines
    assert "address bind allow other 16" in lines


def test_what_lies_below_a_writable_path_is_not_listed_again(tmp_path: Path) -> None:
    assert learnt(LINES, tmp_path).read_only == ["/etc/passwd", "/proc/self/maps"]


@pytest.mark.parametrize(
    ("path", "learnt_as"),
    [
        ("/proc/12/stat", "/proc"),
        ("/proc/self/task/13/comm", "/proc/self/task"),
        ("/proc/self/status", "/proc/self/status"),
        ("/proc/123abc", "/proc/123abc"),
    ],
)
def test_numbers_of_processes_and_threads_are_not_learnt(path: str, learnt_as: str) -> None:
    assert policy_learn.learn([f"used path read openat {path}\n"]).read == {learnt_as}


def test_a_line_of_another_kind_is_left_to_the_caller() -> None:
    used = policy_learn.Used()
    assert not policy_learn.take(used, "refused call read errno=1\n")
    assert not policy_learn.take(used, "used\n")
    assert used == policy_learn.Used()


def test_an_escaped_character_of_a_path_is_read_back() -> None:
    used = policy_learn.learn(["used path read openat /a\\x0ab\\x5cc\n"])
    assert used.read == {"/a\nb\\c"}


def test_a_path_that_is_not_utf8_is_left_out_and_named(tmp_path: Path) -> None:
    raw = os.fsdecode(b"/caf\xe9")
    text = policy_learn.toml(policy_learn.learn([f"used path read openat {raw}\n"]), "x")
    assert "# Left out, for it is not UTF-8: '/caf\\udce9'" in text
    (tmp_path / "p.toml").write_text(text)
    assert policy.load(tmp_path / "p.toml").read_only == []


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\n\0\\*?["), min_size=1),
        max_size=5,
    )
)
def test_a_learnt_policy_can_always_be_read_back(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("learn")
    paths = [f"/d/{name}" for name in names if "/" not in name and name not in (".", "..")]
    lines = [f"used path read openat {path}\n" for path in paths]
    assert set(learnt(lines, folder).read_only) == set(paths)
