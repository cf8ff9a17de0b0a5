"""From a prepared video to a clip: which frames, and what is changed at random."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fourd_perception.preprocess import PreprocessConfig, fill_nearest, preprocess
from training.config import AugmentConfig
from training.datasets.prepared import PreparedVideos, Video


def segment_indices(
    length: int, frames: int, random: np.random.Generator | None = None
) -> NDArray[np.int64]:
    """One frame of each of `frames` equal segments of a video (VG4D, section III-C).

    A random frame of each, or the middle one where `random` is None. Returns (frames,) int64,
    not decreasing, in 0..length - 1; frames repeat where the video is shorter than the clip.
    """
    edges = np.arange(frames + 1) * (length / frames)
    within = 0.5 if random is None else random.random(frames)
    return np.minimum((edges[:-1] + within * np.diff(edges)).astype(np.int64), length - 1)


def window_indices(
    length: int, frames: int, step: float, random: np.random.Generator | None = None
) -> NDArray[np.int64]:
    """`frames` frames, `step` apart, from a random start (from the first where `random` is None).

    Returns (frames,) int64. Where the video is too short its last frame is held.
    """
    spare = max(0.0, length - 1 - (frames - 1) * step)
    start = 0.0 if random is None else random.random() * spare
    return np.minimum(np.rint(start + np.arange(frames) * step).astype(np.int64), length - 1)


def every_window(length: int, frames: int, step: int, stride: int) -> list[NDArray[np.int64]]:
    """All windows of a video, `stride` frames apart; one, its last frame held, if it is short."""
    last_start = max(0, length - 1 - (frames - 1) * step)
    offsets = np.arange(frames) * step
    return [np.minimum(start + offsets, length - 1) for start in range(0, last_start + 1, stride)]


def cut_clip(
    videos: PreparedVideos,
    video: Video,
    indices: NDArray[np.int64],
    config: PreprocessConfig,
    random: np.random.Generator,
) -> NDArray[np.float32]:
    """(frames, points, 3) float32, model units; zeros where no frame has a point in the crop.

    Frames that repeat are sampled once, as a stream's are.
    """
    sampled = {
        index: preprocess(videos.frame(video, index), config, random)
        for index in np.unique(indices).tolist()
    }
    clip = fill_nearest([sampled[index] for index in indices.tolist()])
    if clip is None:
        return np.zeros((len(indices), config.points, 3), np.float32)
    return np.stack(clip)


def augment(
    clip: NDArray[np.float32], config: AugmentConfig, random: np.random.Generator
) -> NDArray[np.float32]:
    """clip: (frames, points, 3) float32, optical frame (y is vertical). Returns the same shape."""
    pivot = clip.mean(axis=(0, 1), keepdims=True)
    moved = clip - pivot
    turn, tilt = np.deg2rad(random.uniform(-1, 1, 2) * (config.rotation, config.tilt))
    about_y = np.array(
        [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
    )
    about_x = np.array(
        [[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]]
    )
    scale = random.uniform(1 - config.scale, 1 + config.scale, 3)
    if random.random() < config.mirror:
        scale[0] = -scale[0]
    matrix = (about_x @ about_y) * scale
    moved = moved @ matrix.T.astype(np.float32)
    if config.jitter:
        moved = moved + random.normal(0, config.jitter, moved.shape)
    return (moved + pivot).astype(np.float32)
