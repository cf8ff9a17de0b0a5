"""A linear map of rows, by the faster of the two matrix libraries in PyTorch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.grad import conv2d_weight

_FEW_ROWS = 4096
"""Up to so many rows oneDNN's product is at its best; with more its convolution is."""

_FEW_ROWS_FOR_WEIGHTS = 1024
"""The same for the weight's gradient, a product in which the rows are what is summed over."""

# What PyTorch's own compiler makes of a linear map. Without it the convolution does all.
_PRODUCT = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def linear(values: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """values @ weight.T + bias, as `torch.nn.functional.linear`.

    values: (..., C), weight: (C', C), bias: (C',). Returns (..., C').
    PyTorch multiplies float32 matrices by MKL, which on AMD processors runs at half the speed of
    oneDNN, which PyTorch has for its compiler and for convolutions (140 to 190 against 250 to 410
    GFLOPS on two cores). So on a CPU this, and its gradient, is oneDNN's product, or a convolution
    with a kernel of one, the rows being the pixels of an image of one line: the same numbers to
    rounding. The gradient has no gradient of its own.
    Under autocast, and where float32 products may be rounded to bfloat16
    (`torch.set_float32_matmul_precision`), PyTorch takes oneDNN by itself.
    """
    fits = values.device.type == "cpu" and values.dtype == weight.dtype == torch.float32
    if (
        not fits
        or values.numel() == 0
        or not torch.backends.mkldnn.is_available()
        or products_may_be_rounded()
    ):
        return functional.linear(values, weight, bias)
    given = [tensor for tensor in (values, weight, bias) if tensor is not None]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given):
        return _Linear.apply(values, weight, bias)
    return _linear(values, weight, bias)


def products_may_be_rounded() -> bool:
    """Whether a CPU may compute products of float32 matrices in bfloat16."""
    return torch.get_float32_matmul_precision() != "highest" or _autocasts()


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(values, weight)
        return _linear(values, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        values, weight = ctx.saved_tensors
        of_values, of_weight, of_bias = ctx.needs_input_grad
        return (
            _linear(gradient, weight.T) if of_values else None,
            _of_weight(_rows(values), _rows(gradient)) if of_weight else None,
            _rows(gradient).sum(0) if of_bias else None,
        )


def _linear(values: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    # oneDNN has no kernel for strided rows but a reference that is a hundred times slower. Weights
    # it takes either way, as they are and transposed.
    rows = _rows(values)
    if not weight.T.is_contiguous():
        weight = weight.contiguous()
    if _PRODUCT is not None and len(rows) <= _FEW_ROWS:
        out = _PRODUCT(rows, weight, bias, "none", [], "")
    else:
        pixels = functional.conv2d(_image(rows), weight[:, :, None, None], bias)
        out = pixels.permute(0, 2, 3, 1).reshape(len(rows), -1)
    # Not as a view, in which autograd would not let the next layer write without a copy.
    return torch.ops.aten._unsafe_view(out, (*values.shape[:-1], weight.shape[0]))


def _of_weight(rows: Tensor, gradient: Tensor) -> Tensor:
    """gradient.T @ rows, the weight's gradient: (C', C) for (R, C) and (R, C')."""
    if _PRODUCT is not None and len(rows) <= _FEW_ROWS_FOR_WEIGHTS:
        return _PRODUCT(gradient.T.contiguous(), rows.T, None, "none", [], "")
    shape = (gradient.shape[1], rows.shape[1], 1, 1)
    return conv2d_weight(_image(rows), shape, _image(gradient))[:, :, 0, 0]


def _rows(values: Tensor) -> Tensor:
    return values.reshape(-1, values.shape[-1]).contiguous()


def _image(rows: Tensor) -> Tensor:
    """(1, C, 1, R), channels last: nothing is copied."""
    return rows.view(1, 1, *rows.shape).permute(0, 3, 1, 2)


def _autocasts() -> bool:
    if hasattr(torch, "get_autocast_dtype"):  # from PyTorch 2.4 on
        return torch.is_autocast_enabled("cpu")
    return torch.is_autocast_cpu_enabled()
