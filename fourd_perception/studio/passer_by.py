"""Somebody else, who walks to and fro behind the person."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fourd_perception.studio.motion import bend_arm, stand
from fourd_perception.studio.performer import Placement, draw_body, draw_person, place
from fourd_perception.studio.pose import Array, Pose
from fourd_perception.studio.shapes import Shape

PREFIX = "passer_by_"
"""Before the names of their body's parts."""
_BEHIND = 0.95
"""Metres behind the person, seen from the camera, which stands at y = 0."""
_STEP = 0.62
"""Metres from one foot's place to the other's."""


class PasserBy:
    """A body of its own, in clothes of its own. shapes: its parts, in bodies named after PREFIX."""

    def __init__(self, random: np.random.Generator) -> None:
        self._body = draw_body(random)
        self._aside = float(random.uniform(0.7, 1.0))
        self._speed = float(random.uniform(0.6, 1.1))
        self._begin = float(random.uniform(0.0, 4.0))
        parts = draw_person(self._body, random)
        self.shapes: list[Shape] = [replace(one, body=PREFIX + one.body) for one in parts]
        self._has = {one.body for one in parts}

    def at(self, seconds: float) -> Placement:
        """Where the parts are, in the world, `seconds` after the beginning."""
        gone = self._begin + self._speed * seconds
        way, along = divmod(gone, 2 * self._aside)
        to_left = way % 2 == 0
        y = along - self._aside if to_left else self._aside - along
        yaw = np.pi / 2 if to_left else -np.pi / 2
        c, s = np.cos(yaw), np.sin(yaw)
        turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        here = np.array([-_BEHIND, y, 0.0])
        return {
            PREFIX + name: _moved(spot, turn, here)
            for name, spot in place(self._body, self._walk(gone)).items()
            if name in self._has  # not the boxes
        }

    def _walk(self, gone: float) -> Pose:
        """In the middle of a step that began when so many metres were behind them."""
        pose = stand(self._body)
        for side, sign in enumerate((1.0, -1.0)):
            swing = float(np.sin(np.pi * gone / _STEP)) * sign
            pose.feet[side, 0] = 0.45 * _STEP * swing
            pose.feet[side, 2] = 0.09 * max(0.0, float(np.cos(np.pi * gone / _STEP)) * sign)
            bend_arm(pose, side, (-0.35 * swing, 0.2, -1.0), 0.92)
        return pose


def _moved(spot: tuple[Array, Array], turn: Array, here: Array) -> tuple[Array, Array]:
    position, rotation = spot
    return turn @ position + here, turn @ rotation
