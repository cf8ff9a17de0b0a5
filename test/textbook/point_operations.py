"""Sampling, neighbours, grouping and interpolation of PointNet++, as its definitions say.

Indices are always found with float32 coordinates, whatever the type of the input: a float64 model
then looks at the same anchors and neighbours as a float32 one, and the two differ by rounding
alone, not by points that lie on a border.
"""

from __future__ import annotations

import torch
from torch import Tensor

# PointNet++'s CUDA sampler takes points this near to the origin (|x|^2) for padding.
_PADDING = 1e-3


def farthest_point_sample(points: Tensor, count: int, compat: bool = False) -> Tensor:
    """Indices of `count` points, each the farthest from those before it.

    points: (B, N, 3). Returns (B, count) int64. Starts at index 0; of equally far points the one
    with the lowest index is taken. compat: as PointNet++'s CUDA code, a point with |x|^2 <= 1e-3 is
    never taken (but index 0 still starts), and if there is no other, index 0 is repeated.
    """
    x, y, z = points.detach().float().unbind(2)
    nearest = torch.full_like(x, torch.inf)
    if compat:
        # Below every distance, so that the maximum passes them by. The bound is a double there.
        nearest[(x * x + y * y + z * z).double() <= _PADDING] = -1.0
    newest = torch.zeros(len(x), 1, dtype=torch.int64, device=x.device)
    chosen = [newest]
    for _ in range(count - 1):
        dx, dy, dz = (axis - axis.gather(1, newest) for axis in (x, y, z))
        nearest = torch.minimum(nearest, dx * dx + dy * dy + dz * dz)
        newest = nearest.argmax(dim=1, keepdim=True)
        chosen.append(newest)
    return torch.cat(chosen, dim=1)


def squared_distances(points: Tensor, centres: Tensor) -> Tensor:
    """(B, M, N) float32: from each of the centres (B, M, 3) to each of the points (B, N, 3).

    From differences, dx*dx + dy*dy + dz*dz: |a|^2 - 2ab + |b|^2 loses the digits that say on which
    side of a border a point lies.
    """
    points, centres = points.detach().float(), centres.detach().float()
    dx, dy, dz = (
        points[:, None, :, axis] - centres[:, :, None, axis] for axis in range(3)
    )  # each (B, M, N)
    return dx * dx + dy * dy + dz * dz


def ball_query(points: Tensor, centres: Tensor, radius: float, k: int) -> Tensor:
    """Indices of the first k points, in index order, strictly within `radius` of each centre.

    points: (B, N, 3); centres: (B, M, 3). Returns (B, M, k) int64. Fewer than k hits: the first hit
    is repeated; none: index 0.
    """
    count = points.shape[1]
    bound = torch.tensor(radius, dtype=torch.float32, device=points.device)
    hit = squared_distances(points, centres) < bound * bound
    order = torch.arange(count, device=points.device)
    candidates = torch.where(hit, order, count)  # (B, M, N); `count` stands for "no hit"
    index = candidates.topk(min(k, count), dim=2, largest=False, sorted=True).values
    index = torch.nn.functional.pad(index, (0, k - index.shape[2]), value=count)
    index = torch.where(index == count, index[:, :, :1], index)
    return torch.where(index == count, 0, index)


def gather(values: Tensor, index: Tensor) -> Tensor:
    """values: (B, C, N) at index: (B, M), as (B, C, M)."""
    return values.gather(2, index[:, None].expand(-1, values.shape[1], -1))


def group(values: Tensor, index: Tensor) -> Tensor:
    """values: (B, C, N) at index: (B, M, k), as (B, C, M, k)."""
    return gather(values, index.flatten(1)).unflatten(2, index.shape[1:])


def maximum(values: Tensor, dim: int) -> Tensor:
    """The maximum over one dimension, whose gradient goes to one winner, as in the public code.

    Without a gradient, amax gives the same and is quicker.
    """
    return values.max(dim=dim).values if values.requires_grad else values.amax(dim=dim)


def three_nearest(points: Tensor, targets: Tensor) -> Tensor:
    """Indices (B, M, 3) of the points (B, N, 3) nearest to the targets (B, M, 3), nearest first.

    Of equally near points the one with the lowest index comes first. If N < 3, all N: (B, M, N).
    """
    distances = squared_distances(points, targets)
    found = []
    for _ in range(min(3, points.shape[1])):
        nearest = distances.argmin(dim=2, keepdim=True)
        found.append(nearest)
        distances.scatter_(2, nearest, torch.inf)
    return torch.cat(found, dim=2)


def three_nearest_interpolate(values: Tensor, points: Tensor, targets: Tensor) -> Tensor:
    """PointNet++'s feature propagation: the three nearest points, weighted by 1 / (d + 1e-8).

    values: (B, C, N) at points: (B, N, 3). Returns (B, C, M), the values at targets: (B, M, 3).
    """
    index = three_nearest(points, targets)
    near = group(points.transpose(1, 2), index)  # (B, 3, M, 3)
    distance = (near - targets.transpose(1, 2)[..., None]).square().sum(dim=1).sqrt()
    weight = 1.0 / (distance + 1e-8)
    weight = weight / weight.sum(dim=2, keepdim=True)
    return (group(values, index) * weight[:, None]).sum(dim=3)


def pad_in_time(frames: Tensor, padding: tuple[int, int], mode: str) -> Tensor:
    """frames: (B, L, ...) with padding[0] frames before and padding[1] after it.

    mode: "zeros", or "replicate", which repeats the first and the last frame.
    """
    if mode not in ("zeros", "replicate"):
        raise ValueError(f'padding mode: expected "zeros" or "replicate", got "{mode}"')
    before, after = frames[:, :1], frames[:, -1:]
    if mode == "zeros":
        before, after = torch.zeros_like(before), torch.zeros_like(after)
    return torch.cat([before] * padding[0] + [frames] + [after] * padding[1], dim=1)
