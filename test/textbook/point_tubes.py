"""The point tube, on which PSTNet, PSTNet++ and P4Transformer all convolve."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from textbook.point_operations import (
    ball_query,
    farthest_point_sample,
    gather,
    group,
    pad_in_time,
)
from torch import Tensor


class TubeShape(NamedTuple):
    """Where the anchors of a layer lie, and where their neighbours are sought."""

    radius: float
    k: int
    spatial_stride: int = 1
    temporal_kernel: int = 1
    temporal_stride: int = 1
    temporal_padding: tuple[int, int] = (0, 0)


class Slice(NamedTuple):
    """The neighbours of the anchors in one frame of the tube."""

    offset: int  # frames from the anchors' frame, negative before it
    displacement: Tensor  # (B, 3, M, k): x_j - x_i
    features: Tensor | None  # (B, C, M, k): f_j


class PointTube(NamedTuple):
    """The anchors of one frame and their neighbours in the frames around it."""

    anchors: Tensor  # (B, M, 3): x_i
    features: Tensor | None  # (B, C, M): f_i
    slices: list[Slice]  # one to each frame of the temporal kernel, first to last


def point_tubes(
    points: Tensor, features: Tensor | None, shape: TubeShape, padding_mode: str, compat: bool
) -> Iterator[PointTube]:
    """The tubes of each anchor frame, first to last.

    points: (B, L, N, 3); features: (B, L, C, N) or None. Anchors are N // spatial_stride points of
    the tube's middle frame, by farthest point sampling (see there for `compat`). Frames at the end
    that the temporal stride does not reach are left out.
    """
    count = points.shape[2] // shape.spatial_stride
    reach = shape.temporal_kernel // 2
    points = pad_in_time(points, shape.temporal_padding, padding_mode)
    if features is not None:
        features = pad_in_time(features, shape.temporal_padding, padding_mode)

    for t in range(reach, points.shape[1] - reach, shape.temporal_stride):
        chosen = farthest_point_sample(points[:, t], count, compat)
        centres = gather(points[:, t].transpose(1, 2), chosen)  # (B, 3, M)
        anchors = centres.transpose(1, 2)
        slices = []
        for i in range(t - reach, t + reach + 1):
            index = ball_query(points[:, i], anchors, shape.radius, shape.k)
            displacement = group(points[:, i].transpose(1, 2), index) - centres[..., None]
            near = None if features is None else group(features[:, i], index)
            slices.append(Slice(i - t, displacement, near))
        own = None if features is None else gather(features[:, t], chosen)
        yield PointTube(anchors, own, slices)
