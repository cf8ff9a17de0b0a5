"""The maximum over neighbours of a linear map of their displacements."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from fourd_perception.ops.gpu import triton_pooling
from fourd_perception.ops.neighbour_max import check_neighbours, check_tensor
from fourd_perception.ops.threads import as_many_as_torch

# How much of the grouped tensor plain PyTorch builds at a time: 256 MiB of float32.
CHUNK = 2**26

# In how many parts the gradient is added up: a fixed number, so that it is the same on any machine.
PARTS = 16


def displacement_max(
    points: Tensor, anchors: Tensor, weight: Tensor, frames: Tensor, index: Tensor
) -> Tensor:
    """For every anchor and temporal offset, the maximum of weight @ (neighbour - anchor).

    points: (F, N, 3) float32, the clouds of F frames.
    anchors: (G, M, 3) float32, the anchors of each of G anchor frames.
    weight: (C, 3) float32, a convolution of the three coordinates to C channels.
    frames: (G, T) int64, the frame in which anchor frame g looks for its offset-t neighbours.
    index: (G, T, M, k) int64, the neighbours of anchor m there, indices into N.
    Returns (G, M, T, C): the maximum over k of
    weight @ (points[frames[g, t], index[g, t, m, k]] - anchors[g, m]); NaN if one of them is NaN.
    Nothing as large as N x C or k x C is built; the weight's gradient goes to the first of equal
    neighbours and is added up in float64, on a CPU in the same order on any number of threads.
    Where the points or the anchors need a gradient, and on devices without kernels, plain PyTorch
    does the work, a few anchor frames at a time; equal neighbours share the gradient.
    Raises ValueError if a shape, a type or a device does not fit, on the CPU also if a frame or an
    index is out of range (a GPU stops at that by itself).
    """
    check_neighbours(points, frames, index, name="points", channels=3)
    groups, _, count, _ = index.shape
    check_tensor("anchors", anchors, (groups, count, 3), points.device)
    if weight.dim() != 2 or weight.shape[0] == 0:
        raise ValueError(f"weight: expected (C, 3), C from 1, got {tuple(weight.shape)}")
    check_tensor("weight", weight, (weight.shape[0], 3), points.device)
    moves = torch.is_grad_enabled() and (points.requires_grad or anchors.requires_grad)
    if points.device.type == "cpu" and not moves:
        # Detached, because a function sees that a leaf needs a gradient, not that none is wanted.
        wanted = weight if torch.is_grad_enabled() else weight.detach()
        return _DisplacementMax.apply(
            points, anchors, wanted, frames.contiguous(), index.contiguous()
        )
    kernels = None if moves else triton_pooling(points.device)
    if kernels is not None:
        return kernels.displacement_max(points, anchors, weight, frames, index)
    return _in_chunks(points, anchors, weight, frames, index)


def _in_chunks(
    points: Tensor, anchors: Tensor, weight: Tensor, frames: Tensor, index: Tensor
) -> Tensor:
    step = max(1, CHUNK // max(1, index[:1].numel() * weight.shape[0]))
    return torch.cat(
        [
            # What a chunk builds is built again for the gradient instead of kept.
            checkpoint(
                _grouped,
                points,
                some,
                weight,
                *which,
                use_reentrant=False,
                preserve_rng_state=False,
            )
            for some, *which in zip(anchors.split(step), frames.split(step), index.split(step))
        ]
    )


def _grouped(
    points: Tensor, anchors: Tensor, weight: Tensor, frames: Tensor, index: Tensor
) -> Tensor:
    displacement = points[frames[:, :, None, None], index] - anchors[:, None, :, None]
    return (displacement @ weight.T).amax(dim=3).transpose(1, 2)


class _DisplacementMax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, points: Tensor, anchors: Tensor, weight: Tensor, frames: Tensor, index: Tensor
    ) -> Tensor:
        as_many_as_torch()
        groups, offsets, count, k = index.shape
        out = torch.empty(groups, count, offsets, weight.shape[0])
        keep = ctx.needs_input_grad[2]
        kind = torch.uint8 if k <= 256 else torch.int16
        winner = torch.empty(out.shape if keep else (0, 0, 0, 0), dtype=kind)
        points, anchors = points.detach().contiguous(), anchors.detach().contiguous()
        rows = weight.detach().T.contiguous()
        tensors = (points, anchors, rows, frames, index, out, winner)
        _forward(*(tensor.numpy() for tensor in tensors), float(rows.abs().max()), keep)
        if keep:
            ctx.save_for_backward(winner, points, anchors, frames, index)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor, None, None]:
        as_many_as_torch()
        tensors = (gradient.contiguous(), *ctx.saved_tensors)
        out = np.zeros((PARTS, gradient.shape[3], 3))
        _backward(*(tensor.numpy() for tensor in tensors), out)
        return None, None, torch.from_numpy(out.sum(axis=0)).float(), None, None


@numba.njit(parallel=True, cache=True, fastmath={"contract"})
def _forward(
    points: NDArray[np.float32],
    anchors: NDArray[np.float32],
    weight: NDArray[np.float32],
    frames: NDArray[np.int64],
    index: NDArray[np.int64],
    out: NDArray[np.float32],
    winner: NDArray[np.uint8] | NDArray[np.int16],
    largest: float,
    keep: bool,
) -> None:
    """weight: (3, C), its largest magnitude being `largest`; winner is filled if `keep`."""
    groups, offsets, count, _ = index.shape
    for row in numba.prange(groups * offsets * count):
        g, t, m = row // (offsets * count), row // count % offsets, row % count
        near, best = index[g, t, m], out[g, m, t]
        who = winner[g, m, t] if keep else np.empty(best.shape[0], winner.dtype)
        k = near.shape[0]
        while k > 1 and near[k - 1] == near[0]:  # padding
            k -= 1
        displacement = np.empty((k, 3), np.float32)
        reach = np.float32(0.0)
        for n in range(k):
            for axis in range(3):
                difference = points[frames[g, t], near[n], axis] - anchors[g, m, axis]
                displacement[n, axis] = difference
                reach += abs(difference)
        best[:] = -np.inf
        who[:] = 0
        if reach * largest < 1e38:  # no product or sum below can be infinite or NaN
            _pool(displacement, weight, best, who)
        else:
            _pool_anything(displacement, weight, best, who)


@numba.njit(cache=True, fastmath={"contract"})
def _pool(
    displacement: NDArray[np.float32],
    weight: NDArray[np.float32],
    best: NDArray[np.float32],
    who: NDArray[np.uint8] | NDArray[np.int16],
) -> None:
    """Four neighbours at a time, for each of which the weights would be loaded otherwise."""
    last = displacement.shape[0] - 1
    for n in range(0, last + 1, 4):
        i, j, k = min(n + 1, last), min(n + 2, last), min(n + 3, last)
        # In the winner's own type: a loop that mixes widths is not vectorised.
        kind = who.dtype.type
        n0, n1, n2, n3 = kind(n), kind(i), kind(j), kind(k)
        x0, y0, z0 = displacement[n, 0], displacement[n, 1], displacement[n, 2]
        x1, y1, z1 = displacement[i, 0], displacement[i, 1], displacement[i, 2]
        x2, y2, z2 = displacement[j, 0], displacement[j, 1], displacement[j, 2]
        x3, y3, z3 = displacement[k, 0], displacement[k, 1], displacement[k, 2]
        for c in range(best.shape[0]):
            x, y, z = weight[0, c], weight[1, c], weight[2, c]
            top, which = best[c], who[c]
            value = x * x0 + y * y0 + z * z0
            top, which = max(value, top), n0 if value > top else which
            value = x * x1 + y * y1 + z * z1
            top, which = max(value, top), n1 if value > top else which
            value = x * x2 + y * y2 + z * z2
            top, which = max(value, top), n2 if value > top else which
            value = x * x3 + y * y3 + z * z3
            best[c], who[c] = max(value, top), n3 if value > top else which


@numba.njit(cache=True, fastmath={"contract"})
def _pool_anything(
    displacement: NDArray[np.float32],
    weight: NDArray[np.float32],
    best: NDArray[np.float32],
    who: NDArray[np.uint8] | NDArray[np.int16],
) -> None:
    """The same in plain words, where NaN may come up and has to stay."""
    for n in range(displacement.shape[0]):
        for c in range(best.shape[0]):
            value = np.float32(0.0)
            for axis in range(3):
                value += displacement[n, axis] * weight[axis, c]
            if value > best[c] or value != value:
                best[c], who[c] = value, n


@numba.njit(parallel=True, cache=True)
def _backward(
    gradient: NDArray[np.float32],
    winner: NDArray[np.uint8] | NDArray[np.int16],
    points: NDArray[np.float32],
    anchors: NDArray[np.float32],
    frames: NDArray[np.int64],
    index: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    """out: (parts, C, 3), each part the sum over its share of the anchors."""
    groups, offsets, count, k = index.shape
    rows, parts = groups * offsets * count, out.shape[0]
    for part in numba.prange(parts):
        displacement = np.empty((k, 3))
        for row in range(rows * part // parts, rows * (part + 1) // parts):
            g, t, m = row // (offsets * count), row // count % offsets, row % count
            for n in range(k):
                for axis in range(3):
                    point = points[frames[g, t], index[g, t, m, n], axis]
                    displacement[n, axis] = point - anchors[g, m, axis]
            for c in range(out.shape[1]):
                n, slope = winner[g, m, t, c], np.float64(gradient[g, m, t, c])
                for axis in range(3):
                    out[part, c, axis] += slope * displacement[n, axis]
