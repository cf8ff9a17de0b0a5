"""From a configuration to its prepared videos, and to the parts that they are split into."""

from __future__ import annotations

from pathlib import Path

from fourd_perception.errors import InputError
from training import datasets
from training.config import DataConfig
from training.datasets.prepared import PrepareConfig, PreparedVideos, Video, prepare


def open_videos(config: DataConfig, workers: int = 2) -> PreparedVideos:
    """The prepared videos; made first if they are not there. Raises InputError on other ones."""
    made_of = datasets.made_of(config)
    if not Path(config.prepared).exists():
        kept = PrepareConfig(config.points_at_most, config.image_size)
        prepare(datasets.open_data_set(config), config.prepared, made_of, kept, workers)
    videos = PreparedVideos(config.prepared)
    if videos.made_of != made_of:
        raise InputError(
            f"{config.prepared}: made of {videos.made_of}, the configuration asks for {made_of}: "
            "name another folder in data.prepared, or delete this one"
        )
    return videos


def split(videos: PreparedVideos, config: DataConfig) -> dict[str, list[Video]]:
    """By part: train, holdout (of the training split, not trained on) and test.

    Held out is what the data set's protocol holds out, and the groups in `holdout`. Raises
    InputError if there is no such group, or nothing is left to train on.
    """
    parts: dict[str, list[Video]] = {"train": [], "holdout": [], "test": []}
    for video in videos.videos:
        part = datasets.split(config, video)
        if part == "train" and video.group in config.holdout:
            part = "holdout"
        if part:
            parts[part].append(video)
    groups = {video.group for part in ("train", "holdout") for video in parts[part]}
    unknown = set(config.holdout) - groups
    if unknown:
        raise InputError(
            f"data.holdout: {', '.join(sorted(unknown))} not in the training split, "
            f"which has {', '.join(sorted(groups))}"
        )
    if config.holdout and not parts["train"]:
        raise InputError("data.holdout: it names every group, which leaves none to train on")
    return parts
