"""Figures of merit of recognised windows. Pure NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fourd_perception.recordings.recording import Interval


def window_truth(start: int, end: int, intervals: Sequence[Interval]) -> str | None:
    """The action in which a window lies with all its frames; None if there is no such one.

    start, end: stamps of the window's oldest and newest frame, nanoseconds. An interval's own end
    is excluded: the frame at that stamp belongs to the next action.
    """
    for interval in intervals:
        if interval.start <= start and end < interval.end:
            return interval.label
    return None


def confusion_matrix(
    truth: Sequence[str], answers: Sequence[str | None], classes: Sequence[str]
) -> NDArray[np.int64]:
    """(K, K + 1) counts: row is the truth, column the answer, the last column no answer (None).

    Raises ValueError on lengths that differ and on names that are not in `classes`.
    """
    if len(truth) != len(answers):
        raise ValueError(f"{len(truth)} truths, but {len(answers)} answers")
    column: dict[str | None, int] = {name: index for index, name in enumerate(classes)}
    unknown = sorted({one for one in (*truth, *answers) if one is not None and one not in column})
    if unknown:
        raise ValueError(f"not among the {len(classes)} classes: {', '.join(unknown)}")
    column[None] = len(classes)
    counts = np.zeros((len(classes), len(classes) + 1), np.int64)
    np.add.at(counts, ([column[one] for one in truth], [column[one] for one in answers]), 1)
    return counts


def accuracy(confusion: NDArray[np.int64]) -> float:
    """Right answers in percent; no answer is a wrong one. NaN where there is no window."""
    total = int(confusion.sum())
    return 100 * int(np.trace(confusion)) / total if total else float("nan")


def per_class_accuracy(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """(K,) float64, right answers in percent of each class's; NaN where a class has none."""
    windows = confusion.sum(axis=1)
    right = 100.0 * np.diagonal(confusion)
    return np.divide(right, windows, out=np.full(len(windows), np.nan), where=windows > 0)
