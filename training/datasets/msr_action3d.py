"""MSR-Action3D by the field's protocol: subjects 1-5 train, 6-10 test."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from fourd_perception.recordings import msr_action3d
from training.datasets.prepared import Source

if TYPE_CHECKING:
    from training.config import DataConfig


def sources(config: DataConfig) -> Sequence[Source]:
    """One source a sequence; the groups are the subjects, "s01" to "s10"."""
    return [
        Source(
            name=str(sequence),
            group=f"s{sequence.subject:02d}",
            split="train" if sequence.subject in msr_action3d.TRAIN_SUBJECTS else "test",
            record=partial(msr_action3d.recording, config.root, [sequence]),
        )
        for sequence in msr_action3d.list_sequences(config.root)
    ]


def choice(config: DataConfig) -> dict[str, int]:
    """All of it is always taken."""
    return {}
