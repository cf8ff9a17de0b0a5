"""The segmenter's studio models on people and rooms that no training has seen.

python benchmarks/segmenter_studio.py --results results/segmenter_studio.json
python benchmarks/segmenter_studio.py --closer-look --results results/segmenter_closer_look.json

Points: of clouds of all of a room, and of the person cut out, each by itself and together. Frames:
of whole performances. With --closer-look: points by two looks, of each kind of clouds, alone.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.results_file import write_result
from fourd_perception import checkpoint
from fourd_perception.errors import command
from fourd_perception.evaluation import metrics
from fourd_perception.parameters import load_yaml
from fourd_perception.tools.arguments import counting
from training import scoring
from training.config import FinetuneConfig
from training.data import open_videos
from training.datasets.studio_points import PROTOCOLS
from training.measuring import Measured, Options, choose, evaluate

_POINTS, _FRAMES = "config/training/studio_points.yaml", "config/training/studio_actions.yaml"
_MORE_POINTS = (4096, 8192)
_BY_WINDOWS = (
    "; frames by windows of 10 s, half of that apart, so that a frame is judged with what comes "
    "after it"
)


def measured(
    model: Path, recipe: str, *overrides: str, closer_look: bool = False
) -> tuple[Measured, int]:
    """A checkpoint on the test videos of a recipe, and how many there are."""
    config = load_yaml(FinetuneConfig, recipe, overrides)
    videos, loaded = open_videos(config.data), checkpoint.load(model)
    chosen = choose(loaded, videos, config.data, "test")
    options = Options(("windows",), views=1, stride=0, compat=False, closer_look=closer_look)
    return evaluate(loaded, videos, chosen, options, progress=True), len(chosen)


def figures_of_points(model: Path) -> dict[str, float]:
    """Mean IoU and accuracy, percent, of both kinds of clouds and of each."""
    parts = {kind: measured(model, _POINTS, f"data.protocol={kind}") for kind in PROTOCOLS}
    counts = {kind: part.confusion for kind, (part, _) in parts.items()}
    found: dict[str, float] = {}
    both = np.sum(list(counts.values()), axis=0)
    for end, one in {"": both, **{f"_{kind}": of_kind for kind, of_kind in counts.items()}}.items():
        found[f"miou{end}"] = round(metrics.mean_iou(one), 2)
        found[f"point_accuracy{end}"] = round(metrics.accuracy(one), 2)
    return found | {f"recordings_{kind}": videos for kind, (_, videos) in parts.items()}


def room_by_points(model: Path) -> dict[str, float]:
    """Mean IoU, percent, of whole rooms where the model is shown more points than its own."""
    config = load_yaml(FinetuneConfig, _POINTS, ("data.protocol=room",))
    videos, loaded = open_videos(config.data), checkpoint.load(model)
    chosen, card = choose(loaded, videos, config.data, "test"), loaded.card
    found = {}
    for points in _MORE_POINTS:
        shown = replace(card.preprocess, points=points)
        counts = scoring.point_confusion(
            loaded.model, videos, chosen, card.clip, shown, progress=True
        )
        found[f"miou_room_{points}_points"] = round(metrics.mean_iou(counts), 2)
    return found


def by_two_looks(model: Path) -> dict[str, float]:
    """Mean IoU and accuracy, percent, of each kind of clouds; of rooms the IoU of each class."""
    found: dict[str, float] = {}
    for kind in PROTOCOLS:
        part, _ = measured(model, _POINTS, f"data.protocol={kind}", closer_look=True)
        found[f"miou_{kind}"] = round(metrics.mean_iou(part.confusion), 2)
        found[f"point_accuracy_{kind}"] = round(metrics.accuracy(part.confusion), 2)
        if kind == "room":
            by_class = part.figures["per_class_iou"]
            found |= {f"iou_room_{name}": one for name, one in by_class.items()}
    return found


def figures_of_frames(model: Path) -> dict[str, float]:
    """Accuracy, edit score and F1, percent."""
    part, videos = measured(model, _FRAMES)
    names = {"frame_accuracy": "acc", **{one: one for one in ("edit", "f1_10", "f1_25", "f1_50")}}
    found = {name: round(part.figures[short], 2) for name, short in names.items()}
    return {**found, "performances": videos}


@command
def main() -> int:
    """The command line."""
    arguments = _parser().parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.closer_look:
        figures = by_two_looks(arguments.points)
    else:
        figures = (
            figures_of_points(arguments.points)
            | room_by_points(arguments.points)
            | figures_of_frames(arguments.frames)
        )
    for name, value in figures.items():
        print(f"{name:28} {value:10}")
    twice = arguments.closer_look
    if arguments.results:
        cards = [checkpoint.read_card(one) for one in (arguments.points, arguments.frames)]
        write_result(
            arguments.results,
            name="the segmenter on the studio" + (", by two looks" if twice else ""),
            command=shlex.join(["python", *sys.argv]),
            data=("studio_points" if twice else "studio_points and studio_actions")
            + ", seeds that no training uses",
            protocol="offline, as training/evaluate.py: points of every frame (of a cloud at most "
            "8192 are prepared), in clips of 3 frames in a row"
            + (", by two looks (closer_look)" if twice else _BY_WINDOWS)
            + "; one run each",
            seeds=sorted({int(card.trained_on["seed"]) for card in cards}),
            figures=figures,
        )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    add = parser.add_argument
    add("--points", type=Path, default=Path("models/studio_points.safetensors"), metavar="FILE",
        help="(default: %(default)s)")  # fmt: skip
    add("--frames", type=Path, default=Path("models/studio_actions.safetensors"), metavar="FILE",
        help="(default: %(default)s)")  # fmt: skip
    add("--threads", type=counting, default=2, help="(default 2)")
    add("--closer-look", action="store_true", help="points by two looks alone")
    add("--results", help="write the figures to this file, see results/")
    return parser


if __name__ == "__main__":
    sys.exit(main())
