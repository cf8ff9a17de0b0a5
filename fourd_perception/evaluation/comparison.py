"""Two models on the same bags: whether one is better, or was only luckier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from fourd_perception.evaluation.bag import BagResult
from fourd_perception.evaluation.metrics import window_truth
from fourd_perception.evaluation.session import Answer, action_label
from fourd_perception.recordings.recording import Interval

_RESAMPLED = 5000
_CONFIDENCE = 95


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
        verdict = "no difference is shown" if self.low <= 0 <= self.high else (
            "the first is better" if self.low > 0 else "the second is better"
        )  # fmt: skip
        return (
            f"{verdict} on these bags: window accuracy differs by {self.difference:+.1f} points "
            f"(95 % interval {interval}); {uneven}"
        )


def compare(ours: Sequence[BagResult], theirs: Sequence[BagResult]) -> Comparison:
    """Two models' results on the same bags, in the same order, judged with the same truth.

    Windows are paired by their stamp, actions by their number. Raises ValueError on other bags.
    """
    if [one.path for one in ours] != [one.path for one in theirs]:
        raise ValueError("the two models were run on different bags")
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


def _difference(counts: NDArray[np.int64]) -> tuple[float, float, float]:
    """Percent points, and the ends of its interval. counts: (A, 3), windows and the right ones."""
    random = np.random.default_rng(0)
    actions = len(counts)
    taken = random.multinomial(actions, np.full(actions, 1 / actions), _RESAMPLED)
    sums = taken @ counts
    sums = sums[sums[:, 0] > 0]
    found = 100 * (sums[:, 1] - sums[:, 2]) / sums[:, 0]
    tail = (100 - _CONFIDENCE) / 2
    low, high = np.percentile(found, (tail, 100 - tail))
    total, mine, yours = counts.sum(axis=0)
    return 100 * float(mine - yours) / float(total), float(low), float(high)


def _known(value: float) -> float | None:
    return round(value, 2) if math.isfinite(value) else None
