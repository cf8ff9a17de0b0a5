"""A posture in numbers that blend well: directions, lengths and small angles, no joint limits."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_SWAP = np.array([1, 0])
_TURNS = np.array([-1.0, 1.0, -1.0])
"""Seen in a mirror, roll and yaw change their sign, pitch does not."""


@dataclass(eq=False)
class Pose:
    """Where everything is; row 0 of a pair is the left side, row 1 the right.

    The base frame stands on the floor between the feet: x forward, y left, z up. Where a pair's
    values have a y, it points outward, away from the body, on both sides. Metres and radians;
    angles are roll (towards the right), pitch (forward) and yaw (towards the left).
    """

    heading: Array = field(default_factory=lambda: np.zeros(1))
    """Yaw of the whole body in the base frame."""
    pelvis: Array = field(default_factory=lambda: np.zeros(3))
    """Offset from where the pelvis is in standing."""
    hips: Array = field(default_factory=lambda: np.zeros(3))
    """Turn of the pelvis."""
    spine: Array = field(default_factory=lambda: np.zeros(3))
    """Turn of the chest against the pelvis."""
    head: Array = field(default_factory=lambda: np.zeros(3))
    """Turn of the head against the chest."""
    reach: Array = field(default_factory=lambda: np.full((2, 1), 0.95))
    """From shoulder to wrist, in lengths of the straight arm."""
    hands: Array = field(default_factory=lambda: np.array([[0.08, 0.2, -1.0]] * 2))
    """Where the wrist lies as seen from the shoulder: a direction in the chest's frame."""
    elbows: Array = field(default_factory=lambda: np.array([[-1.0, 0.5, 0.0]] * 2))
    """The side to which the elbow gives way: a direction in the chest's frame."""
    goals: Array = field(default_factory=lambda: np.zeros((2, 3)))
    """Where the wrist goes instead: a place in the turned base frame."""
    goal_weights: Array = field(default_factory=lambda: np.zeros((2, 1)))
    """0: hands and reach alone count; 1: the goals alone."""
    feet: Array = field(default_factory=lambda: np.zeros((2, 3)))
    """Offset of the ankle from where it is in standing."""
    toes: Array = field(default_factory=lambda: np.zeros((2, 2)))
    """Pitch of the foot (toes down), and its yaw outward."""
    steps: Array = field(default_factory=lambda: np.zeros((2, 1)))
    """Heading of each foot; feet keep theirs until they step."""

    def copy(self) -> Pose:
        """A pose that shares nothing with this one."""
        return Pose(*(getattr(self, name).copy() for name in _NAMES))

    def mirrored(self) -> Pose:
        """Left and right exchanged."""
        pose = self.copy()
        for name in _PAIRS:
            setattr(pose, name, getattr(self, name)[_SWAP])
        for name in ("hips", "spine", "head"):
            setattr(pose, name, getattr(self, name) * _TURNS)
        pose.heading = -self.heading
        pose.steps = -pose.steps
        pose.pelvis[1] = -self.pelvis[1]
        return pose


_NAMES = tuple(one.name for one in dataclasses.fields(Pose))
_PAIRS = tuple(name for name in _NAMES if getattr(Pose(), name).ndim == 2)


def blend(first: Pose, second: Pose, weight: float) -> Pose:
    """`first` at weight 0, `second` at 1; every number on a straight line between them."""
    return Pose(
        *(getattr(first, name) * (1.0 - weight) + getattr(second, name) * weight for name in _NAMES)
    )
