"""Several people's windows through one model, against the pipeline of one person."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import small_model
import torch

from fourd_perception import checkpoint
from fourd_perception.answers import PeopleActions
from fourd_perception.people_pipeline import PeoplePipeline
from fourd_perception.pipeline import ActionPipeline, PipelineConfig
from fourd_perception.stream.frame import SECOND, Frame, Person
from fourd_perception.stream.window import Clip

RATE = 15.0  # the small model's: windows of 4 frames
CONFIG = PipelineConfig(stride=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return checkpoint.load(small_model.save(tmp_path_factory.mktemp("people") / "a.safetensors"))


def moment(number: int, there: dict[int, bool], leads: int = 1) -> Frame:
    """Who is followed, and whether any of their 40 points is seen; each in a place of their own."""
    random = np.random.default_rng(number)
    points = random.random((200, 3), np.float32)
    people = []
    for who, seen in there.items():
        mask = np.zeros(200, np.bool_)
        mask[40 * (who % 5) : 40 * (who % 5) + 40] = seen
        points[mask] += np.float32(who)
        people.append(Person(who, mask, np.full(3, who), np.full(3, who + 1.0), who == leads))
    return Frame(round(number / RATE * SECOND), "camera", points, people=tuple(people))


def alone(frame: Frame, who: int) -> Frame:
    """The frame as the pipeline of one person has it."""
    [mask] = [one.shown for one in frame.people or () if one.number == who]
    return replace(frame, shown=mask, people=None)


def numbers(answer: PeopleActions) -> list[int]:
    return [one.person.number for one in answer.people]


def test_each_is_answered_for_as_if_they_were_alone(model):
    """One is hidden in some frames, as somebody else passes; nothing of the other comes in."""
    several = PeoplePipeline(model, CONFIG, people=2)
    apart = {who: ActionPipeline(model, CONFIG) for who in (1, 2)}
    for number in range(30):
        frame = moment(number, {1: True, 2: number % 7 not in (3, 4)})
        answer = several.push(frame)
        wanted = {who: one.push(alone(frame, who)) for who, one in apart.items()}
        if answer is None:
            assert wanted == {1: None, 2: None}
            continue
        assert numbers(answer) == [1, 2]
        for one in answer.people:
            other = wanted[one.person.number]
            said = one.recognition
            assert (said.stamp, said.start, said.frame_id) == (
                other.stamp, other.start, other.frame_id,
            )  # fmt: skip
            np.testing.assert_allclose(said.scores, other.scores, atol=1e-5)
        assert answer.lead is answer.people[0].recognition
        assert not np.allclose(*(one.recognition.scores for one in answer.people), atol=1e-3)


def test_who_leads_alone_is_all_that_is_computed_where_that_is_enough(model):
    pipeline = PeoplePipeline(model, CONFIG)
    clip = [one for one in (pipeline.offer(moment(n, {1: True, 2: True})) for n in range(4)) if one]
    whole = pipeline.recognise(clip[-1])
    lead = pipeline.recognise(clip[-1], lead_alone=True)
    assert numbers(whole) == [1, 2] and numbers(lead) == [1]
    np.testing.assert_allclose(lead.lead.scores, whole.lead.scores, atol=1e-5)


def test_a_newcomer_is_answered_for_when_their_own_window_is_full_and_nobody_waits(model):
    pipeline = PeoplePipeline(model, CONFIG)
    found = []
    for number in range(20):
        there = {1: True} | ({2: True} if number >= 6 else {}) | ({7: True} if number > 9 else {})
        if number >= 14:
            del there[1]  # they left: their window is of nobody
        answer = pipeline.push(moment(number, there, leads=1 if number < 14 else 2))
        found.append(None if answer is None else numbers(answer))
    assert found[:3] == [None] * 3
    assert found[3:] == [[1]] * 6 + [[1, 2]] * 4 + [[1, 2, 7]] + [[2, 7]] * 6
    assert pipeline.window.resets == 0


def test_while_the_leaders_window_fills_there_is_no_leading_answer(model):
    pipeline = PeoplePipeline(model, CONFIG)
    for number in range(6):
        pipeline.push(moment(number, {1: True, 2: True}))
    answers = [pipeline.push(moment(n, {2: True, 3: True}, leads=3)) for n in range(6, 10)]
    assert [None if one.lead is None else numbers(one) for one in answers] == [None] * 3 + [[2, 3]]
    assert answers[3].lead is answers[3].people[1].recognition


def test_where_nobody_is_the_window_was_judged_all_the_same(model):
    pipeline = PeoplePipeline(model, CONFIG)
    answer = [pipeline.push(moment(number, {})) for number in range(4)][-1]
    assert answer.people == () and answer.lead.top(0, 0.0) == []
    assert answer.lead.classes == small_model.CLASSES


def test_somebody_of_whom_no_point_was_seen_has_no_class(model):
    pipeline = PeoplePipeline(model, CONFIG)
    answer = [pipeline.push(moment(n, {1: True, 2: False})) for n in range(4)][-1]
    assert [bool(one.recognition.top(0, 0.0)) for one in answer.people] == [True, False]


def test_what_begins_anew_begins_anew_for_all(model):
    pipeline = PeoplePipeline(model, CONFIG)
    for number in range(6):
        assert (pipeline.push(moment(number, {1: True, 2: True})) is None) == (number < 3)
    frames = [moment(number, {3: True, 4: True}, leads=3) for number in range(6, 10)]
    frames[0] = replace(frames[0], begins="the camera has moved")
    answers = [pipeline.push(frame) for frame in frames]
    assert answers[:3] == [None] * 3 and numbers(answers[3]) == [3, 4]
    assert pipeline.window.reset_reason == "the camera has moved"


def test_no_frame_and_no_person_is_kept_that_the_window_has_left(model):
    pipeline = PeoplePipeline(model, CONFIG)
    kept: list[weakref.ref] = []
    for number in range(60):
        first = number // 5  # people come and go
        frame = moment(number, {first + 1: True, first + 2: True}, leads=first + 1)
        kept.append(weakref.ref(frame))
        pipeline.push(frame)
    del frame
    gc.collect()
    # The window's own last frame is the newest that came.
    assert [number for number, one in enumerate(kept) if one() is not None] == [59]
    assert len(pipeline._given) <= 2 * 4
    newest = pipeline.window._moments[-1]
    assert not newest.points.size and not any(one.shown.size for one in newest.people)


def test_warm_windows_and_forgotten_ones_say_the_same(model):
    first, second = PeoplePipeline(model, CONFIG), PeoplePipeline(model, CONFIG)
    assert second.warm_up() > 0
    for number in range(8):
        frame = moment(number, {1: True, 2: True})
        one, other = first.push(frame), second.push(frame)
        second.forget()
        if one is not None:
            for mine, theirs in zip(one.people, other.people):
                np.testing.assert_allclose(
                    mine.recognition.scores, theirs.recognition.scores, atol=1e-6
                )


def test_scores_that_are_no_numbers_are_refused(model, tmp_path):
    loaded = checkpoint.load(small_model.save(tmp_path / "b.safetensors"))
    pipeline = PeoplePipeline(loaded, CONFIG)
    with torch.no_grad():
        loaded.model.head.bias.fill_(float("nan"))
    clips = [pipeline.offer(moment(number, {1: True})) for number in range(4)]
    assert isinstance(clips[-1], Clip)
    with pytest.raises(ValueError, match="not finite"):
        pipeline.recognise(clips[-1])
