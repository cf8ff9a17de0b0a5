from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import small_model

from fourd_perception import checkpoint
from fourd_perception.errors import InputError
from fourd_perception.pipeline import ActionPipeline, PipelineConfig, Recognition
from fourd_perception.preprocess import PreprocessConfig
from fourd_perception.stream.frame import SECOND, Frame
from fourd_perception.stream.window import Clip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return checkpoint.load(small_model.save(tmp_path_factory.mktemp("model") / "a.safetensors"))


def frames(count, rate=30.0, points=100, seed=0):
    random = np.random.default_rng(seed)
    return [
        Frame(round(index / rate * SECOND), "camera", random.random((points, 3), np.float32))
        for index in range(count)
    ]


def test_answers_when_the_window_is_full_and_then_every_stride(model):
    pipeline = ActionPipeline(model, PipelineConfig(stride=2))
    answers = [pipeline.push(frame) for frame in frames(15)]
    # 4 frames of every 2nd at 30 Hz: full at frame 6, then two frames of the window later: 10, 14.
    assert [index for index, answer in enumerate(answers) if answer] == [6, 10, 14]
    answer = answers[10]
    assert answer.stamp == round(10 / 30 * SECOND)
    assert answer.start == round(4 / 30 * SECOND)
    assert answer.frame_id == "camera"
    assert answer.scores.sum() == pytest.approx(1)


def test_a_replay_gives_the_same_bits_wherever_it_starts(model):
    stream = frames(30)
    first, second = (ActionPipeline(model, PipelineConfig(stride=1)) for _ in range(2))
    answers = {a.stamp: a for a in map(first.push, stream) if a}
    later = {a.stamp: a for a in map(second.push, stream[4:]) if a}
    common = answers.keys() & later.keys()
    assert len(common) > 5
    for stamp in common:
        assert np.array_equal(answers[stamp].scores, later[stamp].scores)


def test_its_answer_is_the_models_for_the_window(model):
    pipeline = ActionPipeline(model, PipelineConfig(stride=1))
    stream = frames(7)
    clip = [clip for clip in map(pipeline.offer, stream) if clip][-1]
    assert [frame.stamp for frame in clip.frames] == [stream[i].stamp for i in (0, 2, 4, 6)]
    assert pipeline.recognise(clip).scores.shape == (3,)


def test_settings_of_the_window_replace_the_models_own(model):
    pipeline = ActionPipeline(model, PipelineConfig(clip_frames=6, frame_step=1, stride=1))
    answers = [pipeline.push(frame) for frame in frames(7)]
    assert [index for index, answer in enumerate(answers) if answer] == [5, 6]


def test_a_frame_in_which_nobody_is_takes_the_nearest_one(model):
    pipeline = ActionPipeline(model)
    stream = frames(7)
    gone = Frame(stream[4].stamp, "camera", np.full((5, 3), np.nan, np.float32))
    answers = [pipeline.push(frame) for frame in [*stream[:4], gone, *stream[5:]]]
    assert answers[6].scores.sum() == pytest.approx(1)


def test_nobody_in_view_at_all_is_an_answer_without_a_class(model):
    pipeline = ActionPipeline(model)
    empty = [Frame(f.stamp, "camera", np.zeros((0, 3), np.float32)) for f in frames(7)]
    answer = [pipeline.push(frame) for frame in empty][6]
    assert answer.top(5, 0.0) == []


def test_top_is_ordered_and_leaves_out_what_is_not_believed():
    answer = Recognition(0, "", 0, np.array([0.2, 0.5, 0.3], np.float32), 0.0)
    assert [index for index, _ in answer.top(0, 0.0)] == [1, 2, 0]
    assert [index for index, _ in answer.top(2, 0.0)] == [1, 2]
    assert [index for index, _ in answer.top(5, 0.25)] == [1, 2]
    assert answer.top(5, 0.6) == []


def test_warm_up_leaves_no_trace(model):
    pipeline = ActionPipeline(model)
    assert pipeline.warm_up() > 0
    assert pipeline.window.filled == 0


def test_what_is_forgotten_in_between_changes_no_answer(model):
    forgetful, other = (ActionPipeline(model, PipelineConfig(stride=1)) for _ in range(2))
    for frame in frames(20):
        answer, expected = forgetful.push(frame), other.push(frame)
        forgetful.forget()
        assert (answer is None) == (expected is None)
        assert answer is None or np.array_equal(answer.scores, expected.scores)


def test_a_clip_too_short_for_the_model_is_refused(model):
    card = replace(model.card, preprocess=PreprocessConfig(points=1))
    with pytest.raises(InputError, match="1 frames x 1 points"):
        ActionPipeline(checkpoint.Checkpoint(card, model.model), PipelineConfig(clip_frames=1))


def test_scores_that_are_no_numbers_are_an_error_and_not_an_answer(model):
    pipeline = ActionPipeline(model)
    poisoned = [
        Frame(frame.stamp, "camera", frame.points * np.float32(3e38)) for frame in frames(7)
    ]
    clip = next(clip for clip in map(pipeline.offer, poisoned) if clip)
    with np.errstate(over="ignore"), pytest.raises(ValueError, match="not finite"):
        pipeline.recognise(clip)


def test_the_window_of_an_action_model_holds_samples_and_no_clouds(model):
    pipeline, whole = ActionPipeline(model, PipelineConfig(stride=1)), frames(7, points=5000)
    clip = [clip for clip in map(pipeline.offer, whole) if clip][-1]
    assert {one.points.shape for one in clip.frames} == {(model.card.preprocess.points, 3)}
    seen = {row.tobytes() for row in whole[6].points}
    assert {row.tobytes() for row in clip.newest.points} < seen
    answer = pipeline.recognise(clip)
    # A clip of whole clouds, made by somebody else, has the same answer.
    by_stamp = {one.stamp: one for one in whole}
    of_clouds = Clip(tuple(by_stamp[one.stamp] for one in clip.frames))
    np.testing.assert_array_equal(ActionPipeline(model).recognise(of_clouds).scores, answer.scores)
