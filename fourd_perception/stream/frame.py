"""One moment of the stream, as every room of the package knows it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SECOND = 1_000_000_000
"""Nanoseconds; every stamp in the package is an int of nanoseconds."""

LATE = SECOND // 10
"""A message older than the last one by no more than this is late; by more, and time has jumped."""

UNLABELLED = 65535
"""A point's label where there is none: no return, or nothing that has a class."""


@dataclass(frozen=True, eq=False)
class Person:
    """One of several people who are followed, in one frame.

    number: theirs for as long as they are followed, and nobody else's ever. shown: (N,) bool, the
    frame's points that are theirs; none while they are hidden. low, high: (3,) float64, metres, the
    corners of the box that they were last seen in. leads: who would be followed alone.
    """

    number: int
    shown: NDArray[np.bool_]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    leads: bool = False


@dataclass(frozen=True, eq=False)
class Frame:
    """A cloud and, where there is one, the colour image that belongs to it. Validated at the door.

    Frames are compared by identity: two frames with one stamp are still two frames.

    stamp: nanoseconds, the sensor's own header stamp. frame_id: the cloud's.
    points: (N, 3) float32, metres, in the cloud's own order, NaN where there is no return.
    image: (H, W, 3) uint8 RGB, or None. rows: of an organised cloud, each of N / rows points; 1 of
    one that is not. shown: (N,) bool, the points that models are shown; None: all. begins: why a
    window must not hold this frame together with those before it; empty: it may. people: those who
    are followed each by themselves, by their numbers; None where nobody tells them apart.
    """

    stamp: int
    frame_id: str
    points: NDArray[np.float32]
    image: NDArray[np.uint8] | None = None
    rows: int = 1
    shown: NDArray[np.bool_] | None = None
    begins: str = ""
    people: tuple[Person, ...] | None = None

    @property
    def visible(self) -> NDArray[np.float32]:
        """(M, 3) float32: the points that models are shown."""
        return self.points if self.shown is None else self.points[self.shown]
