"""What sets the three tasks apart: which labels, and what is measured on videos held out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fourd_perception.errors import InputError
from fourd_perception.evaluation import metrics
from fourd_perception.models import ClipModel
from training import scoring
from training.config import FinetuneConfig
from training.datasets.labelled_video import NO_LABEL
from training.datasets.prepared import PreparedVideos, Video
from training.image_views import ImageClip
from training.transforms import Clip

_SHARE = 0.25
"""Of each video's frames that a look at the hold-out takes, where points are labelled."""


def label_names(videos: PreparedVideos, task: str) -> tuple[str, ...]:
    """The classes of a task. Raises InputError if the videos have no labels of its kind."""
    names = videos.point_classes if task == "semantic_segmentation" else videos.classes
    if not names:
        raise InputError(f"task {task}: these videos have no labels for it; take another data set")
    return names


def labelled(video: Video, task: str) -> bool:
    """Whether a video has any label of a task's kind."""
    if task == "action_recognition":
        return video.label != NO_LABEL
    return bool(video.labelled_frames if task == "action_segmentation" else video.labelled_points)


def labels(clip: Clip | ImageClip, video: Video, task: str) -> NDArray[np.int64]:
    """A clip's labels, shaped as the logits without their last axis; NO_LABEL where there is none.

    () for action_recognition, (L,) for action_segmentation, (L, N) for semantic_segmentation.
    """
    if task == "action_recognition":
        return np.array(video.label, np.int64)
    if task == "action_segmentation":
        return clip.labels
    assert isinstance(clip, Clip)  # no model of images labels points
    return clip.point_labels


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """The mean over everything that has a label; 0 where nothing has one.

    logits: (..., K) float32; labels: (...) int64, NO_LABEL where there is none.
    """
    total = nn.functional.cross_entropy(
        logits.flatten(0, -2), labels.flatten(),
        ignore_index=NO_LABEL, label_smoothing=smoothing, reduction="sum",
    )  # fmt: skip
    return total / (labels != NO_LABEL).sum().clamp(min=1)


def holdout_figures(
    model: ClipModel, videos: PreparedVideos, holdout: Sequence[Video], config: FinetuneConfig
) -> dict[str, float]:
    """Percent, by name, of the videos held out; empty if there are none."""
    if not holdout:
        return {}
    torch.set_float32_matmul_precision("highest")
    asked = model, videos, holdout, config.clip, config.preprocess
    if config.task == "semantic_segmentation":
        confusion = scoring.point_confusion(*asked, share=_SHARE)
        return {"holdout_miou": metrics.mean_iou(confusion)}
    if config.task == "action_segmentation":
        answers = [scores.argmax(1) for scores in scoring.frame_scores(*asked)]
        truth = [videos.frame_labels(video) for video in holdout]
        return {
            "holdout_accuracy": metrics.frame_accuracy(truth=truth, answers=answers),
            "holdout_edit": metrics.edit_score(truth=truth, answers=answers),
        }
    return {
        f"holdout_{protocol}": scoring.accuracy(
            scoring.video_scores(*asked, protocol=protocol, stride=4), holdout
        )
        for protocol in ("segments", "windows")
    }
