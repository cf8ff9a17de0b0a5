"""Measure a checkpoint on a split: python training/evaluate.py --model FILE --config YAML

Both ways of cutting a video are measured: clips by segments (VG4D's test) and every window (what a
robot's sliding window sees; PSTNet's test). `video_accuracy` is the one named by --protocol.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.results_file import write_result
from fourd_perception import checkpoint
from fourd_perception.errors import InputError, command
from fourd_perception.evaluation import metrics
from fourd_perception.parameters import load_yaml
from fourd_perception.tools.arguments import counting
from training import scoring
from training.config import FinetuneConfig
from training.finetune import open_videos, split

PROTOCOLS = ("segments", "windows")


def evaluate(
    loaded: checkpoint.Checkpoint, config: FinetuneConfig, part: str, views: int, stride: int
) -> tuple[dict[str, Any], int]:
    """Figures by protocol (percent), and how many videos they were measured on."""
    videos = open_videos(config.data)
    if videos.classes != loaded.card.classes:
        raise InputError(
            f"{loaded.card.name} knows {len(loaded.card.classes)} classes "
            f"({', '.join(loaded.card.classes[:3])}, ...), {config.data.prepared} has "
            f"{len(videos.classes)} ({', '.join(videos.classes[:3])}, ...): take its own data"
        )
    chosen = split(videos, config.data.holdout)[part]
    if not chosen:
        raise InputError(f"--split {part}: no videos; data.holdout names none")
    seen = {video.group for video in chosen} & set(loaded.card.trained_on.get("groups", ()))
    if part != "train" and seen:
        raise InputError(
            f"--split {part}: {loaded.card.name} was trained on {', '.join(sorted(seen))}; "
            "what it says of them is no figure"
        )
    truth = [videos.classes[video.label] for video in chosen]
    figures: dict[str, Any] = {}
    for protocol in PROTOCOLS:
        scores = scoring.video_scores(
            loaded.model, videos, chosen, loaded.card.clip, loaded.card.preprocess,
            protocol=protocol, views=views, stride=stride, progress=True,
        )  # fmt: skip
        answers = [videos.classes[best] for best in scores.argmax(axis=1)]
        confusion = metrics.confusion_matrix(truth, answers, videos.classes)
        figures[f"video_accuracy_{protocol}"] = metrics.accuracy(confusion)
        per_class = metrics.per_class_accuracy(confusion)
        figures[f"per_class_{protocol}"] = {
            name: round(float(value), 2)
            for name, value in zip(videos.classes, per_class)
            if not np.isnan(value)
        }
    return figures, len(chosen)


def _training(card: checkpoint.ModelCard) -> str:
    told = {name: value for name, value in card.trained_on.items() if name != "groups"}
    return "trained with " + ", ".join(f"{name} {value}" for name, value in told.items())


@command
def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", required=True, help="checkpoint (.safetensors)")
    parser.add_argument("--config", required=True, help="the run's YAML, for its data")
    parser.add_argument(
        "--set", action="append", default=[], dest="overrides", metavar="NAME=VALUE"
    )
    parser.add_argument("--split", choices=("train", "holdout", "test"), default="test")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="segments",
                        help="which of the two `video_accuracy` is")  # fmt: skip
    parser.add_argument("--views", type=counting, default=5, help="clips of a video by segments")
    parser.add_argument("--stride", type=counting, default=1, help="frames between windows")
    parser.add_argument("--results", help="write the figures to this file, see results/")
    parser.add_argument("--record", action="store_true",
                        help="write the accuracy into the checkpoint's own card")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    config = load_yaml(FinetuneConfig, arguments.config, tuple(arguments.overrides))
    if config.threads:
        torch.set_num_threads(config.threads)
    loaded = checkpoint.load(arguments.model)
    figures, count = evaluate(loaded, config, arguments.split, arguments.views, arguments.stride)
    figures = {"video_accuracy": figures[f"video_accuracy_{arguments.protocol}"], **figures}
    if arguments.results:
        write_result(
            arguments.results,
            name=loaded.card.name,
            command=shlex.join(["python", *sys.argv]),
            data=f"{config.data.dataset}, {arguments.split} split, {count} videos",
            protocol=f"video_accuracy: {arguments.protocol}. segments: {arguments.views} clips of "
            f"{loaded.card.clip.frames} frames by segments; windows: every window of "
            f"{loaded.card.clip.frames} frames, {arguments.stride} apart; mean softmax, one run, "
            f"{_training(loaded.card)}",
            seeds=[int(loaded.card.trained_on.get("seed", 0))],
            figures={**figures, "videos": count},
        )
    if arguments.record:
        measured = {
            f"{arguments.split}_{protocol}": round(figures[f"video_accuracy_{protocol}"], 2)
            for protocol in PROTOCOLS
        }
        card = dataclasses.replace(loaded.card, accuracy={**loaded.card.accuracy, **measured})
        checkpoint.replace_card(arguments.model, card)
    if arguments.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            if isinstance(value, float):
                print(f"{name:28} {value:6.2f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
