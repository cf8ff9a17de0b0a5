"""Train a model on labelled clips: python training/finetune.py --config config/training/....yaml

The run lives in out/train/<name>: state.pt (from which it goes on if it was stopped),
metrics.jsonl, TensorBoard events, and at the end <name>.safetensors, which the nodes take.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fourd_perception import checkpoint, models
from fourd_perception.errors import InputError, command
from fourd_perception.parameters import load_yaml, to_mapping
from training import datasets, scoring
from training.config import DataConfig, FinetuneConfig
from training.datasets.prepared import PreparedVideos, Video, prepare
from training.trainer import Batch, Trainer
from training.transforms import augment, cut_clip, segment_indices, window_indices


def open_videos(config: DataConfig) -> PreparedVideos:
    """The prepared videos; made first if they are not there. Raises InputError on other ones."""
    made_of = datasets.made_of(config)
    if not Path(config.prepared).exists():
        prepare(datasets.sources(config), config.prepared, made_of)
    videos = PreparedVideos(config.prepared)
    if videos.made_of != made_of:
        raise InputError(
            f"{config.prepared}: made of {videos.made_of}, the configuration asks for {made_of}: "
            "name another folder in data.prepared, or delete this one"
        )
    return videos


def split(videos: PreparedVideos, holdout: tuple[str, ...]) -> dict[str, list[Video]]:
    """By part: train, holdout (groups of the training split that are not trained on) and test."""
    groups = {video.group for video in videos.videos if video.split == "train"}
    unknown = set(holdout) - groups
    if unknown:
        raise InputError(
            f"data.holdout: {', '.join(sorted(unknown))} not in the training split, "
            f"which has {', '.join(sorted(groups))}"
        )
    if groups and groups == set(holdout):
        raise InputError("data.holdout: it names every group, which leaves none to train on")
    parts: dict[str, list[Video]] = {"train": [], "holdout": [], "test": []}
    for video in videos.videos:
        held_out = video.split == "train" and video.group in holdout
        parts["holdout" if held_out else video.split].append(video)
    return parts


def build_model(
    config: FinetuneConfig, classes: int
) -> tuple[models.VideoModel, dict[str, object]]:
    """The model with random weights, and its sizes as the card keeps them."""
    sizes = to_mapping(load_yaml(models.architecture(config.architecture).config, config.model))
    torch.manual_seed(config.seed)
    model = models.build(config.architecture, sizes, classes)
    model.check_input(config.clip.frames, config.preprocess.points)
    return model, sizes


def epoch_batches(
    videos: PreparedVideos, chosen: list[Video], config: FinetuneConfig, epoch: int
) -> Iterable[Callable[[], Batch]]:
    """Every training video once, in random order; each batch is made when it is called."""
    step = scoring.video_step(videos, config.clip)
    order = np.random.default_rng([config.seed, epoch]).permutation(len(chosen))
    batches = max(1, len(chosen) // config.batch_size)

    def make(numbers: Iterable[int]) -> Batch:
        clips, labels = [], []
        for number in numbers:
            video = chosen[number]
            random = np.random.default_rng([config.seed, epoch, number])
            if random.random() < config.sampling.window_share:
                speed = config.sampling.speed ** random.uniform(-1, 1)
                indices = window_indices(video.frames, config.clip.frames, step * speed, random)
            else:
                indices = segment_indices(video.frames, config.clip.frames, random)
            clip = cut_clip(videos, video, indices, config.preprocess, random)
            clips.append(augment(clip, config.augment, random))
            labels.append(video.label)
        return torch.from_numpy(np.stack(clips)), torch.tensor(labels)

    for numbers in np.array_split(order, batches):
        yield lambda numbers=numbers: make(numbers.tolist())  # type: ignore[misc]


def finetune(config: FinetuneConfig, folder: Path, *, fresh: bool = False) -> Path:
    """Train to the end; returns the checkpoint's path.

    Goes on from `folder/state.pt` if it is there, unless `fresh`.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    videos = open_videos(config.data)
    parts = split(videos, config.data.holdout)
    model, sizes = build_model(config, len(videos.classes))

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        torch.set_float32_matmul_precision("medium" if config.fast_products else "highest")
        return nn.functional.cross_entropy(
            model(batch[0]), batch[1], label_smoothing=config.optimiser.label_smoothing
        )

    def validate(model: nn.Module, epoch: int) -> dict[str, float]:
        due = epoch % config.validate_every == 0 or epoch == config.epochs
        return holdout_accuracy(model, videos, parts["holdout"], config) if due else {}

    run = Trainer(
        model, loss, config.optimiser, folder,
        epochs=config.epochs,
        steps_per_epoch=max(1, len(parts["train"]) // config.batch_size),
        seed=config.seed,
        identity=json.dumps([to_mapping(config), sizes, videos.classes, len(videos.videos)]),
    )  # fmt: skip
    if fresh:
        run.forget()
    if run.resume():
        print(f"going on from epoch {run.epoch} of {config.epochs} in {folder}")
    (folder / "config.yaml").write_text(yaml.safe_dump(to_mapping(config), sort_keys=False))
    run.fit(lambda epoch: epoch_batches(videos, parts["train"], config, epoch), validate)

    path = folder / f"{config.name}.safetensors"
    card = model_card(config, sizes, videos, parts["train"])
    checkpoint.save(path, run.result, card)
    # Of the weights as they are in the file, in half precision.
    accuracy = holdout_accuracy(checkpoint.load(path).model, videos, parts["holdout"], config)
    checkpoint.replace_card(path, dataclasses.replace(card, accuracy=accuracy))
    return path


def holdout_accuracy(
    model: nn.Module, videos: PreparedVideos, holdout: list[Video], config: FinetuneConfig
) -> dict[str, float]:
    """Percent right of the held-out videos, by segments and by windows; empty if there are none."""
    if not holdout:
        return {}
    torch.set_float32_matmul_precision("highest")
    figures = {}
    for protocol in ("segments", "windows"):
        scores = scoring.video_scores(
            model, videos, holdout, config.clip, config.preprocess, protocol=protocol, stride=4
        )
        figures[f"holdout_{protocol}"] = scoring.accuracy(scores, holdout)
    return figures


def model_card(
    config: FinetuneConfig, sizes: dict[str, object], videos: PreparedVideos, train: list[Video]
) -> checkpoint.ModelCard:
    """What the run's checkpoint says of itself."""
    return checkpoint.ModelCard(
        name=config.name,
        architecture=config.architecture,
        task=config.task,
        classes=videos.classes,
        model=sizes,
        clip=config.clip,
        preprocess=config.preprocess,
        trained_on={
            "dataset": config.data.dataset,
            "videos": len(train),
            "groups": sorted({video.group for video in train}),
            "epochs": config.epochs,
            "seed": config.seed,
        },
        accuracy={},
    )


@command
def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--config", required=True, help="YAML file, see config/training")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="overrides",
        help="replace a value of the file, e.g. --set optimiser.learning_rate=0.01; repeatable",
    )  # fmt: skip
    parser.add_argument("--out", help="the run's folder; default out/train/<name>")
    parser.add_argument(
        "--fresh", action="store_true", help="start anew, forgetting the run in the folder"
    )
    arguments = parser.parse_args()
    config = load_yaml(FinetuneConfig, arguments.config, tuple(arguments.overrides))
    folder = Path(arguments.out or Path("out/train") / config.name)
    print(finetune(config, folder, fresh=arguments.fresh))
    return 0


if __name__ == "__main__":
    sys.exit(main())
