"""Measure VG4D's scores and their fusion: python training/evaluate_aligned.py --model FILE ...

Of one checkpoint of align.py every subset of the four scores (Table III); of others, NAME=FILE,
trained without one loss each, their fusion (Table II). Where classes were left out of the training,
their videos are told apart by their texts alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from fourd_perception.models.aligned import AlignedModel
from fourd_perception.models.fusion import SOURCES, FusionConfig, ScoreFusion
from fourd_perception.models.video_text import VideoTextScorer, prompt_of
from fourd_perception.parameters import load_yaml
from training import tasks
from training.align_config import AlignConfig
from training.aligned_with import load_scorer
from training.data import open_videos, split
from training.datasets.labelled_video import NO_LABEL
from training.datasets.prepared import PreparedVideos, Video
from training.distributed import device_of
from training.seen import refuse_measured
from training.source_scores import Logits, source_logits


@dataclass(frozen=True)
class Aligned:
    """A checkpoint of align.py, opened."""

    card: checkpoint.ModelCard
    model: AlignedModel


def open_aligned(path: str, device: torch.device) -> Aligned:
    """Raises InputError unless align.py has made the file."""
    loaded = checkpoint.load(path, device)
    if not isinstance(loaded.model, AlignedModel):
        raise InputError(
            f"{path}: a checkpoint of {loaded.card.architecture}, expected aligned: "
            "take one that training/align.py has made"
        )
    return Aligned(loaded.card, loaded.model)


def subset_accuracies(
    logits: Logits, labels: NDArray[np.int64], fusion: FusionConfig
) -> dict[str, float]:
    """Percent right of every subset of the sources, 'pc+rgb' and so on; of all of them `fused`."""
    found: dict[str, float] = {}
    for count in range(1, len(SOURCES) + 1):
        for sources in itertools.combinations(SOURCES, count):
            scores = fused_scores({name: logits[name] for name in sources}, fusion)
            name = "fused" if count == len(SOURCES) else "+".join(sources)
            found[name] = float(100 * (scores.argmax(1) == labels).mean())
    return found


def fused_scores(
    logits: Mapping[str, NDArray[np.float32]], fusion: FusionConfig
) -> NDArray[np.float64]:
    """(V, K) float64: the scores of V videos from some sources' logits."""
    tensors = {name: torch.from_numpy(one) for name, one in logits.items()}
    return ScoreFusion(fusion).fuse(tensors).double().numpy()


def known_videos(
    aligned: Aligned, videos: PreparedVideos, config: AlignConfig, part: str
) -> tuple[list[Video], NDArray[np.int64]]:
    """The videos of a part whose class the model knows, and (V,) int64, which it is.

    Raises InputError if there is none, or something of the model was trained on one of them.
    """
    names = tasks.label_names(videos, "action_recognition")
    unknown = [name for name in aligned.card.classes if name not in names]
    if unknown:
        raise InputError(
            f"{aligned.card.name} knows {', '.join(unknown[:3])}, of which {config.data.prepared} "
            "has no videos: take its own data"
        )
    numbers = {names.index(name): place for place, name in enumerate(aligned.card.classes)}
    chosen = [one for one in split(videos, config.data)[part] if one.label in numbers]
    if not chosen:
        raise InputError(f"--split {part}: no videos with a label")
    refuse_measured(aligned.card.name, aligned.card.trained_on, config.data, part, chosen)
    return chosen, np.array([numbers[one.label] for one in chosen], np.int64)


def measure(
    aligned: Aligned,
    scorer: VideoTextScorer,
    videos: PreparedVideos,
    config: AlignConfig,
    part: str,
) -> dict[str, float]:
    """All figures of one checkpoint. Raises InputError as `known_videos`."""
    aligned.model.check_scorer(scorer)
    chosen, labels = known_videos(aligned, videos, config, part)
    logits = source_logits(aligned.model, scorer, videos, chosen, config)
    fusion = aligned.model.config.fusion
    figures = subset_accuracies(logits, labels, fusion)
    equal = fused_scores(logits, FusionConfig())
    figures["fused_equal_weights"] = float(100 * (equal.argmax(1) == labels).mean())
    for name, scores in (("", fused_scores(logits, fusion)), ("_equal_weights", equal)):
        error = metrics.expected_calibration_error(scores, labels)
        figures[f"calibration_error_fused{name}"] = error
    figures["videos"] = len(chosen)
    return figures | zero_shot(aligned, scorer, videos, config, part)


def zero_shot(
    aligned: Aligned,
    scorer: VideoTextScorer,
    videos: PreparedVideos,
    config: AlignConfig,
    part: str,
) -> dict[str, float]:
    """Percent right of the classes left out of training, told apart by their texts; {} if none."""
    names = tasks.label_names(videos, "action_recognition")
    left_out = [name for name in names if name not in aligned.card.classes]
    chosen = [
        one
        for one in split(videos, config.data)[part]
        if one.label != NO_LABEL and names[one.label] in left_out
    ]
    if len(left_out) < 2 or not chosen:
        return {}
    prompts = tuple(map(prompt_of, left_out))
    logits = source_logits(aligned.model, scorer, videos, chosen, config, prompts)
    labels = np.array([left_out.index(names[one.label]) for one in chosen])
    figures = {
        f"zero_shot_{name}": float(100 * (one.argmax(1) == labels).mean())
        for name, one in logits.items()
    }
    return figures | {"zero_shot_chance": 100 / len(left_out), "zero_shot_videos": len(chosen)}


def figures_of(
    files: Sequence[str], config: AlignConfig, part: str
) -> tuple[dict[str, Any], list[checkpoint.ModelCard]]:
    """Of all checkpoints, FILE or NAME=FILE, and their cards. Raises InputError as `measure`."""
    device = device_of(config.compute.device)
    videos = open_videos(config.data)
    scorer, _ = load_scorer(config.video_text, config.preprocess.image_size)
    scorer.to(device)
    figures: dict[str, Any] = {}
    cards = []
    for text in files:
        name, equals, file = text.partition("=")
        opened = open_aligned(file if equals else text, device)
        found = measure(opened, scorer, videos, config, part)
        if equals:
            found = {
                f"{figure}_{name}": found[figure]
                for figure in (*SOURCES, "fused", "zero_shot_pc_text")
                if figure in found
            }
        figures |= found
        cards.append(opened.card)
    return figures, cards


@command
def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", required=True, nargs="+", metavar="[NAME=]FILE",
                        help="checkpoints of training/align.py")  # fmt: skip
    parser.add_argument("--config", required=True, help="the run's YAML")
    parser.add_argument(
        "--set", action="append", default=[], dest="overrides", metavar="NAME=VALUE",
        help="replace a value of the file; repeatable",
    )  # fmt: skip
    parser.add_argument("--split", choices=("train", "holdout", "test"), default="test")
    parser.add_argument("--results", help="write the figures to this file, see results/")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    config = load_yaml(AlignConfig, given.config, tuple(given.overrides))
    if config.threads:
        torch.set_num_threads(config.threads)
    figures, cards = figures_of(given.model, config, given.split)
    if given.json:
        print(json.dumps(figures))
    else:
        print(*(f"{name}: {value:.4g}" for name, value in figures.items()), sep="\n")
    if given.results:
        write_result(
            given.results,
            name=Path(given.results).stem,
            command=shlex.join(["python", *sys.argv]),
            data=f"{config.data.dataset}, {given.split} split",
            protocol="one clip of each video; the mean of the sources' scores by the checkpoint's "
            "weights, of every subset of them",
            seeds=sorted({int(card.trained_on.get("seed", 0)) for card in cards}),
            figures=figures,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
