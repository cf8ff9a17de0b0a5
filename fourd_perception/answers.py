"""What the pipelines say of a stream: of a window, of its frames, of a frame's points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fourd_perception.stream.frame import Frame, Person


@dataclass(frozen=True)
class Recognition:
    """What one window shows, or one of its frames.

    stamp, frame_id: the window's newest frame, or the one that is spoken of. start: the stamp of
    the window's oldest. scores: (K,) float32, softmax over the model's classes; all zero where no
    point was in view. by_source: of a model that fuses several scores, each by itself, (K,) float32
    by its name in `models.fusion.SOURCES`; empty where no point was in view. classes: the names of
    the scores, where they can be others than the checkpoint's; else empty.
    """

    stamp: int
    frame_id: str
    start: int
    scores: NDArray[np.float32]
    processing_ms: float
    by_source: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()

    def top(self, k: int, min_score: float) -> list[tuple[int, float]]:
        """(class index, score) of the best k classes (0: all) that score `min_score` or more."""
        order = np.argsort(-self.scores, kind="stable")[: k or None]
        best = [(int(index), float(self.scores[index])) for index in order]
        return [(index, score) for index, score in best if score > 0 and score >= min_score]


@dataclass(frozen=True)
class FrameActions:
    """What is done in those frames of a window of which nothing was said before, oldest first.

    newest: the last of them as it was seen.
    """

    frames: tuple[Recognition, ...]
    newest: Frame
    processing_ms: float

    @property
    def stamp(self) -> int:
        """Nanoseconds, of the newest of them."""
        return self.frames[-1].stamp


@dataclass(frozen=True)
class PersonAction:
    """What one of several people does. person: as they were followed in the window's newest frame,
    without their points."""

    person: Person
    recognition: Recognition


@dataclass(frozen=True)
class PeopleActions:
    """What each does who was followed for a whole window, by their numbers.

    lead: of who would be followed alone; where nobody is followed, an answer without a class; None
    while their window fills.
    """

    stamp: int
    frame_id: str
    people: tuple[PersonAction, ...]
    lead: Recognition | None
    processing_ms: float


@dataclass(frozen=True)
class Segmentation:
    """The label of every point of a frame.

    labels: (N,) uint32, in the order of the frame's points; UNLABELLED where there is no return, or
    where the model has seen nothing near. confidence: (N,) float32, the label's softmax; 0 there.
    """

    frame: Frame
    labels: NDArray[np.uint32]
    confidence: NDArray[np.float32]
    processing_ms: float

    @property
    def stamp(self) -> int:
        """Nanoseconds, of the frame that is labelled."""
        return self.frame.stamp
