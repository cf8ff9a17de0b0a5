"""Somebody else, who performs actions of their own beside the person."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from fourd_perception.recordings.recording import Interval
from fourd_perception.stream.frame import SECOND
from fourd_perception.studio.actions import ACTIONS, Performance, transition
from fourd_perception.studio.performer import Placement, draw_body, draw_person, place
from fourd_perception.studio.pose import Array
from fourd_perception.studio.shapes import Shape

PLACES: tuple[tuple[float, float], ...] = ((-0.95, 1.0), (-0.95, -1.0))
"""Where they stand, x and y in metres, seen from the person; the camera is at x > 0, y = 0."""


class Companion:
    """A body of its own, in clothes of its own, that does all actions in an order of its own."""

    def __init__(
        self,
        number: int,
        random: np.random.Generator,
        performances: Callable[[int], np.random.Generator],
        seconds: Sequence[float],
    ) -> None:
        """number: of PLACES. performances: the chance of the n-th action. seconds: how long each
        of them takes, as many as are done."""
        self.name = f"companion_{number}"
        self.spot = np.array([*PLACES[number], 0.0])
        self._body = draw_body(random)
        self._facing = float(random.uniform(-0.5, 0.5))
        names: list[str] = []
        while len(names) < len(seconds):
            names += random.permutation(list(ACTIONS)).tolist()
        self._borders = np.concatenate(([0.0], np.cumsum(seconds)))
        self._performances = []
        for index, (name, took) in enumerate(zip(names, seconds)):
            performance = Performance(name, self._body, performances(index))
            performance.fit(took)
            self._performances.append(performance)
        self._names = names[: len(seconds)]
        parts = draw_person(self._body, random)
        self.shapes: list[Shape] = [replace(one, body=f"{self.name}_{one.body}") for one in parts]
        self._has = {one.body for one in parts}

    def truth(self, start: float) -> tuple[Interval, ...]:
        """What they do when, from `start` seconds on."""
        stamps = [round((start + border) * SECOND) for border in self._borders.tolist()]
        return tuple(map(Interval, stamps[:-1], stamps[1:], self._names))

    def at(self, seconds: float) -> Placement:
        """Where the parts are, in the world, `seconds` after they began."""
        last = len(self._names) - 1
        index = min(max(0, int(np.searchsorted(self._borders, seconds, side="right")) - 1), last)
        before = None
        if index:
            took = float(self._borders[index] - self._borders[index - 1])
            before = self._performances[index - 1], took
        pose, prop = transition(
            self._performances[index], seconds - float(self._borders[index]), before
        )
        c, s = np.cos(self._facing), np.sin(self._facing)
        turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        return {
            f"{self.name}_{name}": _moved(spot, turn, self.spot)
            for name, spot in place(self._body, pose, prop).items()
            if name in self._has  # not the boxes
        }


def _moved(spot: tuple[Array, Array], turn: Array, here: Array) -> tuple[Array, Array]:
    position, rotation = spot
    return turn @ position + here, turn @ rotation
