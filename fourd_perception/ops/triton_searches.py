"""The searches among points on a GPU, in Triton, which comes with PyTorch's builds for GPUs.

Plain PyTorch needs a launch for every point that is sampled, and a sort of all distances of every
centre. Here a cloud's sampling is one program and the search of a block of centres is one, and the
indices are those of the CPU's kernels: the same order of additions, no fused multiply-add.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

MOST_POINTS = 16384
"""Of a cloud that `farthest_point_sample` takes: it holds all of them in registers."""

MOST_NEAREST = 3
"""The largest k of `k_nearest`: three neighbours are what interpolation wants."""

_CENTRES = 64  # centres that a program of the ball query has
_POINTS = 64  # points that it looks at together
_TARGETS = 128  # centres that a program of the nearest neighbours has


def farthest_point_sample(axes: Tensor, nearest: Tensor, count: int) -> Tensor:
    """axes: (3, F, N) float32, N up to MOST_POINTS. nearest: (F, N), see `_at_first`.

    Returns (F, count) int64.
    """
    frames, points = nearest.shape
    width = triton.next_power_of_2(points)
    index = torch.empty(frames, count, dtype=torch.int64, device=axes.device)
    if frames:
        _farthest[(frames,)](
            axes.contiguous(), nearest.contiguous(), index, frames, points, count, width,
            num_warps=min(16, max(1, width // 256)), enable_fp_fusion=False,
        )  # fmt: skip
    return index


@triton.jit
def _farthest(axes, start, index, frames, points, count, width: tl.constexpr):  # type: ignore[no-untyped-def]
    f = tl.program_id(0).to(tl.int64)
    xs, ys, zs = (
        axes + f * points,
        axes + (frames + f) * points,
        axes + (2 * frames + f) * points,
    )
    place = tl.arange(0, width)
    there = place < points
    x = tl.load(xs + place, mask=there, other=0.0)
    y = tl.load(ys + place, mask=there, other=0.0)
    z = tl.load(zs + place, mask=there, other=0.0)
    nearest = tl.load(start + f * points + place, mask=there, other=float("-inf"))
    newest = 0
    tl.store(index + f * count, newest)
    for step in range(1, count):
        dx, dy, dz = x - tl.load(xs + newest), y - tl.load(ys + newest), z - tl.load(zs + newest)
        nearest = tl.minimum(nearest, dx * dx + dy * dy + dz * dz)
        # Within the cloud even if its coordinates are no numbers.
        newest = tl.minimum(tl.argmax(nearest, axis=0, tie_break_left=True), points - 1)
        tl.store(index + f * count + step, newest)


def ball_query_frames(
    axes: Tensor, centres: Tensor, frames: Tensor, squared: float, k: int
) -> Tensor:
    """axes: (3, F, N) float32, centres: (G, M, 3) float32, frames: (G, T) int64; squared: radius.

    Returns (G, T, M, k) int64, as `ball_query.ball_query_frames`.
    """
    groups, offsets = frames.shape
    clouds, points = axes.shape[1:]
    count = centres.shape[1]
    index = torch.empty(groups, offsets, count, k, dtype=torch.int64, device=axes.device)
    if index.numel():
        blocks = triton.cdiv(count, _CENTRES)
        _within[(groups * offsets * blocks,)](
            axes.contiguous(), centres.contiguous(), frames.contiguous(), index,
            clouds, points, offsets, count, blocks, k, squared, _CENTRES, _POINTS,
            enable_fp_fusion=False,
        )  # fmt: skip
    return index


@triton.jit
def _within(  # type: ignore[no-untyped-def]
    axes, centres, frames, index, clouds, points, offsets, count, blocks, k, squared,
    centres_at_once: tl.constexpr, points_at_once: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    row, block = program // blocks, program % blocks  # row: of (G, T)
    f = tl.load(frames + row)
    m = block * centres_at_once + tl.arange(0, centres_at_once)
    there = m < count
    centre = centres + (row // offsets * count + m) * 3
    cx = tl.load(centre, mask=there, other=0.0)
    cy = tl.load(centre + 1, mask=there, other=0.0)
    cz = tl.load(centre + 2, mask=there, other=0.0)
    out = index + (row * count + m) * k
    found = tl.where(there, 0, k)
    first = tl.zeros((centres_at_once,), tl.int32)
    begin = 0
    while (begin < points) & (tl.min(found, 0) < k):
        n = begin + tl.arange(0, points_at_once)
        x = tl.load(axes + f * points + n, mask=n < points, other=float("inf"))
        y = tl.load(axes + (clouds + f) * points + n, mask=n < points, other=float("inf"))
        z = tl.load(axes + (2 * clouds + f) * points + n, mask=n < points, other=float("inf"))
        dx = x[None, :] - cx[:, None]
        dy = y[None, :] - cy[:, None]
        dz = z[None, :] - cz[:, None]
        hit = (dx * dx + dy * dy + dz * dz < squared) & there[:, None]
        rank = found[:, None] + tl.cumsum(hit.to(tl.int32), 1) - 1
        tl.store(out[:, None] + rank, n[None, :].to(tl.int64), mask=hit & (rank < k))
        earliest = tl.min(tl.where(hit, n[None, :], points), 1)
        first = tl.where((found == 0) & (earliest < points), earliest, first)
        found += tl.sum(hit.to(tl.int32), 1)
        begin += points_at_once
    for place in range(k):
        tl.store(out + place, first.to(tl.int64), mask=there & (found <= place))


def k_nearest(axes: Tensor, centres: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """axes: (3, B, N) float32; centres: (B, M, 3) float32; k up to MOST_NEAREST.

    Returns squared distances (B, M, k) float32 and indices (B, M, k) int64, nearest first.
    """
    batch, points = axes.shape[1:]
    count = centres.shape[1]
    squared = torch.empty(batch, count, k, device=axes.device)
    index = torch.empty(batch, count, k, dtype=torch.int64, device=axes.device)
    if squared.numel():
        blocks = triton.cdiv(count, _TARGETS)
        _nearest[(batch * blocks,)](
            axes.contiguous(), centres.contiguous(), squared, index,
            batch, points, count, blocks, k, _TARGETS, enable_fp_fusion=False,
        )  # fmt: skip
    return squared, index


@triton.jit
def _nearest(  # type: ignore[no-untyped-def]
    axes, centres, squared, index, batch, points, count, blocks, k: tl.constexpr,
    at_once: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    b = program // blocks
    m = program % blocks * at_once + tl.arange(0, at_once)
    there = m < count
    centre = centres + (b * count + m) * 3
    cx = tl.load(centre, mask=there, other=0.0)
    cy = tl.load(centre + 1, mask=there, other=0.0)
    cz = tl.load(centre + 2, mask=there, other=0.0)
    d0 = tl.full((at_once,), float("nan"), tl.float32)  # NaN: nothing found yet
    d1, d2 = d0, d0
    i0 = tl.zeros((at_once,), tl.int32)
    i1, i2 = i0, i0
    for n in range(points):
        dx = tl.load(axes + b * points + n) - cx
        dy = tl.load(axes + (batch + b) * points + n) - cy
        dz = tl.load(axes + (2 * batch + b) * points + n) - cz
        d = dx * dx + dy * dy + dz * dz
        # Strictly nearer, so that of equally near ones the first stays ahead.
        in0, in1, in2 = (d < d0) | (d0 != d0), (d < d1) | (d1 != d1), (d < d2) | (d2 != d2)
        d2, i2 = tl.where(in1, d1, tl.where(in2, d, d2)), tl.where(in1, i1, tl.where(in2, n, i2))
        d1, i1 = tl.where(in0, d0, tl.where(in1, d, d1)), tl.where(in0, i0, tl.where(in1, n, i1))
        d0, i0 = tl.where(in0, d, d0), tl.where(in0, n, i0)
    at = (b * count + m) * k
    tl.store(squared + at, d0, mask=there)
    tl.store(index + at, i0.to(tl.int64), mask=there)
    if k > 1:
        tl.store(squared + at + 1, d1, mask=there)
        tl.store(index + at + 1, i1.to(tl.int64), mask=there)
    if k > 2:
        tl.store(squared + at + 2, d2, mask=there)
        tl.store(index + at + 2, i2.to(tl.int64), mask=there)
