"""Two models on the same bags: paired, and no surer than the data."""

from __future__ import annotations

from dataclasses import replace
from math import comb
from pathlib import Path

import numpy as np
import pytest

from fourd_perception.evaluation.bag_result import BagResult, LabelledFrame, Stages
from fourd_perception.evaluation.bag_source import BagSource
from fourd_perception.evaluation.comparison import PointsComparison, compare
from fourd_perception.evaluation.session import Answer, Session
from fourd_perception.recordings.recording import Interval
from fourd_perception.stream.frame import SECOND


def result(rights: list[list[bool]], name: str = "bag") -> BagResult:
    """A bag of actions of ten seconds; of each, which of its windows, a second apart, are right."""
    truth, answers = [], []
    for number, windows in enumerate(rights):
        start = number * 10 * SECOND
        truth.append(Interval(start, start + 10 * SECOND, "a"))
        for place, right in enumerate(windows):
            stamp = start + place * SECOND
            top = (("a" if right else "b", 0.9),)
            answers.append(Answer(stamp, stamp, top, 1.0, "a"))
    session = Session("", "", ("a", "b"), tuple(truth), (0,), len(answers), tuple(answers), {})
    empty = np.empty(0, np.float32)
    return BagResult(
        Path(name), "action_recognition", BagSource(), session, empty, np.empty(0, np.int64),
        np.empty(0, np.int64), (), None, Stages(empty, empty, empty, 1.0), (),
    )  # fmt: skip


def test_mcnemar_counts_the_actions_that_differ() -> None:
    ours = result([[True]] * 9 + [[False]] * 3 + [[True]] * 5)
    theirs = result([[False]] * 8 + [[True]] * 4 + [[True]] * 5)
    found = compare([ours], [theirs])
    assert (found.actions, found.only_ours, found.only_theirs) == (17, 8, 3)
    # Two-sided: the chance of 8 or more, or 3 or fewer, heads of 11 coins.
    chance = 2 * sum(comb(11, heads) for heads in range(4)) / 2**11
    assert found.p_value == pytest.approx(chance)
    assert found.difference == pytest.approx(100 * 5 / 17, abs=0.01)
    assert found.text().startswith("no difference is shown")


def test_a_clear_difference_either_way() -> None:
    good, bad = result([[True] * 4] * 20), result([[True, False, False, False]] * 20)
    found = compare([good], [bad])
    assert (found.difference, found.low, found.high) == (75.0, 75.0, 75.0)
    assert found.p_value == pytest.approx(2 / 2**20)
    assert found.text().startswith("the first is better on these bags")
    assert compare([bad], [good]).text().startswith("the second is better")


def test_windows_of_one_action_are_not_independent() -> None:
    """Ten windows of one action are one observation: the interval must not be narrow."""
    ours = result([[True] * 10, [False] * 10, [True] * 10])
    theirs = result([[False] * 10, [True] * 10, [False] * 10])
    found = compare([ours], [theirs])
    assert found.windows == 30 and found.difference == pytest.approx(33.33)
    assert (found.low, found.high) == (-100.0, 100.0)


def test_the_interval_is_that_of_a_mean() -> None:
    """Of many actions of a window each: difference and its standard error, by the textbook."""
    random = np.random.default_rng(0)
    ours, theirs = random.random(400) < 0.8, random.random(400) < 0.7
    found = compare([result([[bool(one)] for one in ours])],
                    [result([[bool(one)] for one in theirs])])  # fmt: skip
    each = 100 * (ours.astype(float) - theirs)
    half = 1.96 * each.std() / 20
    assert found.low == pytest.approx(each.mean() - half, abs=0.7)
    assert found.high == pytest.approx(each.mean() + half, abs=0.7)


def test_the_same_model_twice() -> None:
    one = result([[True, False], [True, True]])
    found = compare([one], [one])
    assert (found.difference, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_only_what_both_speak_of_is_compared() -> None:
    ours, theirs = result([[True, True], [True, True]]), result([[True], [False]])
    other = replace(theirs.session.truth[1], label="c")
    truth = (theirs.session.truth[0], other)
    theirs = replace(theirs, session=replace(theirs.session, truth=truth))
    found = compare([ours], [theirs])
    assert (found.actions, found.windows) == (1, 1)
    nothing = compare([result([])], [result([])])
    assert nothing.difference is None and "nothing was judged" in nothing.text()


def test_other_bags_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="different bags"):
        compare([result([[True]], "one")], [result([[True]], "two")])


def labelled(counts: list[tuple[int, int]], name: str = "bag") -> BagResult:
    """One frame a second of two classes, ten points of each; how many of each are right."""
    frames = []
    for second, (first, second_class) in enumerate(counts):
        by_class = (
            (first, 10, first + 10 - second_class),
            (second_class, 10, second_class + 10 - first),
        )
        frames.append(
            LabelledFrame(second * SECOND, 0, (10, 10, 0), first + second_class, 20, "", by_class)
        )
    return replace(result([], name), task="semantic_segmentation", frames=tuple(frames))


def test_points_by_hand() -> None:
    """Right everywhere: IoU 100. Half of the first class taken for the second: 5 / 10 and 10 / 15,
    mean 58.33; the other way round the same."""
    ours, theirs = labelled([(10, 10)] * 20), labelled([(5, 10)] * 20)
    found = compare([ours], [theirs])
    assert isinstance(found, PointsComparison)
    assert (found.frames, found.stretches) == (20, 10)
    assert found.difference == found.low == found.high == pytest.approx(41.67)
    assert compare([theirs], [ours]).difference == pytest.approx(-41.67)
    assert found.text().startswith("the first is better on these bags: mean IoU differs by +41.67")


def test_frames_of_a_stretch_are_not_independent() -> None:
    """One stretch of many frames is one observation; five are the fewest that say anything."""
    few = compare([labelled([(10, 10)] * 8)], [labelled([(5, 10)] * 8)])
    assert (few.stretches, few.low) == (4, None) and "too little" in few.text()
    mixed = [(10, 10)] * 6 + [(5, 10)] * 6
    found = compare([labelled(mixed)], [labelled(mixed[::-1])])
    assert found.difference == pytest.approx(0)
    assert found.low < -20 and found.high > 20
    assert found.text().startswith("no difference is shown")


def test_only_frames_that_both_label_are_compared() -> None:
    found = compare([labelled([(10, 10)] * 20)], [labelled([(10, 10)] * 12)])
    assert found.frames == 12
    assert "nothing was judged" in compare([labelled([])], [labelled([])]).text()
