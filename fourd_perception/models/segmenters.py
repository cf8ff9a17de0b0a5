"""P4Transformer and PPTr for semantic segmentation: a label for every point of every frame."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from fourd_perception.errors import InputError
from fourd_perception.models.frame_layer import FrameLayer
from fourd_perception.models.level import Level
from fourd_perception.models.linear import Linear
from fourd_perception.models.p4_transformer import keeps_every_frame
from fourd_perception.models.p4d_conv import (
    MOST_WIDTHS,
    FeaturePropagation,
    P4DConv,
    P4DConvConfig,
)
from fourd_perception.models.primitives import (
    IntraPrimitive,
    Members,
    PrimitivesConfig,
    masked_maximum,
    with_memory,
)
from fourd_perception.models.transformer import Transformer, TransformerConfig
from fourd_perception.models.video_model import Features, VideoModel, sampled
from fourd_perception.ops.ball_query import ball_query
from fourd_perception.ops.linear import linear
from fourd_perception.parameters import param

_PLACE = 3
"""Channels of a point's own features: its coordinates, as in the HOI4D challenge."""

_TRANSFORMER = TransformerConfig(depth=2, heads=4, head_channels=256)


@dataclass(frozen=True)
class SegmenterConfig:
    """What both segmenters have: convolutions down to few points, and the way back up."""

    down: tuple[P4DConvConfig, ...] = param((), "the convolutions, first to last")
    up: tuple[tuple[int, ...], ...] = param(
        (), "widths of the MLPs on the way back, last convolution first", at_least=1, at_most=65536
    )
    compat: bool = param(False, "sample as the public CUDA code does: no points near the origin")

    def __post_init__(self) -> None:
        if not 1 <= len(self.down) == len(self.up) <= MOST_WIDTHS:
            raise ValueError(
                "down, up: expected as many convolutions as MLPs for the way back, "
                f"1 to {MOST_WIDTHS}; got {len(self.down)} and {len(self.up)}"
            )
        if not all(1 <= len(widths) <= MOST_WIDTHS for widths in self.up):
            raise ValueError(f"up: expected 1 to {MOST_WIDTHS} widths in each")
        if not all(keeps_every_frame(row) for row in self.down):
            raise ValueError(
                "down: labels for points want a stride of 1 in time and padding for it"
            )

    def downward(self) -> list[P4DConv]:
        """The convolutions."""
        widths = [_PLACE, *(row.channels[-1] for row in self.down)]
        return [P4DConv(width, row, keep_below=True) for width, row in zip(widths, self.down)]

    def upward(self) -> list[FeaturePropagation]:
        """The way back."""
        skips = [_PLACE, *(row.channels[-1] for row in self.down[:-1])][::-1]
        widths = [self.down[-1].channels[-1], *(mlp[-1] for mlp in self.up)]
        return [FeaturePropagation(*sizes) for sizes in zip(widths, skips, self.up)]


class Segmenter(VideoModel):
    """(B, L, N, 3) points in model units -> (B, L, N, classes) logits."""

    task = "semantic_segmentation"

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__()
        self._config = config

    def sample(self, points: Tensor) -> Level:
        """See VideoModel. A point's features are its coordinates."""
        level = sampled(points, self._config.down[0].spatial_stride, compat=self._config.compat)
        return replace(level, features=points)


@dataclass(frozen=True)
class P4SegmenterConfig(SegmenterConfig):
    """The architecture; the published one is config/models/p4_segmenter_hoi4d.yaml."""

    transformer: TransformerConfig = param(_TRANSFORMER, "over the anchors of all frames")


class P4Segmenter(Segmenter):
    """P4Transformer (CVPR 2021) for segmentation: four point 4D convolutions, a transformer over
    the anchors of all frames, and the way back to all points.
    """

    def __init__(self, config: P4SegmenterConfig, classes: int) -> None:
        super().__init__(config)
        self.config = config
        channels = config.down[-1].channels[-1]
        self.feature_channels = config.up[-1][-1]
        self.layers = nn.ModuleList(config.downward())
        self.transformer = Transformer(channels, config.transformer)
        self.up = nn.ModuleList(config.upward())
        self.head = Linear(self.feature_channels, classes)

    def summarise(self, level: Level, batch: int, memory: Tensor | None = None) -> Features:
        """A frame's feature is the maximum over its tokens."""
        assert level.features is not None
        length, anchors = len(level) // batch, level.points.shape[1]
        tokens = torch.relu(level.features).unflatten(0, (batch, length)).flatten(1, 2)
        tokens = self.transformer(tokens).unflatten(1, (length, anchors))
        level = replace(level, features=tokens.flatten(0, 1))
        everything = torch.arange(len(level), device=tokens.device)[:, None]
        for up in self.up:
            level = up(level, everything)
        frames = tokens.amax(2)
        assert level.features is not None
        return Features(frames.amax(1), frames, level.features.unflatten(0, (batch, length)))

    def classify(self, features: Features) -> Tensor:
        """Logits (B, L, N, classes)."""
        return self.head(features.points)


@dataclass(frozen=True)
class PPTrSegmenterConfig(SegmenterConfig):
    """The architecture; the challenge's is config/models/pptr_segmenter_hoi4d.yaml."""

    primitives: PrimitivesConfig = param(PrimitivesConfig(count=64), "what a primitive is")
    group_radius: float = param(
        0.9, "an anchor's group lies within it (fps_groups), model units", at_least=1e-6
    )
    group_points: int = param(64, "points in an anchor's group", at_least=1, at_most=1024)
    intra: TransformerConfig = param(_TRANSFORMER, "inside each primitive")
    inter: TransformerConfig = param(_TRANSFORMER, "over the primitives")
    fusion: tuple[int, ...] = param(
        (1024, 128), "widths of the linear maps before the classifier", at_least=1, at_most=65536
    )
    rectify_fusion: bool = param(
        True, "ReLU between them, as in an MLP (the paper); the authors' code has none"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= len(self.fusion) <= MOST_WIDTHS:
            raise ValueError(f"fusion: expected 1 to {MOST_WIDTHS}, got {len(self.fusion)}")


class PPTrSegmenter(Segmenter):
    """PPTr (ECCV 2022) for segmentation: convolutions and the way back give each point a feature;
    then a transformer inside each primitive, one over the primitives of all frames and of a
    memory, and all of it brought together at each point.

    Primitives are planes fitted to each frame, and a point's own, its primitive's inside and
    outside view are joined (the paper); or groups around sampled anchors, whose tokens are
    interpolated to the points (the HOI4D challenge code).
    """

    has_memory = True

    def __init__(self, config: PPTrSegmenterConfig, classes: int) -> None:
        super().__init__(config)
        self.config = config
        channels = config.up[-1][-1]
        self.feature_channels = channels
        self.layers = nn.ModuleList(config.downward())
        self.up = nn.ModuleList(config.upward())
        self.intra = PointPrimitives(channels, config)
        self.inter = Transformer(channels, config.inter)
        planes = config.primitives.kind == "planes"
        self.join = None if planes else FeaturePropagation(channels, channels, (channels, channels))
        widths = [3 * channels if planes else channels, *config.fusion]
        self.fusion = nn.ModuleList(Linear(*pair) for pair in itertools.pairwise(widths))
        self.head = Linear(widths[-1], classes)

    @property
    def chain(self) -> list[FrameLayer]:
        """Down, up, and inside of the primitives."""
        return [*super().chain, *(cast(FrameLayer, up) for up in self.up), self.intra]

    def sample(self, points: Tensor) -> Level:
        """See VideoModel. Fits the primitives too, where they are planes."""
        return replace(super().sample(points), primitives=self.config.primitives.labels(points))

    def check_input(self, frames: int, points: int) -> None:
        """Raises InputError if clips of `frames` frames of `points` points are too small."""
        super().check_input(frames, points)
        sampled, wanted = points // self.config.down[0].spatial_stride, self.config.primitives.count
        if self.join is not None and sampled < wanted:
            raise InputError(
                f"{points} points leave {sampled} anchors in a frame, fewer than {wanted} "
                f"primitives; give {wanted * self.config.down[0].spatial_stride} points or more"
            )

    def remember(self, points: Tensor) -> Tensor:
        """The primitives' features (F, P, C) of frames (F, N, 3) float32, each taken alone.

        What a memory is made of (section 4.1): a memory (B, T, P, C) holds T of them, from anywhere
        in the video, computed once, by this model or another of its sizes.
        """
        features = self.run_layers(points[:, None]).features
        assert features is not None
        return features

    def summarise(self, level: Level, batch: int, memory: Tensor | None = None) -> Features:
        """A frame's feature is the maximum over its primitives."""
        assert level.features is not None and level.primitives is not None
        length = len(level) // batch
        tokens = level.features.unflatten(0, (batch, length))  # (B, L, P, C)
        heeded = (level.primitives >= 0).unflatten(0, (batch, length))
        out = with_memory(self.inter, tokens, heeded, memory)
        points = self._at_points(level, out.flatten(0, 1)).unflatten(0, (batch, length))
        frames = masked_maximum(out, heeded)
        return Features(frames.amax(1), frames, points)

    def classify(self, features: Features) -> Tensor:
        """Logits (B, L, N, classes)."""
        return self.head(features.points)

    def _at_points(self, level: Level, tokens: Tensor) -> Tensor:
        """(F, N, width) of the points below: tokens (F, P, C) brought to them, and the fusion."""
        below, fusion = level.below, list(self.fusion)
        assert below is not None and below.features is not None
        if self.join is not None:
            values = self.join.carry(tokens, level.points, below).features
            assert values is not None
        else:
            assert below.primitives is not None
            first = fusion.pop(0)
            assert isinstance(first, Linear)
            own, of_primitive = first.weight.split((below.features.shape[2], tokens.shape[2]), 1)
            frames = torch.arange(len(tokens), device=tokens.device)[:, None]
            values = linear(below.features, own, first.bias)
            values = values + linear(tokens, of_primitive)[frames, below.primitives]
            values = self._between(values)
        for one in fusion:
            values = self._between(one(values))
        return values

    def _between(self, values: Tensor) -> Tensor:
        return torch.relu(values) if self.config.rectify_fusion else values


class PointPrimitives(IntraPrimitive):
    """IntraPrimitive for all points of a frame. The output carries the points: where primitives are
    planes with what each learnt in its own beside its feature, (G, N, 2 C).
    """

    def __init__(self, channels: int, config: PPTrSegmenterConfig) -> None:
        super().__init__(channels, config.primitives, config.intra)
        self.radius, self.most = config.group_radius, config.group_points

    def output_points(self, points: int) -> int:
        """As many as there were: the points go on with the primitives."""
        return points

    def forward(self, level: Level, frames: Tensor) -> Level:
        """See FrameLayer. Returns one point for each primitive, features (G, P, C)."""
        level = level.at(frames[:, 0])
        assert level.features is not None
        if level.primitives is None:
            everything = torch.arange(len(level), device=frames.device)
            anchors = level.anchors(everything, self.config.count).points
            index = ball_query(level.points, anchors, self.radius, self.most)
            members = Members(index, torch.ones_like(index, dtype=torch.bool))
            pooled = self.pool(self.attend(level.features, members), members, level)
            return replace(pooled, points=anchors, below=level)
        members = Members.labelled(level.primitives, self.config.count)
        inside = self.attend(level.features, members)
        frame, primitive, place = members.there.nonzero(as_tuple=True)
        learnt = inside.new_zeros(level.features.shape)
        learnt[frame, members.index[frame, primitive, place]] = inside[members.there]
        both = replace(level, features=torch.cat((level.features, learnt), -1))
        return replace(self.pool(inside, members, level), below=both)
