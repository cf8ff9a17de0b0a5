"""Metrics against cases computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fourd_perception.evaluation.metrics import (
    accuracy,
    confusion_matrix,
    per_class_accuracy,
    window_truth,
)
from fourd_perception.recordings.recording import Interval

CLASSES = ("bend", "kick", "wave")


def test_a_small_case_by_hand() -> None:
    # bend twice: once right, once taken for a wave. kick: right. wave three times: right, taken
    # for a bend, not answered. So 3 of 6 are right; per class 1/2, 1/1, 1/3.
    truth = ["bend", "bend", "kick", "wave", "wave", "wave"]
    answers = ["bend", "wave", "kick", "wave", "bend", None]
    counts = confusion_matrix(truth, answers, CLASSES)
    assert counts.tolist() == [[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 1]]
    assert accuracy(counts) == 50
    np.testing.assert_allclose(per_class_accuracy(counts), [50, 100, 100 / 3])


def test_a_class_without_windows_has_no_accuracy() -> None:
    counts = confusion_matrix(["kick"], ["kick"], CLASSES)
    np.testing.assert_array_equal(per_class_accuracy(counts), [np.nan, 100, np.nan])


def test_no_window_no_accuracy() -> None:
    counts = confusion_matrix([], [], CLASSES)
    assert counts.shape == (3, 4)
    assert np.isnan(accuracy(counts))


@pytest.mark.parametrize(
    "truth, answers, message",
    [
        (["bend"], [], "1 truths, but 0 answers"),
        (["bow"], ["bend"], "not among the 3 classes: bow"),
        (["bend"], ["hop"], "not among the 3 classes: hop"),
    ],
)
def test_names_and_lengths_are_checked(truth, answers, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        confusion_matrix(truth, answers, CLASSES)


@pytest.mark.parametrize(
    "start, end, expected",
    [
        (10, 19, "bend"),  # from the first frame to the last: 20 is the next action's
        (12, 15, "bend"),
        (10, 20, None),  # its newest frame is the next action's first
        (20, 25, "wave"),
        (9, 15, None),  # begins before anything is known
        (22, 30, None),  # ends when the last action is over
        (40, 45, None),
    ],
)
def test_a_window_has_a_truth_inside_one_action_only(start: int, end: int, expected) -> None:
    intervals = [Interval(10, 20, "bend"), Interval(20, 30, "wave")]
    assert window_truth(start, end, intervals) == expected


def test_two_windows_of_one_action_in_a_row_are_two_actions() -> None:
    twice = [Interval(0, 10, "wave"), Interval(10, 20, "wave")]
    assert window_truth(5, 15, twice) is None
