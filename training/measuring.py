"""What a checkpoint is worth on videos: the figures of each task."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fourd_perception import checkpoint
from fourd_perception.closer_look import CloserLook
from fourd_perception.errors import InputError
from fourd_perception.evaluation import metrics
from training import scoring, tasks
from training.config import DataConfig
from training.data import split
from training.datasets.labelled_video import NO_LABEL
from training.datasets.prepared import PreparedVideos, Video
from training.seen import refuse_measured

PROTOCOLS = ("windows", "segments")
"""The first is the field's, and what a robot's sliding window sees."""
_LATENCY_CLIPS = 5


@dataclass(frozen=True)
class Options:
    """How a split is measured.

    protocols: of action_recognition, the first is `video_accuracy`. views: its clips by segments.
    stride: frames between its windows, and clip frames between those of action_segmentation; 0 for
    1 here and half a window there. compat: a last segment ends as in published code. closer_look:
    of semantic_segmentation, label by two looks.
    """

    protocols: tuple[str, ...] = PROTOCOLS
    views: int = 5
    stride: int = 0
    compat: bool = False
    closer_look: bool = False


@dataclass(frozen=True)
class Measured:
    """Figures by name (percent, if not said otherwise), and the counts they come from."""

    figures: dict[str, Any]
    confusion: NDArray[np.int64]
    protocol: str


def evaluate(
    loaded: checkpoint.Checkpoint,
    videos: PreparedVideos,
    chosen: Sequence[Video],
    options: Options,
    *,
    progress: bool = False,
) -> Measured:
    """Measure a model on some videos. Raises InputError if they have no truth."""
    measure = {
        "action_recognition": _recognition,
        "action_segmentation": _frames,
        "semantic_segmentation": _points,
    }[loaded.card.task]
    if not any(tasks.labelled(video, loaded.card.task) for video in chosen):
        raise InputError(
            "these videos have no truth (a challenge's test?): nothing to measure; "
            "--submission writes a file to hand in"
        )
    return measure(loaded, videos, chosen, options, progress)


def _recognition(
    loaded: checkpoint.Checkpoint,
    videos: PreparedVideos,
    chosen: Sequence[Video],
    options: Options,
    progress: bool,
) -> Measured:
    card, names = loaded.card, loaded.card.classes
    truth = np.array([video.label for video in chosen])
    known = truth != NO_LABEL
    figures: dict[str, Any] = {"video_accuracy": float("nan")}
    counted = {}
    for protocol in options.protocols:
        scores = scoring.video_scores(
            loaded.model, videos, chosen, card.clip, card.preprocess,
            protocol=protocol, views=options.views, stride=options.stride or 1, progress=progress,
        )  # fmt: skip
        counted[protocol] = metrics.label_confusion(
            truth=truth, answers=scores.argmax(axis=1), classes=len(names), ignore=(NO_LABEL,)
        )
        figures[f"video_accuracy_{protocol}"] = metrics.accuracy(counted[protocol])
        top = min(5, len(names))
        figures[f"top{top}_accuracy_{protocol}"] = metrics.top_k_accuracy(
            scores[known], truth[known], top
        )
        figures[f"calibration_error_{protocol}"] = metrics.expected_calibration_error(
            scores[known], truth[known]
        )
        figures[f"per_class_{protocol}"] = _by_name(
            names, metrics.per_class_accuracy(counted[protocol])
        )
    figures["video_accuracy"] = figures[f"video_accuracy_{options.protocols[0]}"]
    frames = card.clip.frames
    return Measured(
        figures,
        counted[options.protocols[0]],
        f"video_accuracy: {options.protocols[0]}. segments: {options.views} clips of {frames} "
        f"frames by segments; windows: every window of {frames} frames, {options.stride or 1} "
        "apart; mean softmax",
    )


def _frames(
    loaded: checkpoint.Checkpoint,
    videos: PreparedVideos,
    chosen: Sequence[Video],
    options: Options,
    progress: bool,
) -> Measured:
    card = loaded.card
    scores = scoring.frame_scores(
        loaded.model, videos, chosen, card.clip, card.preprocess,
        stride=options.stride, progress=progress,
    )  # fmt: skip
    answers = [one.argmax(axis=1) for one in scores]
    truth = [videos.frame_labels(video) for video in chosen]
    counted = metrics.label_confusion(
        truth=np.concatenate(truth), answers=np.concatenate(answers),
        classes=len(card.classes), ignore=(NO_LABEL,),
    )  # fmt: skip
    f1 = metrics.segment_f1(truth=truth, answers=answers, compat=options.compat)
    return Measured(
        {
            "acc": metrics.frame_accuracy(truth=truth, answers=answers),
            "edit": metrics.edit_score(truth=truth, answers=answers),
            **{f"f1_{overlap}": value for overlap, value in f1.items()},
            "per_class": _by_name(card.classes, metrics.per_class_accuracy(counted)),
            "frames": int(counted.sum()),
        },
        counted,
        f"windows of {card.clip.frames} frames, {options.stride or 'half of that'} apart, mean "
        "softmax of a frame's windows; MS-TCN's metrics"
        + (", the end of a last segment as in the public code" if options.compat else ""),
    )


def _points(
    loaded: checkpoint.Checkpoint,
    videos: PreparedVideos,
    chosen: Sequence[Video],
    options: Options,
    progress: bool,
) -> Measured:
    card = loaded.card
    closer = CloserLook(loaded, card.clip.frames) if options.closer_look else None
    counted = scoring.point_confusion(
        loaded.model, videos, chosen, card.clip, card.preprocess, closer=closer, progress=progress
    )
    return Measured(
        {
            "miou": metrics.mean_iou(counted),
            "point_accuracy": metrics.accuracy(counted),
            "per_class_iou": _by_name(card.classes, metrics.per_class_iou(counted)),
            "points": int(counted.sum()),
        },
        counted,
        f"clips of {card.clip.frames} frames one after another, {card.preprocess.points} points "
        "sampled; logits carried to every point of every frame by three-nearest interpolation; "
        + ("by two looks (closer_look); " if options.closer_look else "")
        + "mean over the classes that occur",
    )


def _by_name(names: Sequence[str], values: NDArray[np.float64]) -> dict[str, float]:
    return {name: round(float(v), 2) for name, v in zip(names, values) if not np.isnan(v)}


def choose(
    loaded: checkpoint.Checkpoint, videos: PreparedVideos, config: DataConfig, part: str
) -> list[Video]:
    """The videos of a part. Raises InputError if there is none, or the model was trained on one."""
    card = loaded.card
    names = tasks.label_names(videos, card.task)
    if names != card.classes:
        raise InputError(
            f"{card.name} knows {len(card.classes)} classes ({', '.join(card.classes[:3])}, ...), "
            f"{config.prepared} has {len(names)} ({', '.join(names[:3])}, ...): take its own data"
        )
    chosen = split(videos, config)[part]
    if not chosen:
        why = "data.holdout names none" if part == "holdout" else "the data set has none there"
        raise InputError(f"--split {part}: no videos; {why}")
    refuse_measured(card.name, card.trained_on, config, part, chosen)
    return chosen


def cost(loaded: checkpoint.Checkpoint) -> dict[str, float]:
    """Parameters, in millions, and the milliseconds of one clip alone, the median of a few."""
    card = loaded.card
    device = next(loaded.model.parameters()).device
    shape: tuple[int, ...] = (card.preprocess.points, 3)
    if loaded.model.modality == "images":
        shape = (3, card.preprocess.image_size, card.preprocess.image_size)
    clip = torch.rand(1, card.clip.frames, *shape).to(device)
    seconds = []
    with torch.inference_mode():
        for _ in range(_LATENCY_CLIPS + 1):
            started = time.perf_counter()
            loaded.model(clip).cpu()  # waits for a GPU
            seconds.append(time.perf_counter() - started)
    parameters = sum(one.numel() for one in loaded.model.parameters())
    return {
        "parameters_millions": round(parameters / 1e6, 3),
        "clip_ms": round(1e3 * float(np.median(seconds[1:])), 1),
    }


def together(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The figures of several checkpoints in one mapping.

    runs: for each name (of an architecture, say) the figures of its runs, one for each seed. Keys
    become <figure>_<name>, or stay where the name is ''; values the mean over the runs, with
    <...>_std beside it where there are several, but of figures by class.
    """
    figures: dict[str, Any] = {}
    for name, found in runs.items():
        suffix = f"_{name}" if name else ""
        for figure, value in found[0].items():
            if len(found) == 1:
                figures[figure + suffix] = value
            elif isinstance(value, Mapping):
                figures[figure + suffix] = {
                    key: round(float(np.mean([run[figure][key] for run in found])), 2)
                    for key in value
                    if all(key in run[figure] for run in found)
                }
            else:
                values = [float(run[figure]) for run in found]
                figures[figure + suffix] = float(np.mean(values))
                figures[f"{figure}{suffix}_std"] = float(np.std(values, ddof=1))
    return figures
