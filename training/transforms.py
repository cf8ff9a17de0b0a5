"""From a prepared video to a clip: which frames, and what is changed at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourd_perception.preprocess import PreprocessConfig, fill_nearest, sample_indices
from training.config import AugmentConfig
from training.datasets.labelled_video import NO_LABEL, NO_POINT_LABEL, LabelledFrame
from training.datasets.prepared import PreparedVideos, Video


@dataclass(frozen=True)
class Clip:
    """What a model is trained on.

    points: (L, N, 3) float32, model units. labels: (L,) int64, the action of each frame.
    point_labels: (L, N) int64. NO_LABEL where there is none. is_empty: no frame had a point in the
    crop, so that all points are zeros.
    """

    points: NDArray[np.float32]
    labels: NDArray[np.int64]
    point_labels: NDArray[np.int64]
    is_empty: bool = False

    @property
    def content(self) -> NDArray[np.float32]:
        """What the model is given."""
        return self.points


@dataclass(frozen=True)
class _Sample:
    """Some points of a frame, (N, 3) in model units, and their labels, (N,) uint8 or none."""

    points: NDArray[np.float32]
    labels: NDArray[np.uint8] | None


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


def covering_windows(length: int, frames: int, step: int, stride: int) -> list[NDArray[np.int64]]:
    """As `every_window`, with more where frames would be in none: between steps, and at the end.

    stride: a multiple of `step`, at most `frames` times it. In order of their first frames.
    """
    span, offsets = (frames - 1) * step, np.arange(frames) * step
    starts: set[int] = set()
    for phase in range(min(step, length)):
        spare = max(0, length - 1 - span - phase)
        last = phase + spare - spare % step
        starts.update([*range(phase, last, stride), last])
    return [np.minimum(start + offsets, length - 1) for start in sorted(starts)]


def cut_clip(
    videos: PreparedVideos,
    video: Video,
    indices: NDArray[np.int64],
    config: PreprocessConfig,
    random: np.random.Generator,
) -> Clip:
    """The clip of a video's frames `indices`, sampled as a robot's stream is.

    Frames that repeat are sampled once. A frame in which no point is left takes the points of the
    nearest frame that has some; they have no labels then.
    """
    frames = {
        index: videos.frame(video, index, with_image=False) for index in np.unique(indices).tolist()
    }
    sampled = {index: _sample(frame, config, random) for index, frame in frames.items()}
    numbers = indices.tolist()
    filled = fill_nearest([sampled[index] for index in numbers])
    if filled is None:  # nothing in any frame
        shape = (len(numbers), config.points)
        filled = [_Sample(np.zeros((shape[1], 3), np.float32), None)] * shape[0]
    labels = [
        _point_labels(sample if sampled[index] is not None else None, config.points)
        for index, sample in zip(numbers, filled)
    ]
    return Clip(
        points=np.stack([sample.points for sample in filled]),
        labels=np.array([frames[index].label for index in numbers], np.int64),
        point_labels=np.stack(labels),
        is_empty=all(sample is None for sample in sampled.values()),
    )


def _sample(
    frame: LabelledFrame, config: PreprocessConfig, random: np.random.Generator
) -> _Sample | None:
    chosen = sample_indices(frame.points, config, random)
    if chosen is None:
        return None
    points = frame.points[chosen] * np.float32(config.unit_scale)
    return _Sample(points, None if frame.point_labels is None else frame.point_labels[chosen])


def _point_labels(sample: _Sample | None, count: int) -> NDArray[np.int64]:
    if sample is None or sample.labels is None:
        return np.full(count, NO_LABEL, np.int64)
    return np.where(sample.labels == NO_POINT_LABEL, NO_LABEL, sample.labels.astype(np.int64))


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
    if config.uniform_scale:
        scale[:] = scale[0]
    if random.random() < config.mirror:
        scale[0] = -scale[0]
    matrix = (about_x @ about_y) * scale
    moved = moved @ matrix.T.astype(np.float32)
    if config.jitter:
        moved = moved + random.normal(0, config.jitter, moved.shape)
    return (moved + pivot).astype(np.float32)
