"""Values at places between points."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from fourd_perception.ops.boxes import cut_into_boxes
from fourd_perception.ops.checks import check_batch, check_device, check_float32, check_points
from fourd_perception.ops.gpu import triton_searches
from fourd_perception.ops.threads import as_many_as_torch

_WIDTH = 32  # points in a box, the bits of a word
_CHUNK = 256  # centres or targets that one thread takes at a time
_CHANNELS = 64  # channels of the gradient that one thread takes at a time
_AT_ONCE = 2**24  # distances that the PyTorch path holds at a time


def k_nearest(points: Tensor, centres: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k points nearest to each centre, nearest first, and how far they are.

    points: (B, N, 3) float32; centres: (B, M, 3) float32, in the same unit and frame; finite.
    Returns distances (B, M, k) float32, in that unit, and indices (B, M, k) int64. Of points whose
    squared distance, in float32, is the same, the one with the lower index comes first.
    Raises ValueError if a shape, type, device or number does not fit, or a coordinate is NaN or
    infinite.
    """
    check_points("points", points, at_least=1)
    check_points("centres", centres, device=points.device)
    check_batch("centres", centres, "points", points)
    if not 1 <= k <= points.shape[1]:
        raise ValueError(f"k: expected 1 to {points.shape[1]} (the points), got {k}")
    points, centres = points.detach(), centres.detach()
    if points.device.type != "cpu":
        kernels = triton_searches(points.device)
        if kernels is not None and k <= kernels.MOST_NEAREST:
            squared, index = kernels.k_nearest(points.permute(2, 0, 1), centres, k)
            return _root(squared), index
        return _nearest_torch(points, centres, k)
    as_many_as_torch()
    cut = cut_into_boxes(points.permute(2, 0, 1).contiguous().numpy(), _WIDTH)
    squared = torch.empty(*centres.shape[:2], k)
    index = torch.empty(*centres.shape[:2], k, dtype=torch.int64)
    _nearest_numba(
        cut.axes,
        cut.original,
        cut.low,
        cut.high,
        centres.contiguous().numpy(),
        squared.numpy(),
        index.numpy(),
    )
    return _root(squared), index


def _nearest_torch(points: Tensor, centres: Tensor, k: int) -> tuple[Tensor, Tensor]:
    batch, count, _ = points.shape
    everyone = torch.arange(count, device=points.device)
    squared, index = [], []
    for some in centres.split(max(1, _AT_ONCE // (count * max(1, batch))), dim=1):
        dx, dy, dz = (
            points[:, None, :, axis] - some[:, :, None, axis] for axis in range(3)
        )  # each (B, chunk, N)
        distance = dx * dx + dy * dy + dz * dz
        # The bits of floats from 0 on are in the floats' order. With the index below them no two
        # are equal, so every back end's topk gives the same.
        order = (distance.view(torch.int32).long() << 32) + everyone
        found = order.topk(k, dim=2, largest=False, sorted=True).values & 0xFFFFFFFF
        index.append(found)
        squared.append(distance.gather(2, found))
    return _root(torch.cat(squared, dim=1)), torch.cat(index, dim=1)


def _root(squared: Tensor) -> Tensor:
    """Rounded as IEEE 754 says, which PyTorch's root of a float32 is not on every processor."""
    return squared.double().sqrt().float()


@numba.njit(cache=True)
def _keep(squared: NDArray[np.float32], index: NDArray[np.int64], far: np.float32, i: int) -> None:
    """Puts a point where it belongs among the nearest, if it does; the last one drops out."""
    place = squared.shape[0] - 1
    if far > squared[place] or (far == squared[place] and i > index[place]):
        return
    while place > 0 and (
        far < squared[place - 1] or (far == squared[place - 1] and i < index[place - 1])
    ):
        squared[place], index[place] = squared[place - 1], index[place - 1]
        place -= 1
    squared[place], index[place] = far, i


@numba.njit(parallel=True, cache=True)
def _nearest_numba(
    axes: NDArray[np.float32],
    original: NDArray[np.int32],
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    centres: NDArray[np.float32],
    squared: NDArray[np.float32],
    index: NDArray[np.int64],
) -> None:
    """Looks into the nearest box first, then into those that are no farther than the worst kept."""
    count, boxes = centres.shape[1], original.shape[1]
    chunks = -(-count // _CHUNK)
    for task in numba.prange(centres.shape[0] * chunks):
        b, chunk = task // chunks, task % chunks
        x, y, z = axes[0, b], axes[1, b], axes[2, b]
        gap = np.empty(boxes, np.float32)
        far = np.empty(_WIDTH, np.float32)
        for m in range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, count)):
            cx, cy, cz = centres[b, m, 0], centres[b, m, 1], centres[b, m, 2]
            best, who = squared[b, m], index[b, m]
            best[:] = np.inf
            who[:] = 2**31 - 1
            for box in range(boxes):
                dx = min(max(cx, low[0, b, box]), high[0, b, box]) - cx
                dy = min(max(cy, low[1, b, box]), high[1, b, box]) - cy
                dz = min(max(cz, low[2, b, box]), high[2, b, box]) - cz
                gap[box] = dx * dx + dy * dy + dz * dz
            nearest = int(gap.argmin())
            for turn in range(-1, boxes):
                box = nearest if turn < 0 else turn
                if gap[box] <= best[-1] and turn != nearest:
                    for i in range(_WIDTH):
                        dx, dy, dz = x[box, i] - cx, y[box, i] - cy, z[box, i] - cz
                        far[i] = dx * dx + dy * dy + dz * dz
                    for i in range(_WIDTH):
                        if far[i] <= best[-1]:
                            _keep(best, who, far[i], original[b, box, i])


def interpolate(values: Tensor, points: Tensor, targets: Tensor) -> Tensor:
    """PointNet++'s feature propagation: the mean of the three nearest points, by 1 / distance.

    values: (B, N, C) float32, at points: (B, N, 3) float32; targets: (B, M, 3) float32.
    Returns (B, M, C). Weights are 1 / (distance + 1e-8), divided by their sum, so a target on a
    point gets that point's value. With fewer than three points all are taken.
    Differentiable in `values` alone, as PointNet++'s is.
    Raises ValueError if a shape, type or device does not fit, or a coordinate is NaN or infinite.
    """
    check_points("points", points, at_least=1)
    check_points("targets", targets, device=points.device)
    check_batch("targets", targets, "points", points)
    if values.dim() != 3 or values.shape[1] != points.shape[1]:
        raise ValueError(
            f"values: expected (B, {points.shape[1]}, C), a row for every point, "
            f"got {tuple(values.shape)}"
        )
    check_float32("values", values)
    check_device("values", values, points.device)
    check_batch("values", values, "points", points)
    return interpolate_at(values, *k_nearest(points, targets, min(3, points.shape[1])))


def interpolate_at(values: Tensor, distance: Tensor, index: Tensor) -> Tensor:
    """The mean of some points' values, by 1 / distance: `interpolate` for neighbours found before.

    values: (B, N, C) float32. distance: (B, M, k) float32 and index: (B, M, k) int64, as
    `k_nearest` gives them. Returns (B, M, C). Differentiable in `values` alone.
    """
    weight = 1 / (distance + 1e-8)
    weight = weight / weight.sum(dim=2, keepdim=True)
    if values.device.type == "cpu":
        return _WeightedSum.apply(values, weight, index)
    return _weighted_sum(values, weight, index)


def _weighted_sum(values: Tensor, weight: Tensor, index: Tensor) -> Tensor:
    """values: (B, N, C), weight and index: (B, M, k). One neighbour after the other: (B, M, C)."""
    out = torch.zeros(*index.shape[:2], values.shape[2], device=values.device)
    for near, share in zip(index.unbind(2), weight.unbind(2)):
        rows = values.gather(1, near[:, :, None].expand(-1, -1, values.shape[2]))
        out = out + rows * share[:, :, None]
    return out


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, index: Tensor) -> Tensor:
        as_many_as_torch()
        ctx.save_for_backward(weight, index)
        ctx.values_shape = values.shape
        out = torch.empty(*index.shape[:2], values.shape[2])
        _gather_numba(values.contiguous().numpy(), weight.numpy(), index.numpy(), out.numpy())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        as_many_as_torch()
        weight, index = ctx.saved_tensors
        out = torch.zeros(ctx.values_shape)
        _scatter_numba(gradient.contiguous().numpy(), weight.numpy(), index.numpy(), out.numpy())
        return out, None, None


@numba.njit(parallel=True, cache=True)
def _gather_numba(
    values: NDArray[np.float32],
    weight: NDArray[np.float32],
    index: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None:
    batch, count, k = index.shape
    chunks = -(-count // _CHUNK)
    for task in numba.prange(batch * chunks):
        b, chunk = task // chunks, task % chunks
        for m in range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, count)):
            into = out[b, m]
            into[:] = 0
            for j in range(k):
                row, share = values[b, index[b, m, j]], weight[b, m, j]
                for c in range(into.shape[0]):
                    into[c] += share * row[c]


@numba.njit(parallel=True, cache=True)
def _scatter_numba(
    gradient: NDArray[np.float32],
    weight: NDArray[np.float32],
    index: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None:
    batch, count, k = index.shape
    channels = gradient.shape[2]
    parts = -(-channels // _CHANNELS)
    for task in numba.prange(batch * parts):  # so that no two threads add to one place
        b, start = task // parts, task % parts * _CHANNELS
        end = min(start + _CHANNELS, channels)
        for m in range(count):
            row = gradient[b, m, start:end]
            for j in range(k):
                into, share = out[b, index[b, m, j], start:end], weight[b, m, j]
                for c in range(end - start):
                    into[c] += share * row[c]
