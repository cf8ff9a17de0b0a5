"""Measure a checkpoint on a split: python training/evaluate.py --model FILE --config YAML

action_recognition: both ways of cutting a video are measured, clips by segments (VG4D's test) and
every window (what a robot's sliding window sees; PSTNet's test); `video_accuracy` is the one named
by --protocol. action_segmentation: accuracy of frames, edit score and F1 of segments (MS-TCN's).
semantic_segmentation: mean intersection over union of all points of all frames.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.results_file import write_result
from fourd_perception import checkpoint
from fourd_perception.errors import InputError, command
from fourd_perception.evaluation import metrics
from fourd_perception.parameters import load_yaml
from fourd_perception.tools.arguments import counting, whole
from training import confusion, datasets, scoring, tasks
from training.config import DataConfig, FinetuneConfig
from training.data import open_videos, split
from training.datasets.labelled_video import NO_LABEL
from training.datasets.prepared import PreparedVideos, Video
from training.submission import CHALLENGES, Submission

PROTOCOLS = ("segments", "windows")
_LATENCY_CLIPS = 5


@dataclass(frozen=True)
class Options:
    """How a split is measured.

    protocol, views, stride: of action_recognition; stride is also the frames between the windows of
    action_segmentation, 0 for half a window there and 1 here. compat: as published code counts.
    """

    protocol: str = "segments"
    views: int = 5
    stride: int = 0
    compat: bool = False


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
    measured = measure(loaded, videos, chosen, options, progress)
    if not measured.confusion.sum():
        raise InputError(
            "these videos have no truth (a challenge's test?): nothing to measure; "
            "--submission writes a file to hand in"
        )
    return measured


def _recognition(
    loaded: checkpoint.Checkpoint,
    videos: PreparedVideos,
    chosen: Sequence[Video],
    options: Options,
    progress: bool,
) -> Measured:
    card, names = loaded.card, loaded.card.classes
    truth = np.array([video.label for video in chosen])
    figures: dict[str, Any] = {"video_accuracy": float("nan")}
    counted = {}
    for protocol in PROTOCOLS:
        scores = scoring.video_scores(
            loaded.model, videos, chosen, card.clip, card.preprocess,
            protocol=protocol, views=options.views, stride=options.stride or 1, progress=progress,
        )  # fmt: skip
        counted[protocol] = metrics.label_confusion(
            truth=truth, answers=scores.argmax(axis=1), classes=len(names), ignore=(NO_LABEL,)
        )
        figures[f"video_accuracy_{protocol}"] = metrics.accuracy(counted[protocol])
        figures[f"per_class_{protocol}"] = _by_name(
            names, metrics.per_class_accuracy(counted[protocol])
        )
    figures["video_accuracy"] = figures[f"video_accuracy_{options.protocol}"]
    frames = card.clip.frames
    return Measured(
        figures,
        counted[options.protocol],
        f"video_accuracy: {options.protocol}. segments: {options.views} clips of {frames} frames "
        f"by segments; windows: every window of {frames} frames, {options.stride or 1} apart; "
        "mean softmax",
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
    counted = scoring.point_confusion(
        loaded.model, videos, chosen, card.clip, card.preprocess, progress=progress
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
        "mean over the classes that occur",
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
        raise InputError(f"--split {part}: no videos; data.holdout names none")
    seen = {video.group for video in chosen if _trained_on(card, config, video)}
    if part != "train" and seen:
        raise InputError(
            f"--split {part}: {card.name} was trained on {', '.join(sorted(seen)[:5])}; "
            "what it says of them is no figure"
        )
    return chosen


def _trained_on(card: checkpoint.ModelCard, config: DataConfig, video: Video) -> bool:
    told = card.trained_on
    as_trained = replace(config, protocol=str(told.get("protocol", "")))
    return (
        told.get("dataset") == config.dataset
        and datasets.split(as_trained, video) == "train"
        and video.group in told.get("groups", ())
    )


def cost(loaded: checkpoint.Checkpoint) -> dict[str, float]:
    """Parameters, in millions, and the milliseconds of one clip alone, the median of a few."""
    card = loaded.card
    clip = torch.rand(1, card.clip.frames, card.preprocess.points, 3)
    seconds = []
    with torch.inference_mode():
        for _ in range(_LATENCY_CLIPS + 1):
            started = time.perf_counter()
            loaded.model(clip)
            seconds.append(time.perf_counter() - started)
    parameters = sum(one.numel() for one in loaded.model.parameters())
    return {
        "parameters_millions": round(parameters / 1e6, 3),
        "clip_ms": round(1e3 * float(np.median(seconds[1:])), 1),
    }


def hand_in(
    loaded: checkpoint.Checkpoint,
    videos: PreparedVideos,
    chosen: Sequence[Video],
    options: Options,
    dataset: str,
    path: str,
) -> None:
    """Write a challenge's file of answers. Raises InputError if the data set has no challenge."""
    if dataset not in CHALLENGES:
        raise InputError(
            f"--submission: {dataset} has no challenge; {', '.join(CHALLENGES)} have one"
        )
    card = loaded.card
    asked = loaded.model, videos, chosen, card.clip, card.preprocess
    names = [video.name for video in chosen]
    with Submission(path, CHALLENGES[dataset], names) as file:
        if card.task == "action_segmentation":
            scores = scoring.frame_scores(*asked, stride=options.stride, progress=True)
            for name, one in zip(names, scores):
                file.write(name, one.argmax(axis=1))
            return
        frames = scoring.point_classes(*asked, progress=True)
        for number, of_video in itertools.groupby(frames, key=lambda frame: frame[0]):
            answers = {index: classes for _, index, classes in of_video}
            file.write(names[number], np.stack([answers[index] for index in sorted(answers)]))


def _training(card: checkpoint.ModelCard) -> str:
    told = {name: value for name, value in card.trained_on.items() if name != "groups"}
    return "one run, trained with " + ", ".join(f"{name} {value}" for name, value in told.items())


@command
def main() -> int:
    """The command line."""
    arguments = _arguments().parse_args()
    config = load_yaml(FinetuneConfig, arguments.config, tuple(arguments.overrides))
    if config.threads:
        torch.set_num_threads(config.threads)
    loaded = checkpoint.load(arguments.model)
    card = loaded.card
    videos = open_videos(config.data)
    chosen = choose(loaded, videos, config.data, arguments.split)
    options = Options(arguments.protocol, arguments.views, arguments.stride, arguments.compat)
    if arguments.submission:
        hand_in(loaded, videos, chosen, options, config.data.dataset, arguments.submission)
        print(arguments.submission)
        return 0
    measured = evaluate(loaded, videos, chosen, options, progress=True)
    figures = {**measured.figures, "videos": len(chosen), **cost(loaded)}
    if arguments.plot:
        confusion.draw(measured.confusion, card.classes, arguments.plot)
    if arguments.results:
        write_result(
            arguments.results,
            name=card.name,
            command=shlex.join(["python", *sys.argv]),
            data=f"{config.data.dataset}, {arguments.split} split, {len(chosen)} videos",
            protocol=f"{measured.protocol}; {_training(card)}",
            seeds=[int(card.trained_on.get("seed", 0))],
            figures=figures,
        )
    if arguments.record:
        accuracy = {**card.accuracy, **_for_the_card(figures, card.task, arguments.split)}
        checkpoint.replace_card(arguments.model, replace(card, accuracy=accuracy))
    if arguments.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            if not isinstance(value, dict):
                print(
                    f"{name:28} {value:10.2f}"
                    if isinstance(value, float)
                    else f"{name:28} {value:7}"
                )
    return 0


def _for_the_card(figures: dict[str, Any], task: str, part: str) -> dict[str, float]:
    kept = {
        "action_recognition": {f"video_accuracy_{one}": one for one in PROTOCOLS},
        "action_segmentation": {one: one for one in ("acc", "edit", "f1_10", "f1_25", "f1_50")},
        "semantic_segmentation": {"miou": "miou"},
    }[task]
    return {f"{part}_{short}": round(figures[name], 2) for name, short in kept.items()}


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", required=True, help="checkpoint (.safetensors)")
    parser.add_argument("--config", required=True, help="the run's YAML, for its data")
    parser.add_argument(
        "--set", action="append", default=[], dest="overrides", metavar="NAME=VALUE",
        help="replace a value of the file; repeatable",
    )  # fmt: skip
    parser.add_argument("--split", choices=("train", "holdout", "test"), default="test")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="segments",
                        help="videos: which of the two `video_accuracy` is")  # fmt: skip
    parser.add_argument("--views", type=counting, default=5,
                        help="videos: clips by segments of each")  # fmt: skip
    parser.add_argument("--stride", type=whole, default=0,
                        help="frames between windows; 0: one, or half a window")  # fmt: skip
    parser.add_argument("--compat", action="store_true",
                        help="count as the public code does, for published figures")  # fmt: skip
    parser.add_argument("--submission", metavar="NPY",
                        help="write the challenge's file of answers instead")  # fmt: skip
    parser.add_argument("--plot", metavar="PNG", help="draw the confusion matrix")
    parser.add_argument("--results", help="write the figures to this file, see results/")
    parser.add_argument("--record", action="store_true",
                        help="write the accuracy into the checkpoint's own card")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
