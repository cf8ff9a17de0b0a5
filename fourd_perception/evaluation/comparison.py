"""Two models on the same bags: whether one is better, or was only luckier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from fourd_perception.evaluation.bag_result import BagResult
from fourd_perception.evaluation.metrics import window_truth
from fourd_perception.evaluation.session import Answer, action_label
from fourd_perception.recordings.recording import Interval
from fourd_perception.stream.frame import SECOND

_RESAMPLED = 5000
_CONFIDENCE = 95
_STRETCH = 2 * SECOND
_FEWEST_STRETCHES = 5


@dataclass(frozen=True)
class Comparison:
    """A model against another, on the actions and windows that both were judged on.

    only_ours, only_theirs: actions that one names right and the other does not. p_value: McNemar's
    exact test on these, two-sided: how often chance alone gives as uneven a split, or more so.
    difference: our window accuracy less theirs, in percent points; low, high: its 95 % interval,
    by a bootstrap over whole actions, as the windows of one are far from independent. None where
    nothing was judged.
    """

    actions: int
    only_ours: int
    only_theirs: int
    p_value: float
    windows: int
    difference: float | None
    low: float | None
    high: float | None

    def text(self) -> str:
        """What follows, in a sentence."""
        if self.difference is None or self.low is None or self.high is None:
            return "nothing was judged that both models speak of"
        interval = f"{self.low:+.1f} to {self.high:+.1f}"
        uneven = (
            f"of {self.actions} actions, {self.only_ours} are named right by the first alone and "
            f"{self.only_theirs} by the second alone (McNemar's exact test: p = {self.p_value:.2g})"
        )
        return (
            f"{_verdict(self.low, self.high)} on these bags: window accuracy differs by "
            f"{self.difference:+.1f} points (95 % interval {interval}); {uneven}"
        )


@dataclass(frozen=True)
class PointsComparison:
    """A model against another, on the frames whose points both were judged on.

    difference: our mean IoU less theirs, in percent points; low, high: its 95 % interval, by a
    bootstrap over stretches of two seconds. No test counts points: those of one frame err together,
    and frames in a row do, so that a McNemar test on points would find almost anything certain.
    None where nothing was judged; no interval where there are fewer than five stretches.
    """

    frames: int
    stretches: int
    difference: float | None
    low: float | None
    high: float | None

    def text(self) -> str:
        """What follows, in a sentence."""
        if self.difference is None:
            return "nothing was judged that both models speak of"
        differs = f"mean IoU differs by {self.difference:+.2f} points over {self.frames} frames"
        if self.low is None or self.high is None:
            return (
                f"{differs}; with {self.stretches} stretches of two seconds that is too little to "
                "say which is better"
            )
        return (
            f"{_verdict(self.low, self.high)} on these bags: {differs} (95 % interval "
            f"{self.low:+.2f} to {self.high:+.2f}, by a bootstrap over {self.stretches} stretches "
            "of two seconds, as points of a frame and frames in a row are not independent)"
        )


def compare(
    ours: Sequence[BagResult], theirs: Sequence[BagResult]
) -> Comparison | PointsComparison:
    """Two models' results on the same bags, in the same order, judged with the same truth.

    Windows and frames are paired by their stamp, actions by their number. Raises ValueError on
    other bags.
    """
    if [one.path for one in ours] != [one.path for one in theirs]:
        raise ValueError("the two models were run on different bags")
    if ours[0].task == "semantic_segmentation":
        return _compare_points(ours, theirs)
    return _compare_actions(ours, theirs)


def _compare_actions(ours: Sequence[BagResult], theirs: Sequence[BagResult]) -> Comparison:
    votes: list[tuple[bool, bool]] = []
    rows: list[tuple[int, int, int]] = []
    for one, other in zip(ours, theirs):
        for action in one.session.truth:
            if action not in other.session.truth:
                continue  # a class that the other does not know
            pair = [action_label(result.session.answers, action) for result in (one, other)]
            if None not in pair:
                votes.append((pair[0] == action.label, pair[1] == action.label))
            rows.append(_windows(one.session.answers, other.session.answers, action))
    only_ours = sum(mine and not yours for mine, yours in votes)
    only_theirs = sum(yours and not mine for mine, yours in votes)
    uneven = only_ours + only_theirs
    counts = np.array(rows, np.int64).reshape(-1, 3)
    windows = int(counts[:, 0].sum())
    difference, low, high = _difference(counts) if windows else (math.nan,) * 3
    return Comparison(
        actions=len(votes),
        only_ours=only_ours,
        only_theirs=only_theirs,
        p_value=float(binomtest(only_ours, uneven).pvalue) if uneven else 1.0,
        windows=windows,
        difference=_known(difference),
        low=_known(low),
        high=_known(high),
    )


def _windows(
    ours: Sequence[Answer], theirs: Sequence[Answer], action: Interval
) -> tuple[int, int, int]:
    """Windows inside an action that both answered; how many each names right."""
    inside = [{one.stamp: one.label == action.label for one in side
               if window_truth(one.start, one.stamp, (action,))}
              for side in (ours, theirs)]  # fmt: skip
    both = inside[0].keys() & inside[1].keys()
    return len(both), sum(inside[0][one] for one in both), sum(inside[1][one] for one in both)


def _compare_points(ours: Sequence[BagResult], theirs: Sequence[BagResult]) -> PointsComparison:
    stretches: dict[tuple[int, int], NDArray[np.int64]] = {}
    frames = 0
    for bag, (one, other) in enumerate(zip(ours, theirs)):
        yours = {frame.stamp: frame for frame in other.frames if frame.judged}
        for frame in one.frames:
            if not frame.judged or frame.stamp not in yours:
                continue
            frames += 1
            place = (bag, frame.stamp // _STRETCH)
            counts = np.array([frame.by_class, yours[frame.stamp].by_class], np.int64)
            stretches[place] = stretches[place] + counts if place in stretches else counts
    if not frames:
        return PointsComparison(0, 0, None, None, None)
    rows = np.array(list(stretches.values()))  # (S, 2, K, 3)
    low = high = None
    if len(rows) >= _FEWEST_STRETCHES:
        low, high = _interval(_iou_difference(np.tensordot(_drawn(len(rows)), rows, axes=1)))
    difference = float(_iou_difference(rows.sum(axis=0)[None])[0])
    return PointsComparison(frames, len(rows), _known(difference), _known(low), _known(high))


def _iou_difference(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """(R,) percent points of mean IoU. counts: (R, 2, K, 3), as `LabelledFrame.by_class` of both;
    the mean is over the classes that occur in the truth."""
    hits, are, said = (counts[..., place].astype(np.float64) for place in range(3))
    union = are + said - hits
    overlap = np.divide(hits, union, out=np.zeros_like(hits), where=union > 0)
    occurs = are > 0
    mean = 100 * (overlap * occurs).sum(axis=2) / occurs.sum(axis=2)
    return np.asarray(mean[:, 0] - mean[:, 1])


def _difference(counts: NDArray[np.int64]) -> tuple[float, float, float]:
    """Percent points, and the ends of its interval. counts: (A, 3), windows and the right ones."""
    sums = _drawn(len(counts)) @ counts
    sums = sums[sums[:, 0] > 0]
    low, high = _interval(100 * (sums[:, 1] - sums[:, 2]) / sums[:, 0])
    total, mine, yours = counts.sum(axis=0)
    return 100 * float(mine - yours) / float(total), low, high


def _drawn(units: int) -> NDArray[np.int64]:
    """(R, units) int64: how often each unit is drawn, in R draws of as many with replacement."""
    random = np.random.default_rng(0)
    return random.multinomial(units, np.full(units, 1 / units), _RESAMPLED)


def _interval(found: NDArray[np.float64]) -> tuple[float, float]:
    tail = (100 - _CONFIDENCE) / 2
    low, high = np.percentile(found, (tail, 100 - tail))
    return float(low), float(high)


def _verdict(low: float, high: float) -> str:
    if low <= 0 <= high:
        return "no difference is shown"
    return "the first is better" if low > 0 else "the second is better"


def _known(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 2)
