"""Statistics of a batch that several processes share, each with a part of it (torchrun).

PyTorch's SyncBatchNorm refuses tensors of the CPU, and needs the tensor that is normalised, which
the encoders do not build.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn


def ranks() -> int:
    """How many processes share the batch; 1 where there is only this one."""
    return (
        distributed.get_world_size()
        if distributed.is_available() and distributed.is_initialized()
        else 1
    )


def summed_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of all processes' tensors, each (..., C) or of any one shape; itself if it is alone.

    Its gradient is the sum of the processes' gradients: right where the loss is the sum of theirs.
    Every process must call it, as often and in the same order, and so for its backward pass.
    """
    return _Sum.apply(tensor) if ranks() > 1 else tensor


def normalise_over_ranks(norm: nn.BatchNorm1d, values: Tensor) -> Tensor:
    """values: (..., C), normalised as `norm` in training does over all processes' rows together.

    The norm learns from all of them. Computed in single precision at least; the processes may have
    different numbers of rows.
    """
    exact = torch.promote_types(values.dtype, torch.float32)
    rows = values.reshape(-1, values.shape[-1]).to(exact)
    count = summed_over_ranks(torch.tensor(len(rows), dtype=torch.float64, device=rows.device))
    mean = summed_over_ranks(rows.sum(0)) / count.to(exact)
    centred = rows - mean
    variance = summed_over_ranks(centred.square().sum(0)) / count.to(exact)
    if norm.running_mean is not None and norm.running_var is not None:
        assert norm.num_batches_tracked is not None and norm.momentum is not None
        norm.num_batches_tracked += 1
        unbiased = variance.detach() * (count / (count - 1).clamp(min=1)).to(exact)
        norm.running_mean.lerp_(mean.detach().to(norm.running_mean.dtype), norm.momentum)
        norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), norm.momentum)
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    return (centred * scale + norm.bias).to(values.dtype).view(values.shape)


def moments_over_ranks(mean: Tensor, variance: Tensor, count: int) -> tuple[Tensor, Tensor, float]:
    """Mean and variance (C,) of all processes' values, from each one's own, and how many there are.

    mean, variance (divided by the count), float32, of `count` values each.
    """
    if ranks() == 1:
        return mean, variance, count
    total = summed_over_ranks(torch.tensor(count, dtype=torch.float64, device=mean.device)).item()
    together = summed_over_ranks(mean.double() * count) / total
    spread = variance.double() + (mean.double() - together).square()
    shared = summed_over_ranks(spread * count) / total
    return together.to(mean.dtype), shared.to(variance.dtype), total


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total
