"""Recordings of a blob that rises or falls: two actions that the smallest model can tell apart."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fourd_perception.recordings.recording import Interval, Intrinsics, RecordedFrame, Recording
from fourd_perception.stream.frame import SECOND

CLASSES = ("rise", "fall")
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
