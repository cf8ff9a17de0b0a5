"""The transformers of P4Transformer, PPTr and PST-Transformer: normalisation first.

One difference from the usual: a GELU follows the output projection of the attention. Submodules
stand where the public code has them (fn.fn and the numbers in Sequential), so that the names of
parameters are the same; dropout keeps its place in them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class TransformerSize(NamedTuple):
    """The sizes of a transformer."""

    dim: int
    depth: int
    heads: int
    dim_head: int
    mlp_dim: int


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, dim: int, heads: int, dim_head: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(dim, 3 * heads * dim_head, bias=False)
        self.to_out = output_projection(dim, heads, dim_head)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """tokens: (B, n, C); mask: (B, n or 1, n), true where row i may look at column j."""
        query, key, value = split_heads(self.to_qkv(tokens), self.heads)
        attention = attention_weights(query, key, mask)
        return self.to_out(join_heads(attention @ value))


class DisplacementAttention(nn.Module):
    """PST-Transformer's attention, whose values know where they are; normalised and residual.

    out_i = sum over j of a_ij (v_j + W_s (x_j - x_i)).
    """

    def __init__(self, dim: int, heads: int, dim_head: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.to_qkv = nn.Linear(dim, 3 * heads * dim_head, bias=False)
        self.spatial_op = nn.Linear(3, dim_head, bias=False)
        self.to_out = output_projection(dim, heads, dim_head)

    def forward(self, points: Tensor, tokens: Tensor) -> Tensor:
        """points: (B, n, 3); tokens: (B, n, C). Returns (B, n, C)."""
        query, key, value = split_heads(self.to_qkv(self.norm(tokens)), self.heads)
        attention = attention_weights(query, key, None)
        displacement = points[:, None, :, :] - points[:, :, None, :]  # (B, i, j, 3): x_j - x_i
        mean = torch.einsum("bhij,bijc->bhic", attention, displacement)
        out = attention @ value + self.spatial_op(mean)
        return tokens + self.to_out(join_heads(out))


def output_projection(dim: int, heads: int, dim_head: int) -> nn.Module:
    """Nothing, if the one head is as wide as the tokens."""
    if heads == 1 and dim_head == dim:
        return nn.Identity()
    return nn.Sequential(nn.Linear(heads * dim_head, dim), nn.GELU())


def split_heads(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """qkv: (B, n, 3 * heads * d). Returns query, key and value, each (B, heads, n, d)."""
    query, key, value = (
        part.unflatten(2, (heads, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=2)
    )
    return query, key, value


def join_heads(tokens: Tensor) -> Tensor:
    """tokens: (B, heads, n, d). Returns (B, n, heads * d)."""
    return tokens.transpose(1, 2).flatten(2)


def attention_weights(query: Tensor, key: Tensor, mask: Tensor | None) -> Tensor:
    """query, key: (B, heads, n, d); mask: (B, n or 1, n). Returns (B, heads, n, n)."""
    scores = query @ key.transpose(2, 3) * query.shape[3] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None], -torch.inf)
    return scores.softmax(dim=3)


def feed_forward(dim: int, hidden: int, dropout: float = 0.0) -> list[nn.Module]:
    """The layers of the MLP."""
    return [
        nn.Linear(dim, hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, dim),
        nn.Dropout(dropout),
    ]


class FeedForward(nn.Module):
    """The MLP applied to every token, (B, n, C) to (B, n, C)."""

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.net = nn.Sequential(*feed_forward(dim, hidden, dropout))

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """tokens: (B, n, C); the mask means nothing to it."""
        return self.net(tokens)


class ResidualFeedForward(nn.Module):
    """PST-Transformer's MLP: normalised and residual, (B, n, C) to (B, n, C)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.LayerNorm(dim), *feed_forward(dim, hidden))

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (B, n, C)."""
        return tokens + self.net(tokens)


class PreNorm(nn.Module):
    """fn(norm(tokens))."""

    def __init__(self, dim: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fn = fn

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """tokens: (B, n, C)."""
        return self.fn(self.norm(tokens), mask)


class Residual(nn.Module):
    """tokens + fn(tokens)."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """tokens: (B, n, C)."""
        return tokens + self.fn(tokens, mask)


class Block(nn.ModuleList):
    """One layer of Transformer: attention, then the MLP, (B, n, C) to (B, n, C)."""

    def __init__(self, size: TransformerSize, dropout: float) -> None:
        attention = Attention(size.dim, size.heads, size.dim_head)
        mlp = FeedForward(size.dim, size.mlp_dim, dropout)
        super().__init__([Residual(PreNorm(size.dim, part)) for part in (attention, mlp)])

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """tokens: (B, n, C)."""
        attention, mlp = self
        return mlp(attention(tokens, mask), mask)


class Transformer(nn.Module):
    """The transformer of P4Transformer and PPTr, (B, n, C) to (B, n, C)."""

    def __init__(self, size: TransformerSize, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(size, dropout) for _ in range(size.depth))

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """tokens: (B, n, C); mask: (B, n or 1, n), true where row i may look at column j."""
        for block in self.layers:
            tokens = block(tokens, mask)
        return tokens


class DisplacementBlock(nn.ModuleList):
    """One layer of DisplacementTransformer: attention, then the MLP, (B, n, C) to (B, n, C)."""

    def __init__(self, size: TransformerSize) -> None:
        attention = DisplacementAttention(size.dim, size.heads, size.dim_head)
        super().__init__([attention, ResidualFeedForward(size.dim, size.mlp_dim)])

    def forward(self, points: Tensor, tokens: Tensor) -> Tensor:
        """points: (B, n, 3); tokens: (B, n, C)."""
        attention, mlp = self
        return mlp(attention(points, tokens))


class DisplacementTransformer(nn.Module):
    """The transformer of PST-Transformer, (B, n, C) to (B, n, C)."""

    def __init__(self, size: TransformerSize) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DisplacementBlock(size) for _ in range(size.depth))

    def forward(self, points: Tensor, tokens: Tensor) -> Tensor:
        """points: (B, n, 3); tokens: (B, n, C)."""
        for block in self.layers:
            tokens = block(points, tokens)
        return tokens
