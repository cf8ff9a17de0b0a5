"""Farthest point sampling."""

from __future__ import annotations

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourd_perception.ops.threads import as_many_as_torch


def farthest_point_sample(points: Tensor, count: int) -> Tensor:
    """Indices of `count` points, each the farthest from those before it (PointNet++).

    points: (B, N, 3) float32, finite, any unit. Returns (B, count) int64 on the same device.
    Starts at index 0; of equally far points the one with the lowest index is taken, so every back
    end gives the same indices. Where all points are taken or coincide, index 0 is repeated.
    PointNet++'s CUDA code never takes a point within 0.03 units of the origin; this one may.
    Raises ValueError if the shape or type does not fit, or count is not in 1..N.
    """
    if points.dim() != 3 or points.shape[2] != 3 or points.dtype != torch.float32:
        raise ValueError(
            f"points: expected (B, N, 3) float32, got {tuple(points.shape)} {points.dtype}"
        )
    if not 1 <= count <= points.shape[1]:
        raise ValueError(f"count: expected 1 to {points.shape[1]} (the points), got {count}")
    points = points.detach()
    if points.device.type != "cpu":
        return _sample_torch(points, count)
    as_many_as_torch()
    axes = points.permute(2, 0, 1).contiguous().numpy()
    index = np.empty((points.shape[0], count), np.int64)
    _sample_numba(axes, index)
    return torch.from_numpy(index)


def _sample_torch(points: Tensor, count: int) -> Tensor:
    x, y, z = points.unbind(2)
    nearest = torch.full_like(x, torch.inf)
    index = torch.zeros(points.shape[0], count, dtype=torch.int64, device=points.device)
    newest = index[:, :1]
    for step in range(1, count):
        dx, dy, dz = (axis - axis.gather(1, newest) for axis in (x, y, z))
        nearest = torch.minimum(nearest, dx * dx + dy * dy + dz * dz)
        newest = nearest.argmax(1, keepdim=True)
        index[:, step : step + 1] = newest
    return index


# Flags: a vectorised maximum, but no fused multiply-add, which would round otherwise than torch.
@numba.njit(parallel=True, fastmath={"nnan", "nsz"}, cache=True)
def _sample_numba(axes: NDArray[np.float32], index: NDArray[np.int64]) -> None:
    for b in numba.prange(axes.shape[1]):
        x, y, z = axes[0, b], axes[1, b], axes[2, b]
        n = x.shape[0]
        nearest = np.full(n, np.inf, np.float32)
        newest = 0
        index[b, 0] = 0
        for step in range(1, index.shape[1]):
            px, py, pz = x[newest], y[newest], z[newest]
            farthest = np.float32(0.0)
            for i in range(n):
                dx, dy, dz = x[i] - px, y[i] - py, z[i] - pz
                distance = min(nearest[i], dx * dx + dy * dy + dz * dz)
                nearest[i] = distance
                farthest = max(farthest, distance)
            newest = 0
            for i in range(n):
                if nearest[i] == farthest:
                    newest = i
                    break
            index[b, step] = newest
