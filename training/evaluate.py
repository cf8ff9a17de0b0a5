"""Measure a checkpoint on a split: python training/evaluate.py --model FILE --config YAML

action_recognition: both ways of cutting a video are measured, every window (PSTNet's test, and what
a robot's sliding window sees) and clips by segments (VG4D's); `video_accuracy` is the first's.
action_segmentation: accuracy of frames, edit score and F1 of segments (MS-TCN's).
semantic_segmentation: mean intersection over union of all points of all frames.

Several checkpoints go into one result as NAME=FILE; of files with one name, one for each seed, the
mean and the standard deviation are given.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.results_file import write_result
from fourd_perception import checkpoint
from fourd_perception.closer_look import CloserLook
from fourd_perception.errors import InputError, command
from fourd_perception.parameters import load_yaml
from fourd_perception.tools.arguments import counting, whole
from training import confusion, scoring
from training.config import FinetuneConfig
from training.data import open_videos
from training.datasets.prepared import PreparedVideos, Video
from training.distributed import device_of
from training.measuring import PROTOCOLS, Measured, Options, choose, cost, evaluate, together
from training.submission import CHALLENGES, Submission


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
    closer = CloserLook(loaded, card.clip.frames) if options.closer_look else None
    names = [video.name for video in chosen]
    with Submission(path, CHALLENGES[dataset], names) as file:
        if card.task == "action_segmentation":
            scores = scoring.frame_scores(*asked, stride=options.stride, progress=True)
            for name, one in zip(names, scores):
                file.write(name, one.argmax(axis=1))
            return
        frames = scoring.point_classes(*asked, closer=closer, progress=True)
        for number, of_video in itertools.groupby(frames, key=lambda frame: frame[0]):
            answers = {index: classes for _, index, classes in of_video}
            file.write(names[number], np.stack([answers[index] for index in sorted(answers)]))


def _training(cards: Sequence[checkpoint.ModelCard]) -> str:
    """What the runs were trained with; of the seeds and names that differ, all."""
    told: dict[str, list[str]] = {}
    for card in cards:
        for name, value in card.trained_on.items():
            if name != "groups" and value != "" and str(value) not in told.setdefault(name, []):
                told[name].append(str(value))
    runs = "one run" if len(cards) == 1 else f"{len(cards)} runs"
    return f"{runs}, trained with " + ", ".join(
        f"{name} {' and '.join(values)}" for name, values in told.items()
    )


def _each(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Every figure that is a number: of each name's runs, in the order in which they were given."""
    return {
        figure + (f"_{name}" if name else ""): [round(run[figure], 3) for run in found]
        for name, found in runs.items()
        for figure, value in found[0].items()
        if not isinstance(value, Mapping)
    }


def _named(text: str) -> tuple[str, str]:
    """NAME=FILE as (name, file); a file alone has the name ''."""
    name, equals, file = text.partition("=")
    return (name, file) if equals and "/" not in name else ("", text)


@command
def main() -> int:
    """The command line."""
    arguments = _arguments().parse_args()
    config = load_yaml(FinetuneConfig, arguments.config, tuple(arguments.overrides))
    if config.threads:
        torch.set_num_threads(config.threads)
    videos = open_videos(config.data)
    protocols = (arguments.protocol,) if arguments.protocol else PROTOCOLS
    options = Options(
        protocols, arguments.views, arguments.stride, arguments.compat, arguments.closer_look
    )
    for path in (arguments.results, arguments.plot):
        _check_writable(path)  # before the hours of measuring
    device = device_of(config.compute.device)
    models = [
        (name, file, checkpoint.load(file, device)) for name, file in map(_named, arguments.model)
    ]
    if len(models) > 1 and (arguments.submission or arguments.plot):
        raise InputError("--submission, --plot: they are of one model; give one --model")
    runs: dict[str, list[dict[str, Any]]] = {}
    for name, file, loaded in models:
        chosen = choose(loaded, videos, config.data, arguments.split)
        if arguments.submission:
            hand_in(loaded, videos, chosen, options, config.data.dataset, arguments.submission)
            print(arguments.submission)
            return 0
        measured = evaluate(loaded, videos, chosen, options, progress=True)
        runs.setdefault(name, []).append({**measured.figures, **cost(loaded)})
        if arguments.record:
            _record(file, loaded.card, measured, arguments.split)
    figures: dict[str, Any] = {**together(runs), "videos": len(chosen)}
    cards = [loaded.card for _, _, loaded in models]
    if len(models) > 1:
        figures["each"] = _each(runs)
    _show(figures, arguments.json)
    if arguments.plot:
        confusion.draw(measured.confusion, cards[0].classes, arguments.plot)
    if arguments.results:
        write_result(
            arguments.results,
            name=Path(arguments.results).stem,
            command=shlex.join(["python", *sys.argv]),
            data=f"{config.data.dataset}, {arguments.split} split, {len(chosen)} videos",
            protocol=f"{measured.protocol}; {_training(cards)}",
            seeds=sorted({int(card.trained_on.get("seed", 0)) for card in cards}),
            figures=figures,
            beside=arguments.beside,
        )
    return 0


def _record(file: str, card: checkpoint.ModelCard, measured: Measured, part: str) -> None:
    """Write the main figures into the checkpoint's own card."""
    kept = {
        "action_recognition": {f"video_accuracy_{one}": one for one in PROTOCOLS},
        "action_segmentation": {one: one for one in ("acc", "edit", "f1_10", "f1_25", "f1_50")},
        "semantic_segmentation": {"miou": "miou"},
    }[card.task]
    found = {
        f"{part}_{short}": round(measured.figures[name], 2)
        for name, short in kept.items()
        if name in measured.figures
    }
    checkpoint.replace_card(file, replace(card, accuracy={**card.accuracy, **found}))


def _check_writable(path: str | None) -> None:
    if path is None:
        return
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        trial = Path(path + ".part")
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); name another") from None


def _show(figures: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        if isinstance(value, float):
            print(f"{name:32} {value:10.2f}")
        elif not isinstance(value, dict):
            print(f"{name:32} {value:7}")


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", required=True, nargs="+", metavar="[NAME=]FILE",
                        help="checkpoints (.safetensors)")  # fmt: skip
    parser.add_argument("--config", required=True, help="the run's YAML, for its data")
    parser.add_argument(
        "--set", action="append", default=[], dest="overrides", metavar="NAME=VALUE",
        help="replace a value of the file; repeatable",
    )  # fmt: skip
    parser.add_argument("--split", choices=("train", "holdout", "test"), default="test")
    parser.add_argument("--protocol", choices=PROTOCOLS,
                        help="videos: measure one way alone (default: both)")  # fmt: skip
    parser.add_argument("--views", type=counting, default=5,
                        help="videos: clips by segments of each")  # fmt: skip
    parser.add_argument("--stride", type=whole, default=0,
                        help="frames between windows; 0: one, or half a window")  # fmt: skip
    parser.add_argument("--compat", action="store_true",
                        help="end a last segment as published code does")  # fmt: skip
    parser.add_argument("--closer-look", action="store_true",
                        help="points: look twice, as the node's closer_look does")  # fmt: skip
    parser.add_argument("--submission", metavar="NPY",
                        help="write the challenge's file of answers instead")  # fmt: skip
    parser.add_argument("--plot", metavar="PNG", help="draw the confusion matrix")
    parser.add_argument("--results", help="write the figures to this file, see results/")
    parser.add_argument("--beside", action="store_true",
                        help="put them beside what others have written to --results")  # fmt: skip
    parser.add_argument("--record", action="store_true",
                        help="write the accuracy into the checkpoint's own card")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
