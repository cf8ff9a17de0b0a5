"""What every operation on points asks of its arguments."""

from __future__ import annotations

import torch
from torch import Tensor


def check_points(
    name: str, points: Tensor, *, at_least: int = 0, device: torch.device | None = None
) -> None:
    """Raises ValueError unless `points` is (B, N, 3) float32, finite, on `device`, N >= at_least.

    On a GPU finite is taken for granted: to look would wait for all that it has been given to do.
    NaN and infinite coordinates are refused and not worked around: which point is the farthest from
    nowhere has no answer, and what drops them, with a word to the user, is preprocessing.
    """
    if points.dim() != 3 or points.shape[2] != 3:
        raise ValueError(f"{name}: expected (B, N, 3), got {tuple(points.shape)}")
    check_float32(name, points)
    if points.shape[1] < at_least:
        raise ValueError(f"{name}: expected at least {at_least} points, got {points.shape[1]}")
    if device is not None:
        check_device(name, points, device)
    if points.numel() and points.device.type == "cpu":
        ends = torch.stack(torch.aminmax(points.detach()))  # one pass, and NaN comes through
        if not bool(torch.isfinite(ends).all()):
            raise ValueError(
                f"{name}: expected finite coordinates, got some that are NaN or infinite"
            )


def check_float32(name: str, values: Tensor) -> None:
    """Raises ValueError unless `values`, (..., C) say, is float32."""
    if values.dtype != torch.float32:
        raise ValueError(f"{name}: expected float32, got {values.dtype}; give {name}.float()")


def check_device(name: str, tensor: Tensor, device: torch.device) -> None:
    """Raises ValueError unless `tensor`, (B, ...), is on `device`."""
    if tensor.device != device:
        raise ValueError(f"{name}: expected on {device}, got on {tensor.device}")


def check_batch(name: str, tensor: Tensor, beside: str, other: Tensor) -> None:
    """Raises ValueError unless both, (B, ...), have the same B; `other` is called `beside`."""
    if tensor.shape[0] != other.shape[0]:
        raise ValueError(
            f"{name}: expected {other.shape[0]} of them, as {beside} has, got {tensor.shape[0]}"
        )


def check_index(name: str, index: Tensor, dimensions: int, count: int) -> None:
    """Raises ValueError unless `index`, (B, M, k) say, is int64 and within 0..count-1.

    On a GPU the range is not looked at, as in `check_points`.
    """
    if index.dim() != dimensions or index.dtype != torch.int64:
        raise ValueError(
            f"{name}: expected int64 of {dimensions} dimensions, "
            f"got {index.dtype} of shape {tuple(index.shape)}"
        )
    if index.numel() and index.device.type == "cpu":
        low, high = (int(end) for end in torch.aminmax(index))
        if low < 0 or high >= count:
            raise ValueError(f"{name}: expected indices from 0 to {count - 1}, got {low} to {high}")
