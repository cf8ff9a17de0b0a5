"""The point operations as a textbook has them: loops over points, float32, no library."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

Points = NDArray[np.float32]

SHAPES = ("uniform", "surface", "clusters", "line", "outlier", "equal", "grid", "far_off")


def cloud(shape: str, clouds: int, points: int, seed: int = 0) -> torch.Tensor:
    """(clouds, points, 3) float32, of a shape that a search by place may stumble over."""
    rng = np.random.default_rng(seed)
    xyz = rng.random((clouds, points, 3))
    if shape == "surface":
        xyz = xyz - 0.5
        xyz /= np.linalg.norm(xyz, axis=2, keepdims=True)
    elif shape == "clusters":
        xyz = 0.01 * xyz + rng.random((5, 3))[rng.integers(0, 5, (clouds, points))]
    elif shape == "line":
        xyz = xyz[:, :, :1] * [1.0, 0.0, -2.0]
    elif shape == "outlier":
        xyz[:, points // 2] = 1e4
    elif shape == "equal":
        xyz[:] = 0.3
    elif shape == "grid":  # many equal distances, many duplicates, signed zeros
        xyz = np.round(6 * xyz - 3) / 4
    elif shape == "far_off":  # where float32 has few digits left
        xyz += 5000
    return torch.from_numpy(xyz.astype(np.float32))


def squared_distance(a: Points, b: Points) -> np.float32:
    d = (a - b).astype(np.float32)
    return np.float32(np.float32(d[0] * d[0] + d[1] * d[1]) + d[2] * d[2])


def farthest_point_sample(points: Points, count: int, compat: bool = False) -> list[int]:
    chosen = [0]
    nearest = [np.float32(np.inf)] * len(points)
    if compat:
        padding = [squared_distance(point, np.zeros(3, np.float32)) <= 1e-3 for point in points]
        nearest = [np.float32(-1 if one else np.inf) for one in padding]
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


def k_nearest(points: Points, centre: Points, k: int) -> tuple[list[np.float32], list[int]]:
    squared = [squared_distance(point, centre) for point in points]
    index = sorted(range(len(points)), key=lambda i: (squared[i], i))[:k]
    return [np.sqrt(squared[i]) for i in index], index


def interpolate(values: Points, points: Points, target: Points) -> NDArray[np.float64]:
    distance, index = k_nearest(points, target, min(3, len(points)))
    weight = 1 / (np.array(distance, np.float64) + 1e-8)
    return (weight / weight.sum()) @ values[index].astype(np.float64)
