"""From prepared videos to what VG4D learns from: clouds and images of one window, and a label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourd_perception.errors import InputError
from training import scoring
from training.align_config import AlignConfig
from training.config import AugmentConfig
from training.datasets.labelled_video import NO_LABEL
from training.datasets.prepared import PreparedVideos, Video
from training.image_views import AS_IT_IS, ImageViewConfig, image_view, images_of
from training.trainer import Batch
from training.transforms import augment, cut_clip, segment_indices, window_indices


@dataclass(frozen=True, kw_only=True)
class AlignBatch(Batch):
    """clips: (B, L, N, 3) float32; labels: (B,) int64; images: (B, F, 3, S, S), of those frames."""

    images: Tensor


@dataclass(frozen=True)
class PairedClip:
    """points: (L, N, 3) float32, model units. images: (F, 3, S, S) float32 in 0 to 1.

    is_empty: no frame had a point in the crop.
    """

    video: Video
    points: NDArray[np.float32]
    images: NDArray[np.float32]
    is_empty: bool


def training_clip(
    videos: PreparedVideos,
    video: Video,
    config: AlignConfig,
    frames: int,
    random: np.random.Generator,
) -> PairedClip:
    """A clip of a video, cut and changed at random, with `frames` images.

    Raises InputError where there are none.
    """
    if random.random() < config.sampling.window_share:
        step = scoring.video_step(videos, config.clip)
        speed = config.sampling.speed ** random.uniform(-1, 1)
        indices = window_indices(video.frames, config.clip.frames, step * speed, random)
    else:
        indices = segment_indices(video.frames, config.clip.frames, random)
    seen = indices[segment_indices(len(indices), frames, random)]
    changes = config.augment, config.image_view
    return _cut(videos, video, (indices, seen), config, changes, random)


def held_out_clip(
    videos: PreparedVideos, video: Video, config: AlignConfig, frames: int
) -> PairedClip:
    """The clip that a video is judged by, as it is, and the same every time.

    Its first window if all training clips are windows, else the middles of its segments; of their
    frames the images are the middles of segments.
    """
    if config.sampling.window_share == 1:
        step = scoring.video_step(videos, config.clip)
        indices = window_indices(video.frames, config.clip.frames, step)
    else:
        indices = segment_indices(video.frames, config.clip.frames)
    seen = indices[segment_indices(len(indices), frames)]
    random = np.random.default_rng([config.seed, video.first, video.number])
    return _cut(videos, video, (indices, seen), config, (None, AS_IT_IS), random)


def _cut(
    videos: PreparedVideos,
    video: Video,
    indices: tuple[NDArray[np.int64], NDArray[np.int64]],
    config: AlignConfig,
    changes: tuple[AugmentConfig | None, ImageViewConfig],
    random: np.random.Generator,
) -> PairedClip:
    clip = cut_clip(videos, video, indices[0], config.preprocess, random)
    points = clip.points if changes[0] is None else augment(clip.points, changes[0], random)
    images = image_view(
        images_of(videos, video, indices[1]), config.preprocess.image_size, changes[1], random
    )
    return PairedClip(video, points, images, clip.is_empty)


def joined(clips: Sequence[PairedClip], labels: Mapping[int, int]) -> AlignBatch:
    """Clips as a batch. labels: from a video's label to its number among those trained on.

    Raises InputError if none of them has a point inside of the crop.
    """
    names = tuple(clip.video.name for clip in clips)
    if all(clip.is_empty for clip in clips):
        raise InputError(
            f"no point of {', '.join(names)[:80]} is inside of preprocess.crop: is it in metres, "
            "of the camera's own frame?"
        )
    return AlignBatch(
        clips=torch.from_numpy(np.stack([clip.points for clip in clips])),
        labels=torch.tensor([labels.get(clip.video.label, NO_LABEL) for clip in clips]),
        names=names,
        images=torch.from_numpy(np.stack([clip.images for clip in clips])),
    )
