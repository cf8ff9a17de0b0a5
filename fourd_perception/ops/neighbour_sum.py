"""The sum over neighbours, without ever building the grouped tensor."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from fourd_perception.ops.gpu import triton_pooling
from fourd_perception.ops.neighbour_max import check_neighbours, parts_of_channels
from fourd_perception.ops.threads import as_many_as_torch


def neighbour_sum(values: Tensor, frames: Tensor, index: Tensor) -> Tensor:
    """For every anchor and temporal offset, the sum of its neighbours' values.

    values: (F, N, C) float32, the points' values in each of F frames.
    frames: (G, T) int64, the frame in which anchor frame g looks for its offset-t neighbours.
    index: (G, T, M, k) int64, the neighbours of anchor m there, indices into N.
    Returns (G, M, T, C): out[g, m, t] = sum over k of values[frames[g, t], index[g, t, m, k]].
    A neighbour that is named twice counts twice, so a ball query's padding counts as well.
    Raises ValueError if a shape, a type or a device does not fit, on the CPU also if a frame or an
    index is out of range (a GPU stops at that by itself).
    """
    check_neighbours(values, frames, index)
    if values.device.type == "cpu":
        return _NeighbourSum.apply(values, frames.contiguous(), index.contiguous())
    kernels = triton_pooling(values.device)
    if kernels is not None:
        return kernels.neighbour_sum(values, frames, index)
    return values[frames[:, :, None, None], index].sum(dim=3).transpose(1, 2)


class _NeighbourSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, frames: Tensor, index: Tensor) -> Tensor:
        as_many_as_torch()
        groups, offsets, anchors, _ = index.shape
        out = torch.empty(groups, anchors, offsets, values.shape[2])
        _forward(values.detach().contiguous().numpy(), frames.numpy(), index.numpy(), out.numpy())
        ctx.save_for_backward(frames, index)
        ctx.values_shape = values.shape
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        as_many_as_torch()
        frames, index = (tensor.numpy() for tensor in ctx.saved_tensors)
        out = torch.zeros(ctx.values_shape)
        parts = parts_of_channels(out.shape[0])
        _backward(gradient.contiguous().numpy(), frames, index, out.numpy(), parts)
        return out, None, None


# As in neighbour_max: over all (g, t, m) at once, neighbours in pairs, no views of rows.
@numba.njit(parallel=True, cache=True)
def _forward(
    values: NDArray[np.float32],
    frames: NDArray[np.int64],
    index: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None:
    groups, offsets, anchors, k = index.shape
    for row in numba.prange(groups * offsets * anchors):
        g, t, m = row // (offsets * anchors), row // anchors % offsets, row % anchors
        f, first = frames[g, t], index[g, t, m, 0]
        for c in range(out.shape[3]):
            out[g, m, t, c] = values[f, first, c]
        for n in range(1, k - 1, 2):
            i, j = index[g, t, m, n], index[g, t, m, n + 1]
            for c in range(out.shape[3]):
                out[g, m, t, c] += values[f, i, c] + values[f, j, c]
        if k % 2 == 0:
            last = index[g, t, m, k - 1]
            for c in range(out.shape[3]):
                out[g, m, t, c] += values[f, last, c]


@numba.njit(parallel=True, cache=True)
def _backward(
    gradient: NDArray[np.float32],
    frames: NDArray[np.int64],
    index: NDArray[np.int64],
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
                                out[f, j, c] += gradient[g, m, t, c]
