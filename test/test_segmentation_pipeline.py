"""A label for every point of a frame: order, holes, distance, and what the model itself says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import small_model
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from fourd_perception import checkpoint
from fourd_perception.errors import InputError
from fourd_perception.pipeline import SegmentationConfig, SegmentationPipeline
from fourd_perception.preprocess import preprocess
from fourd_perception.stream.frame import SECOND, UNLABELLED, Frame


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "a.safetensors"
    return checkpoint.load(small_model.save_segmenter(path))


def frames(count, points=100, seed=0):
    random = np.random.default_rng(seed)
    return [
        Frame(round(index / 30 * SECOND), "camera", random.random((points, 3), np.float32))
        for index in range(count)
    ]


def expected(model, clip, place, within, points=0):
    """By a k-d tree and float64: logits of the samples, carried to all points of a frame."""
    own = model.card.preprocess
    shown = replace(own, points=points or own.points)
    sampled = [preprocess(one.points, shown, np.random.default_rng(one.stamp)) for one in clip]
    with torch.no_grad():
        logits = model.model(torch.from_numpy(np.stack(sampled))[None])[0, place].double().numpy()
    distance, index = cKDTree(sampled[place]).query(clip[place].points, k=3)
    weight = 1 / (distance + 1e-8)
    carried = np.einsum("mk,mkc->mc", weight / weight.sum(1, keepdims=True), logits[index])
    score = np.exp(carried - carried.max(1, keepdims=True))
    score /= score.sum(1, keepdims=True)
    near = distance[:, 0] <= within
    return np.where(near, carried.argmax(1), UNLABELLED), np.where(near, score.max(1), 0)


@pytest.mark.parametrize("latency", [0, 1, 2])
def test_every_point_has_the_label_that_the_model_and_its_neighbours_say(model, latency):
    config = SegmentationConfig(latency_frames=latency, max_distance=0.25)
    pipeline, stream = SegmentationPipeline(model, config), frames(5)
    answers = [answer for answer in map(pipeline.push, stream) if answer]
    assert [one.stamp for one in answers] == [stream[n - latency].stamp for n in (2, 3, 4)]
    for number, answer in enumerate(answers):
        assert answer.frame is stream[number + 2 - latency]
        assert answer.labels.dtype == np.uint32 and answer.confidence.dtype == np.float32
        labels, confidence = expected(model, stream[number : number + 3], 2 - latency, 0.25)
        assert 0 < (labels == UNLABELLED).sum() < 50
        np.testing.assert_array_equal(answer.labels, labels)
        np.testing.assert_allclose(answer.confidence, confidence, atol=1e-5)


@settings(max_examples=25)
@given(st.sets(st.integers(0, 99)), st.permutations(range(100)))
def test_labels_stay_with_their_points_and_holes_have_none(model, holes, order):
    stream = frames(3)
    cloud = stream[2].points.copy()
    cloud[sorted(holes)] = np.nan
    stream[2] = Frame(stream[2].stamp, "camera", cloud)
    pipeline = SegmentationPipeline(model, SegmentationConfig(max_distance=10))
    answer = [pipeline.push(frame) for frame in stream][-1]
    there = np.isfinite(cloud).all(1)
    assert ((answer.labels == UNLABELLED) == ~there).all()
    assert ((answer.confidence == 0) == ~there).all()
    assert (answer.labels[there] < len(small_model.CLASSES)).all()


def test_a_frame_that_is_empty_is_answered_and_the_window_goes_on(model):
    stream = frames(6)
    stream[3] = Frame(stream[3].stamp, "camera", np.full((7, 3), np.nan, np.float32))
    stream[4] = Frame(stream[4].stamp, "camera", np.empty((0, 3), np.float32))
    pipeline = SegmentationPipeline(model, SegmentationConfig(max_distance=10))
    answers = [answer for answer in map(pipeline.push, stream) if answer]
    assert [len(one.labels) for one in answers] == [100, 7, 0, 100]
    assert (answers[1].labels == UNLABELLED).all()
    assert (answers[3].labels != UNLABELLED).all()
    nothing = [Frame(number * SECOND // 30, "camera", stream[3].points) for number in range(3)]
    pipeline = SegmentationPipeline(model)
    assert ([pipeline.push(frame) for frame in nothing][-1].labels == UNLABELLED).all()


def test_a_replay_gives_the_same_bits_wherever_it_starts(model):
    stream = frames(10)
    first, second = SegmentationPipeline(model), SegmentationPipeline(model)
    answers = {one.stamp: one for one in map(first.push, stream) if one}
    for one in filter(None, map(second.push, stream[3:])):
        assert np.array_equal(one.labels, answers[one.stamp].labels)
        assert np.array_equal(one.confidence, answers[one.stamp].confidence)


def test_warm_up_leaves_no_trace(model):
    pipeline = SegmentationPipeline(model)
    assert pipeline.warm_up() > 0
    assert pipeline.window.filled == 0


def test_more_future_than_the_window_has_is_refused(model):
    with pytest.raises(InputError, match="latency_frames: 3 frames .* window of 3: set 2 or less"):
        SegmentationPipeline(model, SegmentationConfig(latency_frames=3))


def test_the_model_may_be_shown_more_points_than_its_own(model):
    stream, within = frames(3), 0.05
    answers = []
    for points in (0, 80):
        pipeline = SegmentationPipeline(
            model, SegmentationConfig(sample_points=points, max_distance=within)
        )
        (answer,) = [one for one in map(pipeline.push, stream) if one]
        labels, score = expected(model, stream, 2, within, points)
        np.testing.assert_array_equal(answer.labels, labels)
        np.testing.assert_allclose(answer.confidence, score, atol=1e-5)
        answers.append((answer.labels != UNLABELLED).sum())
    assert answers[1] > answers[0] + 30
