"""The studio's recordings: simulated people, never real data."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from fourd_perception.recordings import studio_seeds
from training.datasets.labelled_video import DataSet, LabelledVideo, Source, actions_of

if TYPE_CHECKING:
    from training.config import DataConfig

RATE = 7.5
"""Rendered at the rate of the clips (every fourth frame of 30 Hz), not at the camera's."""


def read(seed: int) -> Iterable[LabelledVideo]:
    """A performance of every action. Imports MuJoCo."""
    from fourd_perception import studio

    return actions_of(studio.perform(seed, None, studio.StudioConfig(rate=RATE)))


def open_data_set(config: DataConfig) -> DataSet:
    """One source a seed, which is also its group. Imports MuJoCo."""
    from fourd_perception import studio

    sources = [
        Source(f"studio_{seed}", str(seed), part, partial(read, seed))
        for seed, part in studio_seeds.parts(config.recordings, config.test_recordings)
    ]
    return DataSet(RATE, studio.CLASSES, sources)


def choice(config: DataConfig) -> dict[str, int]:
    """How many performances."""
    return {"recordings": config.recordings, "test_recordings": config.test_recordings}
