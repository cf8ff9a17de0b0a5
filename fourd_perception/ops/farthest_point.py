"""Farthest point sampling."""

from __future__ import annotations

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourd_perception.ops.boxes import cut_into_boxes
from fourd_perception.ops.checks import check_points
from fourd_perception.ops.gpu import triton_searches
from fourd_perception.ops.threads import as_many_as_torch

_WIDTH = 64  # points in a box
_PADDING = 1e-3  # PointNet++'s CUDA code takes |x|^2 up to here for padding


def farthest_point_sample(points: Tensor, count: int, *, compat: bool = False) -> Tensor:
    """Indices of `count` points, each the farthest from those before it (PointNet++).

    points: (B, N, 3) float32, finite, any unit. Returns (B, count) int64 on the same device.
    Starts at index 0; of equally far points the one with the lowest index is taken, so every back
    end gives the same indices. Where all points are taken or coincide, index 0 is repeated.

    compat: as PointNet++'s CUDA code, take no point with |x|^2 <= 1e-3, which it holds for padding
    (index 0 still starts). When all others are taken, the first of them is repeated; where there
    are none, index 0. Among equally far points that code takes one that depends on how its threads
    are arranged; that is not imitated.

    Raises ValueError if the shape or type does not fit, a coordinate is NaN or infinite, or count
    is not in 1..N.
    """
    check_points("points", points, at_least=1)
    if not 1 <= count <= points.shape[1]:
        raise ValueError(f"count: expected 1 to {points.shape[1]} (the points), got {count}")
    axes = points.detach().permute(2, 0, 1).contiguous()
    nearest = _at_first(axes, compat)
    if points.device.type != "cpu":
        kernels = triton_searches(points.device)
        if kernels is not None and points.shape[1] <= kernels.MOST_POINTS:
            return kernels.farthest_point_sample(axes, nearest, count)
        return _sample_torch(axes, nearest, count)
    as_many_as_torch()
    cut = cut_into_boxes(axes.numpy(), _WIDTH)
    index = np.empty((points.shape[0], count), np.int64)
    _sample_numba(axes.numpy(), nearest.numpy(), cut.axes, cut.original, cut.low, cut.high, index)
    return torch.from_numpy(index)


def _at_first(axes: Tensor, compat: bool) -> Tensor:
    """(B, N): the squared distance from what is taken; below every distance where never to take."""
    nearest = torch.full_like(axes[0], torch.inf)
    if compat:
        x, y, z = axes
        nearest[(x * x + y * y + z * z).double() <= _PADDING] = -1.0  # the bound is a double there
    return nearest


def _sample_torch(axes: Tensor, nearest: Tensor, count: int) -> Tensor:
    index = torch.zeros(nearest.shape[0], count, dtype=torch.int64, device=nearest.device)
    newest = index[:, :1]
    for step in range(1, count):
        dx, dy, dz = (axis - axis.gather(1, newest) for axis in axes)
        nearest = torch.minimum(nearest, dx * dx + dy * dy + dz * dz)
        newest = nearest.argmax(1, keepdim=True)
        index[:, step : step + 1] = newest
    return index


# Flags: a vectorised maximum, but no fused multiply-add, which would round otherwise than torch.
@numba.njit(parallel=True, fastmath={"nnan", "nsz"}, cache=True)
def _sample_numba(
    points: NDArray[np.float32],
    start: NDArray[np.float32],
    axes: NDArray[np.float32],
    original: NDArray[np.int32],
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    index: NDArray[np.int64],
) -> None:
    """A new sample concerns only boxes that are nearer to it than to their farthest point is
    what was taken before.
    """
    frames, boxes, width = original.shape
    count = points.shape[2]
    for f in numba.prange(frames):
        x, y, z = axes[0, f], axes[1, f], axes[2, f]
        nearest = np.full((boxes, width), -1, np.float32)  # -1 stays where a box is not filled
        for b in range(boxes):
            for i in range(width):
                if original[f, b, i] < count:
                    nearest[b, i] = start[f, original[f, b, i]]
        farthest = np.array([one.max() for one in nearest])
        first = np.full(boxes, -1, np.int32)  # the lowest index that is as far; -1: not known
        distance = np.empty(boxes, np.float32)
        newest = 0
        index[f, 0] = 0
        for step in range(1, index.shape[1]):
            px, py, pz = points[0, f, newest], points[1, f, newest], points[2, f, newest]
            for b in range(boxes):
                dx = min(max(px, low[0, f, b]), high[0, f, b]) - px
                dy = min(max(py, low[1, f, b]), high[1, f, b]) - py
                dz = min(max(pz, low[2, f, b]), high[2, f, b]) - pz
                distance[b] = dx * dx + dy * dy + dz * dz
            for b in range(boxes):
                if distance[b] < farthest[b]:
                    most = np.float32(-1)
                    for i in range(width):
                        dx, dy, dz = x[b, i] - px, y[b, i] - py, z[b, i] - pz
                        d = min(nearest[b, i], dx * dx + dy * dy + dz * dz)
                        nearest[b, i] = d
                        most = max(most, d)
                    farthest[b] = most
                    first[b] = -1
            most = farthest.max()
            newest = count
            for b in range(boxes):
                if farthest[b] == most:
                    if first[b] < 0:
                        first[b] = count
                        for i in range(width):
                            if nearest[b, i] == most:
                                first[b] = min(first[b], original[f, b, i])
                    newest = min(newest, first[b])
            index[f, step] = newest
