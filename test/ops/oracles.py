"""The point operations as a textbook has them: loops over points, float32, no library."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]


def squared_distance(a: Points, b: Points) -> np.float32:
    d = (a - b).astype(np.float32)
    return np.float32(np.float32(d[0] * d[0] + d[1] * d[1]) + d[2] * d[2])


def farthest_point_sample(points: Points, count: int) -> list[int]:
    chosen = [0]
    nearest = [np.float32(np.inf)] * len(points)
    while len(chosen) < count:
        for i, point in enumerate(points):
            nearest[i] = min(nearest[i], squared_distance(point, points[chosen[-1]]))
        chosen.append(max(range(len(points)), key=lambda i: (nearest[i], -i)))
    return chosen


def ball_query(points: Points, centre: Points, radius: float, k: int) -> list[int]:
    squared = np.float32(radius) * np.float32(radius)
    hits = [i for i, point in enumerate(points) if squared_distance(point, centre) < squared][:k]
    first = hits[0] if hits else 0
    return hits + [first] * (k - len(hits))
