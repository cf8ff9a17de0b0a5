"""PPTr's lower level: attention among the points of one primitive, and one token for each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fourd_perception.models.frame_layer import FrameLayer
from fourd_perception.models.level import Level
from fourd_perception.models.transformer import Transformer, TransformerConfig
from fourd_perception.ops.plane_patches import plane_patches
from fourd_perception.parameters import param


@dataclass(frozen=True)
class PrimitivesConfig:
    """What a primitive is."""

    kind: str = param(
        "fps_groups",
        "planes fitted to each frame (the paper), or groups in sampling order (the authors' code)",
        choices=("fps_groups", "planes"),
    )
    count: int = param(8, "primitives in a frame", at_least=1, at_most=4096)
    plane_distance: float = param(
        0.05, "a plane's points lie closer to it than this, model units", at_least=1e-6
    )

    def labels(self, points: Tensor) -> Tensor | None:
        """(F, N) int64 for points (F, N, 3) of F frames; None where sampling order says it all."""
        if self.kind == "fps_groups":
            return None
        return plane_patches(points, self.count, distance=self.plane_distance)


@dataclass(frozen=True)
class Members:
    """Which points make up each of the P primitives of F frames.

    index: (F, P, K) int64 into the frame's points. there: (F, P, K) bool; a primitive with fewer
    than K points has the rest marked as not there, an empty one all of them.
    """

    index: Tensor
    there: Tensor

    @staticmethod
    def in_sampling_order(frames: int, points: int, count: int, device: torch.device) -> Members:
        """`count` groups of points that follow one another, as in the HOI4D challenge code."""
        index = torch.arange(points, device=device).view(1, count, -1).expand(frames, -1, -1)
        return Members(index, torch.ones_like(index, dtype=torch.bool))

    @staticmethod
    def labelled(labels: Tensor, count: int) -> Members:
        """labels: (F, N) int64 in 0..count-1, -1 for points of no primitive."""
        frames, points = labels.shape
        spare = torch.where(labels < 0, count, labels)
        sizes = torch.zeros(frames, count + 1, dtype=torch.int64, device=labels.device)
        sizes.scatter_add_(1, spare, torch.ones_like(spare))
        order = spare.argsort(dim=1, stable=True)
        most = max(1, int(sizes[:, :count].max()))
        place = torch.arange(most, device=labels.device)
        starts = sizes.cumsum(1) - sizes
        there = place < sizes[:, :count, None]
        where = (starts[:, :count, None] + place).clamp(max=points - 1).flatten(1)
        return Members(order.gather(1, where).view(frames, count, most), there)


class IntraPrimitive(FrameLayer):
    """PPTr, section 4.2: a transformer inside each primitive, then the maximum over its points."""

    def __init__(
        self, channels: int, config: PrimitivesConfig, transformer: TransformerConfig
    ) -> None:
        super().__init__()
        self.config = config
        self.transformer = Transformer(channels, transformer)

    def output_points(self, points: int) -> int:
        """The primitives; 0 where there are fewer points."""
        return self.config.count if points >= self.config.count else 0

    def members(self, level: Level) -> Members:
        """The points of each primitive."""
        frames, points, _ = level.points.shape
        if level.primitives is None:
            return Members.in_sampling_order(frames, points, self.config.count, level.points.device)
        return Members.labelled(level.primitives, self.config.count)

    def forward(self, level: Level, frames: Tensor) -> Level:
        """See FrameLayer. Returns one point for each primitive, features (G, P, C).

        An empty primitive's `primitives` is -1, and its features are zero.
        """
        level = level.at(frames[:, 0])
        assert level.features is not None
        members = self.members(level)
        inside = self.attend(level.features, members)
        return self.pool(inside, members, level)

    def attend(self, features: Tensor, members: Members) -> Tensor:
        """features: (F, N, C). Returns (F, P, K, C), what each member learnt from its primitive."""
        frames, count, _ = members.index.shape
        rows = torch.arange(frames, device=features.device)[:, None, None]
        tokens = torch.relu(features[rows, members.index]).flatten(0, 1)
        mask = None
        if not members.there.all():
            empty = ~members.there.any(2, keepdim=True)
            mask = (members.there | empty).flatten(0, 1)
        return self.transformer(tokens, None, mask).unflatten(0, (frames, count))

    def pool(self, inside: Tensor, members: Members, level: Level) -> Level:
        """inside: (F, P, K, C). The maximum over each primitive's members, at its first one."""
        filled = members.there.any(2)
        pooled = inside.masked_fill(~members.there[..., None], -torch.inf).amax(2)
        pooled = pooled.masked_fill(~filled[..., None], 0.0)
        rows = torch.arange(len(filled), device=filled.device)[:, None]
        number = torch.arange(filled.shape[1], device=filled.device)
        return Level(
            level.points[rows, members.index[:, :, 0]],
            pooled,
            None,
            torch.where(filled, number, -1),
        )


def with_memory(
    transformer: Transformer, tokens: Tensor, heeded: Tensor, memory: Tensor | None
) -> Tensor:
    """PPTr, section 4.3: the primitives of a clip, and those of a memory, heed each other.

    tokens: (B, L, P, C). heeded: (B, L, P) bool, false for empty primitives. memory: (B, T, P', C)
    or None; rows of zeros are empty primitives. Returns (B, L, P, C); what the memory's tokens come
    to is of no use and left out.
    Raises ValueError if the memory does not fit.
    """
    context, mask = tokens.flatten(1, 2), heeded.flatten(1)
    if memory is not None:
        batch, channels = tokens.shape[0], tokens.shape[3]
        if memory.dim() != 4 or memory.shape[0] != batch or memory.shape[3] != channels:
            raise ValueError(
                f"memory: expected ({batch}, T, P, {channels}), got {tuple(memory.shape)}"
            )
        context = torch.cat((context, memory.flatten(1, 2)), 1)
        mask = torch.cat((mask, memory.flatten(1, 2).any(-1)), 1)
    out = transformer(torch.relu(context), None, None if mask.all() else mask)
    return out[:, : tokens.shape[1] * tokens.shape[2]].unflatten(1, tokens.shape[1:3])


def masked_maximum(tokens: Tensor, heeded: Tensor) -> Tensor:
    """tokens: (..., P, C), heeded: (..., P) bool. (..., C), over those that are to be heeded."""
    if heeded.all():
        return tokens.amax(-2)
    lowest = torch.finfo(tokens.dtype).min
    return tokens.masked_fill(~heeded[..., None], lowest).amax(-2)
