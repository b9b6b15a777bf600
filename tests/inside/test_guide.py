# SPDX-License-Identifier: Apache-2.0
"""The first screen of docs/python-enclaves.md runs as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


def test_first_example_of_the_guide_runs(repository: Path, tmp_path: Path) -> None:
    text = (repository / "docs/python-enclaves.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n# (\w+\.py)[^\n]*\n(.*?)```", text, re.DOTALL)
    assert [name for name, _ in blocks] == ["vault.py", "host.py"]
    for name, code in blocks:
        (tmp_path / name).write_text(code)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "host.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert re.fullmatch(r"[0-9a-f]{64}\n(?s:.*)", done.stdout), done.stderr
    assert done.returncode == 0
