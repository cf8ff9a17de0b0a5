"""Parts that the transformers share besides their blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fourd_perception.models.linear import Linear


class TimeEmbedding(Linear):
    """The part of P4Transformer's position embedding, linear in (x, y, z, t), that tells the time.

    t = 1, 2, ... counts the clip's anchor frames, so it changes as a window slides over a stream.
    The part that tells the place does not; `P4DConv` adds it.
    """

    def __init__(self, channels: int, scale: float = 1.0) -> None:
        """scale: what t is multiplied by before."""
        super().__init__(1, channels)
        self.scale = scale

    def forward(self, frames: int) -> Tensor:  # type: ignore[override]
        """(L, C) for L frames, with the embedding's bias."""
        time = torch.arange(1, frames + 1, device=self.weight.device, dtype=self.weight.dtype)
        return super().forward(self.scale * time[:, None])


def mlp_head(channels: int, hidden: int, classes: int, dropout: float) -> nn.Sequential:
    """The classifier of the transformers: norm, linear, GELU, linear."""
    return nn.Sequential(
        nn.LayerNorm(channels),
        Linear(channels, hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        Linear(hidden, classes),
    )
