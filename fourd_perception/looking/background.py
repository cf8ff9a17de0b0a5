"""What stands still before a camera that stands still: learnt, then told from what is new."""

from __future__ import annotations

from typing import Protocol

import numba
import numpy as np
from numpy.typing import NDArray

from fourd_perception.looking.config import LookConfig
from fourd_perception.looking.voxels import VoxelTable, pack, sort_into_voxels, unpack
from fourd_perception.stream.frame import SECOND, Frame

_LOOKS = 15
"""Frames of the learning time whose ranges are kept: the median is theirs."""
_FEWEST_LOOKS = 3
_SETTLES = 10.0
"""Seconds in which a pixel's background follows what is measured there (a sensor warms up)."""
_OCCUPIED = 0.3
"""The part of the frames in which a cube must hold a point to be background."""
_MOVED = 0.6
_MOVED_FOR = SECOND
"""Where so much of the picture is other than it was for so long, it is the camera that moved."""


class Background(Protocol):
    """Learns from frames in order of their stamps until it is `learnt`, then judges."""

    learnt: bool
    moved: bool
    """Whether the camera seems to have been moved, so that all is to be learnt anew."""

    def learn(self, frame: Frame) -> None:
        """Take a frame of the learning time."""

    def foreground(self, frame: Frame) -> NDArray[np.bool_]:
        """(N,) bool: the points that are not background; false without a return."""


class _Learning:
    """Which frames are looked at while it learns, and whether that was long enough."""

    def __init__(self, seconds: float) -> None:
        self._whole = round(seconds * SECOND)
        self._start: int | None = None
        self._next = 0
        self.looks = 0

    def wants(self, stamp: int) -> bool:
        """Whether the frame of this stamp is one of the looks."""
        if self._start is None:
            self._start = self._next = stamp
        if stamp < self._next:
            return False
        self._next += max(1, self._whole // _LOOKS) * (
            1 + (stamp - self._next) // max(1, self._whole // _LOOKS)
        )
        self.looks += 1
        return True

    def done(self, stamp: int) -> bool:
        """Whether the frame of this stamp ends it."""
        assert self._start is not None
        return stamp - self._start >= self._whole and self.looks >= _FEWEST_LOOKS


class PixelBackground:
    """Of an organised cloud or a depth image: the range of each pixel.

    Learnt as the median of what returned. A point is foreground if it is nearer than the background
    of its pixel, and of the eight around it, by more than the margin at its range. What is as far
    as the background corrects it slowly; what is foreground does not. What is seen behind it,
    unchanged for as long as the learning took, is the background then: so somebody who stood there
    while it was learnt is background only until they go.
    """

    def __init__(self, config: LookConfig) -> None:
        self.learnt = False
        self.moved = False
        self._config = config
        self._learning = _Learning(config.background_seconds)
        self._looks: list[NDArray[np.float32]] = []
        self._ranges = self._candidates = np.empty(0, np.float32)
        self._since = np.empty(0, np.int64)
        self._last = 0
        self._moved_since: int | None = None

    def learn(self, frame: Frame) -> None:
        """Take a frame; all have the same pixels."""
        if self._learning.wants(frame.stamp):
            self._looks.append(_ranges(frame.points))
        if not self._learning.done(frame.stamp):
            return
        self._ranges = _median(np.stack(self._looks))
        self._looks = []
        self._candidates = np.full(len(self._ranges), np.nan, np.float32)
        self._since = np.zeros(len(self._ranges), np.int64)
        self._last, self.learnt = frame.stamp, True

    def foreground(self, frame: Frame) -> NDArray[np.bool_]:
        """(N,) bool; learns on from the frame."""
        config, kept = self._config, np.empty(len(frame.points), np.bool_)
        passed = max(0, frame.stamp - self._last)
        self._last = frame.stamp
        known, changed = _judge(
            _ranges(frame.points), frame.rows, self._ranges, self._candidates, self._since,
            frame.stamp, min(1.0, passed / SECOND / _SETTLES),
            config.background_margin, config.background_noise,
            round(config.background_seconds * SECOND), round(config.background_absorb * SECOND),
            kept,
        )  # fmt: skip
        if changed <= _MOVED * known or not known:
            self._moved_since = None
        elif self._moved_since is None:
            self._moved_since = frame.stamp
        self.moved = self._moved_since is not None and frame.stamp - self._moved_since >= _MOVED_FOR
        return kept


class VoxelBackground:
    """Of clouds in any order: the cubes of space that held points while it was learnt.

    Each grows by the margin at its range. It does not change until it is learnt anew: what lies
    behind an empty cube, only rays could tell.
    """

    def __init__(self, config: LookConfig) -> None:
        self.learnt = False
        self.moved = False
        self._config = config
        self._learning = _Learning(config.background_seconds)
        self._looks: list[NDArray[np.int64]] = []
        self._table = VoxelTable.of(np.empty((0, 3), np.int64))

    def learn(self, frame: Frame) -> None:
        """Take a frame."""
        if self._learning.wants(frame.stamp):
            everything = np.ones(len(frame.points), np.bool_)
            table, _ = sort_into_voxels(frame.points, everything, self._config.background_voxel)
            self._looks.append(table.coordinates)
        if not self._learning.done(frame.stamp):
            return
        keys, counts = np.unique(pack(np.concatenate(self._looks)), return_counts=True)
        often = keys[counts >= _OCCUPIED * len(self._looks)]
        self._table = VoxelTable.of(self._grown(unpack(often)))
        self._looks = []
        self.learnt = True

    def foreground(self, frame: Frame) -> NDArray[np.bool_]:
        """(N,) bool."""
        there: NDArray[np.bool_] = np.asarray(np.isfinite(frame.points).all(axis=1))
        size = self._config.background_voxel
        return there & ~self._table.contain(frame.points, there, size)

    def _grown(self, cubes: NDArray[np.int64]) -> NDArray[np.int64]:
        """The cubes, (V, 3), and those around them that the margin reaches into."""
        config, size = self._config, self._config.background_voxel
        ranges = np.linalg.norm((cubes + 0.5) * size, axis=1)
        margins = config.background_margin + config.background_noise * ranges**2
        reach = np.ceil(margins / size).astype(np.int64)
        grown = []
        for steps in np.unique(reach).tolist():
            keys = pack(cubes[reach == steps])
            for axis in np.eye(3, dtype=np.int64):  # a cube of cubes, one side after the other
                shifts = [pack(unpack(keys) + step * axis) for step in range(-steps, steps + 1)]
                keys = np.unique(np.concatenate(shifts))
            grown.append(keys)
        return unpack(np.unique(np.concatenate(grown))) if grown else cubes


@numba.njit(cache=True, nogil=True)
def _ranges(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,) float32: distances from the origin; NaN without a return."""
    found = np.empty(len(points), np.float32)
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        squared = x * x + y * y + z * z
        found[i] = np.sqrt(squared) if 0 < squared < np.inf else np.nan
    return found


@numba.njit(cache=True, nogil=True)
def _median(looks: NDArray[np.float32]) -> NDArray[np.float32]:
    """(L, N) -> (N,): the lower median of what is not NaN; infinite where all is."""
    found = np.empty(looks.shape[1], np.float32)
    kept = np.empty(looks.shape[0], np.float32)
    for i in range(looks.shape[1]):
        count = 0
        for look in range(looks.shape[0]):
            value = looks[look, i]
            if not np.isnan(value):
                place = count
                while place > 0 and kept[place - 1] > value:
                    kept[place] = kept[place - 1]
                    place -= 1
                kept[place] = value
                count += 1
        found[i] = kept[(count - 1) // 2] if count else np.inf
    return found


@numba.njit(cache=True, nogil=True)
def _judge(
    ranges: NDArray[np.float32],
    rows: int,
    background: NDArray[np.float32],
    candidates: NDArray[np.float32],
    since: NDArray[np.int64],
    stamp: int,
    follow: float,
    margin: float,
    noise: float,
    behind_after: int,
    before_after: int,
    kept: NDArray[np.bool_],
) -> tuple[int, int]:
    """Which pixels are foreground, and how many of those that have a background are other than it.

    candidates, since: a range that a pixel has had from a stamp on, which is not its background's.
    follow: how far the background goes towards what is as far. behind_after, before_after:
    nanoseconds after which a candidate becomes the background; 0: never.
    """
    known = changed = 0
    for i in range(len(ranges)):
        r, b = ranges[i], background[i]
        kept[i] = False
        if np.isnan(r):
            continue
        allowed = margin + noise * r * r
        known += b < np.inf
        if abs(r - b) <= allowed:
            background[i] = b + np.float32(follow) * (r - b)
            candidates[i] = np.nan
            continue
        changed += b < np.inf
        kept[i] = r < b
        if abs(r - candidates[i]) <= allowed:
            after = before_after if r < b else behind_after
            if after > 0 and stamp - since[i] >= after:
                background[i], candidates[i] = r, np.nan
                kept[i] = False
        else:
            candidates[i], since[i] = r, stamp
    columns = len(ranges) // rows
    for i in range(len(ranges)):
        if not kept[i]:
            continue
        # A pixel on an edge sees now the one side, now the other.
        reach = ranges[i] + margin + noise * ranges[i] * ranges[i]
        row, column = i // columns, i % columns
        for v in range(max(row - 1, 0), min(row + 2, rows)):
            for u in range(max(column - 1, 0), min(column + 2, columns)):
                if background[v * columns + u] <= reach:
                    kept[i] = False
    return known, changed
