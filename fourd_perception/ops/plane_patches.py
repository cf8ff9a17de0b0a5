"""Planar patches of point clouds."""

from __future__ import annotations

import math

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourd_perception.ops.threads import as_many_as_torch


def plane_patches(
    points: Tensor, count: int, *, distance: float, tries: int = 64, seed: int = 0
) -> Tensor:
    """Which of `count` planes each point lies on: one plane after the other, by RANSAC.

    points: (F, N, 3) float32, any unit; `distance` is in the same unit.
    Returns (F, N) int64, 0 to count - 1, on the same device.
    PPTr's primitives (ECCV 2022, section 3). `count` times, of `tries` planes through three of the
    points left the one with most of them within `distance` is taken, fitted once more to these by
    least squares, and what is then within `distance` is taken out. At last a point that is left
    goes to the plane it is nearest to. A cloud runs out of planes when fewer than three points are
    left; where there is none (all points coincide, say) the labels are 0, and so is that of a
    point that is not finite, which belongs to no plane.
    The same cloud, seed and device give the same labels, whatever else is in the batch.
    Raises ValueError if the shape or type does not fit, or a number is out of range.
    """
    if points.dim() != 3 or points.shape[2] != 3 or points.dtype != torch.float32:
        raise ValueError(
            f"points: expected (F, N, 3) float32, got {tuple(points.shape)} {points.dtype}"
        )
    for name, number in (("points a frame", points.shape[1]), ("count", count), ("tries", tries)):
        if number < 1:
            raise ValueError(f"{name}: expected at least 1, got {number}")
    if not 0 < distance < math.inf:
        raise ValueError(f"distance: expected more than 0, got {distance}")
    points = points.detach()
    finite = points.isfinite().all(dim=2)
    points = points.where(finite[:, :, None], torch.zeros_like(points))
    x, y, z = (axis.contiguous() for axis in points.unbind(2))

    generator = torch.Generator().manual_seed(seed)
    fractions = torch.rand(count, 3, tries, dtype=torch.float64, generator=generator)
    left, label = finite, torch.full_like(x, -1, dtype=torch.int64)
    nearest, nearest_label = torch.full_like(x, math.inf), torch.zeros_like(label)
    for number in range(count):
        tried = _planes_through(points, _draw(left, fractions[number].to(points.device)))
        plane = _best(x, y, z, left, tried, distance)
        plane = _fit(points, left & (_distance(x, y, z, plane) < distance))
        off = _distance(x, y, z, plane)  # NaN, and so never less than anything, without a plane
        taken, nearer = left & (off < distance), off < nearest
        label = torch.where(taken, number, label)
        nearest_label = torch.where(nearer, number, nearest_label)
        nearest = torch.where(nearer, off, nearest)
        left = left & ~taken
    return torch.where(left, nearest_label, label).where(finite, torch.zeros_like(label))


def _draw(left: Tensor, fractions: Tensor) -> Tensor:
    """Three different points left for every try: (F, N) bool, (3, tries) -> (F, 3, tries) int64.

    Fractions of the number left, so that a cloud's draws depend on that cloud alone.
    """
    rank = left.cumsum(1)
    number = rank[:, -1:]
    first, second, third = (
        (fraction * (number - drawn).clamp(min=0)).long()
        for drawn, fraction in enumerate(fractions)
    )
    second += second >= first
    third += third >= torch.minimum(first, second)
    third += third >= torch.maximum(first, second)
    drawn = torch.searchsorted(rank, torch.cat((first, second, third), dim=1) + 1)
    return drawn.clamp(max=left.shape[1] - 1).unflatten(1, (3, -1))


def _planes_through(points: Tensor, index: Tensor) -> Tensor:
    """(F, 4, tries): unit normals and offsets of planes through triples; NaN if on a line."""
    a, b, c = (points.gather(1, one[:, :, None].expand(-1, -1, 3)) for one in index.unbind(1))
    (ux, uy, uz), (vx, vy, vz) = (b - a).unbind(2), (c - a).unbind(2)
    return _plane(a, uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx)


def _plane(point: Tensor, nx: Tensor, ny: Tensor, nz: Tensor) -> Tensor:
    length = torch.sqrt(nx * nx + ny * ny + nz * nz)
    nx, ny, nz = nx / length, ny / length, nz / length
    offset = nx * point[..., 0] + ny * point[..., 1] + nz * point[..., 2]
    return torch.stack((nx, ny, nz, -offset), dim=1)


def _distance(x: Tensor, y: Tensor, z: Tensor, plane: Tensor) -> Tensor:
    """(F, N), the points' distances from their cloud's plane (F, 4)."""
    a, b, c, d = plane[:, :, None].unbind(1)
    return (a * x + b * y + c * z + d).abs()


def _best(x: Tensor, y: Tensor, z: Tensor, left: Tensor, planes: Tensor, distance: float) -> Tensor:
    """Of planes (F, 4, tries) the one (F, 4) with most of the points left."""
    if x.device.type == "cpu":
        as_many_as_torch()
        counts = torch.empty(planes.shape[0], planes.shape[2], dtype=torch.int64)
        tensors = (x, y, z, left, planes, counts)
        _count_numba(*(tensor.contiguous().numpy() for tensor in tensors), np.float32(distance))
    else:
        counts = _count_torch(x, y, z, left, planes, distance)
    which = counts.argmax(dim=1)[:, None, None].expand(-1, 4, 1)
    return planes.gather(2, which).squeeze(2)


def _count_torch(
    x: Tensor, y: Tensor, z: Tensor, left: Tensor, planes: Tensor, distance: float
) -> Tensor:
    counts = [
        (left & (_distance(x, y, z, plane) < distance)).sum(dim=1) for plane in planes.unbind(2)
    ]
    return torch.stack(counts, dim=1)


@numba.njit(parallel=True, cache=True)
def _count_numba(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    z: NDArray[np.float32],
    left: NDArray[np.bool_],
    planes: NDArray[np.float32],
    counts: NDArray[np.int64],
    distance: np.float32,
) -> None:
    frames, tries = counts.shape
    for work in numba.prange(frames * tries):
        f, plane = work // tries, work % tries
        a, b, c, d = planes[f, :, plane]
        near = np.int32(0)
        for n in range(x.shape[1]):
            off = abs(a * x[f, n] + b * y[f, n] + c * z[f, n] + d)
            near += np.int32((off < distance) & left[f, n])
        counts[f, plane] = near


def _fit(points: Tensor, chosen: Tensor) -> Tensor:
    """The planes (F, 4) with the least squared distances from the chosen points; NaN if < 3.

    Sums come from cumsum, which adds in order; how `sum` adds depends on the size of the batch.
    """
    weight = chosen.double()[:, None]
    number = weight.sum(dim=2)  # exact
    axes = points.transpose(1, 2).double()
    mean = (axes * weight).cumsum(2)[:, :, -1] / number
    centred = (axes - mean[:, :, None]) * weight
    i, j = torch.triu_indices(3, 3)
    moments = torch.zeros(len(points), 3, 3, dtype=torch.float64, device=points.device)
    moments[:, i, j] = (centred[:, i] * centred[:, j]).cumsum(2)[:, :, -1]
    found = number >= 3
    moments = moments.where(found[:, :, None], torch.eye(3, dtype=torch.float64).to(moments))
    normal = torch.linalg.eigh(moments, UPLO="U").eigenvectors[:, :, 0]
    plane = _plane(mean, *normal.unbind(1)).float()
    return plane.where(found, torch.full_like(plane, torch.nan))
