"""The point 4D convolution of P4Transformer, and its transposed partner."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from textbook.point_operations import maximum, three_nearest_interpolate
from textbook.point_tubes import PointTube, TubeShape, point_tubes
from torch import Tensor, nn


class P4DConv(nn.Module):
    """An MLP of (x_j - x_i, t_j - t_i) and f_j, pooled over the neighbours, then over the frames.

    channels: the widths of the MLP. norm: a batch normalisation and a ReLU follow each of its
    convolutions. temporal_pooling: "max" or "sum".
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        shape: TubeShape,
        *,
        norm: bool,
        temporal_pooling: str,
        compat: bool = False,
    ) -> None:
        super().__init__()
        if temporal_pooling not in ("max", "sum"):
            raise ValueError(f'temporal_pooling: expected "max" or "sum", got "{temporal_pooling}"')
        self.shape, self.temporal_pooling, self.compat = shape, temporal_pooling, compat
        self.conv_d = nn.Sequential(*_convolution(4, channels[0], norm))
        if in_channels > 0:
            self.conv_f = nn.Sequential(*_convolution(in_channels, channels[0], norm))
        mlp: list[nn.Module] = []
        for before, after in pairwise(channels):
            mlp += _convolution(before, after, norm)
        self.mlp = nn.Sequential(*mlp)

    def forward(self, points: Tensor, features: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """points: (B, L, N, 3); features: (B, L, C, N) or None.

        Returns the anchors (B, L', M, 3) and their features (B, L', C', M). Clips are padded in
        time by repeating the first and the last frame.
        """
        anchors, outputs = [], []
        for tube in point_tubes(points, features, self.shape, "replicate", self.compat):
            anchors.append(tube.anchors)
            outputs.append(self._convolve(tube))
        return torch.stack(anchors, dim=1), torch.stack(outputs, dim=1)

    def _convolve(self, tube: PointTube) -> Tensor:
        """(B, C', M): the tube's feature."""
        pooled = []
        for offset, displacement, features in tube.slices:
            time = torch.full_like(displacement[:, :1], offset)
            value = self.conv_d(torch.cat([displacement, time], dim=1))
            if features is not None:
                value = value + self.conv_f(features)
            pooled.append(maximum(self.mlp(value), 3))
        frames = torch.stack(pooled)
        return maximum(frames, 0) if self.temporal_pooling == "max" else frames.sum(dim=0)


class P4DTransConv(nn.Module):
    """Interpolates features to a denser frame, joins them with the features there, and an MLP."""

    def __init__(self, in_channels: int, skip_channels: int, channels: Sequence[int]) -> None:
        super().__init__()
        conv: list[nn.Module] = []
        widths = [in_channels + skip_channels, *channels]
        for before, after in pairwise(widths):
            conv += [nn.Conv1d(before, after, 1, bias=False), nn.BatchNorm1d(after), nn.ReLU()]
        self.conv = nn.Sequential(*conv)

    def forward(
        self, points: Tensor, features: Tensor, dense_points: Tensor, dense_features: Tensor
    ) -> Tensor:
        """points: (B, L, M, 3) with features (B, L, C, M); dense: (B, L, N, 3), (B, L, C2, N).

        Returns (B, L, C', N).
        """
        outputs = []
        for t in range(points.shape[1]):
            spread = three_nearest_interpolate(features[:, t], points[:, t], dense_points[:, t])
            outputs.append(self.conv(torch.cat([spread, dense_features[:, t]], dim=1)))
        return torch.stack(outputs, dim=1)


def _convolution(before: int, after: int, norm: bool) -> list[nn.Module]:
    convolution = nn.Conv2d(before, after, 1, bias=False)
    return [convolution, nn.BatchNorm2d(after), nn.ReLU()] if norm else [convolution]
