"""The point spatio-temporal convolutions of PSTNet, PSTNet++ and VG4D's im-PSTNet."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from fourd_perception.models.batch_norm import affine, affine_of_neighbours, rectified
from fourd_perception.models.frame_layer import PADDING_MODES, FrameLayer, TemporalReach
from fourd_perception.models.level import Level
from fourd_perception.models.linear import Linear
from fourd_perception.ops.ball_query import ball_query_frames
from fourd_perception.ops.displacement_max import displacement_max
from fourd_perception.ops.linear import linear
from fourd_perception.ops.neighbour_max import neighbour_max, neighbour_max_affine
from fourd_perception.ops.neighbour_sum import neighbour_sum
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
        (0, 0), "frames added before the first and after the last", at_least=0
    )

    def __post_init__(self) -> None:
        check_temporal(self.temporal_kernel, self.temporal_padding)


def check_temporal(kernel: int, padding: tuple[int, ...]) -> None:
    """Raises ValueError if no convolution over time has such a kernel and padding."""
    if kernel % 2 == 0:
        raise ValueError(f"temporal_kernel: expected an odd number, got {kernel}")
    if len(padding) != 2 or max(padding) > kernel // 2:
        raise ValueError(
            f"temporal_padding: expected 2 numbers, at most half of the temporal_kernel "
            f"({kernel // 2}), got {padding}"
        )


@dataclass(frozen=True)
class PSTConvOptions:
    """What sets PSTNet, PSTNet++ and im-PSTNet apart; the defaults are PSTNet's."""

    norm: str = param(
        "after_max", "batch norm and ReLU after the maximum (PSTNet) or inside of it (PSTNet++)",
        choices=("after_max", "inside"),
    )  # fmt: skip
    temporal_norm: bool = param(
        False, "batch norm and ReLU for each temporal offset before they are summed (PSTNet++, NTU)"
    )
    normalise_displacement: bool = param(False, "divide displacements by the radius (VG4D, eq. 8)")
    centre_feature: bool = param(False, "give the anchor's own feature to zeta (VG4D, eq. 8)")
    aggregation: str = param(
        "addition", "how displacement and feature are joined; PSTNet multiplies on MSR-Action3D",
        choices=("addition", "multiplication"),
    )  # fmt: skip
    pooling: str = param(
        "max", "how neighbours are pooled; PSTNet takes the sum on MSR-Action3D",
        choices=("max", "sum", "avg"),
    )  # fmt: skip
    padding_mode: str = param(
        "replicate", "the frames added at a clip's ends", choices=PADDING_MODES
    )

    def __post_init__(self) -> None:
        if self.pooling == "max" and self.aggregation == "multiplication":
            raise ValueError("aggregation: multiplication wants pooling sum or avg, got max")
        if self.pooling != "max" and self.norm == "inside":
            raise ValueError(f"norm: inside wants pooling max, got {self.pooling}")
        if self.aggregation == "multiplication" and self.centre_feature:
            raise ValueError("centre_feature: wants aggregation addition, got multiplication")


class PSTConv(FrameLayer):
    """Equation 8 of VG4D: h(p_i) = max over p_j of zeta(f_j, f_i, (x_j - x_i) / r), and its kin.

    Space and time are taken apart as in PSTNet: for each temporal offset a convolution of the k
    neighbours in that frame and their maximum, then a convolution over the offsets. With a temporal
    kernel of 1 it is the paper's spatial extractor. PSTNet's PSTConv normalises after the maximum,
    PSTNet++'s PSTOp inside of it; the paper's equation allows both.

    The spatial convolution is linear, so it is applied to each point once, before the gather, and
    what depends on the anchor alone is added after the maximum. That is exact:
    max_j(W_f f_j + W_d (x_j - x_i)/r + W_c f_i) = max_j(W_f f_j + W_d x_j/r) - W_d x_i/r + W_c f_i.
    So is a normalisation inside: an affine map and ReLU commute with the maximum once the sign of
    the scale is taken out, and the batch's statistics need sums alone (`neighbour_moments`).
    """

    def __init__(
        self,
        in_channels: int,
        config: PSTConvConfig,
        options: PSTConvOptions,
        *,
        rectify: bool = False,
        mean: bool = False,
    ) -> None:
        """rectify: ReLU after the convolution over time. mean: give the mean over the anchors."""
        super().__init__()
        self.config, self.options = config, options
        self.rectify, self.mean = rectify, mean
        self.reach = TemporalReach(
            config.temporal_kernel,
            config.temporal_stride,
            config.temporal_padding,
            options.padding_mode,
        )
        self.scale = 1.0 / config.radius if options.normalise_displacement else 1.0
        mid, offsets, out = config.mid_channels, config.temporal_kernel, config.out_channels
        has_centre = options.centre_feature and in_channels > 0
        self.displacement = Linear(3, mid, bias=False)
        self.neighbour = Linear(in_channels, mid, bias=False) if in_channels else None
        self.centre = Linear(in_channels, mid, bias=False) if has_centre else None
        self.norm = nn.BatchNorm1d(mid if options.norm == "inside" else offsets * mid)
        self.temporal = Linear(offsets * mid, out, bias=False)
        self.temporal_norms = nn.ModuleList(
            nn.BatchNorm1d(out) for _ in range(offsets if options.temporal_norm else 0)
        )
        # One convolution over the concatenated input, as far as its scale at the start goes.
        bound = math.sqrt(3.0 / (3 + in_channels * (1 + has_centre)))
        for part in (self.displacement, self.neighbour, self.centre):
            if part is not None:
                nn.init.uniform_(part.weight, -bound, bound)
        nn.init.kaiming_uniform_(self.temporal.weight, nonlinearity="relu")

    @property
    def multiplies(self) -> bool:
        """Whether features and displacements are multiplied, so that there is no `project`."""
        return self.neighbour is not None and self.options.aggregation == "multiplication"

    def output_points(self, points: int) -> int:
        """The anchors that the spatial stride leaves, or one for their mean."""
        anchors = points // self.config.spatial_stride
        return min(anchors, 1) if self.mean else anchors

    def forward(self, level: Level, frames: Tensor) -> Level:
        """See FrameLayer. Returns the anchors of the middle frames, features (G, M, out)."""
        config = self.config
        count = level.points.shape[1] // config.spatial_stride
        level, frames = self.padded(level, frames)
        anchors = level.anchors(frames[:, frames.shape[1] // 2], count)
        index = ball_query_frames(
            level.points, anchors.points, frames, config.radius, config.neighbours
        )
        if self.options.norm == "inside":
            mixed = self._normalised_inside(level, anchors, frames, index)
        else:
            mixed = self._normalised_after(level, anchors, frames, index)
        if not self.mean:
            return Level(anchors.points, self._over_time(mixed), None, anchors.primitives)
        if self.rectify or self.temporal_norms:
            features = self._over_time(mixed).mean(1, keepdim=True)
        else:  # linear, so the mean may come first, and the convolution once a frame
            features = self._over_time(mixed.mean(1, keepdim=True))
        return Level(anchors.points[:, :1], features)

    def _normalised_after(
        self, level: Level, anchors: Level, frames: Tensor, index: Tensor
    ) -> Tensor:
        """PSTNet: (G, M, T, mid), pooled, then normalised and rectified."""
        if self.options.pooling != "max":
            pooled = self._pooled_sum(level, anchors, frames, index)
        elif level.features is None:
            weight = self.displacement.weight * self.scale
            pooled = displacement_max(level.points, anchors.points, weight, frames, index)
        else:
            values, constant = self.project(level), self._constant(anchors)
            if not (self.training or torch.is_grad_enabled()):
                scale, shift = affine(self.norm)
                offsets = frames.shape[1], -1
                return neighbour_max_affine(
                    values, frames, index, constant, scale.view(offsets), shift.view(offsets)
                )
            pooled = neighbour_max(values, frames, index) + constant[:, :, None]
        return rectified(self.norm, pooled.flatten(2)).view_as(pooled)

    def _normalised_inside(
        self, level: Level, anchors: Level, frames: Tensor, index: Tensor
    ) -> Tensor:
        """PSTNet++: (G, M, T, mid), the maximum of normalised and rectified values."""
        values, constant = self.project(level), self._constant(anchors)
        if not (self.training or torch.is_grad_enabled()):
            scale, shift = affine(self.norm)
            return neighbour_max_affine(
                values * scale,
                frames,
                index,
                constant * scale,
                torch.ones_like(scale).expand(frames.shape[1], -1),
                shift.expand(frames.shape[1], -1),
            )
        scale, shift = affine_of_neighbours(self.norm, values, constant, frames, index)
        best = neighbour_max(values * scale, frames, index)
        return (best + (constant * scale + shift)[:, :, None]).relu_()

    def _pooled_sum(self, level: Level, anchors: Level, frames: Tensor, index: Tensor) -> Tensor:
        """(G, M, T, mid): sum_j W_f f_j (+ or *) W_d (x_j - x_i), both of them linear in j."""
        k = index.shape[3]
        if self.multiplies:
            place = _in_float32(self.displacement, level.points * self.scale)
            at_anchor = _in_float32(self.displacement, anchors.points * self.scale)[:, :, None]
            features = cast(Linear, self.neighbour)(level.features).float()
            total = neighbour_sum(features * place, frames, index)
            total = total - at_anchor * neighbour_sum(features, frames, index)
        else:
            values, constant = self.project(level), self._constant(anchors)
            total = neighbour_sum(values, frames, index) + k * constant[:, :, None]
        return total / k if self.options.pooling == "avg" else total

    def project(self, level: Level) -> Tensor:
        """(F, N, mid): what a point gives to whichever anchor it is a neighbour of."""
        if level.values is not None:
            return level.values
        places = level.points * self.scale
        return _of_both(places, self.displacement, level.features, self.neighbour)

    def _constant(self, anchors: Level) -> Tensor:
        """(G, M, mid): what an anchor adds to whatever its neighbours give."""
        places = anchors.points * -self.scale
        return _of_both(places, self.displacement, anchors.features, self.centre)

    def _over_time(self, mixed: Tensor) -> Tensor:
        """(G, M, T, mid) to (G, M, out): a convolution for each temporal offset, and their sum."""
        if not self.temporal_norms:
            features = self.temporal(mixed.flatten(2))
            return features.relu_() if self.rectify else features
        weights = self.temporal.weight.unflatten(1, (mixed.shape[2], -1)).unbind(1)
        offsets = [
            rectified(cast(nn.BatchNorm1d, norm), linear(one, weight))
            for norm, weight, one in zip(self.temporal_norms, weights, mixed.unbind(2))
        ]
        features = sum(offsets[1:], start=offsets[0])
        return torch.relu(features) if self.rectify else features


class Projection(FrameLayer):
    """What a convolution makes of each point before it looks for neighbours, frame by frame.

    A frame has several anchor frames around it: on a stream this is kept for all of them.
    """

    def __init__(self, convolution: PSTConv) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, level: Level, frames: Tensor) -> Level:
        """See FrameLayer. Returns the same frames with `values` (G, N, mid)."""
        level = level.at(frames[:, 0])
        return replace(level, values=self.convolution.project(level))


def _of_both(
    places: Tensor, of_place: Linear, features: Tensor | None, of_features: Linear | None
) -> Tensor:
    """The sum of two linear maps, (F, N, mid) float32, the first added in place."""
    if features is None or of_features is None:
        return _in_float32(of_place, places)
    weight = of_place.weight.T.expand(len(places), -1, -1)
    return of_features(features).float().baddbmm_(places, weight)


def _in_float32(of_place: Linear, places: Tensor) -> Tensor:
    """Also under autocast: what counts is the difference of two places, which may be far off."""
    with torch.autocast(places.device.type, enabled=False):
        return of_place(places)
