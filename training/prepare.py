"""Prepare a data set for training: python training/prepare.py --config config/training/....yaml

Reads the raw release at data.root once and writes the folder data.prepared, which training and
evaluation read frame by frame. It can be stopped at any moment: run it again, and it goes on.
`finetune.py`, `pretrain.py` and `align.py` do the same where the folder is not there yet.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fourd_perception.errors import command
from fourd_perception.parameters import from_mapping, read_yaml
from fourd_perception.tools.arguments import counting
from training import datasets
from training.align_config import AlignConfig
from training.config import DataConfig, FinetuneConfig, RunConfig
from training.data import open_videos, remarks, split
from training.datasets.prepared import PreparedVideos
from training.pretrain_config import PretrainConfig


def counts(videos: PreparedVideos, config: DataConfig) -> dict[str, int]:
    """How many videos each part has: train, holdout, test."""
    return {part: len(chosen) for part, chosen in split(videos, config).items() if chosen}


def _kind_of(document: dict[str, Any], where: str) -> RunConfig:
    """The run of pretrain.py, align.py or finetune.py that a file tells of."""
    if "image_model" in document:
        return from_mapping(PretrainConfig, document, where)
    if "video_text" in document:
        return from_mapping(AlignConfig, document, where)
    return from_mapping(FinetuneConfig, document, where)


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
    document = read_yaml(arguments.config, tuple(arguments.overrides))
    config = _kind_of(document, arguments.config).data
    folder = Path(config.prepared)
    videos = open_videos(config, arguments.workers, compare=True)
    size = sum(path.stat().st_size for path in folder.iterdir())
    summary = {
        "folder": str(folder),
        "videos": counts(videos, config),
        "frames": sum(video.frames for video in videos.videos),
        "classes": len(videos.classes),
        "point_classes": len(videos.point_classes),
        "bytes": size,
    }
    lines = remarks(datasets.open_data_set(config))
    if arguments.json:
        print(json.dumps({**summary, "remarks": lines}))
    else:
        parts = ", ".join(f"{part} {count}" for part, count in counts(videos, config).items())
        print(f"{folder}: {parts} videos, {summary['frames']} frames, {size / 2**20:.1f} MiB")
        print(*(f"note: {line}" for line in lines), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
