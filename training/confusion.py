"""A confusion matrix as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourd_perception.whole_file import written


def draw(confusion: NDArray[np.int64], classes: Sequence[str], path: str | Path) -> None:
    """Write a PNG: row truth, column answer, percent of each row. Imports matplotlib.

    confusion: (K, K) counts, or (K, K + 1) with a column for no answer, which is not drawn.
    classes: K names. Rows without truth stay empty.
    Raises InputError if the file cannot be written.
    """
    from matplotlib.figure import Figure

    total = confusion.sum(axis=1, keepdims=True)
    share = np.divide(100.0 * confusion, total, out=np.zeros(confusion.shape), where=total > 0)
    side = 2.5 + 0.32 * len(classes)
    figure = Figure((side + 1, side), layout="constrained")
    axes = figure.subplots()
    share = share[:, : len(classes)]
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    places = range(len(classes))
    axes.set_xticks(places, classes, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(places, classes, fontsize=8)
    axes.set_xlabel("answer")
    axes.set_ylabel("truth")
    if len(classes) <= 30:
        for row, column in zip(*np.nonzero(share >= 0.5)):
            value = share[row, column]
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=6,
                      color="white" if value > 55 else "black")  # fmt: skip
    figure.colorbar(image, label="percent of the truth", shrink=0.7)
    with written(Path(path)) as part:
        figure.savefig(part, format="png", dpi=110)
