"""P4Transformer (CVPR 2021) and PST-Transformer (TPAMI 2022), as they are written.

Parameters have the names and shapes of the public code.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from textbook.p4d_conv import P4DConv, P4DTransConv
from textbook.point_operations import maximum
from textbook.point_tubes import TubeShape
from textbook.transformer import DisplacementTransformer, Transformer, TransformerSize
from torch import Tensor, nn


class P4Transformer(nn.Module):
    """The classifier: points (B, L, N, 3) -> logits (B, classes).

    emb_relu: a ReLU before the transformer. ffn_dropout and head_dropout act in training alone;
    head_dropout None leaves the layer out, which gives the head's last layer another number.
    """

    def __init__(
        self,
        shape: TubeShape,
        size: TransformerSize,
        classes: int,
        *,
        emb_relu: bool = False,
        ffn_dropout: float = 0.0,
        head_dropout: float | None = None,
        compat: bool = False,
    ) -> None:
        super().__init__()
        self.emb_relu = emb_relu
        self.tube_embedding = tube_embedding(size.dim, shape, compat)
        self.pos_embedding = nn.Conv1d(4, size.dim, 1)
        self.transformer = Transformer(size, ffn_dropout)
        self.mlp_head = mlp_head(size, classes, head_dropout)

    def forward(self, points: Tensor) -> Tensor:
        """points: (B, L, N, 3). Returns logits (B, classes)."""
        tokens = embed(self.tube_embedding, self.pos_embedding, points).flatten(1, 2)
        if self.emb_relu:
            tokens = torch.relu(tokens)
        return self.mlp_head(maximum(self.transformer(tokens), 1))


class P4TransformerActions(nn.Module):
    """HOI4D action segmentation: points (B, L, N, 3) -> logits of each frame (B, L, classes)."""

    def __init__(
        self, shape: TubeShape, size: TransformerSize, classes: int, *, compat: bool = False
    ) -> None:
        super().__init__()
        self.tube_embedding = tube_embedding(size.dim, shape, compat)
        self.transformer1 = Transformer(size)
        self.pos_embedding = nn.Conv1d(4, size.dim, 1)
        self.mlp_head = mlp_head(size, classes)

    def forward(self, points: Tensor) -> Tensor:
        """points: (B, L, N, 3). Returns logits (B, L', classes)."""
        frames = maximum(embed(self.tube_embedding, self.pos_embedding, points), 2)
        return self.mlp_head(self.transformer1(torch.relu(frames)))


class PSTTransformer(nn.Module):
    """The classifier of PST-Transformer: points (B, L, N, 3) -> logits (B, classes)."""

    def __init__(
        self,
        shape: TubeShape,
        size: TransformerSize,
        classes: int,
        *,
        head_dropout: float = 0.0,
        compat: bool = False,
    ) -> None:
        super().__init__()
        self.tube_embedding = tube_embedding(size.dim, shape, compat)
        self.transformer = DisplacementTransformer(size)
        self.mlp_head = mlp_head(size, classes, head_dropout)

    def forward(self, points: Tensor) -> Tensor:
        """points: (B, L, N, 3). Returns logits (B, classes)."""
        anchors, features = self.tube_embedding(points)
        tokens = features.transpose(2, 3).flatten(1, 2)
        return self.mlp_head(maximum(self.transformer(anchors.flatten(1, 2), tokens), 1))


def tube_embedding(dim: int, shape: TubeShape, compat: bool) -> P4DConv:
    """One convolution without normalisation, pooled by the maximum."""
    return P4DConv(0, [dim], shape, norm=False, temporal_pooling="max", compat=compat)


def embed(tubes: P4DConv, position: nn.Conv1d, points: Tensor) -> Tensor:
    """points: (B, L, N, 3). Returns (B, L', M, C): the tubes' features and where they are.

    The anchor frames are counted from 1.
    """
    anchors, features = tubes(points)
    times = torch.arange(1, anchors.shape[1] + 1).to(anchors)
    where = torch.cat([anchors, times[None, :, None, None].expand_as(anchors[..., :1])], dim=3)
    places = position(where.flatten(1, 2).transpose(1, 2)).transpose(1, 2)
    return features.transpose(2, 3) + places.unflatten(1, anchors.shape[1:3])


def mlp_head(size: TransformerSize, classes: int, dropout: float | None = None) -> nn.Sequential:
    """(..., C) -> logits (..., classes)."""
    last = nn.Linear(size.mlp_dim, classes)
    return nn.Sequential(
        nn.LayerNorm(size.dim),
        nn.Linear(size.dim, size.mlp_dim),
        nn.GELU(),
        *([last] if dropout is None else [nn.Dropout(dropout), last]),
    )


class PointUNet(nn.Module):
    """Four P4DConv down, and four P4DTransConv up to all points: the base of segmentation.

    down: the widths of conv1 to conv4; up: those of deconv4 to deconv1.
    """

    def __init__(
        self,
        radius: float,
        k: int,
        down: Sequence[Sequence[int]],
        up: Sequence[Sequence[int]],
        *,
        compat: bool = False,
    ) -> None:
        super().__init__()
        shapes = [
            TubeShape(radius, k, 4),
            TubeShape(2 * radius, k, 4),
            TubeShape(4 * radius, k, 4, 3, 1, (1, 1)),
            TubeShape(8 * radius, k, 2),
        ]
        widths = [3, *(channels[-1] for channels in down)]
        for number, (shape, channels) in enumerate(zip(shapes, down), start=1):
            layer = P4DConv(
                widths[number - 1],
                channels,
                shape,
                norm=True,
                temporal_pooling="sum",
                compat=compat,
            )
            self.add_module(f"conv{number}", layer)
        width = widths[4]
        for number, channels in zip((4, 3, 2, 1), up):
            self.add_module(f"deconv{number}", P4DTransConv(width, widths[number - 1], channels))
            width = channels[-1]

    def down(self, points: Tensor, features: Tensor) -> list[tuple[Tensor, Tensor]]:
        """points: (B, L, N, 3); features: (B, L, 3, N). Returns them at each of five levels."""
        levels = [(points, features)]
        for number in (1, 2, 3, 4):
            levels.append(self.get_submodule(f"conv{number}")(*levels[-1]))
        return levels

    def up(self, levels: list[tuple[Tensor, Tensor]]) -> Tensor:
        """levels: what `down` returned. Returns the features of all points (B, L, C, N)."""
        points, features = levels[4]
        for number in (4, 3, 2, 1):
            dense_points, dense_features = levels[number - 1]
            deconv = self.get_submodule(f"deconv{number}")
            features = deconv(points, features, dense_points, dense_features)
            points = dense_points
        return features


class P4TransformerSegmenter(PointUNet):
    """Semantic segmentation: points (B, L, N, 3) -> logits of each point (B, L, N, classes)."""

    def __init__(
        self,
        radius: float,
        k: int,
        down: Sequence[Sequence[int]],
        up: Sequence[Sequence[int]],
        size: TransformerSize,
        classes: int,
        *,
        compat: bool = False,
    ) -> None:
        super().__init__(radius, k, down, up, compat=compat)
        self.transformer = Transformer(size)
        self.outconv = nn.Conv2d(up[-1][-1], classes, 1)

    def forward(self, points: Tensor, colours: Tensor | None = None) -> Tensor:
        """points: (B, L, N, 3); colours: (B, L, N, 3), None for the points again, as on HOI4D.

        Returns logits (B, L, N, classes).
        """
        levels = self.down(points, (points if colours is None else colours).transpose(2, 3))
        anchors, features = levels[4]
        frames, count = anchors.shape[1:3]
        tokens = self.transformer(torch.relu(features.transpose(2, 3).flatten(1, 2)))
        levels[4] = anchors, tokens.unflatten(1, (frames, count)).transpose(2, 3)
        logits = self.outconv(self.up(levels).transpose(1, 2))  # (B, classes, L, N)
        return logits.permute(0, 2, 3, 1)


DOWN = ((32, 64, 128), (128, 128, 256), (256, 256, 512), (512, 512, 1024))
UP = ((256, 256), (256, 256), (128, 128), (128, 128))


def p4transformer_msr(classes: int = 20, radius: float = 0.7) -> P4Transformer:
    """MSR-Action3D: clips of 24 frames of 2048 points."""
    shape = TubeShape(radius, 32, 32, 3, 2, (1, 0))
    return P4Transformer(shape, TransformerSize(1024, 5, 8, 128, 2048), classes)


def p4transformer_ntu(classes: int = 60, radius: float = 0.1) -> P4Transformer:
    """NTU RGB+D: clips of 24 frames of 2048 points."""
    shape = TubeShape(radius, 32, 32, 3, 2, (1, 0))
    size = TransformerSize(1024, 10, 8, 256, 2048)
    return P4Transformer(shape, size, classes, ffn_dropout=0.05, head_dropout=0.5)


def p4transformer_hoi4d_actions(classes: int = 19, radius: float = 0.9) -> P4TransformerActions:
    """HOI4D action segmentation: clips of 150 frames of 2048 points."""
    shape = TubeShape(radius, 32, 32, 3, 1, (1, 1))
    return P4TransformerActions(shape, TransformerSize(2048, 5, 8, 128, 1024), classes)


def p4transformer_hoi4d_semantic(classes: int = 49, radius: float = 0.9) -> P4TransformerSegmenter:
    """HOI4D semantic segmentation: clips of 3 frames of 8192 points. Synthia 4D's network too."""
    size = TransformerSize(1024, 2, 4, 256, 1024)
    return P4TransformerSegmenter(radius, 32, DOWN, UP, size, classes)


def pst_transformer_msr_small(classes: int = 20, radius: float = 0.3) -> PSTTransformer:
    """MSR-Action3D: clips of 24 frames of 2048 points."""
    shape = TubeShape(radius, 32, 32, 3, 2, (1, 0))
    return PSTTransformer(shape, TransformerSize(80, 5, 2, 40, 160), classes)


def pst_transformer_ntu(classes: int = 60, radius: float = 0.1) -> PSTTransformer:
    """NTU RGB+D: clips of 24 frames of 2048 points."""
    shape = TubeShape(radius, 32, 32, 3, 2, (1, 0))
    size = TransformerSize(1024, 5, 8, 256, 2048)
    return PSTTransformer(shape, size, classes, head_dropout=0.5)
