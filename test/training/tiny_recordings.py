"""Recordings of a blob that rises or falls: two actions that the smallest model can tell apart."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from fourd_perception.recordings.recording import Interval, Intrinsics, RecordedFrame, Recording
from fourd_perception.stream.frame import SECOND
from training.datasets.labelled_video import (
    NO_LABEL,
    NO_POINT_LABEL,
    DataSet,
    LabelledFrame,
    LabelledVideo,
    Source,
)

CLASSES = ("rise", "fall")
POINT_CLASSES = ("body", "blob")
RATE = 10.0
FRAMES = 6
CAMERA = Intrinsics(width=16, height=24, fx=20.0, fy=20.0, cx=8.0, cy=12.0)


def record(person: int, rate: float = RATE) -> Recording:
    def frames() -> Iterator[RecordedFrame]:
        random = np.random.default_rng(person)
        for number in range(2 * FRAMES):
            moment = number % FRAMES
            row = 18 - 3 * moment if number < FRAMES else 3 + 3 * moment
            depth = np.zeros((24, 16), np.float32)
            depth[:, :] = 4.0
            foreground = np.zeros((24, 16), bool)
            foreground[row : row + 3, 4 : 4 + 8] = True
            foreground[10:14, 6:9] = True  # a body that stays
            depth[foreground] = 2.0 + 0.05 * random.random(int(foreground.sum()))
            depth[row, 5] = 0.0  # a missing return within the blob
            yield RecordedFrame(round(number / rate * SECOND), depth, foreground)

    end = round(FRAMES / rate * SECOND)
    truth = (Interval(0, end, "rise"), Interval(end, 2 * end, "fall"))
    return Recording(f"person{person}", rate, CAMERA, CLASSES, truth, 2 * FRAMES, frames)


def labelled(person: int) -> list[LabelledVideo]:
    """One video of both actions, with a label for every frame and for every point."""
    frames = []
    for number, frame in enumerate(record(person).frames()):
        person_there = frame.foreground & (frame.depth > 0)
        points = CAMERA.back_project_where(frame.depth, person_there)
        rows, columns = np.nonzero(person_there)
        body = (rows >= 10) & (rows < 14) & (columns >= 6) & (columns < 9)
        parts = np.where(body, 0, 1).astype(np.uint8)
        parts[0] = NO_POINT_LABEL
        frames.append(LabelledFrame(points, number // FRAMES, parts))
    return [LabelledVideo(NO_LABEL, frames)]


def labelled_set(people: int, train: int) -> DataSet:
    """The first `train` people are trained on, the others test."""
    sources = [
        Source(f"p{n}", f"p{n}", "train" if n < train else "test", partial(labelled, n))
        for n in range(people)
    ]
    return DataSet(RATE, CLASSES, sources, POINT_CLASSES)
