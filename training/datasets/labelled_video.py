"""What every data set gives: videos of points with labels, one frame at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fourd_perception.recordings.recording import Recording

NO_LABEL = -1
"""The label of a video or a frame that has none; losses and metrics leave it out."""

NO_POINT_LABEL = 255
"""The label of a point that has none, likewise."""


@dataclass(frozen=True)
class LabelledFrame:
    """One frame.

    points: (N, 3) float32, metres, finite, the optical frame of the camera; N may be 0.
    label: what is done in it, an index into the data set's `classes`. point_labels: (N,) uint8,
    indices into its `point_classes`. image: (H, W, 3) uint8 RGB of the same moment.
    """

    points: NDArray[np.float32]
    label: int = NO_LABEL
    point_labels: NDArray[np.uint8] | None = None
    image: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class LabelledVideo:
    """One video, at the data set's rate. label: what is done in all of it, or NO_LABEL."""

    label: int
    frames: Iterable[LabelledFrame]


@dataclass(frozen=True)
class Source:
    """One thing to read: a file, a folder, a sequence; it holds one video or a few.

    name: unique. group: what a split must not cut (a subject, a seed). split: "train" or "test".
    read: picklable, because it is called in a worker process; raises InputError with the path.
    """

    name: str
    group: str
    split: str
    read: Callable[[], Iterable[LabelledVideo]]


@dataclass(frozen=True)
class DataSet:
    """A data set, before anything of it is read.

    rate: frames a second. classes: of actions. point_classes: of points; empty where points have no
    labels. expected: how many videos its owners say that a split has ("train", "test").
    remarks: lines that somebody who uses it should read.
    """

    rate: float
    classes: tuple[str, ...]
    sources: Sequence[Source]
    point_classes: tuple[str, ...] = ()
    expected: Mapping[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def actions_of(recording: Recording) -> list[LabelledVideo]:
    """Each interval of a recording's truth as a video of its foreground points."""
    collected: list[list[LabelledFrame]] = [[] for _ in recording.truth]
    for frame in recording.frames():
        person = frame.foreground & (frame.depth > 0)
        points = recording.intrinsics.back_project_where(frame.depth, person)
        seen = LabelledFrame(points, image=frame.colour)
        for interval, frames in zip(recording.truth, collected):
            if interval.start <= frame.stamp < interval.end:
                frames.append(seen)
    return [
        LabelledVideo(recording.classes.index(interval.label), frames)
        for interval, frames in zip(recording.truth, collected)
        if frames
    ]
