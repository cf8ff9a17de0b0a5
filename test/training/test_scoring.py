"""Scores of whole videos, with models that answer what can be computed by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import small_model
import torch
from torch import nn

from fourd_perception.checkpoint import Checkpoint
from fourd_perception.closer_look import CloserLook
from fourd_perception.models import ClipModel
from fourd_perception.preprocess import PreprocessConfig
from fourd_perception.stream.window import ClipConfig
from training import scoring
from training.datasets.labelled_video import (
    NO_LABEL,
    NO_POINT_LABEL,
    DataSet,
    LabelledFrame,
    LabelledVideo,
    Source,
)
from training.datasets.prepared import PreparedVideos, prepare

FRAMES, CLASSES = 11, 11


def frames():
    """In frame n all points have x = n / 10; those with z below 0.5 are of class 0, others 1."""
    for number in range(FRAMES):
        points = np.random.default_rng(number).random((20 + number, 3)).astype(np.float32)
        points[:, 0] = number / 10
        labels = (points[:, 2] > 0.5).astype(np.uint8)
        labels[:2] = NO_POINT_LABEL
        yield LabelledFrame(points, number, labels)


def read():
    return [LabelledVideo(NO_LABEL, frames())]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scoring") / "p"
    names = tuple(map(str, range(CLASSES)))
    whole = DataSet(10.0, names, [Source("a", "g", "test", read)], ("low", "high"))
    prepare(whole, folder, workers=1)
    return PreparedVideos(folder)


class SaysFrame(ClipModel):
    """Which frame it sees, by the points' x: logits (B, L, 11)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, points):
        number = (points[..., 0].mean(2) * 10).round().long()
        return 20.0 * nn.functional.one_hot(number, CLASSES).float() * self.weight


class SaysHeight(SaysFrame):
    """Which side of z = 0.5 each point is on: logits (B, L, N, 2)."""

    def forward(self, points):
        above = (points[..., 2] > 0.5).float()
        return torch.stack((1 - above, above), -1) * self.weight


@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 3, 4, 30])
@pytest.mark.parametrize("stride", [0, 1, 2])
def test_every_frame_has_its_own_scores(videos, step, count, stride):
    clip = ClipConfig(frames=count, frame_step=step, rate=10.0)
    scores = scoring.frame_scores(
        SaysFrame(), videos, videos.videos, clip, PreprocessConfig(points=8), stride=stride
    )
    assert scores[0].shape == (FRAMES, CLASSES)
    assert scores[0].argmax(axis=1).tolist() == list(range(FRAMES))
    np.testing.assert_allclose(scores[0].sum(axis=1), 1)


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("count", [1, 3, 30])
def test_every_point_is_judged_once_in_its_place(videos, step, count):
    clip = ClipConfig(frames=count, frame_step=step, rate=10.0)
    preprocess = PreprocessConfig(points=40)  # more than there are: each is among them
    counts = scoring.point_confusion(SaysHeight(), videos, videos.videos, clip, preprocess)
    truth = np.concatenate([frame.point_labels for frame in frames()])
    assert counts.tolist() == [[int((truth == 0).sum()), 0, 0], [0, int((truth == 1).sum()), 0]]
    answered = list(scoring.point_classes(SaysHeight(), videos, videos.videos, clip, preprocess))
    assert sorted(index for _, index, _ in answered) == list(range(FRAMES))
    for _, index, classes in answered:
        expected = videos.frame(videos.videos[0], index).points[:, 2] > 0.5
        np.testing.assert_array_equal(classes, expected)


class ThinksAgain(SaysHeight):
    """Of what is above alone it says that it is below."""

    def forward(self, points):
        first = super().forward(points)
        return first.flip(-1) if points[..., 2].min() > 0.5 else first


@pytest.mark.parametrize("count", [1, 3, 30])
def test_every_point_is_judged_once_by_two_looks(videos, count):
    """Less than half of a frame is looked at again; where it is half or more, the first counts."""
    shown, clip = PreprocessConfig(points=40), ClipConfig(frames=count, rate=10.0)
    card = small_model.card(classes=("low", "high"), background=("low",), preprocess=shown)
    closer = CloserLook(Checkpoint(card, ThinksAgain()), count)
    asked = ThinksAgain(), videos, videos.videos, clip, shown
    plain = {index: one for _, index, one in scoring.point_classes(*asked)}
    answered = list(scoring.point_classes(*asked, closer=closer))
    assert sorted(index for _, index, _ in answered) == list(range(FRAMES))
    again = [index for _, index, one in answered if not one.any()]
    assert set(again) >= {index for index, one in plain.items() if one.mean() < 0.5}
    assert 0 < len(again) < FRAMES
    for _, index, classes in answered:
        if index not in again:
            np.testing.assert_array_equal(classes, plain[index])
    counts = scoring.point_confusion(*asked, closer=closer)
    assert counts[1, 0] == sum((frame.point_labels == 1).sum() for n, frame in enumerate(frames())
                               if n in again)  # fmt: skip


def test_scores_do_not_depend_on_chance(videos):
    clip, preprocess = ClipConfig(frames=3, rate=10.0), PreprocessConfig(points=5)

    class Mean(SaysFrame):
        def forward(self, points):
            to_classes = torch.randn(3, CLASSES, generator=torch.Generator().manual_seed(0))
            return points.mean(2) @ to_classes

    first, again = (
        scoring.frame_scores(Mean(), videos, videos.videos, clip, preprocess)[0] for _ in range(2)
    )
    np.testing.assert_array_equal(first, again)


def test_videos_without_a_label_are_not_judged(videos):
    scores = np.eye(CLASSES)[[3, 4]]
    video = videos.videos[0]
    labelled = replace(video, label=3)
    assert scoring.accuracy(scores, [labelled, video]) == 100
    assert np.isnan(scoring.accuracy(scores[:1], [video]))
