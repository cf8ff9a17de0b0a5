"""The transformer of P4Transformer and PPTr, and PST-Transformer's with displacements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from fourd_perception.models.linear import Linear
from fourd_perception.ops.attention import attention
from fourd_perception.parameters import param


@dataclass(frozen=True)
class TransformerConfig:
    """A stack of blocks. The width of its tokens is that of the encoder before it."""

    depth: int = param(5, "blocks", at_least=1, at_most=64)
    heads: int = param(8, "heads of the attention", at_least=1, at_most=64)
    head_channels: int = param(128, "channels of a head", at_least=1, at_most=4096)
    mlp_channels: int = param(1024, "channels inside a block's MLP", at_least=1, at_most=65536)
    dropout: float = param(0.0, "dropout in a block's MLP", at_least=0.0, at_most=0.95)


class Attention(nn.Module):
    """Multi-head self-attention, normalised before, with a GELU after the output projection.

    The GELU is P4Transformer's. With `displacement` (PST-Transformer) a head also gets
    W_s sum_j a_ij (x_j - x_i). The weights a_ij sum to one, so that is W_s (sum_j a_ij x_j - x_i):
    places are three more channels of the values, and no (n, n, 3) tensor is built.
    """

    def __init__(self, channels: int, config: TransformerConfig, displacement: bool) -> None:
        super().__init__()
        inner = config.heads * config.head_channels
        self.heads = config.heads
        self.norm = nn.LayerNorm(channels)
        self.to_qkv = Linear(channels, 3 * inner, bias=False)
        self.displacement = Linear(3, config.head_channels, bias=False) if displacement else None
        # One head as wide as the tokens needs no projection: so the public code has it.
        alone = config.heads == 1 and inner == channels
        self.project = nn.Identity() if alone else nn.Sequential(Linear(inner, channels), nn.GELU())

    def forward(self, tokens: Tensor, points: Tensor | None, mask: Tensor | None) -> Tensor:
        """tokens: (B, n, C). points: (B, n, 3). mask: (B, n) bool, the tokens to be heeded."""
        batch, count, _ = tokens.shape
        qkv = self.to_qkv(self.norm(tokens)).view(batch, count, 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        heeded = None if mask is None else mask[:, None, None]
        if self.displacement is None:
            out = attention(query, key, value, heeded)
        else:
            places = cast(Tensor, points)[:, None].expand(-1, self.heads, -1, -1)
            values = torch.cat((value, places.to(value.dtype)), -1)
            both = attention(query, key, values, heeded)
            out = both[..., :-3] + self.displacement(both[..., -3:] - places)
        return self.project(out.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """A block's MLP, normalised before."""

    def __init__(self, channels: int, config: TransformerConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.expand = Linear(channels, config.mlp_channels)
        self.project = Linear(config.mlp_channels, channels)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (..., C)."""
        inside = self.dropout(nn.functional.gelu(self.expand(self.norm(tokens))))
        return self.dropout(self.project(inside))


class Transformer(nn.Module):
    """Blocks of attention and MLP, each added to what it was given (P4Transformer, section 3.3)."""

    def __init__(
        self, channels: int, config: TransformerConfig, *, displacement: bool = False
    ) -> None:
        super().__init__()
        self.attention = nn.ModuleList(
            Attention(channels, config, displacement) for _ in range(config.depth)
        )
        self.feed_forward = nn.ModuleList(
            FeedForward(channels, config) for _ in range(config.depth)
        )

    def forward(
        self, tokens: Tensor, points: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """tokens: (B, n, C) float32. points: (B, n, 3), where displacements are attended to.

        mask: (B, n) bool, true for the tokens that others may heed; at least one in each row.
        """
        for attend, feed_forward in zip(self.attention, self.feed_forward):
            tokens = tokens + attend(tokens, points, mask)
            tokens = tokens + feed_forward(tokens)
        return tokens
