"""Points within a range and a box."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from fourd_perception.looking.config import LookConfig
from fourd_perception.looking.transforms import IDENTITY, Transform


class Crop:
    """Whether points are in the range and the box of a configuration."""

    def __init__(self, config: LookConfig) -> None:
        self._nearest = config.min_range
        self._farthest = config.max_range or np.inf
        box = config.crop_box if config.has_box else (-np.inf,) * 3 + (np.inf,) * 3
        self._low, self._high = np.array(box[:3], np.float64), np.array(box[3:], np.float64)

    def inside(
        self, points: NDArray[np.float32], to_box: Transform = IDENTITY
    ) -> NDArray[np.bool_]:
        """points: (N, 3) float32, metres, not finite where there is no return. to_box: from the
        points' frame into the box's.

        Returns (N,) bool: false without a return. Limits belong to range and box.
        """
        kept = np.empty(len(points), np.bool_)
        _inside(
            points, self._nearest**2, self._farthest**2, to_box.rotation, to_box.translation,
            self._low, self._high, kept,
        )  # fmt: skip
        return kept


@numba.njit(cache=True, nogil=True)
def _inside(
    points: NDArray[np.float32],
    nearest: float,
    farthest: float,
    rotation: NDArray[np.float64],
    translation: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    kept: NDArray[np.bool_],
) -> None:
    """nearest, farthest: squared."""
    for i in range(len(points)):
        x, y, z = np.float64(points[i, 0]), np.float64(points[i, 1]), np.float64(points[i, 2])
        squared = x * x + y * y + z * z
        keep = nearest <= squared <= farthest and squared < np.inf
        if keep:
            for axis in range(3):
                at = (
                    rotation[axis, 0] * x + rotation[axis, 1] * y + rotation[axis, 2] * z
                ) + translation[axis]
                keep &= low[axis] <= at <= high[axis]
        kept[i] = keep
