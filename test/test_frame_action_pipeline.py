"""A label for every frame: each once, in order, and what the model itself says of its window."""

from __future__ import annotations

import numpy as np
import pytest
import small_model
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fourd_perception import checkpoint
from fourd_perception.errors import InputError
from fourd_perception.pipeline import FrameActionConfig, FrameActionPipeline
from fourd_perception.preprocess import preprocess
from fourd_perception.stream.frame import SECOND, Frame

CLIP = 6


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "a.safetensors"
    return checkpoint.load(small_model.save_frame_model(path))


def frames(count, points=60, start=0):
    random = np.random.default_rng(0)
    return [
        Frame(
            round((start + index) / 30 * SECOND), "camera", random.random((points, 3), np.float32)
        )
        for index in range(count)
    ]


def said_by_the_model(model, clip):
    """(CLIP, K): the model on the window alone."""
    sampled = [
        preprocess(one.points, model.card.preprocess, np.random.default_rng(one.stamp))
        for one in clip
    ]
    with torch.no_grad():
        return torch.softmax(model.model(torch.from_numpy(np.stack(sampled))[None])[0], 1).numpy()


@pytest.mark.parametrize("latency", [0, 2, 5])
def test_every_frame_has_the_scores_of_the_first_window_with_enough_frames_after_it(model, latency):
    stream = frames(10)
    pipeline = FrameActionPipeline(model, FrameActionConfig(latency_frames=latency, stride=1))
    answers = [answer for answer in map(pipeline.push, stream) if answer]
    said = [one for answer in answers for one in answer.frames]
    assert [one.stamp for one in said] == [one.stamp for one in stream[: 10 - latency]]
    for number, one in enumerate(said):
        first = max(0, number + latency - CLIP + 1)
        scores = said_by_the_model(model, stream[first : first + CLIP])[number - first]
        np.testing.assert_allclose(one.scores, scores, atol=1e-5)
        assert one.start == stream[first].stamp and one.frame_id == "camera"
    assert [answer.stamp for answer in answers] == [
        one.stamp for one in stream[CLIP - 1 - latency : 10 - latency]
    ]


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(0, 5), st.sets(st.integers(0, 14)))
def test_each_frame_is_spoken_of_once_whatever_is_skipped(model, stride, latency, skipped):
    pipeline = FrameActionPipeline(model, FrameActionConfig(latency_frames=latency, stride=stride))
    stream, said, seen = frames(20), [], set()
    clips = [clip for clip in map(pipeline.offer, stream) if clip]
    for number, clip in enumerate(clips):
        if number in skipped:
            continue
        seen.update(one.stamp for one in clip.frames[: CLIP - latency])
        answer = pipeline.recognise(clip)
        said += [one.stamp for one in answer.frames] if answer else []
    assert said == sorted(said) and len(said) == len(set(said))
    assert set(said) == seen


def test_a_camera_that_is_slower_than_the_window_is_answered_frame_by_frame(model):
    random = np.random.default_rng(0)
    slow = [
        Frame(round(index / 15 * SECOND), "camera", random.random((60, 3), np.float32))
        for index in range(9)
    ]
    pipeline = FrameActionPipeline(model, FrameActionConfig(stride=1))
    said = [one.stamp for answer in map(pipeline.push, slow) if answer for one in answer.frames]
    assert said == sorted(set(said)) and set(said) <= {one.stamp for one in slow}
    assert len(said) >= 7


def test_time_that_jumps_back_is_spoken_of_again(model):
    pipeline = FrameActionPipeline(model, FrameActionConfig(stride=1))
    first = [answer for answer in map(pipeline.push, frames(8, start=300)) if answer]
    again = [answer for answer in map(pipeline.push, frames(8)) if answer]
    assert len(first) == len(again) == 3
    assert len(again[0].frames) == CLIP


def test_time_that_jumps_back_by_less_than_a_window_is_spoken_of_again(model):
    pipeline = FrameActionPipeline(model, FrameActionConfig(stride=1))
    before, after = frames(30), frames(30, start=25)  # back to 0.83 s from 0.97 s
    said = [one.stamp for frame in before for one in _said_of(pipeline, frame)]
    assert said == [one.stamp for one in before]
    said = [one.stamp for frame in after for one in _said_of(pipeline, frame)]
    assert said == [one.stamp for one in after]


def _said_of(pipeline, frame):
    answer = pipeline.push(frame)
    return answer.frames if answer else ()


def test_nobody_in_view_is_an_answer_without_a_class(model):
    nothing = [Frame(one.stamp, "camera", np.empty((0, 3), np.float32)) for one in frames(CLIP)]
    pipeline = FrameActionPipeline(model)
    answer = [pipeline.push(one) for one in nothing][-1]
    assert [one.scores.max() for one in answer.frames] == [0.0] * CLIP


def test_warm_up_leaves_no_trace(model):
    pipeline = FrameActionPipeline(model, FrameActionConfig(stride=1))
    pipeline.warm_up()
    answers = [answer for answer in map(pipeline.push, frames(CLIP)) if answer]
    assert len(answers[0].frames) == CLIP


def test_more_future_than_the_window_has_is_refused(model):
    with pytest.raises(InputError, match="latency_frames: 6 frames .* window of 6: set 5 or less"):
        FrameActionPipeline(model, FrameActionConfig(latency_frames=6))
