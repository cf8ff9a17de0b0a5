"""Two looks at rooms whose first labels are known, by a model that is told its second ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import small_model
import torch
from torch import nn

from fourd_perception import checkpoint
from fourd_perception.checkpoint import Checkpoint
from fourd_perception.closer_look import CloserLook, Seen
from fourd_perception.errors import InputError
from fourd_perception.pipeline import SegmentationConfig, SegmentationPipeline
from fourd_perception.stream.frame import SECOND, UNLABELLED, Frame

ARM, LEG, FLOOR, WALL = range(4)
NAMES = ("arm", "leg", "floor", "wall")
SHOWN = 64


class SaysLeg(nn.Module):
    """Keeps what it is shown; all of it is a leg."""

    def __init__(self, score: float = 5.0) -> None:
        super().__init__()
        self.shown: list[torch.Tensor] = []
        self._logits = torch.tensor([0.0, score, 0.0, 0.0])

    def check_input(self, frames: int, points: int) -> None:
        assert (frames, points) == (3, SHOWN)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        self.shown.append(clip)
        return self._logits.expand(*clip.shape[:3], 4)


def looker(model: nn.Module) -> CloserLook:
    card = small_model.card(
        task="semantic_segmentation", classes=NAMES, background=("floor", "wall"),
        preprocess=small_model.PreprocessConfig(points=SHOWN, unit_scale=2.0),
    )  # fmt: skip
    return CloserLook(Checkpoint(card, model), 3)  # type: ignore[arg-type]


def blob(centre, count=150, size=0.8, seed=0):
    """A box of points, so dense that it is one body."""
    random = np.random.default_rng(seed)
    return (random.random((count, 3)) * size - size / 2 + centre).astype(np.float32)


def seen(*parts, second_best=WALL):
    """A frame of (points, label) pairs; the model was shown all of it, in half metres."""
    points = np.concatenate([one for one, _ in parts])
    labels = np.repeat([label for _, label in parts], [len(one) for one, _ in parts])
    logits = torch.zeros(len(points), 4)
    logits[:, second_best] = 1.0
    logits[torch.arange(len(points)), torch.from_numpy(labels)] = 3.0
    return Seen(points, torch.from_numpy(points * np.float32(2)), logits, 7)


def room():
    return np.random.default_rng(1).random((600, 3)).astype(np.float32) * 4 + np.float32(5)


PERSON, NEIGHBOUR, CRUMB = blob((0, 0, 2)), blob((3, 0, 2), seed=2), blob((0, 0, 9), 4, 0.1)


def test_a_body_has_the_second_looks_labels_and_the_rest_the_firsts():
    model = SaysLeg()
    clip = [seen((room(), FLOOR), (PERSON, ARM))] * 3
    for place in range(3):
        answer = looker(model).labels(clip, [place])[place]
        assert answer.labels.tolist() == [FLOOR] * 600 + [LEG] * 150
        first = 1 - np.exp(3) / (np.exp(3) + np.exp(1) + 2)
        second = 1 - np.exp(5) / (np.exp(5) + 3)
        np.testing.assert_allclose(1 - answer.confidence[:600], first, rtol=1e-4)
        np.testing.assert_allclose(1 - answer.confidence[600:], second, rtol=1e-4)
    for shown in model.shown:
        assert shown.shape == (1, 3, SHOWN, 3)
        units = {tuple(one) for one in (PERSON * np.float32(2)).tolist()}
        assert {tuple(one) for one in shown.flatten(0, 2).tolist()} <= units  # nothing of the room


def test_distances_are_to_what_was_shown_last():
    """A hundredth of a metre beside the first look's sample, and the second sees the points."""
    body = blob((0, 0, 2), SHOWN)
    one = seen((room(), FLOOR), (body, ARM))
    moved = replace(one, sample=one.sample + 0.02)
    answer = looker(SaysLeg()).labels([moved] * 3, [2])[2]
    assert (answer.distance[-SHOWN:] == 0).all()  # all of them are shown, in twos of a metre
    assert (answer.distance[:600] > 0).all()


def test_two_people_are_both_looked_at_and_a_crumb_becomes_background():
    model = SaysLeg()
    frame = seen((room(), FLOOR), (PERSON, ARM), (NEIGHBOUR, ARM), (CRUMB, ARM))
    answer = looker(model).labels([frame] * 3, [0, 2])
    assert sorted(answer) == [0, 2]
    for one in answer.values():
        assert one.labels.tolist() == [FLOOR] * 600 + [LEG] * 300 + [WALL] * 4
    (shown,) = model.shown
    at = shown[0, :, :, 0] / 2
    assert ((at > 1.5).any(1) & (at < 1.5).any(1)).all() and (shown[..., 2] < 6).all()


def test_part_of_a_person_at_the_border_of_the_image_is_a_body():
    part = PERSON[PERSON[:, 0] > 0.2]
    answer = looker(SaysLeg()).labels([seen((room(), FLOOR), (part, ARM))] * 3, [1])[1]
    assert answer.labels.tolist() == [FLOOR] * 600 + [LEG] * len(part)


def test_without_foreground_the_first_look_stands():
    model = SaysLeg()
    clip = [seen((room(), FLOOR))] * 3
    assert (looker(model).labels(clip, [2])[2].labels == FLOOR).all()
    assert not model.shown


def test_people_who_were_cut_out_before_are_not_looked_at_again():
    model = SaysLeg()
    clip = [seen((PERSON, ARM), (room()[:140], FLOOR), (CRUMB, ARM))] * 3
    answer = looker(model).labels(clip, [2])[2]
    assert answer.labels.tolist() == [ARM] * 150 + [FLOOR] * 140 + [ARM] * 4
    assert not model.shown
    looker(model).labels([seen((PERSON, ARM), (room()[:160], FLOOR))] * 3, [2])
    assert len(model.shown) == 1


def test_an_empty_frame_has_no_labels_and_its_neighbour_stands_in():
    model = SaysLeg()
    full = seen((room(), FLOOR), (PERSON, ARM))
    empty = replace(full, points=np.empty((0, 3), np.float32))
    assert looker(model).labels([empty] * 3, [0, 1, 2]) == {}
    assert not model.shown
    answer = looker(model).labels([full, empty, full], [0, 1, 2])
    assert sorted(answer) == [0, 2]
    (shown,) = model.shown
    assert torch.equal(shown[0, 1], shown[0, 0])


def test_a_frame_without_foreground_among_others_keeps_its_first_labels():
    nobody = seen((room(), FLOOR))
    answer = looker(SaysLeg()).labels(
        [seen((room(), FLOOR), (PERSON, ARM)), nobody, nobody], [0, 2]
    )
    assert (answer[0].labels[600:] == LEG).all() and (answer[2].labels == FLOOR).all()


def test_of_a_large_cloud_that_is_context_some_points_do():
    wide = np.random.default_rng(3).random((90_000, 3)).astype(np.float32) * 4 + np.float32(5)
    few = seen((room()[:60], FLOOR), (PERSON[:50], ARM))
    large = replace(few, points=np.concatenate((wide, np.tile(PERSON, (100, 1)))))
    model, again = SaysLeg(), SaysLeg()
    answer = looker(model).labels([large, large, few], [2])[2]
    looker(again).labels([large, large, few], [2])
    assert answer.labels.tolist() == [FLOOR] * 60 + [LEG] * 50
    assert torch.equal(model.shown[0], again.shown[0])


def test_scores_that_are_no_numbers_are_not_labels():
    with pytest.raises(ValueError, match="small: scores that are not finite numbers"):
        looker(SaysLeg(np.nan)).labels([seen((room(), FLOOR), (PERSON, ARM))] * 3, [2])


@pytest.fixture(params=[0, 1, 2])
def latency(request):
    return request.param


@pytest.fixture
def model(tmp_path, latency):
    """Random weights that call a seventh of the frame in question foreground."""
    path = small_model.save_segmenter(tmp_path / "a.safetensors", background=("idle", "wave"))
    loaded = checkpoint.load(path)
    points = [np.nan_to_num(frame.points) for frame in frames(3)]
    with torch.no_grad():
        logits = loaded.model(torch.from_numpy(np.stack(points))[None])[0, 2 - latency]
        ahead = logits[:, 2] - logits[:, :2].amax(-1)
        loaded.model.head.bias[2] -= ahead.quantile(0.85)
    return loaded


def frames(count):
    """A wall and, before it, something less wide than the first look samples."""
    found = []
    for number in range(count):
        random = np.random.default_rng(number)
        points = random.random((500, 3)).astype(np.float32)
        points[:430] *= (6, 6, 0.1)
        points[::9] = np.nan
        found.append(Frame(number * SECOND // 30, "camera", points))
    return found


def pipeline(model, **values):
    return SegmentationPipeline(model, SegmentationConfig(closer_look=True, **values))


def test_the_pipeline_says_what_two_looks_say(model, latency):
    stream, answers = frames(4), []
    two = pipeline(model, latency_frames=latency, max_distance=10)
    one = SegmentationPipeline(model, SegmentationConfig(latency_frames=latency, max_distance=10))
    for frame in stream:
        answers.append((two.push(frame), one.push(frame)))
    for closer, plain in answers[2:]:
        assert closer.frame is plain.frame
        there = np.isfinite(plain.frame.points).all(1)
        assert ((closer.labels == UNLABELLED) == ~there).all()
        assert ((closer.confidence == 0) == ~there).all()
    assert any(
        not np.array_equal(closer.confidence, plain.confidence) for closer, plain in answers[2:]
    )
    near = pipeline(model, latency_frames=latency, max_distance=0.05)
    some = [near.push(frame) for frame in stream][-1].labels
    both = (some != UNLABELLED) & there
    assert 0 < both.sum() < there.sum()
    assert np.array_equal(some[both], answers[-1][0].labels[both])


def test_a_replay_of_two_looks_gives_the_same_bits_wherever_it_starts(model, latency):
    stream = frames(7)
    first, second = (pipeline(model, latency_frames=latency) for _ in range(2))
    assert second.warm_up() > 0
    answers = {one.stamp: one for one in map(first.push, stream) if one}
    for one in filter(None, map(second.push, stream[2:])):
        assert np.array_equal(one.labels, answers[one.stamp].labels)
        assert np.array_equal(one.confidence, answers[one.stamp].confidence)


def test_empty_clouds_go_through_two_looks(model, latency):
    stream = frames(5)
    stream[3] = Frame(stream[3].stamp, "camera", np.full((7, 3), np.nan, np.float32))
    stream[4] = Frame(stream[4].stamp, "camera", np.empty((0, 3), np.float32))
    running = pipeline(model, max_distance=10, latency_frames=latency)
    answers = {one.stamp: one.labels for one in map(running.push, stream) if one}
    sizes = [500, 500, 500, 7, 0][2 - latency : 5 - latency]
    assert [len(labels) for labels in answers.values()] == sizes
    for frame in stream:
        if frame.stamp in answers:
            holes = ~np.isfinite(frame.points).all(1)
            assert np.array_equal(answers[frame.stamp] == UNLABELLED, holes)


def test_a_model_without_background_cannot_look_closer(tmp_path):
    plain = checkpoint.load(small_model.save_segmenter(tmp_path / "a.safetensors"))
    with pytest.raises(InputError, match="closer_look: small does not say .* are background: set"):
        pipeline(plain)


@pytest.mark.parametrize("background", [("roof",), small_model.CLASSES])
def test_a_card_whose_background_is_not_some_of_its_classes_is_refused(background):
    with pytest.raises(
        ValueError, match="background: expected some of the classes .* not all; got"
    ):
        small_model.card(background=background)
