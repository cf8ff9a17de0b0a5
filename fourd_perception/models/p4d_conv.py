"""The point 4D convolution of P4Transformer, and its way back to more points."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from fourd_perception.models.batch_norm import rectified
from fourd_perception.models.frame_layer import PADDING_MODES, FrameLayer, TemporalReach
from fourd_perception.models.level import Level
from fourd_perception.models.linear import Linear
from fourd_perception.models.pst_conv import check_temporal
from fourd_perception.ops.ball_query import ball_query_frames
from fourd_perception.ops.displacement_max import displacement_max
from fourd_perception.ops.interpolate import interpolate
from fourd_perception.ops.linear import linear
from fourd_perception.parameters import param

MOST_WIDTHS = 64
"""Of an MLP, and layers of an encoder: what a file may ask for."""

_GROUPED_VALUES = 1 << 24
"""Values of a grouped tensor (64 MiB) that are taken at once where no gradient is wanted."""


@dataclass(frozen=True)
class P4DConvConfig:
    """A point 4D convolution. One width without normalisation is P4Transformer's tube embedding."""

    channels: tuple[int, ...] = param((1024,), "widths of the MLP", at_least=1, at_most=65536)
    normalise: bool = param(False, "batch norm and ReLU after each width")
    centre_place: bool = param(
        False,
        "for a transformer an anchor's place is told from the middle of its frame's anchors, not "
        "from the camera as in the papers: few recordings do not teach that people stand anywhere",
    )
    normalise_output: bool = param(
        False,
        "batch norm and ReLU of what comes out, the place's embedding with it; not in the papers: "
        "without it what all anchors share hides what sets them apart, and labels for the frames "
        "of small clouds are not learnt",
    )
    radius: float = param(0.7, "search radius, model units", at_least=1e-6)
    neighbours: int = param(32, "neighbours of an anchor in a frame", at_least=1, at_most=1024)
    spatial_stride: int = param(32, "points to an anchor", at_least=1, at_most=65536)
    temporal_kernel: int = param(
        3, "frames in which neighbours are sought, odd", at_least=1, at_most=63
    )
    temporal_stride: int = param(1, "frames to an anchor frame", at_least=1, at_most=512)
    temporal_padding: tuple[int, ...] = param(
        (0, 0), "frames added before the first and after the last", at_least=0
    )
    temporal_pooling: str = param(
        "max", "how the temporal offsets are pooled", choices=("max", "sum", "avg")
    )
    padding_mode: str = param(
        "replicate", "the frames added at a clip's ends", choices=PADDING_MODES
    )

    def __post_init__(self) -> None:
        check_temporal(self.temporal_kernel, self.temporal_padding)
        if not 1 <= len(self.channels) <= MOST_WIDTHS:
            raise ValueError(f"channels: expected 1 to {MOST_WIDTHS}, got {len(self.channels)}")


class P4DConv(FrameLayer):
    """P4Transformer, equation 1: over the neighbours in each frame, the maximum of
    MLP(W_d (dx, dy, dz, dt) + W_f f), then a pooling over the frames.

    The tube embedding, which knows no features and no norm, is linear before its maximum: one
    kernel takes it straight from the points. With norms and ReLUs inside, pairs of anchor and
    neighbour have to be gone through; W_f and what follows it alone are still taken once a point.
    """

    def __init__(
        self,
        in_channels: int,
        config: P4DConvConfig,
        *,
        embed_place: bool = False,
        keep_below: bool = False,
    ) -> None:
        """embed_place: add a linear map of an anchor's place to its features, for a transformer.

        keep_below: let the output carry the input, for a way back to all points.
        """
        super().__init__()
        self.config, self.keep_below = config, keep_below
        self.reach = TemporalReach(
            config.temporal_kernel,
            config.temporal_stride,
            config.temporal_padding,
            config.padding_mode,
        )
        first, *widths = config.channels
        self.displacement = Linear(4, first, bias=False)
        self.displacement_norm = nn.BatchNorm1d(first) if config.normalise else None
        self.feature = Linear(in_channels, first, bias=False) if in_channels else None
        self.feature_norm = nn.BatchNorm1d(first) if config.normalise and in_channels else None
        self.mlp = PointMLP(first, tuple(widths), config.normalise)
        self.place = Linear(3, config.channels[-1], bias=False) if embed_place else None
        self.output_norm = nn.BatchNorm1d(config.channels[-1]) if config.normalise_output else None

    def output_points(self, points: int) -> int:
        """The anchors that the spatial stride leaves."""
        return points // self.config.spatial_stride

    def forward(self, level: Level, frames: Tensor) -> Level:
        """See FrameLayer. Returns the anchors of the middle frames, features (G, M, C)."""
        config = self.config
        count = self.output_points(level.points.shape[1])
        level, frames = self.padded(level, frames)
        middle = frames[:, frames.shape[1] // 2]
        anchors = level.anchors(middle, count)
        index = ball_query_frames(
            level.points, anchors.points, frames, config.radius, config.neighbours
        )
        offset = torch.arange(frames.shape[1], device=frames.device) - frames.shape[1] // 2
        tube = self.feature is None and not config.normalise and len(config.channels) == 1
        if tube:
            weight = self.displacement.weight
            pooled = displacement_max(level.points, anchors.points, weight[:, :3], frames, index)
            pooled = pooled + offset[:, None] * weight[:, 3]
        else:
            pooled = self._grouped(level, anchors.points, frames, index, offset)
        features = self._over_time(pooled)
        if self.place is not None:
            place = anchors.points
            if config.centre_place:
                place = place - place.mean(1, keepdim=True)
            features = features + self.place(place)
        if self.output_norm is not None:
            features = rectified(self.output_norm, features)
        below = level.at(middle) if self.keep_below else None
        return Level(anchors.points, features, None, anchors.primitives, below)

    def _over_time(self, pooled: Tensor) -> Tensor:
        """(G, M, T, C) to (G, M, C)."""
        if self.config.temporal_pooling == "max":
            return pooled.amax(2)
        total = pooled.sum(2)
        return total if self.config.temporal_pooling == "sum" else total / pooled.shape[2]

    def _grouped(
        self, level: Level, anchors: Tensor, frames: Tensor, index: Tensor, offset: Tensor
    ) -> Tensor:
        """(G, M, T, C): a chunk of anchor frames at a time, unless the batch must stay together."""
        features = None
        if self.feature is not None:
            features = self.feature(level.features)
            if self.feature_norm is not None and not self.training:
                features = rectified(self.feature_norm, features)
        together = self.training or torch.is_grad_enabled()
        width = index[0].numel() * max(self.config.channels)
        chunk = len(index) if together else max(1, _GROUPED_VALUES // max(1, width))
        return torch.cat([
            self._pooled(level.points, features, anchors[part], frames[part], index[part], offset)
            for part in (slice(at, at + chunk) for at in range(0, len(index), chunk))
        ])  # fmt: skip

    def _pooled(
        self,
        points: Tensor,
        features: Tensor | None,
        anchors: Tensor,
        frames: Tensor,
        index: Tensor,
        offset: Tensor,
    ) -> Tensor:
        rows = frames[:, :, None, None]
        place = points[rows, index] - anchors[:, None, :, None]
        time = offset.to(place.dtype)[:, None, None, None].expand(*place.shape[:4], 1)
        grouped = self.displacement(torch.cat((place, time), -1))  # (G, T, M, k, C)
        if self.displacement_norm is not None:
            grouped = rectified(self.displacement_norm, grouped)
        if features is not None:
            near = features[rows, index]
            if self.feature_norm is not None and self.training:
                near = rectified(self.feature_norm, near)
            grouped = grouped + near
        return self.mlp(grouped).amax(3).transpose(1, 2)


class PointMLP(nn.Module):
    """Linear maps of each point, each with batch norm and ReLU if asked for."""

    def __init__(self, in_channels: int, widths: tuple[int, ...], normalised: bool = True) -> None:
        super().__init__()
        self.linears = nn.ModuleList()
        self.norms = nn.ModuleList()
        for width in widths:
            self.linears.append(Linear(in_channels, width, bias=False))
            if normalised:
                self.norms.append(nn.BatchNorm1d(width))
            in_channels = width

    def forward(self, values: Tensor) -> Tensor:
        """values: (..., C) float32."""
        for number, one in enumerate(self.linears):
            values = self._after(number, one(values))
        return values

    def after_first(self, values: Tensor) -> Tensor:
        """values: (..., C), what the first linear map gave. Returns what `forward` would."""
        values = self._after(0, values)
        for number in range(1, len(self.linears)):
            values = self._after(number, self.linears[number](values))
        return values

    def _after(self, number: int, values: Tensor) -> Tensor:
        """What follows the linear map of that number."""
        if not self.norms:
            return values
        norm = self.norms[number]
        assert isinstance(norm, nn.BatchNorm1d)
        return rectified(norm, values)


class FeaturePropagation(FrameLayer):
    """P4DTransConv of P4Transformer: features of few points carried to many, frame by frame.

    Interpolated from the three nearest, joined with what the many had themselves, then an MLP. Its
    first map is linear, so the coarse features go through it before they are interpolated.
    """

    def __init__(self, in_channels: int, skip_channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.mlp = PointMLP(in_channels + skip_channels, widths)

    def forward(self, level: Level, frames: Tensor) -> Level:
        """See FrameLayer. Returns the level below with features (G, N, widths[-1])."""
        level = level.at(frames[:, 0])
        assert level.features is not None and level.below is not None
        return self.carry(level.features, level.points, level.below)

    def carry(self, values: Tensor, points: Tensor, fine: Level) -> Level:
        """values: (F, M, C) at points (F, M, 3). Returns `fine`, features (F, N, widths[-1])."""
        first = self.mlp.linears[0]
        assert isinstance(first, Linear)
        from_coarse, from_fine = first.weight.split(
            (self.in_channels, first.in_features - self.in_channels), 1
        )
        # In float32 also under autocast.
        carried = interpolate(linear(values, from_coarse).float(), points, fine.points)
        if fine.features is not None:
            carried = carried + linear(fine.features, from_fine)
        return replace(fine, features=self.mlp.after_first(carried))
