"""Transforms, order of frames and counting; what the windows of a pipeline make of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import small_model
from hypothesis import given
from hypothesis import strategies as st
from rooms import START, frame, moment, put_body, wall

from fourd_perception import checkpoint
from fourd_perception.looking.config import LookConfig
from fourd_perception.looking.look import Look
from fourd_perception.looking.transforms import TransformBuffer
from fourd_perception.pipeline import ActionPipeline, PipelineConfig, SegmentationPipeline
from fourd_perception.stream.frame import SECOND, UNLABELLED, Frame
from fourd_perception.stream.window import ClipConfig, SlidingWindow

BOX = LookConfig(crop_box=(-1, -1, 0, 1, 1, 3), crop_frame="base")
STILL = (0.0, 0.0, 0.0, 1.0)


def one(number: int, *points: tuple[float, float, float], frame_id: str = "camera") -> Frame:
    return Frame(moment(number), frame_id, np.array(points, np.float32).reshape(-1, 3))


def test_the_box_stands_where_the_transform_at_the_frames_own_stamp_puts_it():
    """The camera rides along x at 1 m/s: at stamp n/10 s it is at x = n/10."""
    buffer = TransformBuffer()
    look = Look(BOX, buffer)
    for number in (0, 30):
        buffer.put("base", "camera", moment(number), (number / 10, 0, 0), STILL)
    kept = [
        look.push(one(number, (0, 0, 1), (-2, 0, 1), (0, 0, 3.5)))[0].frame.shown.tolist()
        for number in (0, 10, 20, 30)
    ]
    assert kept == [[True, False, False], [True, True, False],
                    [False, True, False], [False, True, False]]  # fmt: skip


def test_the_frame_waits_for_its_transform_and_those_after_it_behind_it():
    buffer = TransformBuffer()
    look = Look(BOX, buffer)
    buffer.put("base", "camera", moment(0), (0, 0, 0), STILL)
    assert len(look.push(one(0, (0, 0, 1)))) == 1
    assert look.push(one(1, (0, 0, 1))) == look.push(one(2, (0, 0, 1))) == []
    assert look.state == "frames that wait for their transform to base: 2"
    buffer.put("base", "camera", moment(1), (0, 0, 0), STILL)
    assert [sight.frame.stamp for sight in look.poll()] == [moment(1)]
    buffer.put("base", "camera", moment(9), (0, 0, 0), STILL)
    ready = look.push(one(3, (0, 0, 1)))
    assert [sight.frame.stamp for sight in ready] == [moment(2), moment(3)]
    assert not look.skipped and look.state == ""


def test_without_a_transform_frames_are_left_out_counted_and_never_taken_as_they_are():
    look = Look(BOX)
    ready = [look.push(one(number, (0, 0, 1))) for number in range(20)]
    assert ready == [[]] * 20
    assert look.skipped == {"no transform from camera to base": 17}  # three wait: 0.2 s at 10 Hz
    assert look.poll(last=True) == []
    [line] = look.said()
    assert line == (
        "20 frames left out: no transform from camera to base: camera and base are not connected "
        "(no transform has come yet)"
    )


def test_a_cloud_without_frame_id_cannot_be_placed():
    look = Look(BOX)
    assert look.push(one(0, (0, 0, 1), frame_id="")) == []
    assert look.skipped == {"no frame_id": 1}


def test_in_its_own_frame_the_box_needs_no_transform():
    [sight] = Look(replace(BOX, crop_frame="camera")).push(one(0, (0, 0, 1), (0, 0, 4)))
    assert sight.frame.shown.tolist() == [True, False]


def test_when_time_jumps_those_that_wait_are_dropped_and_counted():
    look = Look(BOX)
    look.push(one(10, (0, 0, 1)))
    look.push(one(0, (0, 0, 1)))
    assert look.skipped == {"time jumped while they waited for a transform": 1}


def sides_of_jumps(stamps: list[int]) -> list[int]:
    """After how many jumps back each stamp comes; a tenth of a second back is late, no jump."""
    sides, last, side = [], -100, 0
    for stamp in stamps:
        if stamp - last < -1:
            side += 1
        if not -1 <= stamp - last <= 0:
            last = stamp
        sides.append(side)
    return sides


@given(st.lists(st.integers(0, 30), max_size=25), st.lists(st.integers(0, 30), max_size=25))
def test_frames_come_out_in_order_once_and_all_are_accounted_for(stamps, transforms):
    """Frames and transforms in any order, late ones and jumps back among them."""
    buffer = TransformBuffer()
    look, out = Look(BOX, buffer), []
    for number in range(max(len(stamps), len(transforms))):
        if number < len(stamps):
            out += look.push(one(stamps[number], (0, number, 1)))
        if number < len(transforms):
            buffer.put("base", "camera", moment(transforms[number]), (0, 0, 0), STILL)
            out += look.poll()
    out += look.poll(last=True)
    assert len(out) + look.skipped.total() == len(stamps)
    window = SlidingWindow(ClipConfig(frames=2, frame_step=1, rate=10.0))
    sides = sides_of_jumps(stamps)
    for sight in out:
        clip = window.push(sight.frame)
        assert sight.frame.stamp == sight.of.stamp
        if clip is not None:
            assert len({sides[int(frame.points[0, 1])] for frame in clip.frames}) == 1
    assert window.ignored == 0


def test_late_and_repeated_frames_do_not_come_out():
    look = Look(LookConfig(max_range=3.0))
    out = [len(look.push(one(number, (0, 0, 1)))) for number in (5, 6, 6, 5, 7)]
    assert out == [1, 1, 0, 0, 1] and look.skipped == {"late or repeated": 2}


def test_an_empty_cloud_comes_out_empty_and_is_no_other_camera():
    look = Look(LookConfig(background_seconds=0.5, person="nearest"))
    for number in range(7):
        ready = look.push(frame(number, wall(number)))
    assert ready and len(look.push(one(8))[0].frame.shown) == 0
    assert look.push(frame(9, wall(9))) and look.restarts == 0


def test_a_window_starts_again_with_a_frame_that_begins_something():
    window = SlidingWindow(ClipConfig(frames=3, frame_step=1, rate=10.0))
    clips = [window.push(one(number)) for number in range(3)]
    assert clips[-1] is not None
    fresh = [replace(one(3), begins="somebody else"), one(4), one(5)]
    clips = [window.push(frame) for frame in fresh]
    assert clips[:2] == [None, None] and clips[2].frames == tuple(fresh)
    assert window.resets == 1 and window.reset_reason == "somebody else"


@pytest.fixture(scope="module")
def clip() -> ClipConfig:
    return ClipConfig(frames=4, frame_step=1, rate=10.0)


def test_a_model_sees_of_a_room_what_it_sees_of_the_person_alone(tmp_path, clip):
    model = checkpoint.load(small_model.save(tmp_path / "a.safetensors", clip=clip))
    pipelines = [ActionPipeline(model, PipelineConfig(stride=1)) for _ in range(2)]
    look, answers = Look(LookConfig(background_seconds=1.0)), []
    for number in range(20):
        depth = wall(number)
        body = put_body(depth, x=0.01 * number, z=2.5) if number > 10 else None
        for sight in look.push(frame(number, depth)):
            alone = replace(sight.of, points=sight.of.points[body.ravel()], rows=1)
            answers.append([one.push(f) for one, f in zip(pipelines, (sight.frame, alone))])
    full = [pair for pair in answers if pair[0] is not None]
    assert len(full) == 6
    for room, cut_out in full:
        assert np.array_equal(room.scores, cut_out.scores) and room.scores.any()


def test_the_segmented_cloud_keeps_all_points_and_labels_what_was_shown(tmp_path, clip):
    model = checkpoint.load(
        small_model.save_segmenter(tmp_path / "b.safetensors", clip=replace(clip, frames=3))
    )
    pipeline, look = SegmentationPipeline(model), Look(LookConfig(max_range=3.0))
    for number in range(3):
        depth = wall(number)
        body = put_body(depth, x=0.0, z=2.5).ravel()
        [sight] = look.push(frame(number, depth))
        said = pipeline.push(sight.frame)
    assert said.frame.points is sight.of.points and len(said.labels) == 3072
    assert (said.labels[~body] == UNLABELLED).all() and (said.confidence[~body] == 0).all()
    assert (said.labels[body] != UNLABELLED).mean() > 0.3


def test_by_its_defaults_it_looks_nowhere_in_particular():
    assert not LookConfig().looks and START % SECOND == 0
    for name, value in (("min_range", 1.0), ("max_range", 1.0), ("background_seconds", 1.0),
                        ("person", "nearest"), ("crop_box", (0, 0, 0, 1, 1, 1))):  # fmt: skip
        assert LookConfig(**{name: value}).looks
