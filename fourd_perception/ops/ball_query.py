"""Neighbours within a radius."""

from __future__ import annotations

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourd_perception.ops.threads import as_many_as_torch


def ball_query(points: Tensor, centres: Tensor, radius: float, k: int) -> Tensor:
    """Indices of up to k points within `radius` of each centre, in index order.

    points: (B, N, 3) float32; centres: (B, M, 3) float32, in the same unit and frame.
    Returns (B, M, k) int64. Fewer than k hits: the first hit is repeated; none: index 0.
    Strictly inside the radius, and the first k rather than the nearest k: what PSTNet and
    P4Transformer were trained with (PointNet++ grouping).
    Raises ValueError on shapes or types that do not fit, naming both.
    """
    fits = points.dim() == centres.dim() == 3 and points.shape[2] == centres.shape[2] == 3
    if not fits or points.shape[0] != centres.shape[0] or points.shape[1] == 0:
        raise ValueError(
            "expected points (B, N, 3) and centres (B, M, 3), got "
            f"{tuple(points.shape)} and {tuple(centres.shape)}"
        )
    if points.dtype != torch.float32 or centres.dtype != torch.float32:
        raise ValueError(f"expected float32, got {points.dtype} and {centres.dtype}")
    if k < 1 or not radius > 0:
        raise ValueError(f"expected k >= 1 and radius > 0, got k {k} and radius {radius}")
    points, centres = points.detach(), centres.detach()
    if points.device.type != "cpu":
        return _query_torch(points, centres, radius, k)
    as_many_as_torch()
    index = np.empty((*centres.shape[:2], k), np.int64)
    squared = np.float32(radius) * np.float32(radius)
    _query_numba(points.contiguous().numpy(), centres.contiguous().numpy(), squared, index)
    return torch.from_numpy(index)


def _query_torch(points: Tensor, centres: Tensor, radius: float, k: int) -> Tensor:
    squared = torch.tensor(radius, dtype=torch.float32) ** 2
    # Coordinate by coordinate, as the kernel does, so that both round alike at the border.
    dx, dy, dz = (
        points[:, None, :, axis] - centres[:, :, None, axis] for axis in range(3)
    )  # each (B, M, N)
    hit = dx * dx + dy * dy + dz * dz < squared.to(points.device)
    count = points.shape[1]
    order = torch.where(hit, torch.arange(count, device=points.device), count)
    index = order.topk(min(k, count), dim=2, largest=False, sorted=True).values
    index = torch.nn.functional.pad(index, (0, max(0, k - count)), value=count)
    first = index[:, :, :1].where(index[:, :, :1] < count, torch.zeros_like(index[:, :, :1]))
    return torch.where(index < count, index, first)


@numba.njit(parallel=True, cache=True)
def _query_numba(
    points: NDArray[np.float32],
    centres: NDArray[np.float32],
    squared: np.float32,
    index: NDArray[np.int64],
) -> None:
    k = index.shape[2]
    for b in numba.prange(points.shape[0]):
        cloud = points[b]
        for m in range(centres.shape[1]):
            cx, cy, cz = centres[b, m, 0], centres[b, m, 1], centres[b, m, 2]
            found = 0
            for i in range(cloud.shape[0]):
                dx, dy, dz = cloud[i, 0] - cx, cloud[i, 1] - cy, cloud[i, 2] - cz
                if dx * dx + dy * dy + dz * dz < squared:
                    index[b, m, found] = i
                    found += 1
                    if found == k:
                        break
            first = index[b, m, 0] if found else 0
            for i in range(found, k):
                index[b, m, i] = first
