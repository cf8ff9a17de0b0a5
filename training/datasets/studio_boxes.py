"""The studio's people with a box: neither its colour nor its motion alone says which action it is.

Five motions with a box of three colours, seen from a camera level with the box, to which they turn:
a cloud has no colour, and an image hardly shows what moves along the line of sight. Each action
once for a seed, from when it is well begun.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from fourd_perception.recordings import studio_seeds
from training.datasets import studio
from training.datasets.labelled_video import DataSet, LabelledFrame, LabelledVideo, Source

if TYPE_CHECKING:
    from training.config import DataConfig

_FRAMES = 24
"""Of a video: 3.2 s, two cycles of the slowest."""


def read(seed: int) -> Iterable[LabelledVideo]:
    """Every action with a box, by one person in one room. Imports MuJoCo."""
    from fourd_perception.studio import BOX_CLASSES, TRANSITION, Scene, StudioConfig, clip

    config = StudioConfig(
        width=160, height=120, rate=studio.RATE, room=False, facing=12.0, camera_lowest=1.1,
        camera_highest=1.4, camera_nearest=2.2, camera_farthest=2.8,
    )  # fmt: skip
    scene = Scene(seed, config)
    times = [TRANSITION + number / studio.RATE for number in range(_FRAMES)]
    intrinsics = config.intrinsics
    for label, action in enumerate(BOX_CLASSES):
        frames = [
            LabelledFrame(
                intrinsics.back_project_where(one.depth, one.foreground & (one.depth > 0)),
                image=one.colour,
            )
            for one in clip(seed, action, times, scene=scene)
        ]
        yield LabelledVideo(label, frames)


def open_data_set(config: DataConfig) -> DataSet:
    """One source a seed, which is also its group. Imports MuJoCo."""
    from fourd_perception.studio import BOX_CLASSES

    sources = [
        Source(f"studio_{seed}", str(seed), part, partial(read, seed))
        for seed, part in studio_seeds.parts(config.recordings, config.test_recordings)
    ]
    return DataSet(studio.RATE, BOX_CLASSES, sources)


def choice(config: DataConfig) -> dict[str, int]:
    """As the studio's."""
    return studio.choice(config)
