"""The maximum over neighbours, on a CPU without ever building the grouped tensor."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourd_perception.ops.threads import as_many_as_torch


def neighbour_max(values: Tensor, frame: Tensor, index: Tensor) -> Tensor:
    """For every anchor and temporal offset, the maximum of its neighbours' values.

    values: (F, N, C) float32, the points' values in each of F frames.
    frame: (G, T) int64, the frame in which anchor frame g looks for its offset-t neighbours.
    index: (G, T, M, k) int64, the neighbours of anchor m there, indices into N.
    Returns (G, M, T, C): out[g, m, t] = max over k of values[frame[g, t], index[g, t, m, k]].
    The gradient goes to the neighbour that was the maximum (the first of equal ones on the CPU).
    Grouping first and pooling after, as is done on a GPU, gives the same, but through a tensor k
    times as large, which is where PSTNet's time and memory go.
    """
    if values.device.type == "cpu":
        return _NeighbourMax.apply(values, frame, index)
    return values[frame[:, :, None, None], index].amax(dim=3).transpose(1, 2)


class _NeighbourMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, frame: Tensor, index: Tensor) -> Tensor:
        as_many_as_torch()
        groups, offsets, anchors, _ = index.shape
        out = torch.empty(groups, anchors, offsets, values.shape[2])
        arrays = (values.contiguous().numpy(), frame.numpy(), index.contiguous().numpy())
        if ctx.needs_input_grad[0]:
            winner = torch.empty(out.shape, dtype=torch.int32)
            _forward_with_winner(*arrays, out.numpy(), winner.numpy())
            ctx.save_for_backward(winner, frame)
            ctx.values_shape = values.shape
        else:
            _forward(*arrays, out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        as_many_as_torch()
        winner, frame = ctx.saved_tensors
        out = torch.zeros(ctx.values_shape)
        _backward(gradient.contiguous().numpy(), winner.numpy(), frame.numpy(), out.numpy())
        return out, None, None


@numba.njit(parallel=True, cache=True, fastmath={"nnan", "nsz"})
def _forward(
    values: NDArray[np.float32],
    frame: NDArray[np.int64],
    index: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None:
    groups, offsets, anchors, k = index.shape
    for g in numba.prange(groups):
        for t in range(offsets):
            source = values[frame[g, t]]
            for m in range(anchors):
                best = out[g, m, t]
                best[:] = source[index[g, t, m, 0]]
                for n in range(1, k):
                    row = source[index[g, t, m, n]]
                    for c in range(best.shape[0]):
                        best[c] = max(best[c], row[c])


@numba.njit(parallel=True, cache=True, fastmath={"nnan", "nsz"})
def _forward_with_winner(
    values: NDArray[np.float32],
    frame: NDArray[np.int64],
    index: NDArray[np.int64],
    out: NDArray[np.float32],
    winner: NDArray[np.int32],
) -> None:
    groups, offsets, anchors, k = index.shape
    for g in numba.prange(groups):
        for t in range(offsets):
            source = values[frame[g, t]]
            for m in range(anchors):
                best, who = out[g, m, t], winner[g, m, t]
                first = np.int32(index[g, t, m, 0])
                best[:] = source[first]
                who[:] = first
                for n in range(1, k):
                    j = np.int32(index[g, t, m, n])
                    row = source[j]
                    for c in range(best.shape[0]):
                        better = row[c] > best[c]
                        who[c] = j if better else who[c]
                        best[c] = row[c] if better else best[c]


@numba.njit(parallel=True, cache=True)
def _backward(
    gradient: NDArray[np.float32],
    winner: NDArray[np.int32],
    frame: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None:
    groups, anchors, offsets, channels = gradient.shape
    for f in numba.prange(out.shape[0]):  # by target frame, so that no two threads add to one place
        target = out[f]
        for g in range(groups):
            for t in range(offsets):
                if frame[g, t] == f:
                    for m in range(anchors):
                        who, row = winner[g, m, t], gradient[g, m, t]
                        for c in range(channels):
                            target[who[c], c] += row[c]
