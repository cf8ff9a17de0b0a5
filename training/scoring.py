"""What a model says of whole videos, from what it says of clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from fourd_perception.closer_look import CloserLook, Seen
from fourd_perception.errors import InputError
from fourd_perception.evaluation import metrics
from fourd_perception.models import ClipModel
from fourd_perception.ops.interpolate import interpolate
from fourd_perception.preprocess import PreprocessConfig
from fourd_perception.stream.window import ClipConfig
from training.datasets.labelled_video import NO_LABEL, NO_POINT_LABEL
from training.datasets.prepared import PreparedVideos, Video
from training.image_views import AS_IT_IS, cut_image_clip
from training.transforms import covering_windows, cut_clip, every_window, segment_indices

_POINTS_AT_ONCE = 16 * 24 * 1024
"""Or pixels, of the clips that are answered together."""

Cuts = Callable[[int, Video], Sequence[NDArray[np.int64]]]


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
    model: ClipModel,
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

    def cuts(number: int, video: Video) -> Sequence[NDArray[np.int64]]:
        if protocol == "segments":
            return segment_clips(video.frames, clip.frames, views, seed + number)
        return every_window(video.frames, clip.frames, step, stride)

    total = np.zeros((len(chosen), len(videos.classes)))
    count = np.zeros(len(chosen))
    for number, _, logits, _ in _answers(model, videos, chosen, cuts, preprocess, seed, progress):
        total[number] += torch.softmax(logits, 0).double().numpy()
        count[number] += 1
    return total / count[:, None]


def frame_scores(
    model: ClipModel,
    videos: PreparedVideos,
    chosen: Sequence[Video],
    clip: ClipConfig,
    preprocess: PreprocessConfig,
    *,
    stride: int = 0,
    seed: int = 0,
    progress: bool = False,
) -> list[NDArray[np.float64]]:
    """For each video (frames, classes) float64: the mean softmax of the windows that hold a frame.

    stride: clip frames between windows; 0: half a window. Every frame is in a window: where the
    clips take only every n-th, there are windows for those between.
    """
    step = video_step(videos, clip)
    apart = min(stride or max(1, clip.frames // 2), clip.frames) * step

    def cuts(_: int, video: Video) -> Sequence[NDArray[np.int64]]:
        return covering_windows(video.frames, clip.frames, step, apart)

    totals = [np.zeros((video.frames, len(videos.classes))) for video in chosen]
    for number, indices, logits, _ in _answers(
        model, videos, chosen, cuts, preprocess, seed, progress
    ):
        np.add.at(totals[number], indices, torch.softmax(logits, -1).double().numpy())
    return [total / total.sum(axis=1, keepdims=True) for total in totals]


def point_classes(
    model: ClipModel,
    videos: PreparedVideos,
    chosen: Sequence[Video],
    clip: ClipConfig,
    preprocess: PreprocessConfig,
    *,
    share: float = 1.0,
    seed: int = 0,
    closer: CloserLook | None = None,
    progress: bool = False,
) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    """A video's number, a frame's index and the class of each of its points, (N,) int64.

    What the model says of the sampled points is carried to all points of a frame by three-nearest
    interpolation of the logits, as the robot does it. Each frame comes once, video after video;
    frames without points do not come. share: of the windows of each video, evenly spread; at least
    one. closer: what looks a second time, if anything does.
    """
    step = video_step(videos, clip)

    def cuts(_: int, video: Video) -> Sequence[NDArray[np.int64]]:
        windows = covering_windows(video.frames, clip.frames, step, clip.frames * step)
        kept = max(1, round(share * len(windows)))
        return [windows[at] for at in np.linspace(0, len(windows) - 1, kept).astype(int)]

    seen: set[tuple[int, int]] = set()
    for number, indices, logits, points in _answers(
        model, videos, chosen, cuts, preprocess, seed, progress
    ):
        frames = [
            videos.frame(chosen[number], index, with_image=False).points
            for index in indices.tolist()
        ]
        found: Mapping[int, NDArray[np.int64]] = {}
        if closer is not None:
            found = _by_two_looks(closer, frames, points, logits, [seed, number, *indices.tolist()])
        for at, (index, everywhere) in enumerate(zip(indices.tolist(), frames)):
            if (number, index) in seen or not len(everywhere):
                continue
            seen.add((number, index))
            if closer is not None:
                yield number, index, found[at]
                continue
            targets = torch.from_numpy(everywhere * np.float32(preprocess.unit_scale))
            carried = interpolate(logits[at][None], points[at][None], targets[None])[0]
            yield number, index, carried.argmax(1).numpy()


def _by_two_looks(
    closer: CloserLook,
    frames: Sequence[NDArray[np.float32]],
    samples: torch.Tensor,
    logits: torch.Tensor,
    seed: list[int],
) -> dict[int, NDArray[np.int64]]:
    """The classes of all points of a clip's frames that have some, by their places."""
    seen = [
        Seen(frame, sample, scores, [*seed, at])
        for at, (frame, sample, scores) in enumerate(zip(frames, samples, logits))
    ]
    carried = closer.labels(seen, range(len(seen)))
    return {at: one.labels.cpu().numpy() for at, one in carried.items()}


def point_confusion(
    model: ClipModel,
    videos: PreparedVideos,
    chosen: Sequence[Video],
    clip: ClipConfig,
    preprocess: PreprocessConfig,
    *,
    share: float = 1.0,
    closer: CloserLook | None = None,
    progress: bool = False,
) -> NDArray[np.int64]:
    """(K, K + 1) counts of the points of `point_classes`, as `metrics.label_confusion` has them."""
    classes = len(videos.point_classes)
    counts = np.zeros((classes, classes + 1), np.int64)
    for number, index, answers in point_classes(
        model, videos, chosen, clip, preprocess, share=share, closer=closer, progress=progress
    ):
        truth = videos.frame(chosen[number], index, with_image=False).point_labels
        if truth is not None:
            counts += metrics.label_confusion(
                truth=truth, answers=answers, classes=classes, ignore=(NO_POINT_LABEL,)
            )
    return counts


def accuracy(scores: NDArray[np.float64], chosen: Sequence[Video]) -> float:
    """Percent of the labelled videos whose best class is theirs."""
    labels = np.array([video.label for video in chosen])
    right = (scores.argmax(axis=1) == labels)[labels != NO_LABEL]
    return float(100 * right.mean()) if len(right) else float("nan")


def _answers(
    model: ClipModel,
    videos: PreparedVideos,
    chosen: Sequence[Video],
    cuts: Cuts,
    preprocess: PreprocessConfig,
    seed: int,
    progress: bool,
) -> Iterator[tuple[int, NDArray[np.int64], torch.Tensor, torch.Tensor]]:
    """For every clip its video's number, its frames, its logits, and what the model was given."""
    work = [
        (number, indices) for number, video in enumerate(chosen) for indices in cuts(number, video)
    ]
    if not work:
        return
    sees_images = model.modality == "images"
    values = preprocess.image_size**2 if sees_images else preprocess.points
    at_once = max(1, _POINTS_AT_ONCE // (len(work[0][1]) * values))

    def cut(number: int, indices: NDArray[np.int64], place: int) -> NDArray[np.float32]:
        random = np.random.default_rng([seed, number, place])
        if sees_images:
            size = preprocess.image_size
            return cut_image_clip(videos, chosen[number], indices, size, AS_IT_IS, random).content
        return cut_clip(videos, chosen[number], indices, preprocess, random).content

    device = next(model.parameters()).device
    model.eval()
    with torch.inference_mode(), tqdm(total=len(work), disable=not progress, unit="clip") as bar:
        for start in range(0, len(work), at_once):
            part = work[start : start + at_once]
            clips = [
                cut(number, indices, start + offset)
                for offset, (number, indices) in enumerate(part)
            ]
            given = torch.from_numpy(np.stack(clips))
            logits = model(given.to(device)).float().cpu()
            for (number, indices), answer, clip in zip(part, logits, given):
                yield number, indices, answer, clip
            bar.update(len(part))
