"""MSR-Action3D by the field's protocol: subjects 1-5 train, 6-10 test."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fourd_perception.recordings import msr_action3d
from training.datasets.labelled_video import DataSet, LabelledFrame, LabelledVideo, Source

if TYPE_CHECKING:
    from training.config import DataConfig

EXPECTED = {"train": 270, "test": 297}
"""Videos of the release."""


def read(path: Path, action: int) -> Iterable[LabelledVideo]:
    """One sequence: one video."""
    depth = msr_action3d.read_depth(path)
    camera = msr_action3d.INTRINSICS
    frames = (LabelledFrame(camera.back_project_where(one, one > 0), action - 1) for one in depth)
    return [LabelledVideo(action - 1, frames)]


def split_of(sequence: msr_action3d.SequenceId) -> str:
    """The part that a sequence's subject belongs to."""
    return "train" if sequence.subject in msr_action3d.TRAIN_SUBJECTS else "test"


def open_data_set(config: DataConfig) -> DataSet:
    """One source a sequence; the groups are the subjects, "s01" to "s10"."""
    sources = [
        Source(
            name=str(sequence),
            group=f"s{sequence.subject:02d}",
            split=split_of(sequence),
            read=partial(read, path, sequence.action),
        )
        for sequence, path in sorted(msr_action3d.files(config.root).items())
    ]
    return DataSet(msr_action3d.RATE, msr_action3d.ACTIONS, sources, expected=EXPECTED)


def choice(config: DataConfig) -> dict[str, int]:
    """All of it is always taken."""
    return {}
