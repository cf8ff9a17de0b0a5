"""The studio's performances in one piece, with what is done in every frame of the person's points.

For temporal segmentation: all actions back to back, each out of the one before.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from fourd_perception.recordings import studio_seeds
from fourd_perception.recordings.recording import Recording
from training.datasets import studio
from training.datasets.labelled_video import (
    NO_LABEL,
    DataSet,
    LabelledFrame,
    LabelledVideo,
    Source,
)

if TYPE_CHECKING:
    from training.config import DataConfig


def read(seed: int) -> Iterable[LabelledVideo]:
    """A performance of every action as one video. Imports MuJoCo."""
    from fourd_perception.studio import StudioConfig, perform

    yield LabelledVideo(NO_LABEL, _frames(perform(seed, None, StudioConfig(rate=studio.RATE))))


def _frames(recording: Recording) -> Iterable[LabelledFrame]:
    actions = iter(recording.truth)
    action = next(actions)
    for frame in recording.frames():
        if frame.stamp >= action.end:
            action = next(actions)  # they lie back to back
        person = frame.foreground & (frame.depth > 0)
        yield LabelledFrame(
            recording.intrinsics.back_project_where(frame.depth, person),
            recording.classes.index(action.label),
        )


def open_data_set(config: DataConfig) -> DataSet:
    """One source a seed, which is also its group. Imports MuJoCo."""
    from fourd_perception.studio import CLASSES

    sources = [
        Source(f"studio_{seed}", str(seed), part, partial(read, seed))
        for seed, part in studio_seeds.parts(config.recordings, config.test_recordings)
    ]
    return DataSet(studio.RATE, CLASSES, sources)


def choice(config: DataConfig) -> dict[str, int]:
    """As the studio's."""
    return studio.choice(config)
