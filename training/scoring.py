"""A video's score from its clips'."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from fourd_perception.errors import InputError
from fourd_perception.preprocess import PreprocessConfig
from fourd_perception.stream.window import ClipConfig
from training.datasets.prepared import PreparedVideos, Video
from training.transforms import cut_clip, every_window, segment_indices

_CLIPS_AT_ONCE = 16


def video_step(videos: PreparedVideos, clip: ClipConfig) -> int:
    """The prepared frames from one frame of a clip to the next. Raises InputError if not whole."""
    step = clip.frame_step * videos.rate / clip.rate
    if step < 1 or abs(step - round(step)) > 1e-6:
        raise InputError(
            f"the prepared videos have {videos.rate:g} frames a second; a clip of every "
            f"{clip.frame_step} frames at {clip.rate:g} Hz does not fall on them: "
            "change clip.frame_step, or prepare the videos at another rate"
        )
    return round(step)


def segment_clips(length: int, frames: int, views: int, seed: int) -> list[NDArray[np.int64]]:
    """The middle frame of every segment; for more views, random frames of the segments as well."""
    random = np.random.default_rng(seed)
    return [segment_indices(length, frames, random if view else None) for view in range(views)]


def video_scores(
    model: nn.Module,
    videos: PreparedVideos,
    chosen: Sequence[Video],
    clip: ClipConfig,
    preprocess: PreprocessConfig,
    *,
    protocol: str,
    views: int = 1,
    stride: int = 1,
    seed: int = 0,
    progress: bool = False,
) -> NDArray[np.float64]:
    """(V, classes) float64: the mean softmax of each video's clips.

    protocol "segments": `views` clips by segments over the whole video (VG4D). "windows": every
    window, `stride` frames apart (PSTNet's test, and what the robot sees).
    """
    step = video_step(videos, clip)
    work: list[tuple[int, NDArray[np.int64]]] = []
    for number, video in enumerate(chosen):
        cuts = (
            segment_clips(video.frames, clip.frames, views, seed + number)
            if protocol == "segments"
            else every_window(video.frames, clip.frames, step, stride)
        )
        work.extend((number, indices) for indices in cuts)
    classes = len(videos.classes)
    total, count = np.zeros((len(chosen), classes)), np.zeros(len(chosen))
    model.eval()
    with torch.inference_mode(), tqdm(total=len(work), disable=not progress, unit="clip") as bar:
        for start in range(0, len(work), _CLIPS_AT_ONCE):
            part = work[start : start + _CLIPS_AT_ONCE]
            clips = [
                cut_clip(
                    videos, chosen[number], indices, preprocess,
                    np.random.default_rng([seed, number, start + offset]),
                )
                for offset, (number, indices) in enumerate(part)
            ]  # fmt: skip
            scores = torch.softmax(model(torch.from_numpy(np.stack(clips))), dim=1).double().numpy()
            for (number, _), score in zip(part, scores):
                total[number] += score
                count[number] += 1
            bar.update(len(part))
    return total / count[:, None]


def accuracy(scores: NDArray[np.float64], chosen: Sequence[Video]) -> float:
    """Percent of the videos whose best class is theirs."""
    labels = np.array([video.label for video in chosen])
    return float(100 * (scores.argmax(axis=1) == labels).mean())
