"""PPTr (ECCV 2022): a transformer within each primitive, then one between them.

Parameters have the names and shapes of the public code, which takes runs of anchors in the order of
farthest point sampling for primitives. The classifier and the action segmenter also take the
paper's: any labels of the anchors, and a memory of tokens of other frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from textbook.p4d_conv import P4DTransConv
from textbook.p4transformer import DOWN, PointUNet, embed, mlp_head, tube_embedding
from textbook.point_operations import ball_query, farthest_point_sample, gather, group, maximum
from textbook.point_tubes import TubeShape
from textbook.transformer import Transformer, TransformerSize
from torch import Tensor, nn


class PPTr(nn.Module):
    """The classifier: points (B, L, N, 3) -> logits (B, classes)."""

    def __init__(
        self,
        shape: TubeShape,
        size: TransformerSize,
        classes: int,
        *,
        groups: int = 8,
        compat: bool = False,
    ) -> None:
        super().__init__()
        self.groups = groups
        self.tube_embedding = tube_embedding(size.dim, shape, compat)
        self.transformer1 = Transformer(size)
        self.transformer2 = Transformer(size)
        self.mlp_head = mlp_head(size, classes)

    def forward(
        self,
        points: Tensor,
        primitives: Tensor | None = None,
        count: int = 0,
        memory: Tensor | None = None,
    ) -> Tensor:
        """points: (B, L, N, 3); primitives: (B, L', M) int64, a label in 0..count-1 of each anchor.

        Without primitives, `groups` runs of anchors. memory: (B, T, P, C) tokens that the clip's
        primitives also look at. Returns logits (B, classes).
        """
        tokens = self.tube_embedding(points)[1].transpose(2, 3)
        pooled, present = self._within(tokens, primitives, count)
        present = present.flatten(1)
        output = between_primitives(self.transformer2, pooled.flatten(1, 2), present, memory)
        return self.mlp_head(maximum(output.masked_fill(~present[..., None], -torch.inf), 1))

    def _within(
        self, tokens: Tensor, primitives: Tensor | None, count: int
    ) -> tuple[Tensor, Tensor]:
        """tokens: (B, L, M, C). Returns primitives (B, L, P, C) and which exist (B, L, P)."""
        if primitives is None:
            pooled = within_runs(self.transformer1, tokens, self.groups)
            return pooled, torch.ones_like(pooled[..., 0], dtype=torch.bool)
        return within_primitives(self.transformer1, tokens, primitives, count)


class PPTrActions(PPTr):
    """HOI4D action segmentation: points (B, L, N, 3) -> logits of each frame (B, L, classes)."""

    def __init__(
        self,
        shape: TubeShape,
        size: TransformerSize,
        classes: int,
        *,
        groups: int = 8,
        compat: bool = False,
    ) -> None:
        super().__init__(shape, size, classes, groups=groups, compat=compat)
        self.pos_embedding = nn.Conv1d(4, size.dim, 1)

    def forward(
        self,
        points: Tensor,
        primitives: Tensor | None = None,
        count: int = 0,
        memory: Tensor | None = None,
    ) -> Tensor:
        """As PPTr, but the second transformer looks at frames: the maximum of their primitives.

        Returns logits (B, L', classes).
        """
        tokens = embed(self.tube_embedding, self.pos_embedding, points)
        pooled, present = self._within(tokens, primitives, count)
        frames = maximum(pooled.masked_fill(~present[..., None], -torch.inf), 2)
        return self.mlp_head(between_primitives(self.transformer2, frames, None, memory))


class PPTrSegmenter(PointUNet):
    """HOI4D semantic segmentation: points (B, L, N, 3) -> logits of each point (B, L, N, classes).

    Primitives are balls: the first `group_size` points within group_radius of each of `anchors`
    points of a frame, by farthest point sampling.
    """

    def __init__(
        self,
        radius: float,
        k: int,
        down: Sequence[Sequence[int]],
        up: Sequence[Sequence[int]],
        size: TransformerSize,
        head: Sequence[int],
        classes: int,
        *,
        anchors: int = 64,
        group_radius: float = 0.9,
        group_size: int = 64,
        compat: bool = False,
    ) -> None:
        super().__init__(radius, k, down, up, compat=compat)
        self.anchors, self.group_radius, self.group_size = anchors, group_radius, group_size
        self.compat = compat
        self.deconv_cat = P4DTransConv(size.dim, up[-1][-1], [size.dim, size.dim])
        self.transformer1 = Transformer(size)
        self.transformer2 = Transformer(size)
        self.outconv1 = nn.Conv2d(size.dim, head[0], 1)
        self.outconv2 = nn.Conv2d(head[0], head[1], 1)
        self.outconv3 = nn.Conv2d(head[1], classes, 1)

    def forward(
        self, points: Tensor, colours: Tensor | None = None, memory: Tensor | None = None
    ) -> Tensor:
        """points: (B, L, N, 3); colours: (B, L, N, 3), None for the points again, as on HOI4D.

        memory: (B, T, P, C) tokens that the clip's primitives also look at.
        Returns logits (B, L, N, classes).
        """
        features = self.up(
            self.down(points, (points if colours is None else colours).transpose(2, 3))
        )
        frames = points.shape[1]
        centres, primitives = [], []
        for t in range(frames):
            chosen = farthest_point_sample(points[:, t], self.anchors, self.compat)
            centres.append(gather(points[:, t].transpose(1, 2), chosen).transpose(1, 2))
            index = ball_query(points[:, t], centres[t], self.group_radius, self.group_size)
            members = group(features[:, t], index).permute(0, 2, 3, 1)  # (B, anchors, size, C)
            members = self.transformer1(torch.relu(members.flatten(0, 1)))
            primitives.append(maximum(members, 1).unflatten(0, (-1, self.anchors)))
        tokens = torch.cat(primitives, dim=1)  # (B, L * anchors, C)
        tokens = between_primitives(self.transformer2, tokens, None, memory)
        spread = tokens.unflatten(1, (frames, self.anchors)).transpose(2, 3)
        fused = self.deconv_cat(torch.stack(centres, dim=1), spread, points, features)
        logits = self.outconv3(self.outconv2(self.outconv1(fused.transpose(1, 2))))
        return logits.permute(0, 2, 3, 1)


def within_runs(transformer: Transformer, tokens: Tensor, groups: int) -> Tensor:
    """tokens: (B, L, M, C); `groups` runs of M // groups anchors. Returns (B, L, groups, C)."""
    runs = tokens.unflatten(2, (groups, -1))
    output = transformer(torch.relu(runs.flatten(0, 2)))
    return maximum(output, 1).unflatten(0, runs.shape[:3])


def within_primitives(
    transformer: Transformer, tokens: Tensor, primitives: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """tokens: (B, L, M, C); primitives: (B, L, M) labels in 0..count-1.

    An anchor looks at the anchors of its primitive in its frame. Returns the maxima of the
    primitives (B, L, count, C), 0 where there are no anchors, and which have any (B, L, count).
    """
    if primitives.shape != tokens.shape[:3]:
        raise ValueError(
            f"primitives: expected {tuple(tokens.shape[:3])}, got {tuple(primitives.shape)}"
        )
    if primitives.min() < 0 or primitives.max() >= count:
        raise ValueError(f"primitives: expected labels in 0..{count - 1}")
    same = primitives[..., :, None] == primitives[..., None, :]  # (B, L, M, M)
    output = transformer(torch.relu(tokens.flatten(0, 1)), same.flatten(0, 1)).view_as(tokens)
    pooled, present = [], []
    for label in range(count):
        member = primitives == label
        pooled.append(maximum(output.masked_fill(~member[..., None], -torch.inf), 2))
        present.append(member.any(dim=2))
    exists = torch.stack(present, dim=2)
    return torch.stack(pooled, dim=2).masked_fill(~exists[..., None], 0.0), exists


def between_primitives(
    transformer: Transformer, tokens: Tensor, present: Tensor | None, memory: Tensor | None
) -> Tensor:
    """tokens: (B, n, C); present: (B, n), the tokens that exist (None: all), and are looked at.

    memory: (B, T, P, C). Returns (B, n, C), which for tokens that do not exist says nothing.
    """
    batch, count = tokens.shape[:2]
    mask = None
    if memory is not None:
        tokens = torch.cat([tokens, memory.flatten(1, 2)], dim=1)
    if present is not None:
        remembered = present.new_ones(batch, tokens.shape[1] - count)
        mask = torch.cat([present, remembered], dim=1)[:, None, :]
    return transformer(torch.relu(tokens), mask)[:, :count]


UP = ((256, 256), (256, 256), (256, 256), (512, 1024))


def pptr_msr(classes: int = 20, radius: float = 0.7) -> PPTr:
    """MSR-Action3D: clips of 24 frames of 2048 points."""
    shape = TubeShape(radius, 32, 32, 3, 2, (1, 0))
    return PPTr(shape, TransformerSize(2048, 5, 8, 128, 1024), classes)


def pptr_hoi4d_actions(classes: int = 19, radius: float = 0.9) -> PPTrActions:
    """HOI4D action segmentation: clips of 150 frames of 2048 points."""
    shape = TubeShape(radius, 32, 32, 3, 1, (1, 1))
    return PPTrActions(shape, TransformerSize(2048, 5, 8, 128, 1024), classes)


def pptr_hoi4d_semantic(classes: int = 49, radius: float = 0.9) -> PPTrSegmenter:
    """HOI4D semantic segmentation: clips of 3 frames of 8192 points."""
    size = TransformerSize(1024, 2, 4, 256, 1024)
    return PPTrSegmenter(radius, 32, DOWN, UP, size, (1024, 128), classes)
