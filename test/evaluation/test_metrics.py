"""Metrics against cases computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourd_perception.evaluation.metrics import (
    Segment,
    accuracy,
    confusion_matrix,
    edit_score,
    expected_calibration_error,
    frame_accuracy,
    label_confusion,
    mean_iou,
    per_class_accuracy,
    per_class_iou,
    segment_f1,
    segments,
    top_k_accuracy,
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


# Ten frames: 0 0 0 0 1 1 1 2 2 2 is done, 0 0 0 1 1 1 1 1 0 2 is said.
DONE = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
SAID = [0, 0, 0, 1, 1, 1, 1, 1, 0, 2]


def test_frames_of_all_videos_count_alike() -> None:
    # Seven of ten frames, and two of two: 9 of 12, not the mean of 70 % and 100 %.
    assert frame_accuracy(truth=[DONE, [1, 1]], answers=[SAID, [1, 1]]) == 75


def test_frames_without_a_label_are_not_judged() -> None:
    # The two unlabelled ones are left out; of the other three, two are right.
    assert frame_accuracy(truth=[[-1, 0, 1, 1, -1]], answers=[[0, 0, 1, 0, 1]]) == pytest.approx(
        200 / 3
    )
    assert frame_accuracy(truth=[[7, 0]], answers=[[0, 0]], ignore=(7,)) == 100
    assert frame_accuracy(truth=[[7, 0]], answers=[[0, 0]]) == 50


def test_segments_are_the_runs_of_a_label() -> None:
    assert segments(DONE) == [Segment(0, 0, 4), Segment(1, 4, 7), Segment(2, 7, 10)]
    assert segments(DONE, compat=True)[-1] == Segment(2, 7, 9)
    assert segments(DONE, background=(0, 2)) == [Segment(1, 4, 7)]
    assert segments([3]) == [Segment(3, 0, 1)]
    assert segments([]) == []


def test_the_edit_score_by_hand() -> None:
    # Done: 0 1 2. Said: 0 1 0 2. One insertion, four segments at most: 75 %.
    assert edit_score(truth=[DONE], answers=[SAID]) == 75
    # A second video with all in order: the mean of the two.
    assert edit_score(truth=[DONE, [1, 1]], answers=[SAID, [1, 1]]) == 87.5
    # Without label 0: 1 2 and 1 2, which is right.
    assert edit_score(truth=[DONE], answers=[SAID], background=(0,)) == 100


def test_the_f1_by_hand() -> None:
    # Said: 0 in [0, 3), 1 in [3, 8), 0 in [8, 9), 2 in [9, 10).
    # Done: 0 in [0, 4), 1 in [4, 7), 2 in [7, 10).
    # Overlaps: first 0: 3/4. 1: 3/5. second 0 with the only true 0: none. 2: 1/3.
    # At 10 and 25: three hits of four said and three done: 2 * 3 / 7. At 50: two hits: 4 / 7.
    expected = {10: 600 / 7, 25: 600 / 7, 50: 400 / 7}
    assert segment_f1(truth=[DONE], answers=[SAID]) == pytest.approx(expected)
    # Over videos the segments are counted together: one more of each, and a hit.
    more = segment_f1(truth=[DONE, [1]], answers=[SAID, [1]])
    assert more == pytest.approx({10: 800 / 9, 25: 800 / 9, 50: 600 / 9})


def test_the_f1_with_the_last_end_as_published() -> None:
    # The last ones end at 9: 2 is said in [9, 9), which is empty, and is done in [7, 9): no hit.
    assert segment_f1(truth=[DONE], answers=[SAID], compat=True) == pytest.approx(
        {10: 400 / 7, 25: 400 / 7, 50: 400 / 7}
    )
    # All of a video of one frame is empty: said and done, and never a hit.
    assert segment_f1(truth=[[1]], answers=[[1]], compat=True) == {10: 0, 25: 0, 50: 0}
    assert segment_f1(truth=[[1]], answers=[[1]]) == {10: 100, 25: 100, 50: 100}


def test_a_true_segment_is_hit_once() -> None:
    # Said twice within one true segment: one hit (4 of 6, or 1 of 6), one false alarm.
    f1 = segment_f1(truth=[[0] * 6], answers=[[0, 0, 0, 0, 1, 0]], overlaps=(10,))
    # Three said (0, 1, 0), one done, one hit: 2 / 4.
    assert f1 == {10: 50}


def test_a_video_where_nothing_is_judged_is_left_out() -> None:
    nothing = [[], [-1, -1]]
    said = [[], [0, 1]]
    assert np.isnan(frame_accuracy(truth=nothing, answers=said))
    assert np.isnan(edit_score(truth=nothing, answers=said))
    assert np.isnan(list(segment_f1(truth=nothing, answers=said).values())).all()
    assert frame_accuracy(truth=[*nothing, [1]], answers=[*said, [1]]) == 100
    assert edit_score(truth=[*nothing, [1]], answers=[*said, [1]]) == 100
    assert np.isnan(edit_score(truth=[], answers=[]))
    # Background alone where something is said: a false alarm, no blank.
    assert edit_score(truth=[[9, 9]], answers=[[9, 1]], background=(9,)) == 0
    assert segment_f1(truth=[[9, 9]], answers=[[9, 1]], background=(9,))[10] == 0


def test_unlabelled_frames_join_what_is_around_them() -> None:
    # Without the third frame: 0 0 0 done and 0 0 0 said, one segment each.
    assert edit_score(truth=[[0, 0, -1, 0]], answers=[[0, 0, 1, 0]]) == 100
    assert segment_f1(truth=[[0, 0, -1, 0]], answers=[[0, 0, 1, 0]])[50] == 100


@pytest.mark.parametrize("metric", [frame_accuracy, edit_score, segment_f1])
@pytest.mark.parametrize(
    "truth, answers, message",
    [
        ([[0], [0]], [[0]], "2 videos with a truth, but 1 with answers"),
        ([[0], [0, 1]], [[0], [0]], "video 1: 2 frames, but 1 answers"),
        ([[0.5]], [[0]], "video 0: truth: expected integer labels, got float64"),
        ([[0]], [[[0]]], r"video 0: answers: expected shape \(T,\), got \(1, 1\)"),
    ],
)
def test_sequences_that_do_not_fit_are_refused(metric, truth, answers, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metric(truth=truth, answers=answers)


def textbook_segments(labels, compat):
    """As MS-TCN's evaluation walks over the frames."""
    found, start = [], 0
    for frame in range(1, len(labels) + 1):
        if frame == len(labels) or labels[frame] != labels[start]:
            early = compat and frame == len(labels)
            found.append((labels[start], start, frame - early))
            start = frame
    return found


def textbook_edit(truth, answers):
    one = [label for label, _, _ in textbook_segments(truth, False)]
    two = [label for label, _, _ in textbook_segments(answers, False)]
    table = np.zeros((len(one) + 1, len(two) + 1))
    table[:, 0], table[0] = np.arange(len(one) + 1), np.arange(len(two) + 1)
    for row in range(1, len(one) + 1):
        for column in range(1, len(two) + 1):
            if one[row - 1] == two[column - 1]:
                table[row, column] = table[row - 1, column - 1]
            else:
                table[row, column] = 1 + min(
                    table[row - 1, column], table[row, column - 1], table[row - 1, column - 1]
                )
    return 100 * (1 - table[-1, -1] / max(len(one), len(two)))


def textbook_counts(truth, answers, overlap, compat):
    """(right, false alarms, missed) of one video."""
    done, said = textbook_segments(truth, compat), textbook_segments(answers, compat)
    hit, right, false = [False] * len(done), 0, 0
    for label, start, end in said:
        best, best_overlap = 0, -np.inf
        for number, (other, from_, to) in enumerate(done):
            union = max(end, to) - min(start, from_)
            shared = (min(end, to) - max(start, from_)) / union if union else 0.0
            shared *= label == other
            if shared > best_overlap:
                best, best_overlap = number, shared
        if best_overlap >= overlap and not hit[best]:
            hit[best], right = True, right + 1
        else:
            false += 1
    return right, false, hit.count(False)


VIDEOS = st.lists(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=25),
    min_size=1, max_size=4,
)  # fmt: skip


@given(VIDEOS, st.booleans())
def test_sequences_are_judged_as_by_the_textbook(videos, compat) -> None:
    truth = [[one for one, _ in video] for video in videos]
    answers = [[other for _, other in video] for video in videos]
    got = edit_score(truth=truth, answers=answers)
    assert got == pytest.approx(np.mean([textbook_edit(*pair) for pair in zip(truth, answers)]))
    f1 = segment_f1(truth=truth, answers=answers, compat=compat)
    for overlap in (10, 25, 50):
        counts = [textbook_counts(*pair, overlap / 100, compat) for pair in zip(truth, answers)]
        right, false, missed = np.sum(counts, axis=0)
        precision, recall = right / (right + false), right / (right + missed)
        expected = 200 * precision * recall / (precision + recall) if right else 0
        assert f1[overlap] == pytest.approx(expected), overlap
    frames = [one == other for video in videos for one, other in video]
    assert frame_accuracy(truth=truth, answers=answers) == pytest.approx(100 * np.mean(frames))


def test_the_iou_by_hand() -> None:
    # One point has no truth. Class 0: 4 true, of which 2 are said to be so, one is taken for a 1,
    # one for a 2. Class 1: 3 true, 2 said to be so, one without an answer. Class 3: in neither.
    truth = np.array([[0, 0, 0, 1], [1, 255, 0, 1]])
    answers = np.array([[0, 0, 1, 1], [255, 1, 2, 1]])
    counts = label_confusion(truth=truth, answers=answers, classes=4)
    assert counts.tolist() == [[2, 1, 1, 0, 0], [0, 2, 0, 0, 1], [0] * 5, [0] * 5]
    # 0: 2 of (4 true + 2 said - 2). 1: 2 of (3 + 3 - 2). 2: 0 of 1.
    np.testing.assert_allclose(per_class_iou(counts), [50, 50, 0, np.nan])
    assert mean_iou(counts) == 50  # over 0 and 1, which occur
    assert accuracy(counts) == pytest.approx(400 / 7)


def test_a_square_confusion_has_the_same_iou() -> None:
    counts = np.array([[3, 1], [0, 4]])
    np.testing.assert_allclose(per_class_iou(counts), [75, 80])
    assert mean_iou(counts) == 77.5


def test_no_points_no_iou() -> None:
    counts = label_confusion(truth=[255, 255], answers=[0, 1], classes=2)
    assert not counts.any()
    assert np.isnan(mean_iou(counts))
    assert np.isnan(per_class_iou(counts)).all()


@given(st.lists(st.tuples(st.sampled_from([0, 1, 2, 3, 255]), st.integers(0, 3)), max_size=40))
def test_the_iou_is_that_of_sets_of_points(pairs) -> None:
    truth = np.array([one for one, _ in pairs], np.uint8)
    answers = np.array([other for _, other in pairs], np.uint8)
    got = per_class_iou(label_confusion(truth=truth, answers=answers, classes=4))
    for label in range(4):
        mine = {n for n, (one, other) in enumerate(pairs) if one == label}
        said = {n for n, (one, other) in enumerate(pairs) if other == label and one != 255}
        expected = 100 * len(mine & said) / len(mine | said) if mine | said else np.nan
        np.testing.assert_allclose(got[label], expected)


@pytest.mark.parametrize(
    "truth, answers, message",
    [
        ([0, 1], [0], r"shape \(2,\), answers have \(1,\)"),
        ([4], [0], "truth: label 4, expected 0 to 3"),
        ([-1], [0], "truth: label -1"),
        ([0], [4], "answers: label 4"),
        ([0], [9], "answers: label 9"),
        ([0.0], [0], "integer labels, got float64"),
    ],
)
def test_labels_that_are_no_class_are_refused(truth, answers, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        label_confusion(truth=truth, answers=answers, classes=4)


SCORES = np.array([[0.6, 0.3, 0.1], [0.2, 0.4, 0.4], [0.1, 0.2, 0.7]])


def test_the_best_k_by_hand() -> None:
    # Ranks of the labels: 2nd; 2nd (it ties with class 1, which comes first); 3rd.
    labels = [1, 2, 0]
    assert top_k_accuracy(SCORES, labels, 1) == 0
    assert top_k_accuracy(SCORES, labels, 2) == pytest.approx(200 / 3)
    assert top_k_accuracy(SCORES, labels, 3) == 100
    assert np.isnan(top_k_accuracy(np.empty((0, 3)), np.empty(0, np.int64), 1))


def test_the_calibration_error_by_hand() -> None:
    # Two bins. Best scores 0.6, 0.4 and 0.7; the first and the second are right.
    # (0.5, 1]: 0.6 and 0.7, mean 0.65, half right: 0.15 for two rows. [0, 0.5]: 0.4, right: 0.6.
    # (2 * 0.15 + 0.6) / 3 = 0.3.
    assert expected_calibration_error(SCORES, [0, 1, 0], bins=2) == pytest.approx(30)
    # Sure and right.
    assert expected_calibration_error(np.eye(3), [0, 1, 2]) == 0
    # A score on an edge is in the bin below: 0.5 wrong and 0.6 right, in two bins: (0.5 + 0.4) / 2.
    two = np.array([[0.5, 0.5], [0.6, 0.4]])
    assert expected_calibration_error(two, [1, 0], bins=2) == pytest.approx(45)
    assert np.isnan(expected_calibration_error(np.empty((0, 3)), np.empty(0, np.int64)))


@given(st.integers(0, 10_000), st.integers(1, 20))
def test_the_calibration_error_is_that_of_a_loop_over_bins(seed, bins) -> None:
    random = np.random.default_rng(seed)
    scores = random.dirichlet([0.5] * 4, size=30)
    labels = random.integers(0, 4, 30)
    sure, right = scores.max(axis=1), scores.argmax(axis=1) == labels
    expected = 0.0
    for number in range(bins):
        inside = (sure > number / bins) & (sure <= (number + 1) / bins)
        if inside.any():
            expected += inside.mean() * abs(sure[inside].mean() - right[inside].mean())
    got = expected_calibration_error(scores, labels, bins=bins)
    assert got == pytest.approx(100 * expected)


@pytest.mark.parametrize(
    "scores, labels, k, message",
    [
        (SCORES, [0, 1], 1, "for 2 labels"),
        (SCORES, [0, 1, 3], 1, "labels of 0 to 3, 3 classes"),
        (SCORES, [0, -1, 0], 1, "labels of -1 to 0"),
        (SCORES * np.nan, [0, 1, 2], 1, "not finite"),
        (SCORES, [0, 1, 2], 4, "k is 4, expected 1 to 3"),
        (SCORES, [0, 1, 2], 0, "k is 0"),
    ],
)
def test_scores_that_do_not_fit_are_refused(scores, labels, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        top_k_accuracy(scores, labels, k)


def test_logits_have_no_calibration_error() -> None:
    with pytest.raises(ValueError, match="expected 0 to 1"):
        expected_calibration_error(np.array([[2.0, -1.0]]), [0])
