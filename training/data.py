"""From a configuration to its prepared videos, and to the parts that they are split into."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fourd_perception.errors import InputError
from training import datasets
from training.config import DataConfig
from training.datasets.labelled_video import DataSet
from training.datasets.prepared import (
    PrepareConfig,
    PreparedVideos,
    Video,
    names_digest,
    prepare,
)


def open_videos(
    config: DataConfig, workers: int = 0, *, alone: bool = True, compare: bool = False
) -> PreparedVideos:
    """The prepared videos; made first if they are not there, with remarks on standard error.

    workers: processes that read; 0: one for each core. alone: whether they may be made here; the
    processes of torchrun would wait for one another for hours. compare: look at the release, too,
    whether it is what they were made of (and leave the remarks to the caller, who has it). Raises
    InputError on videos of another choice.
    """
    made_of = datasets.made_of(config)
    folder = Path(config.prepared)
    if not folder.exists():
        if not alone:
            raise InputError(
                f"{folder}: not there; make it before several processes train on it, by "
                "training/prepare.py"
            )
        data_set = datasets.open_data_set(config)
        kept = PrepareConfig(config.points_at_most, config.image_size)
        prepare(data_set, folder, made_of, kept, workers or os.cpu_count() or 1)
        if not compare:
            print(*(f"note: {line}" for line in remarks(data_set)), sep="\n", file=sys.stderr)
    videos = PreparedVideos(folder)
    if videos.made_of != made_of:
        raise InputError(
            f"{folder}: made of {videos.made_of}, the configuration asks for {made_of}: "
            "name another folder in data.prepared, or delete this one"
        )
    if compare and names_digest(datasets.open_data_set(config)) != videos.sources:
        raise InputError(
            f"{folder}: made of other recordings than {config.root} holds now; delete the folder "
            "to make it anew, or name another in data.prepared"
        )
    return videos


def remarks(data_set: DataSet) -> list[str]:
    """What somebody who uses the data set should read; counts that are not the owners' first."""
    found = Counter(source.split for source in data_set.sources)
    return [
        f"{part}: {found[part]} recordings; the release has {expected}"
        for part, expected in data_set.expected.items()
        if found[part] != expected
    ] + list(data_set.remarks)


def split(videos: PreparedVideos, config: DataConfig) -> dict[str, list[Video]]:
    """By part: train, holdout (of the training split, not trained on) and test.

    Held out is what the data set's protocol holds out, and the groups in `holdout`. Of the rest, or
    of those of it in `train_groups`, `train_share` is trained on. Raises InputError if there is no
    such group, if one is named as both, or if nothing is left to train on.
    """
    parts: dict[str, list[Video]] = {"train": [], "holdout": [], "test": []}
    for video in videos.videos:
        part = datasets.split(config, video)
        if part == "train" and video.group in config.holdout:
            part = "holdout"
        if part:
            parts[part].append(video)
    groups = {video.group for part in ("train", "holdout") for video in parts[part]}
    for name, named in (("holdout", config.holdout), ("train_groups", config.train_groups)):
        if unknown := set(named) - groups:
            raise InputError(
                f"data.{name}: {', '.join(sorted(unknown))} not in the training split, "
                f"which has {', '.join(sorted(groups))}"
            )
    if both := set(config.holdout) & set(config.train_groups):
        raise InputError(f"data.train_groups: {', '.join(sorted(both))} is in data.holdout, too")
    if config.holdout and not parts["train"]:
        raise InputError("data.holdout: it names every group, which leaves none to train on")
    chosen = config.train_groups or groups
    trained_on = [video for video in parts["train"] if video.group in chosen]
    if config.train_groups and not trained_on:
        raise InputError(
            "data.train_groups: the protocol holds them out, which leaves none to train on"
        )
    parts["train"] = share_of(trained_on, config.train_share, config.share_seed)
    return parts


def share_of(videos: Sequence[Video], share: float, seed: int) -> list[Video]:
    """A random share of the videos, one at least, in their order.

    Labels are apportioned by Webster's method: one rate for all, each label's part rounded. What a
    smaller share of the same seed has is in a larger one, too.
    """
    drawn = np.random.default_rng(seed).permutation(len(videos)).tolist()
    labels = Counter(video.label for video in videos)
    ranks: Counter[int] = Counter()
    turns: list[tuple[float, int]] = []
    for number in drawn:
        label = videos[number].label
        turns.append(((ranks[label] + 0.5) / labels[label], number))
        ranks[label] += 1
    turns.sort(key=lambda turn: turn[0])  # stable: among equals as they were drawn
    count = max(1, round(share * len(videos)))
    return [videos[number] for number in sorted(number for _, number in turns[:count])]
