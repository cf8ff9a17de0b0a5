"""Mean and variance over neighbours, without ever building the grouped tensor."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from fourd_perception.ops.gpu import triton_pooling
from fourd_perception.ops.neighbour_max import check_neighbours, check_tensor, parts_of_channels
from fourd_perception.ops.neighbour_sum import neighbour_sum
from fourd_perception.ops.threads import as_many_as_torch

# In how many parts the sums are taken: a fixed number, so that they are the same on any machine.
PARTS = 16


def neighbour_moments(
    values: Tensor, constant: Tensor, frames: Tensor, index: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and variance of values[j] + constant[i], over all anchors i and their neighbours j.

    values (F, N, C), frames (G, T) and index (G, T, M, k) as for `neighbour_max`;
    constant: (G, M, C) float32. Returns two of (C,), the variance divided by G T M k.
    A neighbour that is named twice counts twice. Sums are taken in float64.
    Raises ValueError as `neighbour_max` does.
    """
    check_neighbours(values, frames, index)
    groups, _, anchors, _ = index.shape
    check_tensor("constant", constant, (groups, anchors, values.shape[2]), values.device)
    if values.device.type == "cpu":
        return _NeighbourMoments.apply(values, constant, frames.contiguous(), index.contiguous())
    kernels = triton_pooling(values.device)
    return (kernels.neighbour_moments if kernels else _moments)(values, constant, frames, index)


def _moments(
    values: Tensor, constant: Tensor, frames: Tensor, index: Tensor
) -> tuple[Tensor, Tensor]:
    """In plain PyTorch and with little memory: with v and c centred,
    sum (v_j + c_i)^2 = sum_j n_j v_j^2 + 2 sum_i c_i sum_{j of i} v_j + T k sum_i c_i^2,
    where n_j is how often j is somebody's neighbour.
    """
    total, points = index.numel(), values.shape[1]
    everywhere = (frames[:, :, None, None] * points + index).flatten()
    times = torch.bincount(everywhere, minlength=len(values) * points).double()
    # In double precision: where a scene is many radii wide, v_j and c_i are large and opposite.
    mean_value = times @ values.flatten(0, 1).double() / total
    mean_constant = constant.double().mean((0, 1))
    centred = values - mean_value.to(values.dtype)
    offset = constant.double() - mean_constant
    around = neighbour_sum(centred, frames, index).double().sum(2)  # (G, M, C)
    each = index.shape[1] * index.shape[3]
    variance = times @ centred.flatten(0, 1).double().square() / total
    variance = variance + 2 * (offset * around).sum((0, 1)) / total
    variance = variance + offset.square().sum((0, 1)) * each / total
    mean = mean_value + mean_constant
    return mean.to(values.dtype), variance.clamp(min=0).to(values.dtype)


class _NeighbourMoments(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, constant: Tensor, frames: Tensor, index: Tensor
    ) -> tuple[Tensor, Tensor]:
        as_many_as_torch()
        values, constant = values.contiguous(), constant.contiguous()
        tensors = (values, constant, frames, index)
        sums = np.empty((2, PARTS, values.shape[2]))
        _sums(*(tensor.numpy() for tensor in tensors), sums)
        mean, square = torch.from_numpy(sums.sum(axis=1) / index.numel())
        ctx.save_for_backward(*tensors, mean)
        return mean.float(), (square - mean.square()).clamp(min=0).float()

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, of_mean: Tensor, of_variance: Tensor
    ) -> tuple[Tensor, Tensor, None, None]:
        as_many_as_torch()
        *tensors, mean = ctx.saved_tensors
        slope = 2 * of_variance.double() / tensors[3].numel()
        level = of_mean.double() / tensors[3].numel() - slope * mean
        arrays = [tensor.numpy() for tensor in (*tensors, level.float(), slope.float())]
        of_values, of_constant = torch.zeros_like(tensors[0]), torch.zeros_like(tensors[1])
        _to_values(*arrays, of_values.numpy(), parts_of_channels(len(of_values)))
        _to_constant(*arrays, of_constant.numpy())
        return of_values, of_constant, None, None


@numba.njit(parallel=True, cache=True)
def _sums(
    values: NDArray[np.float32],
    constant: NDArray[np.float32],
    frames: NDArray[np.int64],
    index: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    """out: (2, parts, C), of the sums of value and constant and of their squares."""
    groups, offsets, anchors, k = index.shape
    rows, parts = groups * offsets * anchors, out.shape[1]
    for part in numba.prange(parts):
        out[:, part] = 0
        for row in range(rows * part // parts, rows * (part + 1) // parts):
            g, t, m = row // (offsets * anchors), row // anchors % offsets, row % anchors
            f = frames[g, t]
            for n in range(k):
                j = index[g, t, m, n]
                for c in range(out.shape[2]):
                    value = np.float64(values[f, j, c] + constant[g, m, c])
                    out[0, part, c] += value
                    out[1, part, c] += value * value


# The gradient of each pair of anchor and neighbour is level + slope * (value + constant).


@numba.njit(parallel=True, cache=True)
def _to_values(
    values: NDArray[np.float32],
    constant: NDArray[np.float32],
    frames: NDArray[np.int64],
    index: NDArray[np.int64],
    level: NDArray[np.float32],
    slope: NDArray[np.float32],
    out: NDArray[np.float32],
    parts: int,
) -> None:
    """By target frame and part of the channels, so that no two threads add to one place."""
    groups, offsets, anchors, k = index.shape
    channels = out.shape[2]
    for work in numba.prange(out.shape[0] * parts):
        f, part = work // parts, work % parts
        begin, end = channels * part // parts, channels * (part + 1) // parts
        for g in range(groups):
            for t in range(offsets):
                if frames[g, t] == f:
                    for m in range(anchors):
                        for n in range(k):
                            j = index[g, t, m, n]  # unsigned below: none counts from the end
                            for c in range(np.uint64(begin), np.uint64(end)):
                                value = values[f, j, c] + constant[g, m, c]
                                out[f, j, c] += level[c] + slope[c] * value


@numba.njit(parallel=True, cache=True)
def _to_constant(
    values: NDArray[np.float32],
    constant: NDArray[np.float32],
    frames: NDArray[np.int64],
    index: NDArray[np.int64],
    level: NDArray[np.float32],
    slope: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    groups, offsets, anchors, k = index.shape
    for row in numba.prange(groups * anchors):
        g, m = row // anchors, row % anchors
        for t in range(offsets):
            f = frames[g, t]
            for n in range(k):
                j = index[g, t, m, n]
                for c in range(out.shape[2]):
                    value = values[f, j, c] + constant[g, m, c]
                    out[g, m, c] += level[c] + slope[c] * value
