"""What is drawn over a cloud: a box around each class, and where to write. No ROS here.

In the optical frame of a camera, where y points down: above is less y.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourd_perception.pipeline import Segmentation
from fourd_perception.stream.frame import Person

_TRIMMED = (2.0, 98.0)
"""Percentiles that a box reaches to: a few wrong labels do not make it large."""
_FEWEST = 10
"""Points of a class that make a box."""
_GAP = 0.1
"""Metres between what is written and what it is about."""

Place = tuple[float, float, float]


@dataclass(frozen=True)
class Box:
    """The points of a class or a person: the middle and lengths of a box along the cloud's axes,
    metres."""

    number: int
    centre: Place
    size: Place

    @property
    def above(self) -> Place:
        """Where its name is written."""
        return _over(self.centre, self.size)


def class_boxes(answer: Segmentation, classes: int) -> list[Box]:
    """A box for each class of which there are some points, by its number."""
    boxes = []
    for number in range(classes):
        box = _box(number, answer.frame.points[answer.labels == number])
        if box is not None:
            boxes.append(box)
    return boxes


def above(points: NDArray[np.float32]) -> Place | None:
    """Where to write about all points of a cloud, (N, 3) metres; None where there are too few."""
    box = _box(0, points[np.isfinite(points).all(axis=1)])
    return None if box is None else box.above


def person_box(person: Person) -> Box:
    """The box that somebody was last seen in."""
    low, high = person.low, person.high
    return Box(person.number, _place((low + high) / 2), _place(high - low))


def _box(number: int, points: NDArray[np.float32]) -> Box | None:
    if len(points) < _FEWEST:
        return None
    low, high = np.percentile(points, _TRIMMED, axis=0)
    return Box(number, _place((low + high) / 2), _place(high - low))


def _over(centre: Place, size: Place) -> Place:
    x, y, z = centre
    return x, y - size[1] / 2 - _GAP, z


def _place(values: NDArray[np.float64]) -> Place:
    x, y, z = (float(value) for value in values)
    return x, y, z
