"""What im-PSTNet costs by the length of its window and by the points of a frame, with a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from benchmarks.bench_encoders import ENCODERS, ROOT, Encoder
from benchmarks.bench_items import stream
from benchmarks.bench_timing import Patience, Spread, hold

SIZES: Mapping[str, tuple[int, ...]] = {
    "frames": (7, 11, 15, 19, 23, 31, 47, 63),
    "points": (512, 1024, 2048, 4096, 8192),
}
SHORTEST = 19
"""Frames that the published network needs; it does not pad in time."""
SECONDS = {"frames": 60.0, "points": 45.0}
"""About how long it takes, for the progress bar."""
WHOLE, NEW, PADDED = "whole window", "new frame", "new frame, padded in time"
LINES = {WHOLE: ("#3b78c3", "-"), NEW: ("#2e9e6b", "-"), PADDED: ("#2e9e6b", ":")}
PATIENCE = Patience(seconds=1.5)

Curves = dict[str, list[tuple[int, float]]]
"""What was done, and the milliseconds that it took by size."""


def curves(axis: str) -> Curves:
    """Sizes along `axis`, 'frames' or 'points', the other as it is published: 23 x 2048.

    The first and the last frames of a padded window are not what they are in the next one, and
    what depends on them is computed again; so that is a curve of its own.
    """
    found: Curves = {}
    for size in SIZES[axis]:
        if axis == "points" or size >= SHORTEST:
            contest = stream(_sized(ENCODERS["im_pstnet"], axis, size))
            outcome = hold(contest, PATIENCE)
            assert outcome.theirs is not None
            _add(found, WHOLE, size, outcome.theirs)
            _add(found, NEW, size, outcome.ours)
        if axis == "frames":
            alone = replace(stream(_sized(_padded(), axis, size)), theirs=None)
            _add(found, PADDED, size, hold(alone, PATIENCE).ours)
    return found


def _add(found: Curves, name: str, size: int, spread: Spread) -> None:
    found.setdefault(name, []).append((size, round(spread.median * 1e3, 2)))


def _padded() -> Encoder:
    """im-PSTNet with as many frames added at both ends of a clip as its kernels reach beyond it."""
    text = (ROOT / "config/models/im_pstnet_ntu.yaml").read_text(encoding="utf-8")
    rows = yaml.safe_load(text)["layers"]
    for row in rows:
        row["temporal_padding"] = [row["temporal_kernel"] // 2] * 2
    return replace(ENCODERS["im_pstnet"], changes={"layers": rows})


def _sized(encoder: Encoder, axis: str, size: int) -> Encoder:
    return replace(encoder, frames=size) if axis == "frames" else replace(encoder, points=size)


def exponent(points: Sequence[tuple[int, float]]) -> float:
    """b of the power law a * size^b that fits best (least squares of the logarithms)."""
    sizes, times = np.log(np.array(points, dtype=float)).T
    return float(np.polyfit(sizes, times, 1)[0])


def plot(found: Mapping[str, Curves], path: Path) -> None:
    """A PNG of one panel for each axis that was measured."""
    labels = {"frames": "frames in the window", "points": "points in a frame"}
    style = {
        "font.size": 10, "axes.spines.top": False, "axes.spines.right": False,
        "legend.frameon": False, "axes.linewidth": 0.6,
    }  # fmt: skip
    with matplotlib.rc_context(style):
        figure = Figure((4.6 * len(found), 4.0), layout="constrained", facecolor="white")
        panels = figure.subplots(1, len(found), squeeze=False, sharey=True)[0]
        for panel, (axis, several) in zip(panels, found.items()):
            _draw(panel, several)
            panel.set(xlabel=labels[axis], xticks=SIZES[axis])
        panels[0].set_ylabel("milliseconds")
        figure.savefig(path, dpi=150)


def _draw(panel: Axes, several: Curves) -> None:
    for name, (colour, line) in LINES.items():
        if name in several:
            sizes, times = zip(*several[name])
            label = f"{name}: exponent {exponent(several[name]):.2f}"
            panel.loglog(sizes, times, line, marker="o", color=colour, markersize=4, label=label)
    panel.grid(axis="y", which="major", color="#dddddd", linewidth=0.6)
    panel.tick_params(which="minor", left=False)
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_minor_locator(NullLocator())
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0))
