"""The studio's recordings: simulated people, never real data."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from fourd_perception.recordings import studio_seeds
from fourd_perception.recordings.recording import Recording
from training.datasets.prepared import Source

if TYPE_CHECKING:
    from training.config import DataConfig

_RATE = 7.5
"""Rendered at the rate of the clips (every fourth frame of 30 Hz), not at the camera's."""


def record(seed: int) -> Recording:
    """A performance of every action. Imports MuJoCo."""
    from fourd_perception import studio

    return studio.perform(seed, None, studio.StudioConfig(rate=_RATE))


def sources(config: DataConfig) -> Sequence[Source]:
    """One source a seed, which is also its group."""
    train = range(studio_seeds.TRAINING, studio_seeds.TRAINING + config.recordings)
    test = range(studio_seeds.TEST, studio_seeds.TEST + config.test_recordings)
    return [
        Source(f"studio_{seed}", str(seed), "train" if seed < studio_seeds.TEST else "test",
               partial(record, seed))
        for seed in (*train, *test)
    ]  # fmt: skip


def choice(config: DataConfig) -> dict[str, int]:
    """How many performances."""
    return {"recordings": config.recordings, "test_recordings": config.test_recordings}
