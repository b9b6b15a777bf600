# SPDX-License-Identifier: Apache-2.0
"""What every test folder shares: nothing may be skipped in CI, and nothing may be left behind.

`HOTCALLS_MUST_RUN=1` turns each skip into a failure, except on tests that carry the marker
``hardware``: a processor feature cannot be installed. Tests that carry the marker ``long`` run with
`HOTCALLS_TRUST=1`, or when they are named. After each test module the processes, descriptors and
mappings that it brought into being have to be gone.
"""

from __future__ import annotations

import gc
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# No timing decides a test, an example's neither.
hypothesis.settings.register_profile(
    "hotcalls", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("hotcalls")

#: This run's enclaves are told from those of other runs by a mark that the kernel hands down
#: through fork and exec and that everybody may read: the inclination to be killed for memory.
#: (Neither the parent nor the session tells: an enclave leaves both.)
MARK = 0


def pytest_configure(config: pytest.Config) -> None:
    """Mark this process, unless it only hands tests out to workers, which mark themselves.

    A worker would inherit the mark, and without privileges it cannot take a lower one.
    """
    global MARK
    if getattr(config.option, "dist", "no") != "no" and not hasattr(config, "workerinput"):
        return
    try:
        Path("/proc/self/oom_score_adj").write_text(str(1 + os.getpid() % 997))
    except OSError:
        return
    MARK = 1 + os.getpid() % 997


# A shell without job control starts what it puts in the background with SIGINT ignored, and that
# is handed down. Tests send it, to programs that are to notice.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
MUST_RUN = os.environ.get("HOTCALLS_MUST_RUN", "") not in ("", "0")
#: `make trust` runs the long form of each attack.
LONG = os.environ.get("HOTCALLS_TRUST", "") not in ("", "0")
LOADER = "hotcalls-enclave"
#: An enclave notices the end of its host by polling a pidfd. What is still there by then stays.
SETTLE_SECONDS = 30.0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is for `make trust`; write which promises a test attacks into its report."""
    left_out = [item for item in items if item.get_closest_marker("long")]
    if left_out and not LONG and not any("::" in word for word in config.args):
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("long")]
    for item in items:
        for marker in item.iter_markers("claim"):
            item.user_properties.extend(("claim", name) for name in marker.args)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[pytest.TestReport]:
    """Make a skipped test a failed one where every test has to run."""
    report = yield
    hardware = item.get_closest_marker("hardware") is not None
    if MUST_RUN and report.skipped and not hasattr(report, "wasxfail") and not hardware:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: skipped with HOTCALLS_MUST_RUN=1: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[pytest.CollectReport]:
    """Make a module that skips itself while it is imported an error, for the same reason."""
    report = yield
    if MUST_RUN and report.outcome == "skipped":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid}: skipped with HOTCALLS_MUST_RUN=1: {reason}"
    return report


def _is_ours(folder: Path) -> bool:
    state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
    if state == "Z":
        return False
    return MARK == 0 or int((folder / "oom_score_adj").read_text()) == MARK


def enclave_processes() -> dict[int, str]:
    """Return the enclaves of this test run: PID and command line of each."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # The kernel keeps 15 characters of the name.
            if (folder / "comm").read_text().strip() != LOADER[:15] or not _is_ours(folder):
                continue
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            continue
        found[int(folder.name)] = command.decode(errors="replace").strip()
    return found


def descriptors() -> Counter[str]:
    """Return what the open descriptors of this process refer to, pipes and the like by kind."""
    found: Counter[str] = Counter()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(entry)
        except OSError:
            continue
        kind = target.partition(":[")[0] if ":[" in target else target
        if not target.startswith("/proc/"):
            found[kind] += 1
    return found


def channel_mappings() -> int:
    """Return how many mappings of memfds this process has."""
    return sum("/memfd:" in line for line in Path("/proc/self/maps").read_text().splitlines())


@pytest.fixture(scope="module", autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the last test of a module when an enclave, a descriptor or a mapping is left over."""
    processes_before = set(enclave_processes())
    descriptors_before = descriptors()
    mappings_before = channel_mappings()
    yield
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        gc.collect()
        processes = {
            pid: command
            for pid, command in enclave_processes().items()
            if pid not in processes_before
        }
        extra = descriptors() - descriptors_before
        mappings = channel_mappings() - mappings_before
        if not processes and not extra and mappings <= 0:
            return
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    left = [f"process {pid}: {command}" for pid, command in processes.items()]
    left += [f"{count} descriptor(s) of {name}" for name, count in extra.items()]
    left += [f"{mappings} mapping(s) of memfds"] if mappings > 0 else []
    pytest.fail(f"{request.node.nodeid} leaves behind: " + "; ".join(left), pytrace=False)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the source tree; tests that need it are skipped when run from elsewhere."""
    if not (ROOT / "meson.build").exists():
        pytest.skip("not run from a source tree")
    return ROOT
