"""Clouds cut into boxes of near points, so that a search can pass whole boxes by."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Boxes:
    """F clouds of N points in L boxes of W points each, the last of them partly filled.

    axes: (3, F, L, W) float32, the coordinates; infinite where a box is not filled.
    original: (F, L, W) int32, the points' indices in their cloud; N where a box is not filled.
    low, high: (3, F, L) float32, the smallest and the largest coordinates in a box.

    The nearest place of a box is found by clamping. Rounding is monotone, so the squared distance
    to it, computed as that to a point is, is never above that to any point in the box: what passes
    boxes by with it gives what looking at every point would, to the bit.
    """

    axes: NDArray[np.float32]
    original: NDArray[np.int32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]


def cut_into_boxes(axes: NDArray[np.float32], width: int) -> Boxes:
    """Cuts clouds into boxes of `width` points by halving at medians (a k-d tree's leaves).

    axes: (3, F, N) float32, finite: the coordinates of F clouds of N points.
    """
    _, frames, count = axes.shape
    shape = (frames, -(-count // width))
    out = Boxes(
        np.full((3, *shape, width), np.inf, np.float32),
        np.full((*shape, width), count, np.int32),
        np.empty((3, *shape), np.float32),
        np.empty((3, *shape), np.float32),
    )
    _cut(axes, out.axes, out.original, out.low, out.high)
    return out


@numba.njit(cache=True)
def _put_median(keys: NDArray[np.int64], middle: int) -> None:
    """Reorders different keys so that those before `middle` are smaller, those after it larger."""
    first, last = 0, keys.shape[0] - 1
    while first < last:
        pivot = keys[(first + last) // 2]
        keys[(first + last) // 2] = keys[first]
        larger = first + 1
        for i in range(first + 1, last + 1):  # without a branch, which would be mispredicted
            key = keys[i]
            keys[i] = keys[larger]
            keys[larger] = key
            larger += key < pivot
        found = larger - 1
        keys[first] = keys[found]
        keys[found] = pivot
        if middle == found:
            return
        if middle < found:
            last = found - 1
        else:
            first = larger


@numba.njit(cache=True)
def _widest(cloud: NDArray[np.float32], some: NDArray[np.int32]) -> int:
    widest, width = 0, np.float32(-1)
    for axis in range(3):
        low = high = cloud[axis, some[0]]
        for i in some:
            low, high = min(low, cloud[axis, i]), max(high, cloud[axis, i])
        if high - low > width:
            widest, width = axis, high - low
    return widest


@numba.njit(parallel=True, cache=True)
def _cut(
    axes: NDArray[np.float32],
    out: NDArray[np.float32],
    original: NDArray[np.int32],
    low: NDArray[np.float32],
    high: NDArray[np.float32],
) -> None:
    """Halves every part at the median of its widest axis until its points fill one box."""
    _, frames, count = axes.shape
    boxes, width = original.shape[1:]
    for f in numba.prange(frames):
        cloud = axes[:, f]
        order = np.arange(count).astype(np.int32)
        keys = np.empty(count, np.int64)
        parts = 1
        while parts < boxes:
            for part in range(parts):
                start = part * boxes // parts * width
                middle = (2 * part + 1) * boxes // (2 * parts) * width
                end = min((part + 1) * boxes // parts * width, count)
                if start < middle < end:
                    some = order[start:end]
                    along = cloud[_widest(cloud, some)].view(np.int32)
                    for i, point in enumerate(some):
                        # The bits of floats are in the floats' order but for the negative ones.
                        bits = along[point] ^ 0x7FFFFFFF if along[point] < 0 else along[point]
                        keys[i] = (np.int64(bits) << 32) + point
                    _put_median(keys[: end - start], middle - start)
                    for i in range(end - start):
                        some[i] = np.int32(keys[i] & 0x7FFFFFFF)
            parts *= 2
        for i in range(count):
            original[f, i // width, i % width] = order[i]
        for box in range(boxes):
            some = order[box * width : (box + 1) * width]
            for axis in range(3):
                for i in range(some.shape[0]):
                    out[axis, f, box, i] = cloud[axis, some[i]]
                found = out[axis, f, box, : some.shape[0]]
                low[axis, f, box], high[axis, f, box] = found.min(), found.max()
