"""The point spatio-temporal convolution of PSTNet, improved as VG4D's section III-C says."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fourd_perception.ops.ball_query import ball_query
from fourd_perception.ops.neighbour_max import neighbour_max
from fourd_perception.parameters import param


@dataclass(frozen=True)
class PSTConvConfig:
    """One row of PSTNet's table."""

    mid_channels: int = param(45, "channels of the spatial convolution", at_least=1, at_most=65536)
    out_channels: int = param(64, "channels of the temporal convolution", at_least=1, at_most=65536)
    radius: float = param(0.1, "search radius, model units", at_least=1e-6)
    neighbours: int = param(9, "neighbours of an anchor in a frame", at_least=1, at_most=1024)
    spatial_stride: int = param(1, "points to an anchor", at_least=1, at_most=65536)
    temporal_kernel: int = param(
        1, "frames in which neighbours are sought, odd", at_least=1, at_most=63
    )
    temporal_stride: int = param(1, "frames to an anchor frame", at_least=1, at_most=512)
    temporal_padding: tuple[int, ...] = param(
        (0, 0), "times the first and the last frame are repeated", at_least=0
    )

    def __post_init__(self) -> None:
        if self.temporal_kernel % 2 == 0:
            raise ValueError(f"temporal_kernel: expected an odd number, got {self.temporal_kernel}")
        if len(self.temporal_padding) != 2:
            raise ValueError(f"temporal_padding: expected 2 numbers, got {self.temporal_padding}")
        if max(self.temporal_padding) >= self.temporal_kernel:
            raise ValueError(
                f"temporal_padding: expected less than the temporal_kernel, "
                f"{self.temporal_kernel}, got {self.temporal_padding}"
            )

    def anchor_frames(self, frames: int) -> int:
        """The number of anchor frames in a clip of `frames`; 0 if the clip is too short."""
        padded = frames + sum(self.temporal_padding)
        return max(0, (padded - self.temporal_kernel) // self.temporal_stride + 1)


class PSTConv(nn.Module):
    """Equation 8 of VG4D: h(p_i) = max over p_j of zeta(f_j, f_i, (x_j - x_i) / r).

    Space and time are taken apart as in PSTNet: for each temporal offset the spatial convolution
    and the maximum over the k neighbours in that frame, then normalisation, ReLU and a convolution
    over the offsets. With a temporal kernel of 1 it is the paper's spatial extractor.

    The paper leaves open where zeta's normalisation and ReLU stand. Here they follow the maximum,
    PSTNet's order, so that f_i is an additive term; in PSTNet++ they stand inside of it. A clip's
    borders are padded by repeating frames, where PSTNet's code pads with zeros.

    The spatial convolution is linear, so it is applied to each point once, before the gather, and
    what depends on the anchor alone is added after the maximum. That is exact:
    max_j(W_f f_j + W_d (x_j - x_i)/r + W_c f_i) = max_j(W_f f_j + W_d x_j/r) - W_d x_i/r + W_c f_i.
    """

    def __init__(
        self,
        in_channels: int,
        config: PSTConvConfig,
        *,
        normalise_displacement: bool = True,
        centre_feature: bool = True,
    ) -> None:
        super().__init__()
        self.config = config
        self.scale = 1.0 / config.radius if normalise_displacement else 1.0
        mid, width = config.mid_channels, config.temporal_kernel * config.mid_channels
        self.displacement = nn.Linear(3, mid, bias=False)
        self.neighbour = nn.Linear(in_channels, mid, bias=False) if in_channels else None
        has_centre = centre_feature and in_channels > 0
        self.centre = nn.Linear(in_channels, mid, bias=False) if has_centre else None
        self.norm = nn.BatchNorm1d(width)
        self.temporal = nn.Linear(width, config.out_channels, bias=False)
        # One convolution over the concatenated input, as far as its scale at the start goes.
        bound = math.sqrt(3.0 / (3 + in_channels * (1 + has_centre)))
        for part in (self.displacement, self.neighbour, self.centre):
            if part is not None:
                nn.init.uniform_(part.weight, -bound, bound)
        nn.init.kaiming_uniform_(self.temporal.weight, nonlinearity="relu")

    def forward(
        self, points: Tensor, features: Tensor | None, sampled: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """points: (B, L, N, 3), features: (B, L, N, C) or None for the first layer.

        sampled: (B, L, M, 3), the anchors of every frame. Without it they are the first M points:
        farthest point sampling of points that are already in its order takes a prefix of them.
        Returns anchors (B, L', M, 3) and their features (B, L', M, out_channels).
        """
        frames, count = points.shape[1:3]
        config = self.config
        anchors_a_frame = count // config.spatial_stride
        if sampled is None:
            sampled = points[:, :, :anchors_a_frame]
        centre, neighbour = self._frames(frames, points.device)
        anchors = sampled[:, centre]

        values = self.displacement(points * self.scale)
        constant = self.displacement(anchors * -self.scale)
        if features is not None and self.neighbour is not None:
            values = values + self.neighbour(features)
            if self.centre is not None:
                constant = constant + self.centre(features[:, centre, :anchors_a_frame])

        pooled = self._pool(points, anchors, values, neighbour)
        mixed = (pooled + constant[:, :, :, None]).flatten(3)
        normal = self.norm(mixed.flatten(0, 2)).view_as(mixed)
        return anchors, self.temporal(torch.relu(normal))

    def _frames(self, frames: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Anchor frames (L',) and, for each, the frames of its temporal offsets (L', k_t)."""
        config = self.config
        first = torch.arange(config.anchor_frames(frames), device=device) * config.temporal_stride
        offsets = torch.arange(config.temporal_kernel, device=device)
        neighbour = first[:, None] + offsets - config.temporal_padding[0]
        neighbour = neighbour.clamp(0, frames - 1)
        return neighbour[:, config.temporal_kernel // 2], neighbour

    def _pool(self, points: Tensor, anchors: Tensor, values: Tensor, frames: Tensor) -> Tensor:
        """(B, L', M, k_t, mid): the maximum over the neighbours in every offset's frame."""
        batch, length, count, _ = points.shape
        anchor_frames, anchor_count = anchors.shape[1:3]
        offsets = frames.shape[1]
        where = points[:, frames].reshape(-1, count, 3)
        centres = anchors[:, :, None].expand(-1, -1, offsets, -1, -1).reshape(-1, anchor_count, 3)
        index = ball_query(where, centres, self.config.radius, self.config.neighbours)
        start = torch.arange(batch, device=points.device)[:, None, None] * length
        pooled = neighbour_max(
            values.flatten(0, 1),
            (start + frames).flatten(0, 1),
            index.view(batch * anchor_frames, offsets, anchor_count, -1),
        )
        return pooled.view(batch, anchor_frames, anchor_count, offsets, -1)
