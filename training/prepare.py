"""Prepare a data set for training: python training/prepare.py --config config/training/....yaml

Reads the raw release at data.root once and writes the folder data.prepared, which training and
evaluation read frame by frame. It can be stopped at any moment: run it again, and it goes on.
`training/finetune.py` does the same by itself where the folder is not there yet.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fourd_perception.errors import command
from fourd_perception.parameters import load_yaml
from fourd_perception.tools.arguments import counting
from training import datasets
from training.config import DataConfig, FinetuneConfig
from training.data import open_videos, split
from training.datasets.labelled_video import DataSet
from training.datasets.prepared import PreparedVideos


def counts(videos: PreparedVideos, config: DataConfig) -> dict[str, int]:
    """How many videos each part has: train, holdout, test."""
    return {part: len(chosen) for part, chosen in split(videos, config).items() if chosen}


def remarks(data_set: DataSet, found: dict[str, int]) -> list[str]:
    """What somebody who uses the data set should read; counts that are not the owners' first.

    Held-out videos count as training videos, of which they are a part.
    """
    found = {"train": found.get("train", 0) + found.get("holdout", 0), "test": found.get("test", 0)}
    return [
        f"{part}: {found[part]} videos; the release has {expected}"
        for part, expected in data_set.expected.items()
        if found.get(part) != expected
    ] + list(data_set.remarks)


@command
def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--config", required=True, help="YAML file, see config/training")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="overrides",
        help="replace a value of the file, e.g. --set data.root=/data/msr; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=counting, default=os.cpu_count() or 1,
        help="processes that read (default: one for each core)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    config = load_yaml(FinetuneConfig, arguments.config, tuple(arguments.overrides)).data
    data_set = datasets.open_data_set(config)
    folder = Path(config.prepared)
    videos = open_videos(config, arguments.workers)
    size = sum(path.stat().st_size for path in folder.iterdir())
    summary = {
        "folder": str(folder),
        "videos": counts(videos, config),
        "frames": sum(video.frames for video in videos.videos),
        "classes": len(videos.classes),
        "point_classes": len(videos.point_classes),
        "bytes": size,
    }
    lines = remarks(data_set, counts(videos, config))
    if arguments.json:
        print(json.dumps({**summary, "remarks": lines}))
    else:
        parts = ", ".join(f"{part} {count}" for part, count in counts(videos, config).items())
        print(f"{folder}: {parts} videos, {summary['frames']} frames, {size / 2**20:.1f} MiB")
        print("\n".join(f"note: {line}" for line in lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
