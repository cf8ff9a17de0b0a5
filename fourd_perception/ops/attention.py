"""Attention, by the faster of two ways where products may be rounded to bfloat16."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from fourd_perception.ops.linear import products_may_be_rounded

_FEW_KEYS = 256
"""Up to so many keys the weights of all of them are in memory at once."""


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(query @ key.T / sqrt(C)) @ value, as `scaled_dot_product_attention`.

    query: (B, H, n, C), key: (B, H, m, C), value: (B, H, m, C'). mask: bool, of a shape that
    broadcasts to (B, H, n, m): which keys a query heeds, one at least. Returns (B, H, n, C').
    On a CPU PyTorch's own goes through the keys in blocks, each with products of its own. Where
    these may be rounded (`products_may_be_rounded`), every one of them is converted and called for
    itself, which takes 4 to 10 times as long as two products of all that there is.
    """
    whole = query.device.type == "cpu" and key.shape[-2] <= _FEW_KEYS and products_may_be_rounded()
    if not whole:
        return scaled_dot_product_attention(query, key, value, attn_mask=mask)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(-1).to(value.dtype) @ value
