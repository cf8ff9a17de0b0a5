"""What CrossVideo has learnt, on videos held out: whether it collapses, and what it can tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from training import monitors
from training.crossvideo import CrossVideo
from training.datasets.labelled_video import NO_LABEL
from training.datasets.prepared import PreparedVideos, Video
from training.pretrain_clips import held_out_clip, joined
from training.pretrain_config import PretrainConfig

_NEIGHBOURS = 5
"""Whose labels make a video's."""


@dataclass
class Means:
    """The means of an epoch's figures, by name."""

    _sums: dict[str, float] = field(default_factory=dict)
    _count: int = 0

    def add(self, figures: dict[str, Tensor]) -> None:
        """Figures () of one batch."""
        for name, value in figures.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)
        self._count += 1

    def take(self) -> dict[str, float]:
        """The means of what was added since this was last asked."""
        means = {name: total / self._count for name, total in self._sums.items()}
        self._sums, self._count = {}, 0
        return means


@dataclass(frozen=True)
class _Answers:
    """Of V videos: the encoder's features (V, C), and what the heads make of them (V, C').

    images: None where nothing is contrasted with them.
    """

    features: Tensor
    first: Tensor
    second: Tensor
    images: Tensor | None


def holdout_figures(
    model: CrossVideo,
    videos: PreparedVideos,
    holdout: Sequence[Video],
    train: Sequence[Video],
    config: PretrainConfig,
) -> dict[str, float]:
    """Figures by name, of the videos held out; none if there are not two of them.

    holdout_alignment of the views, holdout_alignment_images of points and images, and
    holdout_uniformity are of the projected space; holdout_rank is of the encoder's features, and so
    is holdout_knn, the percent whose label the nearest training videos tell (where there are
    labels). holdout_retrieval: percent of points that find their own images, and
    holdout_retrieval_points: of images that find their own points; chance is 100 / V. Without
    images there are those of the points alone.
    """
    if len(holdout) < 2:
        return {}
    torch.set_float32_matmul_precision("highest")
    model.eval()
    seen = _answers(model, videos, holdout, config)
    figures = {
        "holdout_alignment": monitors.alignment(seen.first, seen.second),
        "holdout_uniformity": monitors.uniformity(seen.first),
        "holdout_rank": monitors.effective_rank(seen.features),
    }
    if seen.images is not None:
        points = (seen.first + seen.second) / 2
        figures |= {
            "holdout_alignment_images": monitors.alignment(points, seen.images),
            "holdout_uniformity_images": monitors.uniformity(seen.images),
            "holdout_retrieval": monitors.top_1_retrieval(seen.first, seen.images),
            "holdout_retrieval_points": monitors.top_1_retrieval(seen.images, seen.first),
        }
    known = _spread([video for video in train if video.label != NO_LABEL], config.neighbours_among)
    asked = [number for number, video in enumerate(holdout) if video.label != NO_LABEL]
    if known and asked:
        figures["holdout_knn"] = monitors.knn_accuracy(
            _features(model, videos, known, config),
            torch.tensor([video.label for video in known]),
            seen.features[asked],
            torch.tensor([holdout[number].label for number in asked]),
            _NEIGHBOURS,
        )
    return figures


@torch.no_grad()
def _answers(
    model: CrossVideo, videos: PreparedVideos, chosen: Sequence[Video], config: PretrainConfig
) -> _Answers:
    found: list[tuple[Tensor, ...]] = []
    for part in _parts(chosen, config.batch_size):
        batch = joined([held_out_clip(videos, video, config) for video in part]).to(_device(model))
        features, streams = model.points.encode(batch.clips).video, model.project(batch)
        found.append((features, *(one.video for one in streams if one is not None)))
    features, first, second, *images = (torch.cat(one).cpu() for one in zip(*found))
    return _Answers(features, first, second, images[0] if images else None)


@torch.no_grad()
def _features(
    model: CrossVideo, videos: PreparedVideos, chosen: Sequence[Video], config: PretrainConfig
) -> Tensor:
    found = []
    for part in _parts(chosen, config.batch_size):
        batch = joined([held_out_clip(videos, video, config) for video in part])
        found.append(model.points.encode(batch.clips.to(_device(model))).video.cpu())
    return torch.cat(found)


def _parts(chosen: Sequence[Video], size: int) -> list[Sequence[Video]]:
    return [chosen[start : start + size] for start in range(0, len(chosen), size)]


def _spread(chosen: Sequence[Video], most: int) -> Sequence[Video]:
    """`most` of them at most, evenly spread: data sets come sorted by action or by person."""
    if len(chosen) <= most:
        return chosen
    return [chosen[number * len(chosen) // most] for number in range(most)]


def _device(model: CrossVideo) -> torch.device:
    return next(model.parameters()).device
