"""From prepared videos to what CrossVideo learns from: two views of their points, and images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training import scoring
from training.config import AugmentConfig
from training.crossvideo import CrossBatch
from training.datasets.labelled_video import NO_LABEL
from training.datasets.prepared import PreparedVideos, Video
from training.image_views import AS_IT_IS, ImageViewConfig, image_view, images_of
from training.pretrain_config import PretrainConfig
from training.transforms import augment, cut_clip, segment_indices, window_indices
from training.views import View, view


@dataclass(frozen=True)
class CrossClip:
    """A clip of L frames. first: (L, N, 3) float32, model units.

    images: (L, 3, S, S) float32; None where nothing is contrasted with them.
    """

    video: Video
    first: NDArray[np.float32]
    second: View
    images: NDArray[np.float32] | None


def training_clip(
    videos: PreparedVideos, video: Video, config: PretrainConfig, random: np.random.Generator
) -> CrossClip:
    """A clip of a video, cut and changed at random.

    Raises InputError where points are contrasted with images, and it has none.
    """
    if random.random() < config.sampling.window_share:
        step = scoring.video_step(videos, config.clip)
        speed = config.sampling.speed ** random.uniform(-1, 1)
        indices = window_indices(video.frames, config.clip.frames, step * speed, random)
    else:
        indices = segment_indices(video.frames, config.clip.frames, random)
    return _cut(videos, video, indices, config, config.first_view, config.image_view, random)


def held_out_clip(videos: PreparedVideos, video: Video, config: PretrainConfig) -> CrossClip:
    """The clip that a video is judged by, the same every time: as it is, but for the second view.

    A window from the first frame if all training clips are windows, else segments of all of it.
    """
    if config.sampling.window_share == 1:
        step = scoring.video_step(videos, config.clip)
        indices = window_indices(video.frames, config.clip.frames, step)
    else:
        indices = segment_indices(video.frames, config.clip.frames)
    random = np.random.default_rng([config.seed, video.first, video.number])
    return _cut(videos, video, indices, config, AugmentConfig(scale=0.0), AS_IT_IS, random)


def _cut(
    videos: PreparedVideos,
    video: Video,
    indices: NDArray[np.int64],
    config: PretrainConfig,
    first: AugmentConfig,
    images: ImageViewConfig,
    random: np.random.Generator,
) -> CrossClip:
    points = cut_clip(videos, video, indices, config.preprocess, random).points
    again = points
    if config.resample:
        again = cut_clip(videos, video, indices, config.preprocess, random).points
    views = augment(points, first, random), view(again, config.view, random)
    if not config.loss.cross:
        return CrossClip(video, *views, None)
    seen = images_of(videos, video, indices)
    return CrossClip(video, *views, image_view(seen, config.preprocess.image_size, images, random))


def joined(clips: Sequence[CrossClip]) -> CrossBatch:
    """Clips as a batch. All frames of a clip are in its first view, and have an image, or none."""

    def stacked(arrays: Sequence[NDArray]) -> Tensor:
        return torch.from_numpy(np.stack(arrays))

    every = torch.arange(len(clips[0].first)).expand(len(clips), -1)
    images = [clip.images for clip in clips if clip.images is not None]
    return CrossBatch(
        clips=stacked([clip.first for clip in clips]),
        labels=torch.full((len(clips),), NO_LABEL),
        names=tuple(clip.video.name for clip in clips),
        second=stacked([clip.second.points for clip in clips]),
        images=stacked(images) if images else None,
        frames=every,
        second_frames=stacked([clip.second.frames for clip in clips]),
        image_frames=every if images else None,
    )
