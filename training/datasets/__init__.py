"""Data sets: each module of this folder that is named in `NAMES` reads one.

Such a module has two functions: `choice(config)`, plain data that tells one choice of its videos
from another, for which the release need not be there; and `open_data_set(config)`, which lists what
is to be read. It may have a third, `split(config, video)`, where the split of a video depends on
the configuration: one prepared folder then serves all protocols.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fourd_perception.errors import InputError
from training.datasets.labelled_video import DataSet

if TYPE_CHECKING:
    from training.config import DataConfig
    from training.datasets.prepared import Video

NAMES = (
    "folder",
    "hoi4d_actions",
    "hoi4d_raw",
    "hoi4d_semantic",
    "msr_action3d",
    "msr_body_parts",
    "msr_joined_actions",
    "ntu_rgbd",
    "studio",
    "studio_actions",
    "studio_boxes",
    "studio_points",
)


def open_data_set(config: DataConfig) -> DataSet:
    """What the data set of `config` consists of. Raises InputError if it is not at data.root."""
    found: DataSet = _module(config).open_data_set(config)
    return found


def made_of(config: DataConfig) -> dict[str, Any]:
    """Plain data that tells one prepared folder from another.

    Raises InputError on a protocol where the data set has none to choose from.
    """
    if config.protocol and not has_protocols(config):
        raise InputError(
            f"data.protocol: {config.dataset} has one split alone, got '{config.protocol}'; "
            "leave it out"
        )
    kept = {"points_at_most": config.points_at_most, "image_size": list(config.image_size)}
    return {"dataset": config.dataset, **kept, **_module(config).choice(config)}


def has_protocols(config: DataConfig) -> bool:
    """Whether the part of a video depends on data.protocol."""
    return hasattr(_module(config), "split")


def split(config: DataConfig, video: Video) -> str:
    """The part that a video belongs to by the protocol: train, holdout, test, or "" for none."""
    by_protocol = getattr(_module(config), "split", None)
    part: str = by_protocol(config, video) if by_protocol else video.split
    return part


def _module(config: DataConfig) -> ModuleType:
    return importlib.import_module(f"training.datasets.{config.dataset}")
