# SPDX-License-Identifier: Apache-2.0
"""The clients: our load generator for memcached, wrk and ab for HTTP, iperf3 and ping for tunnels.

Host side. Each function runs one of them once and returns what it saw; a wrong answer is an error,
never a slow request.
"""

from __future__ import annotations

import csv
import importlib.resources
import json
import re
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hotcalls.apps.evaluate.errors import EvaluateError, WrongReplyError
from hotcalls.apps.evaluate.model import Latency
from hotcalls.apps.evaluate.processes import children_cpu_s, run_client

#: How much longer than its measurement a client may take.
_GRACE_S = 30.0


@dataclass(frozen=True)
class Seen:
    """What a client saw.

    Parameters
    ----------
    count
        Requests answered, bytes received, or pings answered.
    wall_s
        For how long.
    rate
        In the unit of the scenario.
    latency
        Of the requests, where the client times them.
    cpu_s
        CPU time of the client itself.
    lost
        Share of what was sent that got no answer.
    note
        What has to be said beside the figures.
    """

    count: float
    wall_s: float
    rate: float
    latency: Latency | None
    cpu_s: float
    lost: float = 0.0
    note: str = ""
    #: All that was answered, what was not timed included; None: `count`.
    answered: float | None = None


def load_path() -> Path:
    """Return the load generator that was built with this package.

    Raises
    ------
    EvaluateError
        When there is none: the package was installed without its compiled part.
    """
    path = Path(str(importlib.resources.files("hotcalls") / "bin" / "hotcalls-load"))
    if not path.is_file():
        raise EvaluateError(
            f"{path} is missing: install hotcalls with `make build` or from a wheel"
        )
    return path


def percentile(histogram: Sequence[tuple[float, int]], share: float) -> float:
    """Return the middle of the bucket (32 to an octave) in which `share` of all is reached."""
    wanted = share * sum(count for _, count in histogram)
    reached = 0
    for edge, count in histogram:
        reached += count
        if reached >= wanted:
            return float(edge) * 2 ** (1 / 64)
    return 0.0


def latency_of(histogram: Sequence[tuple[float, int]], max_ns: float) -> Latency | None:
    """Return the percentiles of a histogram in nanoseconds; None when it is empty."""
    total = sum(count for _, count in histogram)
    if total == 0:
        return None
    middle = 2 ** (1 / 64)
    return Latency(
        mean_us=sum(edge * middle * count for edge, count in histogram) / total / 1e3,
        p50_us=percentile(histogram, 0.5) / 1e3,
        p99_us=percentile(histogram, 0.99) / 1e3,
        max_us=max_ns / 1e3,
    )


def memcached_command(target: Sequence[str], load: dict[str, float]) -> list[str]:
    """Return the command of the load generator: `load` are its options, by name."""
    options = [f"--{name.replace('_', '-')}={value:g}" for name, value in load.items()]
    return [str(load_path()), *target, *options]


def memcached_load(
    target: Sequence[str], load: dict[str, float], seconds: float, cpu: int | None
) -> Seen:
    """Load a memcached, in a closed loop or (with a rate) an open one."""
    command = [*memcached_command(target, load), f"--seconds={seconds:g}"]
    done = _checked(command, seconds + _GRACE_S, cpu)
    event = json.loads(done)
    histogram = [(float(edge), int(count)) for edge, count in event["histogram"]]
    wall_s = event["wall_ns"] / 1e9
    overdue = event["overdue"]
    return Seen(
        count=event["replies"],
        wall_s=wall_s,
        rate=event["replies"] / wall_s,
        latency=latency_of(histogram, event["max_ns"]),
        cpu_s=event["cpu_ns"] / 1e9,
        answered=event["answered"],
        note=f"{overdue} requests were due and unanswered at the end" if overdue > 100 else "",
    )


def memcached_burst(
    target: Sequence[str], load: dict[str, float], pids: Sequence[int], rounds: int
) -> Seen:
    """Measure what a memcached can do while its client sleeps.

    The rate is from the moment the server was let run to the kernel's stamp of the last reply:
    the median of the rounds. Rounds in which the client had to look early are left out.
    """
    stop = ",".join(map(str, pids))
    command = [*memcached_command(target, load), f"--burst={rounds}", f"--stop={stop}"]
    before = children_cpu_s()
    lines = [json.loads(line) for line in _checked(command, 120.0, None).splitlines()]
    kept = [line for line in lines if not line["disturbed"]]
    if not kept:
        raise EvaluateError("the client had to wake up in every round: nothing was measured")
    rates = [line["requests"] / line["last_ns"] * 1e9 for line in kept]
    rate = statistics.median(rates)
    # The median round stands for the whole: its time and its requests.
    count = statistics.median([line["requests"] for line in kept])
    return Seen(
        count=count,
        wall_s=count / rate,
        rate=rate,
        latency=None,
        cpu_s=children_cpu_s() - before,
        note=f"{len(kept)} of {len(lines)} rounds",
    )


def _checked(command: Sequence[str], timeout: float, cpu: int | None) -> str:
    try:
        return run_client(command, timeout=timeout, cpu=cpu).stdout
    except EvaluateError as error:
        if "wrong reply" in str(error) or "nobody asked for" in str(error):
            raise WrongReplyError(str(error)) from error
        raise


#: wrk says what it measured in rounded words; its own script interface says it in numbers.
_WRK_SCRIPT = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\nRESULT {"requests":%d,"us":%d,"bytes":%d,"wrong":%d,'
    .. '"p50":%.3f,"p99":%.3f,"max":%.3f}\\n', summary.requests, summary.duration, summary.bytes,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50),
    latency:percentile(99), latency.max))
end
"""


def wrk(url: str, connections: int, seconds: float, cpu: int | None) -> Seen:
    """Load an HTTP server in a closed loop with keep-alive; wrk counts whole seconds."""
    whole = max(1, round(seconds))
    before = children_cpu_s()
    with tempfile.NamedTemporaryFile("w", suffix=".lua", encoding="ascii") as script:
        script.write(_WRK_SCRIPT)
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{whole}s", "-s", script.name, url]
        done = run_client(command, timeout=whole + _GRACE_S, cpu=cpu)
    return wrk_result(done.stdout, url, connections, children_cpu_s() - before)


def wrk_result(text: str, url: str, connections: int, cpu_s: float) -> Seen:
    """Return what our script made wrk print.

    The mean is that of a closed loop, connections / rate. wrk's own is of another distribution: it
    adds samples for requests that it thinks a stall kept it from sending.
    """
    found = re.search(r"^RESULT (.*)$", text, re.MULTILINE)
    if found is None:
        raise EvaluateError("wrk printed no result: is its script interface compiled in?")
    event = json.loads(found[1])
    if event["wrong"] or not event["requests"]:
        raise WrongReplyError(
            f"wrk saw {event['wrong']} errors and {event['requests']} answers from {url}"
        )
    rate = event["requests"] / event["us"] * 1e6
    return Seen(
        count=event["requests"],
        wall_s=event["us"] / 1e6,
        rate=rate,
        latency=Latency(connections / rate * 1e6, event["p50"], event["p99"], event["max"]),
        cpu_s=cpu_s,
    )


def ab(url: str, connections: int, requests: int, cpu: int | None) -> Seen:
    """Send `requests` requests, each on a connection of its own."""
    before = children_cpu_s()
    with tempfile.TemporaryDirectory(prefix="hotcalls-ab-") as folder:
        table = Path(folder) / "percentiles.csv"
        command = ["ab", "-q", "-n", str(requests), "-c", str(connections), "-e", str(table), url]
        text = run_client(command, timeout=120.0, cpu=cpu).stdout
        with table.open(newline="", encoding="ascii") as rows:
            shares = {
                int(float(row[0])): float(row[1]) for row in csv.reader(rows) if row[0].isdigit()
            }
    return ab_result(text, shares, children_cpu_s() - before)


def ab_result(text: str, shares: dict[int, float], cpu_s: float) -> Seen:
    """Return what the output of ab and its table of percentiles (in ms) say."""

    def field(name: str) -> float:
        found = re.search(rf"^{re.escape(name)}:\s+([0-9.]+)", text, re.MULTILINE)
        if found is None:
            raise EvaluateError(f"ab's output has no line `{name}`")
        return float(found[1])

    complete = field("Complete requests")
    wrong = field("Failed requests")
    if "Non-2xx responses" in text:
        wrong += field("Non-2xx responses")
    if wrong or not complete:
        raise WrongReplyError(f"ab saw {wrong:.0f} failures in {complete:.0f} requests")
    wall_s = field("Time taken for tests")
    return Seen(
        count=complete,
        wall_s=wall_s,
        rate=complete / wall_s,
        latency=Latency(
            mean_us=field("Time per request") * 1e3,
            p50_us=shares.get(50, 0.0) * 1e3,
            p99_us=shares.get(99, 0.0) * 1e3,
            max_us=shares.get(100, shares.get(99, 0.0)) * 1e3,
        ),
        cpu_s=cpu_s,
    )


def iperf3(enter: Sequence[str], address: str, seconds: float, udp_mbit: float | None) -> Seen:
    """Send through a tunnel to the iperf3 server at `address`; TCP, or UDP at a given rate."""
    mode = [] if udp_mbit is None else ["-u", "-b", f"{udp_mbit:g}M", "-l", "1200"]
    before = children_cpu_s()
    command = [*enter, "iperf3", "-J", "-c", address, "-t", f"{max(1, round(seconds))}", *mode]
    done = run_client(command, timeout=seconds + _GRACE_S)
    return iperf3_result(json.loads(done.stdout), children_cpu_s() - before, udp_mbit is not None)


def iperf3_result(report: dict[str, dict[str, dict[str, float]]], cpu_s: float, udp: bool) -> Seen:
    """Return what iperf3's JSON says of what was received."""
    total = report["end"]["sum" if udp else "sum_received"]
    lost = total.get("lost_percent", 0.0) / 100 if udp else 0.0
    rate = total["bits_per_second"] / 1e6 * (1 - lost)
    return Seen(
        count=total["bytes"] * (1 - lost),
        wall_s=total["seconds"],
        rate=rate,
        latency=None,
        cpu_s=cpu_s,
        lost=lost,
    )


def ping(enter: Sequence[str], address: str, count: int) -> Seen:
    """Send `count` pings, each as soon as the one before it was answered."""
    before = children_cpu_s()
    command = [*enter, "ping", "-n", "-i", "0", "-c", str(count), "-s", "56", address]
    text = run_client(command, timeout=_GRACE_S + count / 20).stdout
    return ping_result(text, count, children_cpu_s() - before)


def ping_result(text: str, sent: int, cpu_s: float) -> Seen:
    """Return what the lines of ping say: one time for each answer."""
    times = sorted(float(found) * 1e3 for found in re.findall(r"time=([0-9.]+) ms", text))
    if not times:
        raise WrongReplyError(f"none of {sent} pings was answered")
    # One is under way at a time; what ping itself does between two of them is not counted.
    wall_s = sum(times) / 1e6
    return Seen(
        count=len(times),
        wall_s=wall_s,
        rate=len(times) / wall_s,
        latency=Latency(
            mean_us=statistics.fmean(times),
            p50_us=times[len(times) // 2],
            p99_us=times[int(len(times) * 0.99)],
            max_us=times[-1],
        ),
        cpu_s=cpu_s,
        lost=1 - len(times) / sent,
    )
