"""HOI4D 4D semantic segmentation: the challenge's h5 files, 300 frames of 8192 labelled points."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from training.datasets import hoi4d
from training.datasets.labelled_video import (
    NO_LABEL,
    NO_POINT_LABEL,
    DataSet,
    LabelledFrame,
    LabelledVideo,
)

if TYPE_CHECKING:
    from training.config import DataConfig
    from training.datasets.prepared import Video

RATE = 15.0
"""Frames a second."""

FIRST_LABEL = 2
"""Before it come 0, no label, and 1, noise: nothing to be predicted, and not scored."""

POINT_CLASSES = (
    "chair", "table", "water_dispenser", "ground", "label_06", "label_07", "label_08", "bucket",
    "garbage_can", "wall", "sofa", "bag", "label_14", "bowl", "bottled_drinks", "mug", "label_18",
    "locker", "express_box", "kettle", "hammer", "pliers", "toy_car", "laptop", "refrigerator",
    "safe", "stapler", "desk_lamp", "trolley_case", "knife", "cupboard", "bed", "bedside_table",
    "door", "window", "mural", "counter", "curtain", "pool", "pillow", "carpet", "television",
    "ceiling", "other_furniture", "other_objects", "hand", "scissors",
)  # fmt: skip
"""The owners' labels 2 to 48, in order; five of the numbers have no name in their table."""

FORM = hoi4d.H5Form(
    frames=300,
    points=8192,
    label_key="semantic",
    labels=FIRST_LABEL + len(POINT_CLASSES),
    point_labels=True,
    test_files=(("test1_right.h5", "test2_right.h5"), ("test_wolabel.h5",)),
)


def read(path: Path, row: int, form: hoi4d.H5Form) -> Iterable[LabelledVideo]:
    """One row: one video; points without a label or called noise get NO_POINT_LABEL."""
    points, labels = hoi4d.read_row(path, row, form)
    told = np.full((form.frames, form.points), NO_POINT_LABEL, np.uint8)
    if labels is not None:
        known = labels >= FIRST_LABEL
        told[known] = labels[known] - FIRST_LABEL
    frames = (LabelledFrame(*frame) for frame in zip(points, [NO_LABEL] * form.frames, told))
    yield LabelledVideo(NO_LABEL, frames)


def open_data_set(config: DataConfig) -> DataSet:
    """One source a sequence; the groups are the object instances, or the files."""
    hoi4d.protocol(config)
    sources, remarks = hoi4d.h5_sources(config.root, FORM, read)
    return DataSet(
        RATE, (), sources, POINT_CLASSES, expected=hoi4d.EXPECTED, remarks=tuple(remarks)
    )


def choice(config: DataConfig) -> dict[str, str]:
    """All of it is always taken; the protocols share one prepared folder."""
    return {}


def split(config: DataConfig, video: Video) -> str:
    """The part of a video by data.protocol."""
    return hoi4d.part(config, video)
