"""What every model of point-cloud video is."""

from __future__ import annotations

from torch import Tensor, nn


class VideoModel(nn.Module):
    """(B, L, N, 3) points, float32, in model units -> logits."""

    def check_input(self, frames: int, points: int) -> None:
        """Raises InputError if clips of `frames` frames of `points` points are too small."""
        raise NotImplementedError

    def forward(self, points: Tensor) -> Tensor:
        """points: (B, L, N, 3) float32, model units, finite. Returns logits (B, ..., classes)."""
        raise NotImplementedError
