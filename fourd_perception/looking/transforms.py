"""Where frames of coordinates stand to each other, at a moment: what /tf and /tf_static say.

Our own, and not tf2's buffer, because evaluate_bag has to place a bag's clouds where there is no
ROS, to the bit as the node places them.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fourd_perception.stream.frame import SECOND

_KEPT = 10 * SECOND
"""For how long a moving transform is remembered, as in tf2."""
_UNIT = 1e-2
"""How far a quaternion's length may be from 1, as in tf2."""


@dataclass(frozen=True, eq=False)
class Transform:
    """Takes points of one frame into another: rotation @ point + translation.

    rotation: (3, 3) float64. translation: (3,) float64, metres.
    """

    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]

    def after(self, first: Transform) -> Transform:
        """`first`, then this."""
        return Transform(
            self.rotation @ first.rotation, self.rotation @ first.translation + self.translation
        )

    def inverse(self) -> Transform:
        """The way back."""
        return Transform(self.rotation.T, -self.rotation.T @ self.translation)


IDENTITY = Transform(np.eye(3), np.zeros(3))


class NoTransform(Exception):
    """There is no transform. reason: for counting. later: whether it may still come."""

    def __init__(self, reason: str, text: str, *, later: bool) -> None:
        super().__init__(text)
        self.reason = reason
        self.later = later


class TransformLookup(Protocol):
    """Who knows where frames stand to each other."""

    def lookup(self, target: str, source: str, stamp: int) -> Transform:
        """From `source` to `target` at `stamp`, nanoseconds. Raises NoTransform."""


@dataclass(frozen=True, eq=False)
class _Pose:
    """Of a child in its parent. quaternion: (4,) float64 x y z w, of length 1."""

    translation: NDArray[np.float64]
    quaternion: NDArray[np.float64]

    def transform(self) -> Transform:
        x, y, z, w = self.quaternion
        rotation = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )
        return Transform(rotation, self.translation)

    def towards(self, other: _Pose, part: float) -> _Pose:
        """Between the two: in a line, and round by the shorter way (slerp)."""
        cosine = float(self.quaternion @ other.quaternion)
        end = other.quaternion if cosine >= 0 else -other.quaternion
        angle = np.arccos(min(abs(cosine), 1.0))
        weights = (1 - part, part)
        if angle > 1e-6:
            weights = np.sin((1 - part) * angle), np.sin(part * angle)
        turned = weights[0] * self.quaternion + weights[1] * end
        place = (1 - part) * self.translation + part * other.translation
        return _Pose(place, turned / np.linalg.norm(turned))


class _Edge:
    """A child in its parent: one pose for ever, or those of the last seconds."""

    def __init__(self, parent: str, *, static: bool) -> None:
        self.parent = parent
        self.static = static
        self._stamps: list[int] = []
        self._poses: list[_Pose] = []

    def put(self, stamp: int, pose: _Pose) -> None:
        if self.static or (self._stamps and stamp < self._stamps[-1] - _KEPT):
            self._stamps, self._poses = [], []  # what is new is so from now on; time jumped back
        place = bisect.bisect_left(self._stamps, stamp)
        if place < len(self._stamps) and self._stamps[place] == stamp:
            self._poses[place] = pose
            return
        self._stamps.insert(place, stamp)
        self._poses.insert(place, pose)
        old = bisect.bisect_left(self._stamps, self._stamps[-1] - _KEPT)
        del self._stamps[:old], self._poses[:old]

    def at(self, child: str, stamp: int) -> Transform:
        """Raises NoTransform."""
        if self.static:
            return self._poses[0].transform()
        place = bisect.bisect_left(self._stamps, stamp)
        if place == len(self._stamps):
            behind = (stamp - self._stamps[-1]) / SECOND
            raise NoTransform(
                f"the transform from {child} to {self.parent} is late",
                f"the newest from {child} to {self.parent} is {behind:.3f} s older than the cloud",
                later=True,
            )
        if self._stamps[place] == stamp:
            return self._poses[place].transform()
        if place == 0:
            before = (self._stamps[0] - stamp) / SECOND
            raise NoTransform(
                f"the transform from {child} to {self.parent} begins after the cloud",
                f"the oldest from {child} to {self.parent} is {before:.3f} s newer than the cloud",
                later=False,
            )
        begin, end = self._stamps[place - 1], self._stamps[place]
        part = (stamp - begin) / (end - begin)
        return self._poses[place - 1].towards(self._poses[place], part).transform()


class TransformBuffer:
    """A tree of frames in memory; moving ones of the last ten seconds, interpolated between stamps.

    Nothing is extrapolated. Not thread-safe.
    """

    def __init__(self) -> None:
        self._edges: dict[str, _Edge] = {}

    def put(
        self, parent: str, child: str, stamp: int, translation: Sequence[float],
        quaternion: Sequence[float], *, static: bool = False,
    ) -> None:  # fmt: skip
        """Where `child` is in `parent` from `stamp` (nanoseconds) on, or always.

        translation: x y z, metres. quaternion: x y z w. A child has one parent: the newest.
        Raises ValueError on what is no transform.
        """
        parent, child = parent.lstrip("/"), child.lstrip("/")
        place, turn = np.array(translation, np.float64), np.array(quaternion, np.float64)
        length = float(np.linalg.norm(turn))
        if not parent or not child or parent == child:
            raise ValueError(f"expected two frames, got '{parent}' and '{child}'")
        if not (np.isfinite(place).all() and abs(length - 1) <= _UNIT):
            raise ValueError(
                f"from {child} to {parent}: expected finite numbers and a quaternion of length 1, "
                f"got {place.tolist()} and {turn.tolist()}"
            )
        edge = self._edges.get(child)
        if edge is None or edge.parent != parent or edge.static != static:
            edge = self._edges[child] = _Edge(parent, static=static)
        edge.put(stamp, _Pose(place, turn / length))

    def lookup(self, target: str, source: str, stamp: int) -> Transform:
        """As TransformLookup has it: up from both frames to the first that is over both."""
        target, source = target.lstrip("/"), source.lstrip("/")
        over_source, over_target = self._line(source), self._line(target)
        common = next((one for one in over_source if one in over_target), None)
        if common is None:
            raise NoTransform(
                f"no transform from {source} to {target}",
                f"{source} and {target} are not connected ({self._known()})",
                later=True,
            )
        up = self._up(over_source[: over_source.index(common)], stamp)
        down = self._up(over_target[: over_target.index(common)], stamp)
        return down.inverse().after(up)

    def _up(self, frames: Sequence[str], stamp: int) -> Transform:
        """Through these frames, each into its parent."""
        way = IDENTITY
        for child in frames:
            way = self._edges[child].at(child, stamp).after(way)
        return way

    def _line(self, frame: str) -> list[str]:
        """A frame, its parent, and so on; up to the root, or to where it would come round again."""
        line = [frame]
        while line[-1] in self._edges and self._edges[line[-1]].parent not in line:
            line.append(self._edges[line[-1]].parent)
        return line

    def _known(self) -> str:
        frames = sorted({*self._edges, *(edge.parent for edge in self._edges.values())})
        return f"frames: {', '.join(frames[:8])}" if frames else "no transform has come yet"
