"""Batch normalisation where the tensor to be normalised is never built, or need not be."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fourd_perception.models.synchronised import (
    moments_over_ranks,
    normalise_over_ranks,
    ranks,
)
from fourd_perception.ops.neighbour_moments import neighbour_moments


def normalise(norm: nn.BatchNorm1d, values: Tensor) -> Tensor:
    """values: (..., C) float32, normalised over all axes but the last.

    In training by what all processes have that share the batch.
    """
    if norm.training and ranks() > 1:
        return normalise_over_ranks(norm, values)
    return norm(values.reshape(-1, values.shape[-1])).view(values.shape)


def rectified(norm: nn.BatchNorm1d, values: Tensor) -> Tensor:
    """relu(normalise(norm, values)), values: (..., C) float32, in one tensor."""
    if norm.training and ranks() > 1:
        return torch.relu(normalise_over_ranks(norm, values))
    return norm(values.reshape(-1, values.shape[-1])).relu_().view(values.shape)


def affine(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Scale and shift, each (C,), that the norm comes to in evaluation mode."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - scale * norm.running_mean


def affine_of_neighbours(
    norm: nn.BatchNorm1d, values: Tensor, constant: Tensor, frames: Tensor, index: Tensor
) -> tuple[Tensor, Tensor]:
    """Scale and shift (C,) of a norm of values[j] + constant[i], over anchors i and neighbours j.

    values: (F, N, C), constant: (G, M, C), frames: (G, T) and index: (G, T, M, k), as
    `neighbour_moments` takes them. The grouped tensor (G, T, M, k, C), over which PSTNet++'s batch
    norm inside the maximum takes its statistics, is not built.
    In training the statistics are this batch's, and the norm learns from them.
    """
    if not norm.training:
        return affine(norm)
    mean, variance = neighbour_moments(values, constant, frames, index)
    mean, variance, count = moments_over_ranks(mean, variance, index.numel())
    _learn(norm, mean.detach(), variance.detach(), count)
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    return scale, norm.bias - scale * mean


def _learn(norm: nn.BatchNorm1d, mean: Tensor, variance: Tensor, count: float) -> None:
    assert norm.running_mean is not None and norm.running_var is not None
    assert norm.num_batches_tracked is not None and norm.momentum is not None
    norm.num_batches_tracked += 1
    norm.running_mean.lerp_(mean, norm.momentum)
    norm.running_var.lerp_(variance * (count / max(1, count - 1)), norm.momentum)
