"""The studio's simulated people with a label for every point: in their rooms, and alone.

A robot has either kind of cloud: all that its camera sees, or what something before it has cut out.
Recordings of even seeds are of the first kind, of odd seeds of the second; `data.protocol` "room"
or "person" takes one kind alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fourd_perception.errors import InputError
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
    from training.datasets.prepared import Video

PROTOCOLS = ("room", "person")

_SECONDS = (2.0, 3.0)
"""Shortest and longest action: many poses and rooms rather than many frames of each."""


def read(seed: int) -> Iterable[LabelledVideo]:
    """A performance of every action as one video. Imports MuJoCo."""
    from fourd_perception.studio import StudioConfig, perform

    config = StudioConfig(rate=studio.RATE, seconds_least=_SECONDS[0], seconds_most=_SECONDS[1])
    recording = perform(seed, None, config)
    yield LabelledVideo(NO_LABEL, _frames(recording, whole_room=_kind(seed) == "room"))


def _frames(recording: Recording, *, whole_room: bool) -> Iterator[LabelledFrame]:
    for frame in recording.frames():
        seen = frame.depth > 0
        if not whole_room:
            seen &= frame.foreground
        points = recording.intrinsics.back_project_where(frame.depth, seen)
        assert frame.labels is not None  # the studio's frames have one where there is a return
        yield LabelledFrame(points, point_labels=frame.labels[seen].astype(np.uint8))


def _kind(seed: int) -> str:
    return PROTOCOLS[seed % 2]


def open_data_set(config: DataConfig) -> DataSet:
    """One source a seed, which is also its group. Imports MuJoCo."""
    from fourd_perception.studio import POINT_CLASSES

    sources = [
        Source(f"studio_{seed}_{_kind(seed)}", str(seed), part, partial(read, seed))
        for seed, part in studio_seeds.parts(config.recordings, config.test_recordings)
    ]
    return DataSet(studio.RATE, (), sources, point_classes=POINT_CLASSES)


def split(config: DataConfig, video: Video) -> str:
    """The part of a video: its seed's, where it is of the kind that data.protocol asks for."""
    wanted = not config.protocol or _kind(int(video.group)) == config.protocol
    return video.split if wanted else ""


def choice(config: DataConfig) -> dict[str, int]:
    """As the studio's. Raises InputError on an unknown protocol."""
    if config.protocol and config.protocol not in PROTOCOLS:
        raise InputError(
            f"data.protocol: expected {' or '.join(PROTOCOLS)}, or '' for both; "
            f"got '{config.protocol}'"
        )
    return studio.choice(config)
