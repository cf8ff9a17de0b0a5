"""Figures of merit of recognised windows, labelled frames and labelled points. Pure NumPy.

All are in percent, and NaN where there is nothing to be judged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fourd_perception.recordings.recording import Interval
from fourd_perception.stream.frame import SECOND


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


def label_confusion(
    *, truth: ArrayLike, answers: ArrayLike, classes: int, ignore: Collection[int] = (255,)
) -> NDArray[np.int64]:
    """(K, K + 1) counts of labelled points or frames, as `confusion_matrix` gives them.

    truth, answers: integers of any one shape. ignore: labels that are no class: where the truth is
    one of them nothing is counted; where an answer is, it counts as none, in the last column.
    Raises ValueError on shapes that differ and on other labels outside 0 .. classes - 1.
    """
    rows, columns = _labels(truth, "truth"), _labels(answers, "answers")
    if rows.shape != columns.shape:
        raise ValueError(f"truth has shape {rows.shape}, answers have {columns.shape}")
    judged = ~np.isin(rows, list(ignore))
    rows, columns = rows[judged], columns[judged]
    answered = ~np.isin(columns, list(ignore))
    for name, found in (("truth", rows), ("answers", columns[answered])):
        outside = found[(found < 0) | (found >= classes)]
        if outside.size:
            raise ValueError(f"{name}: label {outside[0]}, expected 0 to {classes - 1}")
    columns = np.where(answered, columns, classes)
    size = (classes, classes + 1)
    counts = np.bincount(rows * size[1] + columns, minlength=size[0] * size[1])
    return counts.reshape(size).astype(np.int64)


def per_class_iou(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """(K,) float64, intersection over union of each class.

    confusion: (K, K) or, with a column for no answer, (K, K + 1). NaN where a class is in neither
    the truth nor the answers, 0 where it is in the answers alone.
    """
    both = 100.0 * np.diagonal(confusion)
    answered = confusion[:, : len(confusion)].sum(axis=0)
    union = confusion.sum(axis=1) + answered - np.diagonal(confusion)
    return np.divide(both, union, out=np.full(len(union), np.nan), where=union > 0)


def mean_iou(confusion: NDArray[np.int64]) -> float:
    """The mean of `per_class_iou` over the classes that occur in the truth, as HOI4D's."""
    occurs = confusion.sum(axis=1) > 0
    return float(per_class_iou(confusion)[occurs].mean()) if occurs.any() else float("nan")


def top_k_accuracy(scores: NDArray[np.floating], labels: ArrayLike, k: int) -> float:
    """Share of the rows whose label is among the k best classes; of equal scores the first.

    scores: (V, K), labels: (V,) integers. Raises ValueError on sizes that do not fit, on labels
    that are no class, on scores that are not finite, and on k outside 1 .. K.
    """
    wanted = _labels_of(scores, labels)
    if not 1 <= k <= scores.shape[1]:
        raise ValueError(f"k is {k}, expected 1 to {scores.shape[1]}")
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    right = (best == wanted[:, None]).any(axis=1)
    return float(100 * right.mean()) if len(right) else float("nan")


def expected_calibration_error(
    scores: NDArray[np.floating], labels: ArrayLike, bins: int = 15
) -> float:
    """How far the best class's score is from the share of right answers (Guo et al. 2017).

    scores: (V, K) probabilities; labels: (V,) integers. Rows are put by their best score into equal
    bins, closed above; it is the mean over the rows of |mean score - share right| of their bin.
    Raises ValueError as `top_k_accuracy` does, and on scores outside 0 .. 1.
    """
    wanted = _labels_of(scores, labels)
    if scores.size and (scores.min() < 0 or scores.max() > 1 + 1e-6):
        raise ValueError(f"scores of {scores.min():g} to {scores.max():g}, expected 0 to 1")
    if not len(wanted):
        return float("nan")
    sure = scores.max(axis=1).astype(np.float64)
    right = scores.argmax(axis=1) == wanted
    edges = np.arange(1, bins) / bins
    bin_of = np.searchsorted(edges, sure, side="left")
    gaps = np.abs(np.bincount(bin_of, weights=sure - right, minlength=bins))
    return float(100 * gaps.sum() / len(wanted))


def seconds_to_first_right(
    stamps: Sequence[int], answers: Sequence[str | None], intervals: Sequence[Interval]
) -> list[float | None]:
    """Of each action: from its start to the first right answer inside it, in seconds.

    stamps: nanoseconds of the answers. None where no answer inside the action is right.
    """
    found: list[float | None] = []
    for one in intervals:
        right = [stamp for stamp, label in zip(stamps, answers)
                 if one.start <= stamp < one.end and label == one.label]  # fmt: skip
        found.append((min(right) - one.start) / SECOND if right else None)
    return found


@dataclass(frozen=True)
class Segment:
    """Frames of one label in a row, from `start` up to, without it, `end`."""

    label: int
    start: int
    end: int


def segments(
    labels: ArrayLike, background: Collection[int] = (), *, compat: bool = False
) -> list[Segment]:
    """The segments of a (T,) sequence of labels, without those of `background`.

    compat: the last segment ends one frame early, as in MS-TCN's first code, with which HOI4D's
    figures are made. Raises ValueError unless labels are (T,) integers; T may be 0.
    """
    sequence = _sequence(labels, "labels")
    if not len(sequence):
        return []
    cuts = np.flatnonzero(np.diff(sequence)) + 1
    last = len(sequence) - 1 if compat else len(sequence)
    starts, ends = [0, *cuts.tolist()], [*cuts.tolist(), last]
    found = [Segment(int(sequence[start]), start, end) for start, end in zip(starts, ends)]
    return [one for one in found if one.label not in background]


def frame_accuracy(
    *, truth: Sequence[ArrayLike], answers: Sequence[ArrayLike], ignore: Collection[int] = (-1,)
) -> float:
    """Frames that are labelled right, of the frames of all videos together.

    truth, answers: for each video (T,) integers. ignore: frames with such a truth are left out.
    Raises ValueError on videos or frames that are not as many in both.
    """
    right = [wanted == got for wanted, got in _judged(truth, answers, ignore)]
    judged = np.concatenate(right) if right else np.empty(0, bool)
    return float(100 * judged.mean()) if len(judged) else float("nan")


def edit_score(
    *,
    truth: Sequence[ArrayLike],
    answers: Sequence[ArrayLike],
    background: Collection[int] = (),
    ignore: Collection[int] = (-1,),
) -> float:
    """Whether the segments come in the right order: 1 - edit distance / longer length (MS-TCN).

    The mean over videos; one that has no segment in either is left out. background: labels that
    make no segment. ignore: frames with such a truth are cut out of both first, which joins what
    is around them. Raises ValueError as `frame_accuracy`.
    """
    found = []
    for wanted, got in _judged(truth, answers, ignore):
        rows = [one.label for one in segments(wanted, background)]
        columns = [one.label for one in segments(got, background)]
        longer = max(len(rows), len(columns))
        if longer:
            found.append(100 * (1 - _edit_distance(rows, columns) / longer))
    return float(np.mean(found)) if found else float("nan")


def segment_f1(
    *,
    truth: Sequence[ArrayLike],
    answers: Sequence[ArrayLike],
    overlaps: Sequence[int] = (10, 25, 50),
    background: Collection[int] = (),
    ignore: Collection[int] = (-1,),
    compat: bool = False,
) -> dict[int, float]:
    """F1@overlap (percent) of the segments of all videos together (Lea et al. 2017, MS-TCN).

    An answered segment is right if the true segment of its label that it overlaps most, by
    intersection over union, is overlapped by at least so much and is nobody's before it.
    background, ignore, errors: as `edit_score`; compat: as `segments`.
    """
    hits = dict.fromkeys(overlaps, 0)
    answered = true = 0
    for wanted, got in _judged(truth, answers, ignore):
        theirs = segments(wanted, background, compat=compat)
        ours = segments(got, background, compat=compat)
        answered, true = answered + len(ours), true + len(theirs)
        table = _overlaps(ours, theirs)
        for overlap in overlaps:
            hits[overlap] += _hits(table, overlap / 100)
    total = answered + true
    return {one: 200 * hits[one] / total if total else float("nan") for one in overlaps}


def _overlaps(ours: list[Segment], theirs: list[Segment]) -> NDArray[np.float64]:
    """(ours, theirs) intersection over union of segments of one label; 0 or less of others."""
    labels, starts, ends = (
        [np.array([getattr(one, name) for one in side], np.int64) for side in (ours, theirs)]
        for name in ("label", "start", "end")
    )
    shared = np.minimum.outer(*ends) - np.maximum.outer(*starts)
    union = np.maximum.outer(*ends) - np.minimum.outer(*starts)
    same = np.equal.outer(*labels)
    # An empty union: two last segments of one frame, which compat makes empty.
    return np.where(same, shared / np.maximum(union, 1), 0.0)


def _hits(table: NDArray[np.float64], overlap: float) -> int:
    """How many rows are right, each column being taken once."""
    taken: set[int] = set()
    for row in table if table.shape[1] else ():
        column = int(row.argmax())
        if row[column] >= overlap and column not in taken:
            taken.add(column)
    return len(taken)


def _edit_distance(one: Sequence[int], other: Sequence[int]) -> int:
    """Insertions, deletions and replacements (Levenshtein)."""
    above = list(range(len(other) + 1))
    for number, left in enumerate(one, start=1):
        row = [number]
        for column, right in enumerate(other):
            row.append(min(row[-1] + 1, above[column + 1] + 1, above[column] + (left != right)))
        above = row
    return above[-1]


def _judged(
    truth: Sequence[ArrayLike], answers: Sequence[ArrayLike], ignore: Collection[int]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Each video's truth and answers, without the frames that are not judged."""
    if len(truth) != len(answers):
        raise ValueError(f"{len(truth)} videos with a truth, but {len(answers)} with answers")
    for number, (one, other) in enumerate(zip(truth, answers)):
        wanted = _sequence(one, f"video {number}: truth")
        got = _sequence(other, f"video {number}: answers")
        if len(wanted) != len(got):
            raise ValueError(f"video {number}: {len(wanted)} frames, but {len(got)} answers")
        judged = ~np.isin(wanted, list(ignore))
        yield wanted[judged], got[judged]


def _labels(values: ArrayLike, name: str) -> NDArray[np.int64]:
    labels = np.asarray(values)
    if labels.size and not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{name}: expected integer labels, got {labels.dtype}")
    return labels.astype(np.int64)


def _sequence(values: ArrayLike, name: str) -> NDArray[np.int64]:
    labels = _labels(values, name)
    if labels.ndim != 1:
        raise ValueError(f"{name}: expected shape (T,), got {labels.shape}")
    return labels


def _labels_of(scores: NDArray[np.floating], labels: ArrayLike) -> NDArray[np.int64]:
    """The labels of rows of scores, both checked."""
    wanted = _sequence(labels, "labels")
    if scores.ndim != 2 or len(scores) != len(wanted):
        raise ValueError(f"scores of shape {scores.shape} for {len(wanted)} labels")
    if not np.isfinite(scores).all():
        raise ValueError("scores that are not finite")
    if len(wanted) and not (wanted.min() >= 0 and wanted.max() < scores.shape[1]):
        raise ValueError(f"labels of {wanted.min()} to {wanted.max()}, {scores.shape[1]} classes")
    return wanted
