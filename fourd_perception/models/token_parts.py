"""Parts that the transformers share besides their blocks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fourd_perception.models.linear import Linear

TIMES = ("linear", "sinusoids")
_FREQUENCIES = 32
_PERIODS = (4, 600)
"""The shortest and the longest of the sinusoids, frames."""


class TimeEmbedding(Linear):
    """The part of P4Transformer's position embedding, linear in (x, y, z, t), that tells the time.

    t = 1, 2, ... counts the clip's anchor frames, so it changes as a window slides over a stream.
    The part that tells the place does not; `P4DConv` adds it. With `sinusoids` it is linear in
    sines and cosines of t instead (Vaswani et al., 2017, with a learnt map behind).
    """

    def __init__(self, channels: int, kind: str = "linear") -> None:
        """kind: one of `TIMES`."""
        super().__init__(2 * _FREQUENCIES if kind == "sinusoids" else 1, channels)

    def forward(self, frames: int) -> Tensor:  # type: ignore[override]
        """(L, C) for L frames, with the embedding's bias."""
        device = self.weight.device
        time = torch.arange(1, frames + 1, device=device, dtype=self.weight.dtype)[:, None]
        if self.in_features > 1:
            shortest, longest = map(math.log10, _PERIODS)
            periods = torch.logspace(shortest, longest, _FREQUENCIES, device=device)
            phase = 2 * math.pi * time / periods
            time = torch.cat((phase.sin(), phase.cos()), 1)
        return super().forward(time)


def mlp_head(channels: int, hidden: int, classes: int, dropout: float) -> nn.Sequential:
    """The classifier of the transformers: norm, linear, GELU, linear."""
    return nn.Sequential(
        nn.LayerNorm(channels),
        Linear(channels, hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        Linear(hidden, classes),
    )
