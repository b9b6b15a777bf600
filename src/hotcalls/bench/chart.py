# SPDX-License-Identifier: Apache-2.0
"""How pictures look, and the small ones that stand in tables.

Host side; pure. Knows nothing of benchmarks. Pictures are made with matplotlib's own objects,
never with pyplot: a library has no business with a global figure.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

INK = "#1f2328"
SOFT = "#6b7280"
GRID = "#e7e5e1"
HOT = "#d6451b"
HOT2 = "#f2925f"
SWITCH = "#2f5aa8"
SWITCH2 = "#7fa3dc"
KERNEL = "#5b7c99"
FLOOR = "#9aa0a6"
BASIC = "#4b5563"
PAPER = "#8b5fbf"
MEMORY = "#3c8d5a"

_STYLE: Any = {
    "font.size": 11,
    "font.family": "DejaVu Sans",
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.titlesize": 14,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 30,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.9,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "figure.facecolor": "white",
}


@contextmanager
def figure(width: float, height: float) -> Iterator[Figure]:
    """Give an empty figure of `width` by `height` inches in the style of the house."""
    with mpl.rc_context(_STYLE):
        made = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(made)
        yield made


def png(made: Figure) -> bytes:
    """Return a figure as PNG, sharp enough for a dense screen; the same input, the same bytes."""
    target = io.BytesIO()
    made.savefig(target, format="png", dpi=160, metadata={"Software": None})
    return target.getvalue()


def short(value: float, _: object = None) -> str:
    """Write the label of an axis: 100, 1k, 10k, 1M."""
    for scale, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= scale:
            return f"{value / scale:g}{unit}"
    return f"{value:g}"


def log_axis(axis: Any) -> None:
    """Label a logarithmic axis with round figures, and not between them."""
    axis.set_major_locator(LogLocator(base=10, numticks=12))
    axis.set_major_formatter(FuncFormatter(short))
    axis.set_minor_formatter(NullFormatter())


def stamp(made: Figure, words: str) -> None:
    """Write across a picture what its reader must not overlook."""
    made.text(
        0.5,
        0.5,
        words,
        ha="center",
        va="center",
        rotation=24,
        fontsize=44,
        weight="bold",
        color="#b42318",
        alpha=0.16,
        zorder=10,
    )


#: The range of every small histogram: what stands in one table can be compared by eye.
SPARK_FROM, SPARK_TO = 10.0, 1e7


def spark_position(value: float, width: float) -> float:
    """Return where `value` lies on the logarithmic axis of a small histogram."""
    clamped = min(max(value, SPARK_FROM), SPARK_TO)
    return width * math.log(clamped / SPARK_FROM) / math.log(SPARK_TO / SPARK_FROM)


def spark(histogram: Sequence[tuple[float, int]], median: float, colour: str) -> Markup:
    """Draw a histogram as a strip of SVG; heights are square roots, so that a tail is seen."""
    width, height, bins = 200, 24, 80
    heights = [0.0] * bins
    for edge, count in histogram:
        heights[min(int(spark_position(edge, bins)), bins - 1)] += count
    most = max(heights)
    ticks = "".join(
        f'<path d="M{spark_position(10.0**k, width):.1f} {height - 3}v3" stroke="currentColor" '
        'stroke-opacity=".35"/>'
        for k in range(1, 8)
    )
    bars = "".join(
        f"M{i * width / bins:.1f} {height - 2}v-{max(1.0, math.sqrt(h / most) * (height - 4)):.1f}"
        for i, h in enumerate(heights)
        if h
    )
    x = spark_position(median, width)
    return Markup(  # noqa: S704 (numbers and our own colours only)
        f'<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" '
        'aria-label="histogram">'
        f'<path d="M0 {height - 1}h{width}" stroke="currentColor" stroke-opacity=".25"/>{ticks}'
        f'<path d="{bars}" stroke="{colour}" stroke-width="2.1"/>'
        f'<path d="M{x:.1f} 0v{height}" stroke="currentColor" stroke-opacity=".55" '
        'stroke-dasharray="2 2"/></svg>'
    )
