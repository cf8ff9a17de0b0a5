"""What a model said of a bag, and what is known of how it came to say it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourd_perception.evaluation.bag_labels import BagTruth
from fourd_perception.evaluation.bag_source import BagSource
from fourd_perception.evaluation.live_difference import LiveDifference, Said
from fourd_perception.evaluation.metrics import window_truth
from fourd_perception.evaluation.session import Picture, Session


@dataclass(frozen=True)
class Stages:
    """What each stage took, milliseconds: of every frame its reading, of every window the sampling
    of its new frames and the model. wall_s: seconds of all of it, without loading the model."""

    read_ms: NDArray[np.float32]
    preprocess_ms: NDArray[np.float32]
    model_ms: NDArray[np.float32]
    wall_s: float


@dataclass(frozen=True)
class LabelledFrame:
    """How a frame's points were labelled. recorded: nanoseconds. counts: points of each class, and
    at the end those without a label. right, judged: of the points whose truth is known. digest: of
    the labels, see `labels_digest`. by_class: of every class the judged points that are right,
    those that are of it, and those that are said to be."""

    stamp: int
    recorded: int
    counts: tuple[int, ...]
    right: int
    judged: int
    digest: str
    by_class: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True, eq=False)
class BagResult:
    """What a model said of a bag.

    session: its clouds, truth and answers; of a model that labels points there are none, but
    `frames`. scores: (N, K) float32 of the answers. recorded: (N,) int64 nanoseconds, when the
    cloud that an answer speaks of was. due: (N,) int64, of every answer the number, from 1, of the
    message with which its window was complete. points: (K, K + 1) counts as `label_confusion` gives
    them, or None where the clouds bring no truth. notes: a line each on what was wrong with the
    bag. live: what the live node said otherwise, where it was asked. by_source: of a model that
    fuses several scores, (N, K) float32 of each by its name; NaN where it took no part.
    """

    path: Path
    task: str
    source: BagSource
    session: Session
    scores: NDArray[np.float32]
    recorded: NDArray[np.int64]
    due: NDArray[np.int64]
    frames: tuple[LabelledFrame, ...]
    points: NDArray[np.int64] | None
    stages: Stages
    notes: tuple[str, ...]
    live: LiveDifference | None = None
    by_source: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def said(self) -> list[Said]:
        """Its answers, to be compared with a live run's."""
        if self.frames:
            return [Said(one.stamp, one.digest, 0.0) for one in self.frames]
        return [Said(one.stamp, one.label or "", one.score) for one in self.session.answers]

    @property
    def delay(self) -> int:
        """Nanoseconds from a cloud's stamp to its recording, their median."""
        stamps = [one.stamp for one in self.frames or self.session.answers]
        return round(float(np.median(self.recorded - np.array(stamps, np.int64))))

    @property
    def name(self) -> str:
        """The bag's own name."""
        return self.path.name

    def with_truth(self, truth: BagTruth) -> BagResult:
        """The same, its answers judged."""
        answers = tuple(
            replace(one, truth=window_truth(one.start, one.stamp, truth.intervals))
            for one in self.session.answers
        )
        session = replace(self.session, truth=truth.intervals, answers=answers)
        return replace(self, session=session, notes=(*self.notes, *truth.problems))

    def with_pictures(self, pictures: Sequence[Picture]) -> BagResult:
        """The same, with pictures."""
        return replace(self, session=replace(self.session, pictures=tuple(pictures)))
