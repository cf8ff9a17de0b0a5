"""The report's charts, as SVG that takes its text colour from the page, and its pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from fourd_perception.evaluation.session import Answer, Session
from fourd_perception.stream.frame import SECOND

RIGHT, WRONG, TRANSITION, TRUTH = "#2e9e6b", "#d64545", "#9aa4ad", "#4c8dd6"

_BACKGROUND = 24
_MANY = 3000
_INK = "#010203"  # stands for the page's own text colour, put in at the end
_STYLE = {
    "font.family": "sans-serif",
    "font.size": 10,
    "svg.fonttype": "none",
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
}


def timeline(session: Session) -> str:
    """SVG: every class a row, the truth as bars, every answer as a dot; the scores below."""
    seen = {one.label for one in session.truth} | {one.label for one in session.answers}
    rows = [name for name in session.classes if name in seen]
    start, end = min(session.clouds), max(session.clouds)
    many = len(session.answers) > _MANY  # as a picture; so many dots would make a page of megabytes
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": "timeline"}):
        width = float(np.clip((end - start) / SECOND * 0.17, 9, 40))
        figure = Figure((width, 1.6 + 0.27 * len(rows)), layout="constrained")
        above, below = figure.subplots(
            2, 1, sharex=True, height_ratios=(max(len(rows), 3) * 0.27, 0.9)
        )
        for action in session.truth:
            above.barh(
                rows.index(action.label),
                (action.end - action.start) / SECOND,
                left=(action.start - start) / SECOND,
                height=0.8, color=TRUTH, alpha=0.35, linewidth=0,
            )  # fmt: skip
        for colour, answers in _by_colour(session.answers):
            seconds = [(one.stamp - start) / SECOND for one in answers]
            named = [(x, rows.index(one.label)) for x, one in zip(seconds, answers) if one.label]
            above.scatter(
                *np.reshape(named, (-1, 2)).T, s=14, color=colour, zorder=3, rasterized=many
            )
            below.scatter(
                seconds, [one.score for one in answers], s=7, color=colour, rasterized=many
            )
        above.set_yticks(range(len(rows)), [_words(name) for name in rows])
        above.invert_yaxis()
        above.tick_params(axis="y", length=0)
        above.grid(axis="y", color=_INK, alpha=0.08)
        below.set(ylim=(0, 1.05), yticks=(0, 0.5, 1), xlabel="seconds", ylabel="score")
        below.set_xlim(0, (end - start) / SECOND)
        below.grid(axis="y", color=_INK, alpha=0.12)
        return _svg(figure)


def confusion_heatmap(counts: NDArray[np.int64], classes: Sequence[str]) -> str:
    """SVG of a (K, K + 1) confusion matrix; classes that never occur are left out."""
    occurs = (counts[:, :-1].sum(axis=0) + counts.sum(axis=1)) > 0
    kept = np.flatnonzero(occurs)
    unanswered = [len(classes)] if counts[:, -1].any() else []
    columns = [*kept, *unanswered]
    shown = counts[np.ix_(kept, columns)]
    share = shown / np.maximum(shown.sum(axis=1, keepdims=True), 1)
    names = [_words(classes[index]) for index in kept]
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": "confusion"}):
        cell = 0.36
        figure = Figure((2.2 + cell * len(columns), 1.9 + cell * len(names)), layout="constrained")
        axes = figure.subplots()
        for (row, column), count in np.ndenumerate(shown):
            if not count:
                continue
            colour = RIGHT if row == column else WRONG
            axes.add_patch(
                Rectangle(
                    (column - 0.46, row - 0.46), 0.92, 0.92,
                    color=colour, alpha=0.15 + 0.6 * share[row, column], linewidth=0,
                )
            )  # fmt: skip
            axes.text(column, row, str(count), ha="center", va="center", fontsize=8)
        axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(names) - 0.5, -0.5), aspect="equal")
        axes.set_xticks(
            range(len(columns)), names + ["no answer"] * len(unanswered),
            rotation=45, ha="right", rotation_mode="anchor",
        )  # fmt: skip
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="answer", ylabel="truth")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        return _svg(figure)


def latency_histogram(latency_ms: Sequence[float]) -> str:
    """SVG of the answers' latencies, with the median and the 99th percentile."""
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": "latency"}):
        figure = Figure((6, 2.6), layout="constrained")
        axes: Axes = figure.subplots()
        axes.hist(latency_ms, bins=40, color=TRUTH, alpha=0.7)
        for percent, style in ((50, "-"), (99, "--")):
            value = float(np.percentile(latency_ms, percent))
            label = f"{'median' if percent == 50 else '99th percentile'}: {value:.0f} ms"
            axes.axvline(value, color=_INK, linestyle=style, linewidth=1, label=label)
        axes.set(xlabel="latency, ms", ylabel="windows")
        axes.set_xlim(left=0)
        axes.legend(loc="upper right", fontsize=9)
        return _svg(figure)


def reliability(scores: NDArray[np.float32], labels: NDArray[np.int64], bins: int = 10) -> str:
    """SVG: of the windows that a model is so sure of, how many it names right.

    scores: (V, K) probabilities; labels: (V,). A well calibrated model lies on the diagonal; a
    bar's strength is its share of the windows.
    """
    sure = scores.max(axis=1)
    right = scores.argmax(axis=1) == labels
    bin_of = np.minimum((sure * bins).astype(int), bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    share = np.bincount(bin_of, weights=right, minlength=bins) / np.maximum(count, 1)
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": "reliability"}):
        figure = Figure((4.2, 3.6), layout="constrained")
        axes: Axes = figure.subplots()
        axes.plot((0, 1), (0, 1), color=_INK, alpha=0.4, linewidth=1, linestyle="--")
        for place in np.flatnonzero(count):
            strength = 0.25 + 0.65 * count[place] / count.max()
            axes.bar(
                (place + 0.5) / bins, share[place], width=0.92 / bins, color=TRUTH, alpha=strength
            )
            axes.text(
                (place + 0.5) / bins, share[place] + 0.015, str(count[place]),
                ha="center", fontsize=8,
            )  # fmt: skip
        axes.set(xlim=(0, 1), ylim=(0, 1.09), xlabel="score", ylabel="named right")
        return _svg(figure)


def png(image: NDArray[np.uint8]) -> bytes:
    """image: (H, W, 3) uint8 RGB."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", optimize=True)
    return file.getvalue()


def shade_depth(depth: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A depth image in colours, near is bright.

    depth: (H, W) float32, any unit, 0 where there is no return. Returns (H, W, 3) uint8 RGB.
    """
    return _depth_colours(depth, depth > 0)


def render_cloud(
    points: NDArray[np.float32],
    size: tuple[int, int] = (240, 320),
    turn: float = np.radians(35),
    colours: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """A cloud as a viewer sees it who has walked `turn` radians around it.

    points: (N, 3) float32, metres, optical frame. colours: (N, 3) uint8 RGB; without, what is near
    the camera is bright. Returns (H, W, 3) uint8 of `size`.
    """
    canvas = np.full((*size, 3), _BACKGROUND, np.uint8)
    known = np.isfinite(points).all(axis=1)
    points, colours = points[known], None if colours is None else colours[known]
    if not len(points):
        return canvas
    low, high = np.percentile(points, (0.5, 99.5), axis=0)  # a stray point must not shrink the rest
    x, y, z = (points - (low + high) / 2).T
    across, away = np.cos(turn) * x + np.sin(turn) * z, np.cos(turn) * z - np.sin(turn) * x
    height, width = size
    reach = np.percentile(np.abs(np.stack((across / width, y / height))), 99.5, axis=1).max()
    scale = 0.47 / max(reach, 1e-6)
    columns = np.rint(width / 2 + across * scale).astype(int)
    rows = np.rint(height / 2 + y * scale).astype(int)
    if colours is None:
        colours = _depth_colours(points[:, 2], np.ones(len(points), np.bool_))
    far_first = np.argsort(-away)
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):  # a point is two pixels wide
        row, column = rows[far_first] + down, columns[far_first] + right
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        canvas[row[inside], column[inside]] = colours[far_first][inside]
    return canvas


def _depth_colours(depth: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Near is bright; (..., 3) uint8, dark where `known` is false."""
    shaded = np.full((*depth.shape, 3), _BACKGROUND, np.uint8)
    if known.any():
        near, far = np.percentile(depth[known], (1, 99))
        nearness = np.clip((far - depth[known]) / max(far - near, 1e-6), 0, 1)
        shaded[known] = matplotlib.colormaps["viridis"](0.15 + 0.85 * nearness, bytes=True)[:, :3]
    return shaded


def _by_colour(answers: Sequence[Answer]) -> list[tuple[str, list[Answer]]]:
    colours = {True: RIGHT, False: WRONG, None: TRANSITION}
    return [(colour, [one for one in answers if one.right is right])
            for right, colour in colours.items()]  # fmt: skip


def _words(name: str) -> str:
    return name.replace("_", " ")


def _svg(figure: Figure) -> str:
    """The figure as an SVG element to be put into a page."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :].replace(_INK, "currentColor")
