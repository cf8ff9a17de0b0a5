"""The maximum over neighbours, without ever building the grouped tensor."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from fourd_perception.ops.gpu import triton_pooling
from fourd_perception.ops.threads import as_many_as_torch

MOST_NEIGHBOURS = 32767  # the winner's number is kept in one byte, or in two


def neighbour_max(values: Tensor, frames: Tensor, index: Tensor) -> Tensor:
    """For every anchor and temporal offset, the maximum of its neighbours' values.

    values: (F, N, C) float32, the points' values in each of F frames.
    frames: (G, T) int64, the frame in which anchor frame g looks for its offset-t neighbours.
    index: (G, T, M, k) int64, the neighbours of anchor m there, indices into N.
    Returns (G, M, T, C): out[g, m, t] = max over k of values[frames[g, t], index[g, t, m, k]];
    NaN if one of them is NaN.
    The gradient goes to the neighbour that was the maximum (to the first of equal ones; where
    plain PyTorch does the work, to equal ones in equal parts).
    Grouping first and pooling after, as plain PyTorch does on devices without kernels, gives the
    same, but through a tensor k times as large, which is where PSTNet's time and memory go.
    Raises ValueError if a shape, a type or a device does not fit, on the CPU also if a frame or an
    index is out of range (a GPU stops at that by itself).
    """
    check_neighbours(values, frames, index)
    if values.device.type == "cpu":
        # Detached, because a function sees that a leaf needs a gradient, not that none is wanted.
        wanted = values if torch.is_grad_enabled() else values.detach()
        return _NeighbourMax.apply(wanted, frames.contiguous(), index.contiguous())
    kernels = triton_pooling(values.device)
    return (kernels.neighbour_max if kernels else _grouped)(values, frames, index)


def neighbour_max_affine(
    values: Tensor, frames: Tensor, index: Tensor, constant: Tensor, scale: Tensor, shift: Tensor
) -> Tensor:
    """`neighbour_max`, an anchor's term, a folded normalisation and the ReLU, in one pass.

    values (F, N, C), frames (G, T) and index (G, T, M, k) as for `neighbour_max`;
    constant: (G, M, C), scale and shift: (T, C), all float32.
    Returns (G, M, T, C): relu(scale[t] * (neighbour_max + constant[g, m]) + shift[t]).
    For inference: raises RuntimeError where a gradient would be needed. Raises ValueError as
    `neighbour_max` does.
    """
    check_neighbours(values, frames, index)
    (groups, offsets, anchors, _), channels = index.shape, values.shape[2]
    check_tensor("constant", constant, (groups, anchors, channels), values.device)
    check_tensor("scale", scale, (offsets, channels), values.device)
    check_tensor("shift", shift, (offsets, channels), values.device)
    if torch.is_grad_enabled() and any(
        tensor.requires_grad for tensor in (values, constant, scale, shift)
    ):
        raise RuntimeError("neighbour_max_affine has no gradient: call it under torch.no_grad()")
    if values.device.type != "cpu":
        kernels = triton_pooling(values.device)
        if kernels is not None:
            return kernels.neighbour_max_affine(values, frames, index, constant, scale, shift)
        pooled = _grouped(values, frames, index)
        return torch.relu(scale * (pooled + constant[:, :, None]) + shift)
    as_many_as_torch()
    out = torch.empty(groups, anchors, offsets, channels)
    tensors = (values, frames, index, constant, scale, shift, out)
    _forward_affine(*(tensor.detach().contiguous().numpy() for tensor in tensors))
    return out


def check_neighbours(
    values: Tensor, frames: Tensor, index: Tensor, name: str = "values", channels: int | None = None
) -> None:
    """Raise ValueError, naming the argument, unless these go together.

    values: (F, N, C) float32, called `name` (C is `channels` if that is given); frames: (G, T)
    int64 below F; index: (G, T, M, k) int64 below N.
    """
    width = "C" if channels is None else channels
    if (
        values.dim() != 3
        or values.dtype != torch.float32
        or values.shape[2] != (values.shape[2] if channels is None else channels)
    ):
        raise ValueError(f"{name}: expected (F, N, {width}) float32, got {_kind(values)}")
    if frames.dim() != 2 or frames.dtype != torch.int64:
        raise ValueError(f"frames: expected (G, T) int64, got {_kind(frames)}")
    fits = index.dim() == 4 and index.shape[:2] == frames.shape and index.dtype == torch.int64
    if not fits or not 1 <= index.shape[3] <= MOST_NEIGHBOURS:
        raise ValueError(
            f"index: expected {(*frames.shape, 'M', 'k')} int64, k from 1 to {MOST_NEIGHBOURS}, "
            f"got {_kind(index)}"
        )
    for label, tensor, size in (
        ("frames", frames, values.shape[0]),
        ("index", index, values.shape[1]),
    ):
        if tensor.device != values.device:
            raise ValueError(f"{label}: expected on {values.device}, got on {tensor.device}")
        # On a GPU, indexing checks; asking for the range here would wait for the device.
        if tensor.device.type == "cpu" and tensor.numel():
            least, most = (int(end) for end in torch.aminmax(tensor))
            if least < 0 or most >= size:
                raise ValueError(f"{label}: expected 0 to {size - 1}, got {least} to {most}")


def parts_of_channels(frames: int) -> int:
    """Into how many parts a backward kernel takes the channels, so that few frames suffice."""
    threads = int(numba.get_num_threads())
    return 1 if frames >= 2 * threads else threads


def check_tensor(name: str, tensor: Tensor, shape: tuple[int, ...], device: torch.device) -> None:
    """Raise ValueError, naming the argument, unless it is such a float32 tensor, as (G, M, C)."""
    if tensor.shape != shape or tensor.dtype != torch.float32:
        raise ValueError(f"{name}: expected {shape} float32, got {_kind(tensor)}")
    if tensor.device != device:
        raise ValueError(f"{name}: expected on {device}, got on {tensor.device}")


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _grouped(values: Tensor, frames: Tensor, index: Tensor) -> Tensor:
    return values[frames[:, :, None, None], index].amax(dim=3).transpose(1, 2)


class _NeighbourMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, frames: Tensor, index: Tensor) -> Tensor:
        as_many_as_torch()
        groups, offsets, anchors, k = index.shape
        out = torch.empty(groups, anchors, offsets, values.shape[2])
        arrays = (values.detach().contiguous().numpy(), frames.numpy(), index.numpy(), out.numpy())
        if ctx.needs_input_grad[0]:
            winner = torch.empty(out.shape, dtype=torch.uint8 if k <= 256 else torch.int16)
            _forward_with_winner(*arrays, winner.numpy())
            ctx.save_for_backward(winner, frames, index)
            ctx.values_shape = values.shape
        else:
            _forward(*arrays)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        as_many_as_torch()
        winner, frames, index = (tensor.numpy() for tensor in ctx.saved_tensors)
        out = torch.zeros(ctx.values_shape)
        parts = parts_of_channels(out.shape[0])
        _backward(gradient.contiguous().numpy(), winner, frames, index, out.numpy(), parts)
        return out, None, None


# The kernels go over all (g, t, m) at once, so that a single anchor frame occupies every thread,
# and over the neighbours in pairs, which halves the traffic of `out`. They index the arrays whole:
# a view of a row would count references, which threads share.


@numba.njit(inline="always")
def _higher(a: np.float32, b: np.float32) -> np.float32:
    return b if (b > a) | (b != b) else a  # NaN stays


@numba.njit(inline="always")
def _without_padding(index: NDArray[np.int64], g: int, t: int, m: int) -> int:
    """How many neighbours there are before nothing but the first is repeated."""
    k = index.shape[3]
    while k > 1 and index[g, t, m, k - 1] == index[g, t, m, 0]:
        k -= 1
    return k


@numba.njit(inline="always")
def _pool(
    values: NDArray[np.float32],
    f: int,
    index: NDArray[np.int64],
    g: int,
    t: int,
    m: int,
    out: NDArray[np.float32],
) -> None:
    k = _without_padding(index, g, t, m)
    first = index[g, t, m, 0]
    for c in range(out.shape[3]):
        out[g, m, t, c] = values[f, first, c]
    for n in range(1, k, 2):
        i, j = index[g, t, m, n], index[g, t, m, min(n + 1, k - 1)]
        for c in range(out.shape[3]):
            best = _higher(out[g, m, t, c], values[f, i, c])
            out[g, m, t, c] = _higher(best, values[f, j, c])


@numba.njit(parallel=True, cache=True)
def _forward(
    values: NDArray[np.float32],
    frames: NDArray[np.int64],
    index: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None:
    groups, offsets, anchors, _ = index.shape
    for row in numba.prange(groups * offsets * anchors):
        g, t, m = row // (offsets * anchors), row // anchors % offsets, row % anchors
        _pool(values, frames[g, t], index, g, t, m, out)


@numba.njit(parallel=True, cache=True)
def _forward_affine(
    values: NDArray[np.float32],
    frames: NDArray[np.int64],
    index: NDArray[np.int64],
    constant: NDArray[np.float32],
    scale: NDArray[np.float32],
    shift: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    groups, offsets, anchors, _ = index.shape
    for row in numba.prange(groups * offsets * anchors):
        g, t, m = row // (offsets * anchors), row // anchors % offsets, row % anchors
        _pool(values, frames[g, t], index, g, t, m, out)
        for c in range(out.shape[3]):
            value = scale[t, c] * (out[g, m, t, c] + constant[g, m, c]) + shift[t, c]
            out[g, m, t, c] = np.float32(0.0) if value < 0.0 else value  # NaN stays


@numba.njit(parallel=True, cache=True)
def _forward_with_winner(
    values: NDArray[np.float32],
    frames: NDArray[np.int64],
    index: NDArray[np.int64],
    out: NDArray[np.float32],
    winner: NDArray[np.uint8] | NDArray[np.int16],
) -> None:
    groups, offsets, anchors, _ = index.shape
    for row in numba.prange(groups * offsets * anchors):
        g, t, m = row // (offsets * anchors), row // anchors % offsets, row % anchors
        f, k = frames[g, t], _without_padding(index, g, t, m)
        first = index[g, t, m, 0]
        for c in range(out.shape[3]):
            out[g, m, t, c] = values[f, first, c]
            winner[g, m, t, c] = 0
        for n in range(1, k, 2):
            last = min(n + 1, k - 1)
            i, j = index[g, t, m, n], index[g, t, m, last]
            # In the winner's own type: a loop that mixes widths is not vectorised.
            one, two = winner.dtype.type(n), winner.dtype.type(last)
            for c in range(out.shape[3]):
                a, b = values[f, i, c], values[f, j, c]
                best, who = out[g, m, t, c], winner[g, m, t, c]
                better = (a > best) | (a != a)
                best, who = a if better else best, one if better else who
                better = (b > best) | (b != b)
                out[g, m, t, c] = b if better else best
                winner[g, m, t, c] = two if better else who


@numba.njit(parallel=True, cache=True)
def _backward(
    gradient: NDArray[np.float32],
    winner: NDArray[np.uint8] | NDArray[np.int16],
    frames: NDArray[np.int64],
    index: NDArray[np.int64],
    out: NDArray[np.float32],
    parts: int,
) -> None:
    """By target frame and part of the channels, so that no two threads add to one place."""
    groups, anchors, offsets, channels = gradient.shape
    for work in numba.prange(out.shape[0] * parts):
        f, part = work // parts, work % parts
        begin, end = channels * part // parts, channels * (part + 1) // parts
        target = out[f].reshape(-1)
        start = np.empty(index.shape[3], np.uint64)  # unsigned: no index counts from the end
        for g in range(groups):
            for t in range(offsets):
                if frames[g, t] == f:
                    for m in range(anchors):
                        for n in range(start.shape[0]):
                            start[n] = index[g, t, m, n] * channels
                        for c in range(np.uint64(begin), np.uint64(end)):
                            target[start[winner[g, m, t, c]] + c] += gradient[g, m, t, c]
