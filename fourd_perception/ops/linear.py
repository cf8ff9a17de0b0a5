"""A linear map of rows, by the faster of the two matrix libraries in PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_FEW_ROWS = 4096
"""Up to so many rows oneDNN's product is at its best; with more its convolution is."""

# What PyTorch's own compiler makes of a linear map. Without it the convolution does all.
_PRODUCT = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def linear(values: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """values @ weight.T + bias, as `torch.nn.functional.linear`.

    values: (..., C), weight: (C', C), bias: (C',). Returns (..., C').
    PyTorch multiplies float32 matrices by MKL, which on AMD processors runs at half the speed of
    oneDNN, which PyTorch has for convolutions (140 to 190 against 250 to 410 GFLOPS on two cores).
    So on a CPU this is a convolution with a kernel of one, the rows being the pixels of an image of
    one line: the same numbers to rounding, with a gradient, and nothing is copied.
    Where float32 products may be rounded to bfloat16 (`torch.set_float32_matmul_precision`),
    PyTorch takes oneDNN by itself.
    """
    fits = values.device.type == "cpu" and values.dtype == weight.dtype == torch.float32
    if (
        not fits
        or values.numel() == 0
        or not torch.backends.mkldnn.is_available()
        or torch.get_float32_matmul_precision() != "highest"
    ):
        return functional.linear(values, weight, bias)
    # oneDNN has no kernel for strided matrices but a reference that is a hundred times slower.
    rows, weight = values.reshape(-1, values.shape[-1]).contiguous(), weight.contiguous()
    given = [tensor for tensor in (values, weight, bias) if tensor is not None]
    trained = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given)
    if _PRODUCT is not None and not trained and len(rows) <= _FEW_ROWS:
        out = _PRODUCT(rows, weight, bias, "none", [], "")
    else:
        image = rows.view(1, 1, *rows.shape).permute(0, 3, 1, 2)  # (1, C, 1, rows), channels last
        pixels = functional.conv2d(image, weight[:, :, None, None], bias)
        out = pixels.permute(0, 2, 3, 1).reshape(len(rows), -1)
    return out.view(*values.shape[:-1], weight.shape[0])
