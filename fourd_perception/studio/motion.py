"""What actions are made of: eased tracks through a cycle, and an arm brought somewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fourd_perception.studio.performer import Body, Prop
from fourd_perception.studio.pose import Array, Pose

GRAVITY = 9.81
"""Metres per second squared."""

MAIN, OTHER = 0, 1
"""Actions are written for a left-handed person; for a right-handed one they are mirrored."""

Step = Callable[[float], tuple[Pose, Prop | None]]
"""From beats (cycles since the action's start) to the pose, and the object that is handled."""


@dataclass(frozen=True)
class Motion:
    """One performance of an action.

    period: seconds of a cycle. whole: looks cut off if it stops inside a cycle.
    """

    step: Step
    period: float
    whole: bool = False


Draw = np.random.Generator
Action = Callable[[Body, Draw], Motion]


def track(beat: float, times: Sequence[float], values: Sequence[float]) -> float:
    """`values` at `times` (fractions of a cycle, ascending), eased in between by a half cosine."""
    u = beat % 1.0
    index = int(np.searchsorted(times, u, side="right"))
    if index == 0:
        return values[0]
    if index == len(times):
        return values[-1]
    part = (u - times[index - 1]) / (times[index] - times[index - 1])
    weight = (1.0 - np.cos(np.pi * part)) / 2.0
    return float((1.0 - weight) * values[index - 1] + weight * values[index])


def sine(beat: float) -> float:
    """From -1 to 1 and back once a beat."""
    return float(np.sin(2 * np.pi * beat))


def reach_for(pose: Pose, side: int, body: Body, point: Array, weight: float = 1.0) -> None:
    """Bring a wrist to a point given from its shoulder (chest's frame, y outward, metres)."""
    length = float(np.linalg.norm(point))
    bend_arm(pose, side, point / length, length / body.arm, weight)


def bend_arm(
    pose: Pose, side: int, direction: Sequence[float] | Array, reach: float, weight: float = 1.0
) -> None:
    """Bend an arm from where it is towards a direction and a reach."""
    there = np.asarray(direction, np.float64)
    here = pose.hands[side] / np.linalg.norm(pose.hands[side])
    pose.hands[side] = (1 - weight) * here + weight * there / np.linalg.norm(there)
    pose.reach[side] = (1 - weight) * pose.reach[side] + weight * reach


def point_elbow(pose: Pose, side: int, direction: Sequence[float], weight: float = 1.0) -> None:
    """Turn an elbow from where it points towards a direction."""
    pose.elbows[side] = (1 - weight) * pose.elbows[side] + weight * np.asarray(direction)


def stand(body: Body) -> Pose:
    """At rest: arms beside the body, clear of the hips."""
    pose = Pose()
    pose.hands[:, 1] = 0.14 + 0.35 * max(0.0, body.girth - 0.9)
    return pose
