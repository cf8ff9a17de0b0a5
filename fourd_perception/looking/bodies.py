"""Points that hang together (Euclidean clusters), on a grid of cubes."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from fourd_perception.looking.voxels import sort_into_voxels


@dataclass(frozen=True, eq=False)
class Bodies:
    """The clusters of a cloud, numbered by their first points.

    of_points: (N,) int32, each point's, -1 of those that were not asked for. low, high, centre:
    (B, 3) float64, metres: the corners of each one's box, and the mean of its points. areas: (B,)
    float64, square metres, about what of its surface is seen: its cubes, a face each.
    """

    of_points: NDArray[np.int32]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    centre: NDArray[np.float64]
    areas: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.areas)

    @property
    def extents(self) -> NDArray[np.float64]:
        """(B,) float64, metres: the longest side of each one's box."""
        return np.asarray((self.high - self.low).max(axis=1, initial=0.0))


def find_bodies(points: NDArray[np.float32], among: NDArray[np.bool_], gap: float) -> Bodies:
    """Cluster those `among` the points, (N, 3) float32, metres, that are finite.

    Points belong together whose cubes of edge `gap`, metres, touch, be it at a corner: so no two
    that are nearer than `gap` are kept apart, and none farther than 2 * sqrt(3) * gap are joined
    without others between them.
    """
    table, cubes = sort_into_voxels(points, among, gap)
    of_cubes = table.components()
    count = int(of_cubes.max(initial=-1)) + 1
    of_points = np.full(len(points), -1, np.int32)
    low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    centre, sizes = np.zeros((count, 3)), np.zeros(count, np.int64)
    _measure(points, cubes, of_cubes, of_points, low, high, centre, sizes)
    centre /= sizes[:, None]
    areas = np.bincount(of_cubes, minlength=count).astype(np.float64) * gap**2
    return Bodies(of_points, low, high, centre, areas)


@numba.njit(cache=True, nogil=True)
def _measure(
    points: NDArray[np.float32],
    cubes: NDArray[np.int32],
    of_cubes: NDArray[np.int32],
    of_points: NDArray[np.int32],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    centre: NDArray[np.float64],
    sizes: NDArray[np.int64],
) -> None:
    for i in range(len(points)):
        if cubes[i] < 0:
            continue
        body = of_cubes[cubes[i]]
        of_points[i] = body
        sizes[body] += 1
        for axis in range(3):
            value = np.float64(points[i, axis])
            low[body, axis] = min(low[body, axis], value)
            high[body, axis] = max(high[body, axis], value)
            centre[body, axis] += value
