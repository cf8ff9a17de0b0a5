"""A bag evaluated with somewhere to look: what the core says of the same frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import bag_cases as cases
import numpy as np
import pytest
from bag_cases import PERIOD, START
from small_model import save, save_segmenter

from fourd_perception import checkpoint
from fourd_perception.evaluation.bag import evaluate, make_pipeline
from fourd_perception.looking.config import LookConfig
from fourd_perception.looking.look import Look
from fourd_perception.recordings import camera_messages as camera
from fourd_perception.stream.frame import Frame

BOX = LookConfig(crop_box=(-0.5, -0.6, 0.5, 0.6, 0.5, 3), crop_frame=camera.BODY_FRAME)
OWN = replace(BOX, crop_frame="")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> checkpoint.Checkpoint:
    return checkpoint.load(save(tmp_path_factory.mktemp("models") / "a.safetensors"))


def scores_of(model: checkpoint.Checkpoint, config: LookConfig, shift: float = 0.0) -> np.ndarray:
    """Of the 60 clouds; each one's box is moved against the camera by `shift` times its number."""
    pipeline, found = make_pipeline(model), []
    for number in range(60):
        frame = Frame(START + number * PERIOD, camera.OPTICAL_FRAME, cases.points(number))
        x0, y0, z0, x1, y1, z1 = config.crop_box
        box = (x0 - shift * number, y0, z0, x1 - shift * number, y1, z1)
        [sight] = Look(replace(config, crop_box=box, crop_frame="")).push(frame)
        answer = pipeline.push(sight.frame)
        found += [answer.scores] if answer is not None else []
    return np.array(found)


def test_the_box_is_the_cores(model, tmp_path: Path) -> None:
    path = cases.clouds(tmp_path / "bag")
    result = evaluate(path, make_pipeline(model), look=OWN)
    np.testing.assert_array_equal(result.scores, scores_of(model, OWN))
    everything = evaluate(path, make_pipeline(model))
    assert not np.array_equal(result.scores, everything.scores) and result.notes == ()


def test_static_transforms_hold_wherever_they_are_in_the_bag(model, tmp_path: Path) -> None:
    messages = [cases.cloud(number) for number in range(60)]
    messages.insert(40, cases.ride(camera.TF_STATIC, 40, 0.0))
    result = evaluate(cases.write(tmp_path / "bag", messages), make_pipeline(model), look=BOX)
    np.testing.assert_array_equal(result.scores, scores_of(model, OWN))


@pytest.mark.parametrize("lag", [0, 3])
def test_moving_transforms_are_taken_at_each_clouds_stamp_though_they_come_late(
    model, tmp_path: Path, lag: int
) -> None:
    messages = [cases.cloud(number) for number in range(60)]
    for number in range(60):  # recorded `lag` clouds after their stamps
        moved = replace(
            cases.ride(camera.TF, number, 0.25 * number), time=START + (number + lag) * PERIOD
        )
        messages.append(moved)
    messages.sort(key=lambda one: one.time)
    result = evaluate(cases.write(tmp_path / "bag", messages), make_pipeline(model), look=BOX)
    np.testing.assert_array_equal(result.scores, scores_of(model, OWN, 0.25))
    assert result.notes == ()


def test_clouds_without_a_transform_are_left_out_and_counted(model, tmp_path: Path) -> None:
    messages = [cases.cloud(number) for number in range(60)]
    messages.insert(20, cases.ride(camera.TF, 20, 0.0))
    messages.insert(61, cases.ride(camera.TF, 59, 0.0))
    result = evaluate(cases.write(tmp_path / "bag", messages), make_pipeline(model), look=BOX)
    left_out = {note.split(": ")[2]: int(note.split()[1]) for note in result.notes[:2]}
    assert left_out == {  # at 30 Hz six wait for 0.2 s
        "no transform from camera_optical_frame to camera_link": 13,
        "the transform from camera_optical_frame to camera_link begins after the cloud": 7,
    }
    assert len(result.session.clouds) == 60
    assert 0 < len(result.scores) < len(scores_of(model, OWN))


def test_a_transform_that_is_none_is_counted(model, tmp_path: Path) -> None:
    messages = [cases.cloud(number) for number in range(60)]
    bad = cases.ride(camera.TF, 5, float("nan"))
    messages[5:5] = [cases.ride(camera.TF_STATIC, 0, 0.0), bad]
    result = evaluate(cases.write(tmp_path / "bag", messages), make_pipeline(model), look=BOX)
    assert any("bad transform" in note for note in result.notes)


def test_points_that_are_not_shown_have_no_label_and_the_truth_stays_theirs(tmp_path: Path) -> None:
    model = checkpoint.load(save_segmenter(tmp_path / "b.safetensors"))
    messages = [cases.cloud(number, labels=np.arange(60) % 3) for number in range(9)]
    path = cases.write(tmp_path / "bag", messages)
    result = evaluate(path, make_pipeline(model), look=OWN)
    low, high = OWN.crop_box[:3], OWN.crop_box[3:]
    for number, one in enumerate(result.frames, start=9 - len(result.frames)):
        points = cases.points(number)
        outside = ~((points >= low) & (points <= high)).all(axis=1)
        assert one.counts[-1] >= outside.sum() > 0 and one.judged == 60
    assert result.points.sum() == 60 * len(result.frames)
