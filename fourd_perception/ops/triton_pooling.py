"""What an encoder pools of neighbours, on a GPU, in Triton: nothing k times as large is ever built.

As the CPU's kernels, a program gathers the neighbours of a block of anchors one after the other
and keeps their maximum, their sum or their moments. Where a gradient is scattered back to points,
programs add to one place in any order, so its last bits differ from run to run; who wants them
fixed asks PyTorch for deterministic algorithms, and plain PyTorch does the work.

values: (F, N, C) float32, frames: (G, T) int64, index: (G, T, M, k) int64 throughout, contiguous.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

_ANCHORS = 16  # that a program has
_CHANNELS = 64  # of them, at the most


def neighbour_max(values: Tensor, frames: Tensor, index: Tensor) -> Tensor:
    """(G, M, T, C): as neighbour_max.neighbour_max."""
    return _Max.apply(values.contiguous(), frames.contiguous(), index.contiguous())


def neighbour_max_affine(
    values: Tensor, frames: Tensor, index: Tensor, constant: Tensor, scale: Tensor, shift: Tensor
) -> Tensor:
    """(G, M, T, C): as neighbour_max.neighbour_max_affine, with constant (G, M, C)."""
    given = values.contiguous(), frames.contiguous(), index.contiguous()
    folded = constant.contiguous(), scale.contiguous(), shift.contiguous()
    return _pool(*given, folded=folded)[0]


def neighbour_sum(values: Tensor, frames: Tensor, index: Tensor) -> Tensor:
    """(G, M, T, C): as neighbour_sum.neighbour_sum."""
    return _Sum.apply(values.contiguous(), frames.contiguous(), index.contiguous())


def neighbour_moments(
    values: Tensor, constant: Tensor, frames: Tensor, index: Tensor
) -> tuple[Tensor, Tensor]:
    """Twice (C,): as neighbour_moments.neighbour_moments, with constant (G, M, C)."""
    given = values.contiguous(), constant.contiguous(), frames.contiguous(), index.contiguous()
    return _Moments.apply(*given)


def displacement_max(
    points: Tensor, anchors: Tensor, weight: Tensor, frames: Tensor, index: Tensor
) -> Tensor:
    """(G, M, T, C): as displacement_max.displacement_max, with a gradient of the weight alone."""
    places = points.detach().contiguous(), anchors.detach().contiguous()
    return _Displacement.apply(*places, weight, frames.contiguous(), index.contiguous())


def _grid(index: Tensor, channels: int) -> tuple[tuple[int, int], int]:
    """Programs for (G, T) and blocks of anchors, and of channels; and the channels of a block."""
    width = min(_CHANNELS, triton.next_power_of_2(channels))
    groups, offsets, anchors, _ = index.shape
    blocks = triton.cdiv(anchors, _ANCHORS)
    return (groups * offsets * blocks, triton.cdiv(channels, width)), width


def _winner(shape: tuple[int, ...], k: int, device: torch.device) -> Tensor:
    return torch.empty(shape, dtype=torch.uint8 if k <= 256 else torch.int16, device=device)


def _pool(
    values: Tensor,
    frames: Tensor,
    index: Tensor,
    *,
    keep: bool = False,
    add: bool = False,
    folded: tuple[Tensor, Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """(G, M, T, C): the maximum, or the sum if `add`; and, if `keep`, which neighbour it was.

    folded: constant (G, M, C), scale and shift (T, C) of what follows the maximum, and a ReLU.
    """
    groups, offsets, anchors, k = index.shape
    points, channels = values.shape[1:]
    out = torch.empty(groups, anchors, offsets, channels, device=values.device)
    winner = _winner(tuple(out.shape) if keep else (1,), k, values.device)
    if out.numel():
        grid, width = _grid(index, channels)
        _pooled[grid](
            values, frames, index, out, winner, *(folded or (values, values, values)),
            points, offsets, anchors, channels, k,
            keep, add, folded is not None, _ANCHORS, width,
        )  # fmt: skip
    return out, winner


@triton.jit
def _place(frames, offsets, anchors, at_once: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of this program: row (of G, T), group, offset, the cloud, its anchors, and which exist."""
    program = tl.program_id(0).to(tl.int64)
    blocks = tl.cdiv(anchors, at_once)
    row, block = program // blocks, program % blocks
    m = block * at_once + tl.arange(0, at_once)
    return row, row // offsets, row % offsets, tl.load(frames + row), m, m < anchors


@triton.jit
def _pooled(  # type: ignore[no-untyped-def]
    values, frames, index, out, winner, constant, scale, shift,
    points, offsets, anchors, channels, k,
    keep: tl.constexpr, add: tl.constexpr, fold: tl.constexpr,
    at_once: tl.constexpr, width: tl.constexpr,
):  # fmt: skip
    row, g, t, f, m, there = _place(frames, offsets, anchors, at_once)
    c = tl.program_id(1) * width + tl.arange(0, width)
    mask = there[:, None] & (c < channels)[None, :]
    near = index + (row * anchors + m) * k
    start = tl.full((at_once, width), 0.0 if add else float("-inf"), tl.float32)
    best = start
    who = tl.zeros((at_once, width), tl.int32)
    for n in range(k):
        j = tl.load(near + n, mask=there, other=0)
        one = tl.load(values + ((f * points + j) * channels)[:, None] + c[None, :], mask, other=0.0)
        if add:
            best += one
        else:
            better = (one > best) | (one != one)  # NaN stays
            best = tl.where(better, one, best)
            who = tl.where(better, n, who)
    at = (((g * anchors + m) * offsets + t) * channels)[:, None] + c[None, :]
    if fold:
        own = tl.load(constant + ((g * anchors + m) * channels)[:, None] + c[None, :], mask)
        by = tl.load(scale + t * channels + c, c < channels)
        to = tl.load(shift + t * channels + c, c < channels)
        best = by[None, :] * (best + own) + to[None, :]
        best = tl.where(best < 0.0, 0.0, best)  # NaN stays
    tl.store(out + at, best, mask)
    if keep:
        tl.store(winner + at, who.to(winner.dtype.element_ty), mask)


class _Max(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, frames: Tensor, index: Tensor) -> Tensor:
        out, winner = _pool(values, frames, index, keep=ctx.needs_input_grad[0])
        ctx.save_for_backward(winner, frames, index)
        ctx.values_shape = values.shape
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        winner, frames, index = ctx.saved_tensors
        return _scattered(gradient, winner, frames, index, ctx.values_shape), None, None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, frames: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(frames, index)
        ctx.values_shape = values.shape
        return _pool(values, frames, index, add=True)[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        frames, index = ctx.saved_tensors
        return _scattered(gradient, None, frames, index, ctx.values_shape), None, None


def _scattered(
    gradient: Tensor,
    winner: Tensor | None,
    frames: Tensor,
    index: Tensor,
    shape: tuple[int, int, int],
) -> Tensor:
    """(F, N, C): each gradient (G, M, T, C) at its winner, or at all neighbours without one."""
    out = torch.zeros(shape, device=gradient.device)
    _, offsets, anchors, k = index.shape
    if gradient.numel():
        grid, width = _grid(index, shape[2])
        _scatter[grid](
            gradient.contiguous(), index if winner is None else winner, frames, index, out,
            shape[1], offsets, anchors, shape[2], k, winner is not None, _ANCHORS, width,
        )  # fmt: skip
    return out


@triton.jit
def _scatter(  # type: ignore[no-untyped-def]
    gradient, winner, frames, index, out, points, offsets, anchors, channels, k,
    to_winner: tl.constexpr, at_once: tl.constexpr, width: tl.constexpr,
):  # fmt: skip
    row, g, t, f, m, there = _place(frames, offsets, anchors, at_once)
    c = tl.program_id(1) * width + tl.arange(0, width)
    mask = there[:, None] & (c < channels)[None, :]
    at = (((g * anchors + m) * offsets + t) * channels)[:, None] + c[None, :]
    slope = tl.load(gradient + at, mask, other=0.0)
    near = index + (row * anchors + m) * k
    if to_winner:
        who = tl.load(winner + at, mask, other=0)
        j = tl.load(near[:, None] + who, mask, other=0)
        tl.atomic_add(out + (f * points + j) * channels + c[None, :], slope, mask)
    else:
        for n in range(k):
            j = tl.load(near + n, mask=there, other=0)
            tl.atomic_add(out + ((f * points + j) * channels)[:, None] + c[None, :], slope, mask)


class _Moments(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, constant: Tensor, frames: Tensor, index: Tensor
    ) -> tuple[Tensor, Tensor]:
        _, offsets, anchors, k = index.shape
        points, channels = values.shape[1:]
        grid, width = _grid(index, channels)
        sums = torch.zeros(grid[0], 2, channels, dtype=torch.float64, device=values.device)
        _moments[grid](
            values, constant, frames, index, sums,
            points, offsets, anchors, channels, k, _ANCHORS, width,
        )  # fmt: skip
        mean, square = sums.sum(0) / index.numel()
        ctx.save_for_backward(values, constant, frames, index, mean)
        return mean.float(), (square - mean.square()).clamp(min=0).float()

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, of_mean: Tensor, of_variance: Tensor
    ) -> tuple[Tensor, Tensor, None, None]:
        values, constant, frames, index, mean = ctx.saved_tensors
        slope = 2 * of_variance.double() / index.numel()
        level = of_mean.double() / index.numel() - slope * mean
        groups, offsets, anchors, k = index.shape
        of_values, of_constant = torch.zeros_like(values), torch.empty_like(constant)
        (_, parts), width = _grid(index, values.shape[2])
        _from_moments[(groups * triton.cdiv(anchors, _ANCHORS), parts)](
            values, constant, frames, index, level.float(), slope.float(), of_values, of_constant,
            values.shape[1], offsets, anchors, values.shape[2], k, _ANCHORS, width,
        )  # fmt: skip
        return of_values, of_constant, None, None


@triton.jit
def _moments(  # type: ignore[no-untyped-def]
    values, constant, frames, index, sums, points, offsets, anchors, channels, k,
    at_once: tl.constexpr, width: tl.constexpr,
):  # fmt: skip
    """sums: (programs, 2, C) float64, of value and constant and of their squares."""
    row, g, _, f, m, there = _place(frames, offsets, anchors, at_once)
    c = tl.program_id(1) * width + tl.arange(0, width)
    inside = c < channels
    mask = there[:, None] & inside[None, :]
    own = tl.load(constant + ((g * anchors + m) * channels)[:, None] + c[None, :], mask, other=0.0)
    near = index + (row * anchors + m) * k
    first = tl.zeros((at_once, width), tl.float64)
    second = first
    for n in range(k):
        j = tl.load(near + n, mask=there, other=0)
        one = tl.load(values + ((f * points + j) * channels)[:, None] + c[None, :], mask, other=0.0)
        value = tl.where(mask, one + own, 0.0).to(tl.float64)
        first += value
        second += value * value
    into = sums + tl.program_id(0).to(tl.int64) * 2 * channels + c
    tl.store(into, tl.sum(first, 0), inside)
    tl.store(into + channels, tl.sum(second, 0), inside)


@triton.jit
def _from_moments(  # type: ignore[no-untyped-def]
    values, constant, frames, index, level, slope, of_values, of_constant,
    points, offsets, anchors, channels, k, at_once: tl.constexpr, width: tl.constexpr,
):  # fmt: skip
    """The gradient of each pair of anchor and neighbour: level + slope * (value + constant)."""
    program = tl.program_id(0).to(tl.int64)
    blocks = tl.cdiv(anchors, at_once)
    g = program // blocks
    m = program % blocks * at_once + tl.arange(0, at_once)
    there = m < anchors
    c = tl.program_id(1) * width + tl.arange(0, width)
    inside = c < channels
    mask = there[:, None] & inside[None, :]
    at = ((g * anchors + m) * channels)[:, None] + c[None, :]
    own = tl.load(constant + at, mask, other=0.0)
    base = tl.load(level + c, inside, other=0.0)[None, :]
    steep = tl.load(slope + c, inside, other=0.0)[None, :]
    total = tl.zeros((at_once, width), tl.float32)
    for t in range(offsets):
        row = g * offsets + t
        f = tl.load(frames + row)
        near = index + (row * anchors + m) * k
        for n in range(k):
            j = tl.load(near + n, mask=there, other=0)
            place = ((f * points + j) * channels)[:, None] + c[None, :]
            one = base + steep * (tl.load(values + place, mask, other=0.0) + own)
            total += one
            tl.atomic_add(of_values + place, one, mask)
    tl.store(of_constant + at, total, mask)


class _Displacement(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, points: Tensor, anchors: Tensor, weight: Tensor, frames: Tensor, index: Tensor
    ) -> Tensor:
        groups, offsets, count, k = index.shape
        channels, keep = len(weight), ctx.needs_input_grad[2]
        out = torch.empty(groups, count, offsets, channels, device=points.device)
        winner = _winner(tuple(out.shape) if keep else (1,), k, points.device)
        if out.numel():
            grid, width = _grid(index, channels)
            _displaced[grid](
                points, anchors, weight.detach().contiguous(), frames, index, out, winner,
                points.shape[1], offsets, count, channels, k, keep, _ANCHORS, width,
            )  # fmt: skip
        ctx.save_for_backward(winner, points, anchors, frames, index)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor, None, None]:
        winner, points, anchors, frames, index = ctx.saved_tensors
        _, offsets, count, k = index.shape
        channels = gradient.shape[3]
        grid, width = _grid(index, channels)
        sums = torch.zeros(grid[0], 3, channels, dtype=torch.float64, device=points.device)
        _of_weight[grid](
            gradient.contiguous(), winner, points, anchors, frames, index, sums,
            points.shape[1], offsets, count, channels, k, _ANCHORS, width,
        )  # fmt: skip
        return None, None, sums.sum(0).T.float(), None, None


@triton.jit
def _displaced(  # type: ignore[no-untyped-def]
    places, centres, weight, frames, index, out, winner, points, offsets, anchors, channels, k,
    keep: tl.constexpr, at_once: tl.constexpr, width: tl.constexpr,
):  # fmt: skip
    row, g, t, f, m, there = _place(frames, offsets, anchors, at_once)
    c = tl.program_id(1) * width + tl.arange(0, width)
    inside = c < channels
    mask = there[:, None] & inside[None, :]
    wx = tl.load(weight + c * 3, inside, other=0.0)[None, :]
    wy = tl.load(weight + c * 3 + 1, inside, other=0.0)[None, :]
    wz = tl.load(weight + c * 3 + 2, inside, other=0.0)[None, :]
    own = centres + (g * anchors + m) * 3
    ax, ay = tl.load(own, there, 0.0), tl.load(own + 1, there, 0.0)
    az = tl.load(own + 2, there, 0.0)
    near = index + (row * anchors + m) * k
    best = tl.full((at_once, width), float("-inf"), tl.float32)
    who = tl.zeros((at_once, width), tl.int32)
    for n in range(k):
        at = places + (f * points + tl.load(near + n, mask=there, other=0)) * 3
        x = (tl.load(at, there, 0.0) - ax)[:, None]
        y = (tl.load(at + 1, there, 0.0) - ay)[:, None]
        z = (tl.load(at + 2, there, 0.0) - az)[:, None]
        one = x * wx + y * wy + z * wz
        better = (one > best) | (one != one)  # NaN stays
        best = tl.where(better, one, best)
        who = tl.where(better, n, who)
    at = (((g * anchors + m) * offsets + t) * channels)[:, None] + c[None, :]
    tl.store(out + at, best, mask)
    if keep:
        tl.store(winner + at, who.to(winner.dtype.element_ty), mask)


@triton.jit
def _of_weight(  # type: ignore[no-untyped-def]
    gradient, winner, places, centres, frames, index, sums, points, offsets, anchors, channels, k,
    at_once: tl.constexpr, width: tl.constexpr,
):  # fmt: skip
    """sums: (programs, 3, C) float64, each of the gradient times the winner's displacement."""
    row, g, t, f, m, there = _place(frames, offsets, anchors, at_once)
    c = tl.program_id(1) * width + tl.arange(0, width)
    inside = c < channels
    mask = there[:, None] & inside[None, :]
    at = (((g * anchors + m) * offsets + t) * channels)[:, None] + c[None, :]
    slope = tl.load(gradient + at, mask, other=0.0).to(tl.float64)
    who = tl.load(winner + at, mask, other=0)
    j = tl.load((index + (row * anchors + m) * k)[:, None] + who, mask, other=0)
    into = sums + tl.program_id(0).to(tl.int64) * 3 * channels + c
    for axis in tl.static_range(3):
        own = tl.load(centres + (g * anchors + m) * 3 + axis, there, other=0.0)[:, None]
        along = tl.load(places + (f * points + j) * 3 + axis, mask, other=0.0) - own
        tl.store(into + axis * channels, tl.sum(slope * along.to(tl.float64), 0), inside)
