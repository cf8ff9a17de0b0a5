"""A recording of a depth camera with its truth: what the studio and the data sets give alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera: pixels. The optical frame is x right, y down, z forward (REP-103)."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    def back_project(self, depth: NDArray[np.float32]) -> NDArray[np.float32]:
        """depth: (H, W) float32, metres along z, 0 where there is no return.

        Returns (H, W, 3) float32, metres, optical frame; NaN where there is no return.
        """
        if depth.shape != (self.height, self.width):
            raise ValueError(f"depth is {depth.shape}, the camera {(self.height, self.width)}")
        z = np.where(depth > 0, depth, np.float32(np.nan)).astype(np.float32)
        x = (np.arange(self.width, dtype=np.float32) - self.cx) / self.fx
        y = (np.arange(self.height, dtype=np.float32)[:, None] - self.cy) / self.fy
        return np.stack((x * z, y * z, z), axis=-1).astype(np.float32)

    def back_project_where(
        self, depth: NDArray[np.float32], where: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """The points of the pixels in `where`, (N, 3) float32, row by row; for a small part.

        depth: (H, W) float32, metres, more than 0 wherever `where` (H, W) is true.
        """
        if depth.shape != (self.height, self.width):
            raise ValueError(f"depth is {depth.shape}, the camera {(self.height, self.width)}")
        rows, columns = np.divmod(np.flatnonzero(where), self.width)
        z = depth[where]
        x = ((np.arange(self.width, dtype=np.float32) - self.cx) / self.fx)[columns]
        y = ((np.arange(self.height, dtype=np.float32) - self.cy) / self.fy)[rows]
        return np.stack((x * z, y * z, z), axis=-1).astype(np.float32)


@dataclass(frozen=True)
class Interval:
    """An action from `start` to `end` (nanoseconds, end excluded)."""

    start: int
    end: int
    label: str


@dataclass(frozen=True)
class RecordedFrame:
    """One frame of the camera, with its truth where it is known.

    depth: (H, W) float32, metres, 0 where there is no return. colour: (H, W, 3) uint8 RGB.
    foreground: (H, W) bool, the person and what they hold (what masked data sets keep).
    labels: (H, W) uint16, index into the recording's `point_classes`, UNLABELLED where none.
    """

    stamp: int
    depth: NDArray[np.float32]
    foreground: NDArray[np.bool_]
    colour: NDArray[np.uint8] | None = None
    labels: NDArray[np.uint16] | None = None


@dataclass(frozen=True, eq=False)
class OtherPerson:
    """Somebody else in a recording. place: (3,), metres, where they stand, in the room's frame.
    truth: what they do when, ordered."""

    place: NDArray[np.float64]
    truth: tuple[Interval, ...]


@dataclass(frozen=True)
class Recording:
    """A camera's recording. `frames()` makes the frames anew, in order, one at a time.

    rate: frames a second. classes: the action names that may occur in `truth`, which is ordered.
    point_classes: the names behind RecordedFrame.labels; empty where points have no truth.
    viewpoint: (3, 4) float64: takes the optical frame into a room's, whose z is up, with its floor
    at 0; metres; None where it is not known. others: who else does actions.
    """

    name: str
    rate: float
    intrinsics: Intrinsics
    classes: tuple[str, ...]
    truth: tuple[Interval, ...]
    frame_count: int
    frames: Callable[[], Iterator[RecordedFrame]]
    point_classes: tuple[str, ...] = ()
    viewpoint: NDArray[np.float64] | None = None
    others: tuple[OtherPerson, ...] = ()
