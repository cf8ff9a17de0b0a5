"""Figures of bags, each against a case computed by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fourd_perception.evaluation.bag_figures import bag_figures, class_figures
from fourd_perception.evaluation.bag_result import BagResult, LabelledFrame, Stages
from fourd_perception.evaluation.bag_source import BagSource
from fourd_perception.evaluation.metrics import seconds_to_first_right
from fourd_perception.evaluation.session import Answer, Session
from fourd_perception.recordings.recording import Interval
from fourd_perception.stream.frame import SECOND

CLASSES = ("a", "b", "c")


def answer(second: float, scores: tuple[float, ...], truth: str | None) -> Answer:
    order = sorted(range(3), key=lambda index: -scores[index])
    top = tuple((CLASSES[index], scores[index]) for index in order)
    stamp = round(second * SECOND)
    return Answer(stamp, stamp, top, 10.0, truth)


def result(
    given: list[tuple[float, tuple[float, ...], str | None]],
    truth: tuple[Interval, ...] = (),
    **changes: object,
) -> BagResult:
    """Answers at seconds, in a bag of ten seconds that took four."""
    session = Session(
        "bag", "", CLASSES, truth, (0, 10 * SECOND), len(given),
        tuple(answer(*one) for one in given), {},
    )  # fmt: skip
    values: dict = {
        "path": Path("bag"),
        "task": "action_recognition",
        "source": BagSource("/points"),
        "session": session,
        "scores": np.array([scores for _, scores, _ in given], np.float32).reshape(-1, 3),
        "recorded": np.array([one.stamp for one in session.answers], np.int64),
        "due": np.arange(1, len(session.answers) + 1),
        "frames": (),
        "points": None,
        "stages": Stages(*(np.array(one, np.float32) for one in ([1, 2, 3], [4], [5, 7])), 4.0),
        "notes": (),
    }
    return BagResult(**(values | changes))


AB = (Interval(0, 4 * SECOND, "a"), Interval(4 * SECOND, 8 * SECOND, "b"))


def test_windows_actions_and_calibration() -> None:
    found = bag_figures([result([
        (1, (0.2, 0.7, 0.1), "a"),  # wrong, second best
        (2, (0.9, 0.1, 0.0), "a"),  # right
        (5, (0.5, 0.3, 0.2), "b"),  # wrong, second best
        (6, (0.5, 0.1, 0.4), "b"),  # wrong, third
        (9, (0.5, 0.1, 0.4), None),
    ], AB)])  # fmt: skip
    assert (found.windows_judged, found.window_accuracy) == (4, 25.0)
    # a: 0.2 + 0.9 against 0.7 + 0.1; b: 0.3 + 0.1 against 0.5 + 0.5.
    assert (found.actions_judged, found.action_accuracy) == (2, 50.0)
    assert (found.top_k, found.top_k_accuracy) == (3, 100.0)
    # Bins of 1/15: {0.7: wrong}, {0.9: right}, {0.5, 0.5: wrong}: (0.7 + 0.1 + 0.5 + 0.5) / 4.
    assert found.calibration_error == pytest.approx(45.0)
    assert (found.first_right_median_s, found.actions_never_right) == (2.0, 1)
    # In a row b a | a a, of the judged moments; truth a a | b b: one of four is right.
    assert found.frame_accuracy == 25.0
    # Segments b a against a b: two edits of two. The last answer has no truth and is cut out.
    assert found.edit_score == 0.0
    # The answered a (moments 1 to 3) overlaps the true a (0 and 1) by 1 of 4; b (0) no b (2, 3):
    # one hit at 10 and 25 %, of two segments on either side; none at 50 %.
    assert (found.f1_10, found.f1_25, found.f1_50) == (50.0, 50.0, 0.0)
    assert (found.seconds, found.wall_seconds, found.times_real_time) == (10.0, 4.0, 2.5)
    assert (found.read_p50_ms, found.preprocess_p50_ms, found.model_p50_ms) == (2.0, 4.0, 6.0)
    assert found.mean_iou is None and found.points_judged == 0


def test_several_bags_are_pooled() -> None:
    right = [(1.0, (0.9, 0.1, 0.0), "a")]
    wrong = [(second, (0.1, 0.9, 0.0), "a") for second in (1.0, 2.0, 3.0)]
    a = (Interval(0, 4 * SECOND, "a"),)
    found = bag_figures([result(right, a), result(wrong, a)])
    assert (found.bags, found.windows_judged, found.window_accuracy) == (2, 4, 25.0)
    assert (found.actions_judged, found.action_accuracy) == (2, 50.0), "an action of each bag"
    assert (found.seconds, found.wall_seconds, found.times_real_time) == (20.0, 8.0, 2.5)
    assert (found.windows_expected, found.windows_answered, found.windows_dropped) == (4, 4, 0)


def test_without_truth_there_is_speed_alone() -> None:
    found = bag_figures([result([(1, (0.9, 0.1, 0.0), None)])])
    assert found.windows_judged == 0 and found.times_real_time == 2.5
    for name in ("window_accuracy", "action_accuracy", "top_k_accuracy", "calibration_error",
                 "frame_accuracy", "edit_score", "f1_50", "first_right_median_s"):  # fmt: skip
        assert getattr(found, name) is None, name
    assert class_figures([result([])]) == []


def test_points() -> None:
    """Truth by row: class a 8 of 10 right, 2 taken for b; class b 5 of 10, 5 without a label."""
    points = np.array([[8, 2, 0, 0], [0, 5, 0, 5], [0, 0, 0, 0]])
    frames = tuple(LabelledFrame(second * SECOND, 0, (4, 3, 0, 3), 6, 10, "") for second in (1, 2))
    one = result([], task="semantic_segmentation", points=points, frames=frames)
    found = bag_figures([one])
    assert (found.points_judged, found.point_accuracy) == (20, 65.0)
    # a: 8 of 10; b: 5 of 12, the two of a among them; c does not occur.
    assert found.mean_iou == pytest.approx((80 + 500 / 12) / 2, abs=0.01)
    assert (found.windows_answered, found.windows_dropped) == (2, 0)
    assert [(row.name, row.judged, row.accuracy) for row in class_figures([one])] == [
        ("a", 10, 80.0), ("b", 10, 50.0)
    ]  # fmt: skip
    assert bag_figures([one, one]).points_judged == 40


def test_classes_of_windows() -> None:
    given = [(1, (0.9, 0.1, 0.0), "a"), (2, (0.9, 0.1, 0.0), "b"), (3, (0.1, 0.9, 0.0), "b")]
    rows = class_figures([result(given)])
    assert [(row.name, row.judged, row.accuracy, row.iou) for row in rows] == [
        ("a", 1, 100.0, 50.0), ("b", 2, 50.0, 50.0)
    ]  # fmt: skip


def test_seconds_to_the_first_right_answer() -> None:
    stamps = [second * SECOND for second in range(12)]
    labels = ["b", "a", "b", "a", None, "b", "a", "b", "b", "c", "b", "b"]
    # a from 2 s: the a at 1 s is before it. b from 4 s, at 5 s. c's only answer comes at its end.
    intervals = [
        Interval(2 * SECOND, 4 * SECOND, "a"),
        Interval(4 * SECOND, 8 * SECOND, "b"),
        Interval(8 * SECOND, 9 * SECOND, "c"),
        Interval(int(9.5 * SECOND), 12 * SECOND, "b"),
    ]
    assert seconds_to_first_right(stamps, labels, intervals) == [1.0, 1.0, None, 0.5]
    assert seconds_to_first_right([], [], intervals[:1]) == [None]
