"""Batch normalisation where the tensor to be normalised is never built, or need not be."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fourd_perception.ops.neighbour_sum import neighbour_sum


def normalise(norm: nn.BatchNorm1d, values: Tensor) -> Tensor:
    """values: (..., C) float32, normalised over all axes but the last."""
    return norm(values.reshape(-1, values.shape[-1])).view(values.shape)


def affine(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Scale and shift, each (C,), that the norm comes to in evaluation mode."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - scale * norm.running_mean


@dataclass(frozen=True)
class NeighbourStatistics:
    """Mean and variance of values[j] + constant[i], over all anchors i and their neighbours j.

    values: (F, N, C), constant: (G, M, C), float32; frames: (G, T) and index: (G, T, M, k) int64,
    as `neighbour_max` takes them. The grouped tensor (G, T, M, k, C), over which PSTNet++'s batch
    norm inside the maximum takes its statistics, is not built: with v and c centred,
    sum (v_j + c_i)^2 = sum_j n_j v_j^2 + 2 sum_i c_i sum_{j of i} v_j + T k sum_i c_i^2,
    where n_j is how often j is somebody's neighbour.
    """

    values: Tensor
    constant: Tensor
    frames: Tensor
    index: Tensor

    def affine(self, norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
        """Scale and shift (C,) of the norm: from this batch, which it learns from, if it trains."""
        if not norm.training:
            return affine(norm)
        mean, variance = self._moments()
        self._learn(norm, mean.detach(), variance.detach())
        scale = norm.weight * torch.rsqrt(variance + norm.eps)
        return scale, norm.bias - scale * mean

    def _moments(self) -> tuple[Tensor, Tensor]:
        total, points = self.index.numel(), self.values.shape[1]
        everywhere = (self.frames[:, :, None, None] * points + self.index).flatten()
        times = torch.bincount(everywhere, minlength=len(self.values) * points).double()
        # In double precision: where a scene is many radii wide, v_j and c_i are large and opposite.
        mean_value = times @ self.values.flatten(0, 1).double() / total
        mean_constant = self.constant.double().mean((0, 1))
        values = self.values - mean_value.to(self.values.dtype)
        constant = self.constant.double() - mean_constant
        around = neighbour_sum(values, self.frames, self.index).double().sum(2)  # (G, M, C)
        each = self.index.shape[1] * self.index.shape[3]
        variance = times @ values.flatten(0, 1).double().square() / total
        variance = variance + 2 * (constant * around).sum((0, 1)) / total
        variance = variance + constant.square().sum((0, 1)) * each / total
        mean = mean_value + mean_constant
        kind = self.values.dtype
        return mean.to(kind), variance.clamp(min=0).to(kind)

    def _learn(self, norm: nn.BatchNorm1d, mean: Tensor, variance: Tensor) -> None:
        assert norm.running_mean is not None and norm.running_var is not None
        assert norm.num_batches_tracked is not None and norm.momentum is not None
        norm.num_batches_tracked += 1
        unbiased = variance * (self.index.numel() / max(1, self.index.numel() - 1))
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(unbiased, norm.momentum)
