"""The hardest moments: the right ones, and what the camera saw there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import bag_cases as cases
import numpy as np
import pytest
import small_model

from fourd_perception import checkpoint
from fourd_perception.evaluation import charts
from fourd_perception.evaluation.bag import evaluate, make_pipeline
from fourd_perception.evaluation.bag_labels import BagTruth
from fourd_perception.evaluation.bag_result import BagResult
from fourd_perception.evaluation.moments import hardest, picture_moments
from fourd_perception.messages.images import depth_from_message
from fourd_perception.recordings import camera_messages as camera
from fourd_perception.recordings.recording import Interval
from fourd_perception.stream.frame import SECOND


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> BagResult:
    """Twenty seconds of clouds with an image beside each."""
    folder = tmp_path_factory.mktemp("moments")
    messages = []
    for number in range(600):
        one = cases.cloud(number)
        image = camera.color_image(np.full((6, 8, 3), number % 256, np.uint8), one.time)
        messages += [cases.Recorded(camera.COLOR, cases.IMAGE, one.time, image), one]
    bag = cases.write(folder / "bag", messages)
    model = checkpoint.load(small_model.save(folder / "model.safetensors"))
    return evaluate(bag, make_pipeline(model))


def scored(result: BagResult, hard: dict[int, float]) -> BagResult:
    """All answers say wave with 0.9, those of `hard` with that score."""
    scores = np.tile(np.array([0.05, 0.9, 0.05], np.float32), (len(result.scores), 1))
    for index, score in hard.items():
        scores[index] = (0.95 - score, score, 0.05)
    answers = tuple(replace(one, top=(("wave", float(row[1])),))
                    for one, row in zip(result.session.answers, scores))  # fmt: skip
    return replace(result, scores=scores, session=replace(result.session, answers=answers))


def test_the_lowest_scores_of_the_truth_well_apart(result: BagResult) -> None:
    whole = Interval(cases.START, cases.START + 100 * SECOND, "wave")
    hard = {10: 0.2, 11: 0.1, 12: 0.15, 60: 0.3, 100: 0.4}
    judged = scored(result, hard).with_truth(BagTruth((whole,), (), ""))
    answers = judged.session.answers
    assert [stamp for stamp, _ in hardest(judged, 3)] == [answers[n].stamp for n in (11, 60, 100)]
    assert hardest(judged, 0) == []


def test_without_a_truth_the_least_sure(result: BagResult) -> None:
    unsure = scored(result, {30: 0.4, 90: 0.35})
    answers = unsure.session.answers
    assert [stamp for stamp, _ in hardest(unsure, 2)] == [answers[n].stamp for n in (30, 90)]


def test_the_pictures_are_of_these_moments(result: BagResult) -> None:
    unsure = scored(result, {30: 0.4, 90: 0.35})
    pictures = picture_moments(unsure, 2)
    assert [one.stamp for one in pictures] == [stamp for stamp, _ in hardest(unsure, 2)]
    for one in pictures:
        number = round((one.stamp - cases.START) / cases.PERIOD)
        np.testing.assert_array_equal(one.points, cases.points(number))
        assert one.image is not None and (one.image == number % 256).all()


@pytest.mark.parametrize("record", [cases.depth, cases.packed_depth])
def test_without_colour_the_depth_is_shown(tmp_path: Path, record) -> None:
    model = checkpoint.load(small_model.save(tmp_path / "model.safetensors"))
    bag = cases.write(tmp_path / "bag", [one for number in range(60) for one in record(number)])
    picture = picture_moments(evaluate(bag, make_pipeline(model)), 1)[0]
    number = round((picture.stamp - cases.START) / cases.PERIOD)
    depth = depth_from_message(cases.depth(number)[0].message)
    np.testing.assert_array_equal(picture.image, charts.shade_depth(depth))


def test_a_bag_without_images_has_its_clouds(tmp_path: Path) -> None:
    model = checkpoint.load(small_model.save(tmp_path / "model.safetensors"))
    found = evaluate(cases.clouds(tmp_path / "bag"), make_pipeline(model))
    pictures = picture_moments(found, 8)
    assert pictures and all(one.image is None and len(one.points) == 60 for one in pictures)


def test_frames_with_the_fewest_right_points(tmp_path: Path) -> None:
    model = checkpoint.load(small_model.save_segmenter(tmp_path / "model.safetensors"))
    labels = [[n % 3] * 60 for n in range(12)]
    messages = [cases.cloud(n, labels=labels[n]) for n in range(12)]
    found = evaluate(cases.write(tmp_path / "bag", messages), make_pipeline(model))
    ((stamp, recorded),) = hardest(found, 8)  # all within a second and a half
    worst = min(found.frames, key=lambda one: one.right / one.judged)
    assert (stamp, recorded) == (worst.stamp, worst.recorded)
