"""HOI4D action segmentation: the challenge's h5 files, 150 frames of 2048 points, 19 actions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from training.datasets import hoi4d
from training.datasets.labelled_video import NO_LABEL, DataSet, LabelledFrame, LabelledVideo

if TYPE_CHECKING:
    from training.config import DataConfig
    from training.datasets.prepared import Video

RATE = 7.5
"""Frames a second: every other one of the camera's 15."""

CLASSES = tuple(f"action_{number:02d}" for number in range(19))
"""The owners have not published which action has which number."""

FORM = hoi4d.H5Form(
    frames=150,
    points=2048,
    label_key="label",
    labels=len(CLASSES),
    point_labels=False,
    test_files=(("test1.h5", "test2.h5"), ("test_wolabel.h5",)),
)


def read(path: Path, row: int, form: hoi4d.H5Form) -> Iterable[LabelledVideo]:
    """One row: one video, with a label for each frame where the file has labels."""
    points, labels = hoi4d.read_row(path, row, form)
    told = [NO_LABEL] * form.frames if labels is None else labels.tolist()
    yield LabelledVideo(NO_LABEL, map(LabelledFrame, points, told))


def open_data_set(config: DataConfig) -> DataSet:
    """One source a sequence; the groups are the object instances, or the files."""
    hoi4d.protocol(config)
    sources, remarks = hoi4d.h5_sources(config.root, FORM, read)
    return DataSet(RATE, CLASSES, sources, expected=hoi4d.EXPECTED, remarks=tuple(remarks))


def choice(config: DataConfig) -> dict[str, str]:
    """All of it is always taken; the protocols share one prepared folder."""
    return {}


def split(config: DataConfig, video: Video) -> str:
    """The part of a video by data.protocol."""
    return hoi4d.part(config, video)
