"""Neighbours within a radius."""

from __future__ import annotations

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourd_perception.ops.boxes import cut_into_boxes
from fourd_perception.ops.checks import check_batch, check_device, check_index, check_points
from fourd_perception.ops.gpu import triton_searches
from fourd_perception.ops.threads import as_many_as_torch

_BLOCK = 32  # points looked at together, the bits of a word
_CHUNK = 256  # centres that one thread takes at a time
_BOX = 64  # centres near each other that share a copy of the points near them
_AT_ONCE = 2**24  # distances that the PyTorch path holds at a time

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
Rows = tuple[Floats, Floats, Floats]  # x, y, z
Place = tuple[np.float32, np.float32, np.float32]


def ball_query(points: Tensor, centres: Tensor, radius: float, k: int) -> Tensor:
    """Indices of up to k points within `radius` of each centre, in index order.

    points: (B, N, 3) float32; centres: (B, M, 3) float32, in the same unit and frame; finite.
    Returns (B, M, k) int64. Fewer than k hits: the first hit is repeated; none: index 0.
    Strictly inside the radius, and the first k rather than the nearest k: what PSTNet and
    P4Transformer were trained with (PointNet++ grouping).
    Raises ValueError if a shape, type, device or number does not fit, or a coordinate is NaN or
    infinite.
    """
    check_points("points", points, at_least=1)
    check_points("centres", centres, device=points.device)
    check_batch("centres", centres, "points", points)
    frames = torch.arange(points.shape[0], device=points.device)[:, None]
    return ball_query_frames(points, centres, frames, radius, k)[:, 0]


def ball_query_frames(
    points: Tensor, centres: Tensor, frames: Tensor, radius: float, k: int
) -> Tensor:
    """`ball_query` of every group of centres in several clouds.

    points: (F, N, 3) float32, F clouds; centres: (G, M, 3) float32, G groups; both finite.
    frames: (G, T) int64: group g looks for its offset-t neighbours in points[frames[g, t]].
    Returns (G, T, M, k) int64, indices into N.
    Raises ValueError as `ball_query` does, and if a frame is not in 0..F-1.
    """
    check_points("points", points, at_least=1)
    check_points("centres", centres, device=points.device)
    check_device("frames", frames, points.device)
    check_index("frames", frames, 2, points.shape[0])
    check_batch("frames", frames, "centres", centres)
    if k < 1:
        raise ValueError(f"k: expected at least 1, got {k}")
    if not radius > 0:
        raise ValueError(f"radius: expected more than 0, got {radius}")
    points, centres = points.detach(), centres.detach()
    squared = torch.tensor(radius, dtype=torch.float32).square()
    if points.device.type != "cpu":
        kernels = triton_searches(points.device)
        if kernels is not None:
            axes = points.permute(2, 0, 1)
            return kernels.ball_query_frames(axes, centres, frames, squared.item(), k)
        return _query_torch(points, centres, frames, squared, k)
    as_many_as_torch()
    count = points.shape[1]
    axes = torch.full((3, points.shape[0], -(-count // _BLOCK) * _BLOCK), torch.inf)
    axes[:, :, :count] = points.permute(2, 0, 1)
    index = torch.empty(*frames.shape, centres.shape[1], k, dtype=torch.int64)
    arrays = (axes.numpy(), centres.contiguous().numpy(), frames.contiguous().numpy())
    _query_numba(*arrays, np.float32(squared.item()), index.numpy())
    return index


def _query_numba(
    axes: Floats, centres: Floats, frames: Indices, squared: np.float32, index: Indices
) -> None:
    """axes: (3, F, N), filled up to whole blocks with points that are infinitely far."""
    if _boxes_pay(axes, centres, frames, squared, index.shape[3]):
        cut = cut_into_boxes(np.ascontiguousarray(centres.transpose(2, 0, 1)), _BOX)
        boxes = cut.axes, cut.original, cut.low, cut.high
        _query_by_boxes(axes, *boxes, frames, squared, index)
    else:
        _query_one_by_one(axes, centres, frames, squared, index)


def _query_torch(
    points: Tensor, centres: Tensor, frames: Tensor, squared: Tensor, k: int
) -> Tensor:
    count = points.shape[1]
    everyone = torch.arange(count, device=points.device)
    index = torch.empty(*frames.shape, centres.shape[1], k, dtype=torch.int64, device=points.device)
    chunk = max(1, _AT_ONCE // (count * max(1, frames.shape[0])))
    for t in range(frames.shape[1]):
        for start in range(0, centres.shape[1], chunk):
            some = centres[:, start : start + chunk]
            # Coordinate by coordinate, as the kernel does, so that both round alike at the border.
            dx, dy, dz = (
                points[frames[:, t], None, :, axis] - some[:, :, None, axis] for axis in range(3)
            )  # each (G, chunk, N)
            hit = dx * dx + dy * dy + dz * dz < squared.to(points.device)
            order = torch.where(hit, everyone, count)
            found = order.topk(min(k, count), dim=2, largest=False, sorted=True).values
            found = torch.nn.functional.pad(found, (0, max(0, k - count)), value=count)
            first = found[:, :, :1].where(found[:, :, :1] < count, 0)
            index[:, t, start : start + chunk] = torch.where(found < count, found, first)
    return index


# A power of two times this number has other upper five bits for each of the 32 (a de Bruijn
# sequence), which tell the place of a bit without a loop.
_DE_BRUIJN = 0x077CB531
_PLACE = np.zeros(32, np.int64)
_PLACE[[(_DE_BRUIJN << place & 0xFFFFFFFF) >> 27 for place in range(32)]] = range(32)


@numba.njit(cache=True)
def _lowest(bits: np.uint32) -> int:
    """The place of the lowest bit that is set."""
    return _PLACE[
        np.uint32((bits & (~bits + np.uint32(1))) * np.uint32(_DE_BRUIJN)) >> np.uint32(27)
    ]


@numba.njit(cache=True)
def _hits(cloud: Rows, start: int, centre: Place, squared: np.float32) -> np.uint32:
    """Which of the points from `start` on are hit, a bit for each; compilers vectorise this."""
    end = start + _BLOCK
    x, y, z = cloud[0][start:end], cloud[1][start:end], cloud[2][start:end]
    bits = np.uint32(0)
    for i in range(_BLOCK):
        dx, dy, dz = x[i] - centre[0], y[i] - centre[1], z[i] - centre[2]
        bits |= np.uint32(dx * dx + dy * dy + dz * dz < squared) << np.uint32(i)
    return bits


@numba.njit(cache=True)
def _hits_of_box(
    cloud: Rows, start: int, low: Place, high: Place, squared: np.float32
) -> np.uint32:
    """`_hits` of a box: of the place in it that is nearest to the point, see `Boxes`."""
    end = start + _BLOCK
    x, y, z = cloud[0][start:end], cloud[1][start:end], cloud[2][start:end]
    bits = np.uint32(0)
    for i in range(_BLOCK):
        dx = x[i] - min(max(x[i], low[0]), high[0])
        dy = y[i] - min(max(y[i], low[1]), high[1])
        dz = z[i] - min(max(z[i], low[2]), high[2])
        bits |= np.uint32(dx * dx + dy * dy + dz * dz < squared) << np.uint32(i)
    return bits


@numba.njit(cache=True)
def _fill(cloud: Rows, count: int, centre: Place, squared: np.float32, row: Indices) -> int:
    """Looks at `count` points in index order until the row is full; returns how many it found."""
    k = row.shape[0]
    found = start = 0
    while found < k and start < count:
        bits = _hits(cloud, start, centre, squared)
        while bits and found < k:
            row[found] = start + _lowest(bits)
            found += 1
            bits &= bits - np.uint32(1)
        start += _BLOCK
    return found


@numba.njit(cache=True)
def _repeat_first(row: Indices, found: int) -> None:
    first = row[0] if found else 0
    for i in range(found, row.shape[0]):
        row[i] = first


@numba.njit(cache=True)
def _boxes_pay(axes: Floats, centres: Floats, frames: Indices, squared: np.float32, k: int) -> bool:
    """Whether hits are so rare that a centre by itself looks at many points to find them.

    Tries some centres. A copy of the points near a box saves looking at what is far away, but not
    at hits and their surroundings, about eight times as many. For each of the box's centres, it
    costs as much as to look at a 32nd of the cloud and 400 points (measured).
    """
    count, total = centres.shape[1], frames.size * centres.shape[1]
    if count < 8 * _BOX:  # boxes would be as large as the cloud
        return False
    tries = min(total // 64, 32)
    row = np.empty(k, np.int64)
    hits = looks = 0
    for i in range(tries):
        one = (2 * i + 1) * total // (2 * tries)
        g, t, m = one // (frames.shape[1] * count), one // count % frames.shape[1], one % count
        f = frames[g, t]
        cloud = axes[0, f], axes[1, f], axes[2, f]
        centre = centres[g, m, 0], centres[g, m, 1], centres[g, m, 2]
        found = _fill(cloud, axes.shape[2], centre, squared, row)
        hits += found
        looks += row[-1] if found == k else axes.shape[2]
    return looks > 8 * hits + tries * (axes.shape[2] // 32 + 400)


@numba.njit(parallel=True, cache=True)
def _query_one_by_one(
    axes: Floats, centres: Floats, frames: Indices, squared: np.float32, index: Indices
) -> None:
    """Every centre looks at the whole cloud."""
    _, offsets, count, _ = index.shape
    chunks = -(-count // _CHUNK)
    for task in numba.prange(index.shape[0] * offsets * chunks):
        g, t, chunk = task // (offsets * chunks), task // chunks % offsets, task % chunks
        f = frames[g, t]
        cloud = axes[0, f], axes[1, f], axes[2, f]
        for m in range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, count)):
            centre = centres[g, m, 0], centres[g, m, 1], centres[g, m, 2]
            row = index[g, t, m]
            _repeat_first(row, _fill(cloud, axes.shape[2], centre, squared, row))


@numba.njit(cache=True)
def _copy_hits(
    cloud: Rows, low: Place, high: Place, squared: np.float32, near: Rows, original: Indices
) -> int:
    """Copies the points that a box hits, in index order, and returns how many there are."""
    count = 0
    for start in range(0, cloud[0].shape[0], _BLOCK):
        bits = _hits_of_box(cloud, start, low, high, squared)
        while bits:
            i = start + _lowest(bits)
            near[0][count], near[1][count], near[2][count] = cloud[0][i], cloud[1][i], cloud[2][i]
            original[count] = i
            count += 1
            bits &= bits - np.uint32(1)
    for axis in near:
        axis[count : count + _BLOCK] = np.inf
    return count


@numba.njit(parallel=True, cache=True)
def _query_by_boxes(
    axes: Floats,
    centres: Floats,
    places: NDArray[np.int32],
    low: Floats,
    high: Floats,
    frames: Indices,
    squared: np.float32,
    index: Indices,
) -> None:
    """Centres in a box look at what their box hits, which is all that one of them can hit."""
    _, offsets, count, _ = index.shape
    boxes, room = places.shape[1], axes.shape[2] + _BLOCK
    for task in numba.prange(index.shape[0] * offsets * boxes):
        g, t, box = task // (offsets * boxes), task // boxes % offsets, task % boxes
        f = frames[g, t]
        cloud = axes[0, f], axes[1, f], axes[2, f]
        lowest = low[0, g, box], low[1, g, box], low[2, g, box]
        highest = high[0, g, box], high[1, g, box], high[2, g, box]
        near = np.empty(room, np.float32), np.empty(room, np.float32), np.empty(room, np.float32)
        original = np.empty(room, np.int64)
        copied = _copy_hits(cloud, lowest, highest, squared, near, original)
        for i, m in enumerate(places[g, box]):
            if m < count:
                centre = centres[0, g, box, i], centres[1, g, box, i], centres[2, g, box, i]
                row = index[g, t, m]
                found = _fill(near, copied, centre, squared, row)
                for j in range(found):
                    row[j] = original[row[j]]
                _repeat_first(row, found)
